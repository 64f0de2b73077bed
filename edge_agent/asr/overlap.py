"""What two utterances both heard, because the first was cut within speech, is written once.

The later utterance hears the end of the one before again (`Utterance.lead_ms`). Its text begins with what the earlier
text ends with: as many characters as agree in sound are taken out. The one character at the cut may be wrong in either.
"""

from __future__ import annotations

from edge_agent.phonetics import syllables

LONGEST = 8
"""Characters that may be spoken twice in the overlap, which is a second at most."""
_MARKS = "，。？！、,.?! "


def without_lead(before: str, text: str) -> str:
    """Return a text without what the text before ends with; unchanged if the two do not agree."""
    first = [sound for sound in syllables(before) if sound][-LONGEST - 1 :]
    said = [(at, sound) for at, sound in enumerate(syllables(text)) if sound]
    second = [sound for _, sound in said]
    most, end = 0, 0
    for behind in (0, 1):  # the last character of the first, which the cut divided, was heard as another
        for skipped in (0, 1):  # and so was the first one of the second
            for agreed in range(LONGEST, behind + skipped, -1):
                tail = first[-behind - agreed : len(first) - behind]
                worth = agreed - behind - skipped
                if len(tail) == agreed and tail == second[skipped : skipped + agreed] and worth > most:
                    most, end = worth, skipped + agreed + behind
    if not most:
        return text
    return text[said[end][0] :].lstrip(_MARKS) if end < len(said) else ""

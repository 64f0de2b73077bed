"""What the audio says: readings that the recognizer heard in place of its text, held against plain language.

A reading comes with how much likelier the audio is if the term was said (`edge_agent.types.Reading`). To that is added
what plain language thinks of what was written there (`words`), and how often a term is said at all. So a name takes the
place of nonsense that sounds like it, and not of a phrase that sounds exactly as well. A model without an ear has its
decoder weigh both texts on the audio, and the better one wins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.terms import words
from edge_agent.terms.pack import Phonetic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.terms.pack import Entry, Term
    from edge_agent.types import Reading

_GATES = {2: 4.0, 3: 2.0, 4: 2.0}
_GATE_LONG = 1.0
"""Log odds from which a reading is believed, by its syllables. Chosen on the half of the spoken terms that is not held
out (`scripts/train_recognizer/make_term_speech`)."""
_NEAR = 0.3
_FARTHEST = 0.11
_FARTHER = 8.0
"""How near the sounds must come. What is farther off must have better odds, by so much for each factor of e."""
_AGAINST, _MORE = -4.5, 3.0
"""Evidence below which what was written was heard too well for a short term, and how much better its odds must be."""
_NEAR_TWO = 0.6
"""How near two syllables must come."""
_ACROSS = 0.5
"""How near they must come where a comma was put between them."""
_DOUBT = 1.0
"""Where two terms explain what is far off about equally well (log odds apart), neither is believed."""
_ODDS_PER_WEIGHT = 0.3
_FAR_MORE = 8.0
"""Odds from which a term outweighs two characters of another one."""
_MARKS = frozenset("，。？！、；：,.?!;: \n")


@dataclass(frozen=True, slots=True)
class Found:
    """A term in a text as it was heard, at `heard[start:end]`; a misheard one becomes `surface`."""

    start: int
    end: int
    entry: Entry
    surface: str
    via: str
    score: float

    def touches(self, other: Found) -> bool:
        """Tell whether both share a character."""
        return self.start < other.end and other.start < self.end

    def holds(self, other: Found) -> bool:
        """Tell whether the other lies within this one, and this one is longer or was heard better."""
        better = (self.end - self.start, self.score) > (other.end - other.start, other.score)
        return better and self.start <= other.start and other.end <= self.end


def odds(text: str, start: int, end: int, reading: Reading, prior: float, term: Term) -> float | None:
    """Return the log odds of a reading of the normalised `text[start:end]`; None if it is not to be believed."""
    heard = text[start:end]
    if not heard or heard == reading.put or term.phonetic is Phonetic.OFF:
        return None
    if reading.by == "decoder":
        return reading.evidence if reading.evidence > 0 else None  # the better of two texts
    if reading.near < (_FARTHEST if reading.syllables > 2 else _NEAR_TWO):
        return None
    if any(mark in heard for mark in _MARKS) and (reading.near < _ACROSS or reading.syllables == 2):
        return None
    if term.phonetic is Phonetic.ON:
        return 99.0
    found = prior + _ODDS_PER_WEIGHT * term.weight + reading.evidence + words.cost_in(text, start, end)
    gate = _GATES.get(reading.syllables, _GATE_LONG) + _FARTHER * max(0.0, math.log(_NEAR / reading.near))
    if reading.evidence < _AGAINST and reading.syllables < 5:
        gate += _MORE
    return found if found >= gate else None


def compatible(said: Found, worth: float, hit: Found, heard: str) -> bool:
    """Tell whether a reading leaves alone what is written as the dictionary has it, or holds it whole."""
    if not said.touches(hit) or hit.end - hit.start == 1:
        return True
    written = heard[hit.start : hit.end]
    if said.start <= hit.start and hit.end <= said.end and written in said.surface:
        return True
    return hit.end - hit.start == 2 and len(said.surface) >= 4 and worth >= _FAR_MORE


def chosen(found: Sequence[Found], said: Sequence[tuple[float, Found]]) -> list[Found]:
    """Return what stands in the end, in order: of readings that overlap the likeliest, and what none of them touches.

    Where the text alone shows the same term in the same place, that is said.
    """
    kept: list[Found] = []
    for worth, one in sorted(said, key=lambda entry: (-entry[0], -entry[1].score, entry[1].start)):
        rivals = [rival for rival, other in said if other.entry != one.entry and other.touches(one)]
        if one.score < _NEAR and any(rival > worth - _DOUBT for rival in rivals):
            continue
        if not any(one.touches(other) for other in kept):
            same = [hit for hit in found if (hit.start, hit.end, hit.entry) == (one.start, one.end, one.entry)]
            kept.append(same[0] if same else one)
    rest = [hit for hit in found if not any(hit.touches(one) for one in kept)]
    return sorted([*kept, *rest], key=lambda one: one.start)

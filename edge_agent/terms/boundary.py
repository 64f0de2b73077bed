"""Whether two characters that spell a term are a word here, or the end of one and the beginning of another.

One in thirty exact hits of a two-character term in the project's own talk straddles two words (延期|交货 holds 期交).
Words that begin before it and end within it, or the other way round, are looked for in the word list; only where there
is one, both readings are weighed: by the word list, and by the segmenter, if there is one. The list knows more words,
the segmenter more of how they stand together; what both say is added up, in nats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI
from edge_agent.terms import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.terms.segment import Segmenter

_AROUND = 4
"""Characters on either side by which the readings are weighed."""
_TERM = 11.0
"""What a two-character term costs as a word, if the list doesn't have it."""
_ALONE, _BOTH = -1.5, -1.0
"""Below it the term is none: what the list says alone, and what both say."""


def straddles(text: str, start: int, end: int, segmenter: Callable[[], Segmenter | None]) -> bool:
    """Tell whether a two-character term at `text[start:end]` is only the ends of two other words.

    `segmenter` is only asked for where it is needed.
    """
    if end - start != 2 or not (HANZI.match(text[start]) and HANZI.match(text[end - 1])):
        return False
    table = words.costs()
    middle = start + 1
    before = any(text[at:middle] in table for at in range(max(0, middle - words.LONGEST), start))
    after = any(text[middle:at] in table for at in range(end + 1, min(len(text), middle + words.LONGEST) + 1))
    if not (before or after):
        return False
    # Texts are searched many at once, a line each: what stands in another line tells nothing.
    left = text[max(0, start - _AROUND) : start].rpartition("\n")[2]
    right = text[end : end + _AROUND].partition("\n")[0]
    held = text[start:end]
    term = min(_TERM, table.get(held, _TERM))
    odds = words.cost(left + held + right) - (words.cost(left) + term + words.cost(right))
    model = segmenter()
    if model is None:
        return odds < _ALONE
    return odds + model.odds(left + held + right, len(left), len(left) + 2) < _BOTH

"""Whether two characters that spell a term are a word here, or the end of one and the beginning of another.

One in ten exact hits of a two-character term straddles two words (收集|采购 holds 集采). Words that begin before it and
end within it, or the other way round, are looked for in the word list; only where there is one, both readings are
weighed.
"""

from __future__ import annotations

from edge_agent.phonetics import HANZI
from edge_agent.terms import words

_AROUND = 4
_TERM = 11.0
"""What a two-character term costs as a word, if the list doesn't have it."""
_CLOSE = 3.0


def straddles(text: str, start: int, end: int) -> bool:
    """Tell whether a two-character term at `text[start:end]` is only the ends of two other words."""
    if end - start != 2 or not (HANZI.match(text[start]) and HANZI.match(text[end - 1])):
        return False
    table = words.costs()
    middle = start + 1
    before = any(text[at:middle] in table for at in range(max(0, middle - words.LONGEST), start))
    after = any(text[middle:at] in table for at in range(end + 1, min(len(text), middle + words.LONGEST) + 1))
    if not (before or after):
        return False
    first, last = max(0, start - _AROUND), min(len(text), end + _AROUND)
    term = min(_TERM, table.get(text[start:end], _TERM))
    whole = words.cost(text[first:start]) + term + words.cost(text[end:last])
    return words.cost(text[first:last]) < whole - _CLOSE / 2

"""How frequent words are: what plain language makes of a text, to be held against what a term would explain.

The frequencies are those of jieba's word list (MIT), 105,000 words and all single characters it has, made into
`edge_agent/data/words.txt.gz` by `scripts/make_word_tables`. A text costs what its likeliest cut into words costs:
minus the sum of the natural logarithms of their frequencies (a unigram model).
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

LONGEST = 6
"""Characters of a word; the few longer ones in the list count for nothing."""
UNKNOWN = 15.0
"""What a Chinese character costs that is not in the list."""
_LETTERS, _LETTER = 6.0, 3.0
"""What a run of letters or digits costs, and each further one in it."""
_MARK = 3.0


@cache
def costs() -> dict[str, float]:
    """Return every word with minus the logarithm of its frequency."""
    packed = files("edge_agent").joinpath("data", "words.txt.gz").read_bytes()
    table: dict[str, float] = {}
    for line in gzip.decompress(packed).decode().splitlines():
        tenths, *words = line.split(" ")
        table.update(dict.fromkeys(words, int(tenths) / 10))
    return table


def cost(text: str) -> float:
    """Return what the likeliest cut of a text into words costs, at least 0."""
    return _best(text, "", 0.0)[-1]


def cost_with(text: str, word: str, of_word: float) -> float:
    """Return the same where one more word is known, at a given cost."""
    return _best(text, word, of_word)[-1]


def cost_in(text: str, start: int, end: int, around: int = 4) -> float:
    """Return what `text[start:end]` costs among its neighbours: what would be saved if it were not there.

    Words across its borders count: in 收集采购 the piece 集采 costs far more than as a word of its own.
    """
    first, last = max(0, start - around), end + around
    left, right = text[first:start], text[end:last]
    return cost(text[first:last]) - cost(left) - cost(right)


def _best(text: str, extra: str, of_extra: float) -> list[float]:
    table = costs()
    best = [0.0]
    for end in range(1, len(text) + 1):
        char = text[end - 1]
        least = best[end - 1] + _single(table, char, text[end - 2] if end > 1 else "")
        for start in range(max(0, end - LONGEST), end - 1):
            word = text[start:end]
            found = of_extra if word == extra else table.get(word)
            if found is not None and best[start] + found < least:
                least = best[start] + found
        best.append(least)
    return best


def _single(table: dict[str, float], char: str, before: str) -> float:
    known = table.get(char)
    if known is not None:
        return known
    if char.isascii():
        if not char.isalnum():
            return _MARK
        return _LETTER if before.isascii() and before.isalnum() else _LETTERS
    return UNKNOWN if char.isalpha() else _MARK

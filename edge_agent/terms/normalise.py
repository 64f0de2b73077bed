"""What spelling may differ in without being another word: width, case, traditional characters, blanks around letters.

The normalised text is shorter than the original where blanks were dropped, so it carries the way back to it. Digits and
numerals stay as they are: the dictionary knows how its terms' numbers may be written (`variants`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_BLANKS = {0x20: None, 0x09: None, 0x3000: None}
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
# A recognizer spells acronyms apart and sets them off from Chinese (`G M P 认证`); a blank between two Chinese
# characters, or beside punctuation, is a pause and stays.
_BLANK = re.compile(rf"(?<=[0-9A-Z])[ \t]+(?=[0-9A-Z]|{HANZI.pattern})|(?<={HANZI.pattern})[ \t]+(?=[0-9A-Z])")
# What people say while they think; it may stand in the middle of a term.
_FILLER = re.compile("[嗯呃唔哦噢诶哎唉啊额]+|那个|这个|那什么|就是说|怎么说呢")


@cache
def _plain() -> dict[int, int]:
    """Return what `str.translate` needs for half width and simplified characters (OpenCC's, one for one)."""
    table = files("edge_agent").joinpath("data", "simplified.txt").read_text(encoding="utf-8")
    traditional, simplified = table.split("\n")[:2]
    return _NARROW | {ord(old): ord(new) for old, new in zip(traditional, simplified, strict=True)}


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text as it is matched: half width, upper case, simplified, without blanks around letters and digits.

    `origin[k]` is the index in `original` of the character that `text[k]` stands for; it grows strictly.
    """

    original: str
    text: str
    origin: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the half-open span of `original` that `text[start:end]` (not empty) stands for."""
        return self.origin[start], self.origin[end - 1] + 1

    def whole(self, start: int, end: int) -> bool:
        """Tell whether `text[start:end]` cuts no word of letters and no number of the original in two."""
        first, last = self.span(start, end)
        return not (_joined(self.original, first) or _joined(self.original, last))

    def without_fillers(self) -> Normalised:
        """Return the same without 嗯, 那个 and the like."""
        kept: list[int] = []
        done = 0
        for filler in _FILLER.finditer(self.text):
            kept.extend(range(done, filler.start()))
            done = filler.end()
        kept.extend(range(done, len(self.text)))
        return Normalised(self.original, "".join(self.text[at] for at in kept), [self.origin[at] for at in kept])

    def skips(self, start: int, end: int) -> bool:
        """Tell whether something other than blanks was left out within `text[start:end]`."""
        first, last = self.span(start, end)
        return len(self.original[first:last].translate(_NO_BLANKS)) > end - start


def has_filler(text: str) -> bool:
    """Tell whether somebody says 嗯, 那个 and the like within a text."""
    found = _FILLER.search(text, 1)
    return found is not None and found.end() < len(text)


def normalise(original: str) -> Normalised:
    """Normalise a text for matching, keeping the way back to it."""
    text = original if original.isascii() else original.translate(_plain())
    text = _upper(text)
    kept: list[str] = []
    origin: list[int] = []
    done = 0
    for blank in _BLANK.finditer(text):
        kept.append(text[done : blank.start()])
        origin.extend(range(done, blank.start()))
        done = blank.end()
    if not done:
        return Normalised(original, text, range(len(text)))
    kept.append(text[done:])
    origin.extend(range(done, len(text)))
    return Normalised(original, "".join(kept), origin)


def _upper(text: str) -> str:
    upper = text.upper()
    if len(upper) == len(text):
        return upper
    # A few letters have no single capital (ß → SS); they stay, so that offsets do.
    return "".join(capital if len(capital := char.upper()) == 1 else char for char in text)


def _joined(text: str, at: int) -> bool:
    """Tell whether the characters before and after the gap `at` belong to one word of letters or one number."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if "\u3000" < before < "\uff00" or "\u3000" < after < "\uff00":
        return False  # nearly always: it is asked of every candidate
    before, after = before.translate(_NARROW), after.translate(_NARROW)
    if not (before.isascii() and after.isascii()):
        return False
    return (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())

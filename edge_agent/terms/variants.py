"""Other ways to write and to say what stands in a term: numbers in digits or characters, letters by their names.

All of this is done to the dictionary, never to a transcript: a converter of numerals that runs over what people say
turns 统一 into 统1.
"""

from __future__ import annotations

import re
from itertools import islice, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 6
"""Ways that are kept of one spelling."""

_DIGITS = "零一二三四五六七八九"
_NUMERAL = re.compile(r"[0-9]+|[零〇一二三四五六七八九十百千两]+")
_PLACES = ("", "十", "百", "千")
_VALUES = {char: value for value, char in enumerate(_DIGITS)} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}

NAMES: dict[str, tuple[str, ...]] = {
    "A": ("诶",),
    "B": ("必",),
    "C": ("西",),
    "D": ("地",),
    "E": ("一",),
    "F": ("艾弗",),
    "G": ("寄",),
    "H": ("艾尺",),
    "I": ("爱",),
    "J": ("杰",),
    "K": ("凯",),
    "L": ("艾勒", "艾欧"),
    "M": ("艾姆",),
    "N": ("恩",),
    "O": ("欧",),
    "P": ("皮",),
    "Q": ("丘", "抠"),
    "R": ("啊", "阿尔"),
    "S": ("艾斯",),
    "T": ("提",),
    "U": ("优",),
    "V": ("维",),
    "W": ("达不溜",),
    "X": ("艾克斯",),
    "Y": ("歪",),
    "Z": ("贼", "贼德"),
}
"""How the names of letters sound in Chinese, for which a recognizer writes any characters of that sound."""
RHYMES = ("BCDEGPTV", "FSX", "MN", "AHJK", "IY", "UQ", "LR")
"""Letters whose names are mistaken for each other."""


def spelled(text: str) -> list[str]:
    """Return the other ways to write the numbers in a text: 13价 for 十三价, 六九码 for 69码; at most `MOST`."""
    pieces: list[tuple[str, ...]] = []
    done = 0
    for numeral in _NUMERAL.finditer(text):
        pieces.append((text[done : numeral.start()],))
        pieces.append(tuple(dict.fromkeys((numeral[0], *_numbers(numeral[0])))))
        done = numeral.end()
    if not done:
        return []
    pieces.append((text[done:],))
    return ["".join(way) for way in islice(product(*pieces), 1, MOST + 1)]


def named(text: str) -> list[str]:
    """Return a text with its capital letters by their names, in at most four ways; none if there is no letter."""
    if not any(char in NAMES for char in text):
        return []
    return ["".join(way) for way in islice(product(*(NAMES.get(char, (char,)) for char in text)), 4)]


def _numbers(numeral: str) -> Iterator[str]:
    if numeral.isascii():
        digits = [int(char) for char in numeral]
        if len(digits) <= 4 and digits[0]:
            value = _read_out(digits)
            yield value
            if "二" in value:
                yield value.replace("二百", "两百").replace("二千", "两千")
        if len(digits) > 1:
            yield "".join(_DIGITS[digit] for digit in digits)
            yield "".join("幺" if digit == 1 else _DIGITS[digit] for digit in digits)
        return
    value_of = _value(numeral)
    if value_of is not None:
        yield str(value_of)
    if all(char in _VALUES for char in numeral):
        yield "".join(str(_VALUES[char]) for char in numeral)


def _read_out(digits: list[int]) -> str:
    """Read a number below ten thousand as it is spoken (15 → 十五, 105 → 一百零五)."""
    out = ""
    zero = False
    for place, digit in zip(range(len(digits) - 1, -1, -1), digits, strict=True):
        if digit:
            out += ("零" if zero else "") + _DIGITS[digit] + _PLACES[place]
        zero = zero or not digit if out else False
        if digit:
            zero = False
    return out.removeprefix("一") if out.startswith("一十") else out


def _value(numeral: str) -> int | None:
    """Return the value of a number written with its places (三百二十 → 320), None if it is none."""
    if not any(char in _UNITS for char in numeral):
        return _VALUES[numeral] if len(numeral) == 1 else None
    total = digit = 0
    last = 10_000
    for char in numeral:
        if char in _UNITS:
            unit = _UNITS[char]
            if unit >= last:
                return None
            total += (digit or 1) * unit
            digit, last = 0, unit
        else:
            digit = _VALUES[char]
    return total + digit

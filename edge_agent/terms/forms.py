"""How the terms that may be corrected sound, in columns: one form for each spelling, and more where letters are named.

A form is a string of characters as it is matched, and a string of symbols as it is said (`pinyin.symbols`); an acronym
has a second form in which its letters stand as the Chinese characters they sound like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.phonetics import HANZI
from edge_agent.terms import words
from edge_agent.terms.normalise import normalise
from edge_agent.terms.pack import Entry, Phonetic
from edge_agent.terms.pinyin import Syllable, read_as, readings, symbols, symbols_alone
from edge_agent.terms.variants import NAMES, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts
    from edge_agent.terms.spellings import Spellings

SHORTEST = 3
"""Syllables (and letters) a term needs to be found in a text: two are heard by chance in every other sentence."""
PERSONS = frozenset(
    ("person", "people", "name", "contact", "人名", "姓名", "人员", "联系人", "员工", "医生", "客户姓名")
)
"""Categories of terms that are not corrected by sound unless the admin says so: names of people sound like words."""
_EVERYDAY_COST = 12.0
"""A term that is as frequent a word as this (one in 160,000) is everyday talk: it is not corrected either."""
INSISTED, _GIVEN, LETTERED = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Form:
    """One way a term sounds; `patterns` are what an automaton looks for.

    They are how it is said, and how the table reads it with and without its context, because so are characters read
    that were heard right among others that were not.
    """

    chars: str
    symbols: str
    given: tuple[Syllable | None, ...]
    patterns: tuple[str, ...]
    lettered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """All forms, by number. `codes` and `sounds` hold the characters of all of them, one form after the other."""

    spellings: Spellings
    spelling: NDArray[np.int32]
    flags: NDArray[np.uint8]
    codes: NDArray[np.uint32]
    sounds: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    weight: NDArray[np.float64]
    _spelled: str
    """The same as `codes`, and `_said` as `sounds`, for one form at a time."""
    _said: str

    @classmethod
    def build(cls, spellings: Spellings) -> tuple[Forms, list[tuple[str, int]]]:
        """Return the forms of all spellings, and the patterns of each."""
        owners: list[int] = []
        flags: list[int] = []
        chars: list[str] = []
        sounds: list[str] = []
        patterns: list[tuple[str, int]] = []
        for number in range(len(spellings)):
            entry, surface = spellings.named(number)
            for form in forms_of(entry, surface):
                patterns += ((pattern, len(owners)) for pattern in form.patterns)
                owners.append(number)
                insisted = INSISTED if entry.term.phonetic is Phonetic.ON else 0
                flags.append(insisted | _GIVEN * any(form.given) | LETTERED * form.lettered)
                chars.append(form.chars)
                sounds.append(form.symbols)
        ends = np.cumsum([0, *map(len, chars)], dtype=np.int64)
        made = cls._of(
            spellings, np.array(owners, np.int32), np.array(flags, np.uint8), _codes(chars), _codes(sounds), ends
        )
        return made, patterns

    @classmethod
    def _of(
        cls,
        spellings: Spellings,
        owners: NDArray[np.int32],
        flags: NDArray[np.uint8],
        codes: NDArray[np.uint32],
        sounds: NDArray[np.uint32],
        ends: NDArray[np.int64],
    ) -> Forms:
        weight = spellings.entries.weight[spellings.owner[owners]] if len(owners) else np.zeros(0)
        spelled, said = codes.tobytes().decode("utf-32-le"), sounds.tobytes().decode("utf-32-le")
        return cls(spellings, owners, flags, codes, sounds, ends[:-1], np.diff(ends), weight, spelled, said)

    @classmethod
    def from_parts(cls, parts: Parts, spellings: Spellings) -> Forms:
        """Take the forms that `parts` gave out."""
        names = ("spelling", "flags", "codes", "sounds", "ends")
        return cls._of(spellings, *(parts[f"form.{name}"] for name in names))

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the forms."""
        ends = np.append(self.offsets, len(self.codes))
        return {
            "form.spelling": self.spelling,
            "form.flags": self.flags,
            "form.codes": self.codes,
            "form.sounds": self.sounds,
            "form.ends": ends,
        }

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.spelling)

    def chars(self, form: int) -> str:
        """Return how a form is matched."""
        start = self.offsets[form]
        return self._spelled[start : start + self.lengths[form]]

    def symbols(self, form: int) -> str:
        """Return how a form is said."""
        start = self.offsets[form]
        return self._said[start : start + self.lengths[form]]

    def insisted(self, form: int) -> bool:
        """Tell whether the admin wants this term corrected whatever plain language says."""
        return bool(self.flags[form] & INSISTED)

    def lettered(self, form: int) -> bool:
        """Tell whether letters stand in a form as Chinese characters."""
        return bool(self.flags[form] & LETTERED)

    def given(self, form: int) -> Sequence[Syllable | None]:
        """Return the syllables that are known beyond the table of characters, None for each that isn't."""
        if not self.flags[form] & _GIVEN:
            return (None,) * int(self.lengths[form])
        entry, surface = self.spellings.named(int(self.spelling[form]))
        chars = self.chars(form)
        return next(one.given for one in forms_of(entry, surface) if one.chars == chars)

    def owner(self, form: int) -> int:
        """Return the number of a form's entry."""
        return int(self.spellings.owner[self.spelling[form]])

    def named(self, form: int) -> tuple[Entry, str]:
        """Return the term of a form, and how it is to be written."""
        return self.spellings.named(int(self.spelling[form]))


def forms_of(entry: Entry, surface: str) -> Iterator[Form]:
    """Return the forms of one spelling of a term; none if it may not be corrected."""
    term = entry.term
    if term.phonetic is Phonetic.OFF:
        return
    if term.phonetic is Phonetic.AUTO and (term.category.strip().lower() in PERSONS or _everyday(surface)):
        return
    chars = normalise(surface).text
    hanzi = sum(1 for char in chars if HANZI.match(char))
    spoken = hanzi + sum(1 for char in chars if char.isascii() and char.isalnum())
    own = term.pinyin if surface == term.term else ()
    if spoken >= SHORTEST and hanzi >= 2:
        given = read_as(chars, own)
        usual = symbols(chars)
        said = "".join(one.symbol if one else symbol for one, symbol in zip(given, usual, strict=True))
        yield Form(chars, said, given, tuple(dict.fromkeys((said, usual, symbols_alone(chars)))))
    elif len(chars) == hanzi == 2:
        yield Form(chars, symbols(chars), (None, None), ())  # only the audio finds it
    for way in named(chars):
        if len(way) < SHORTEST or not all(HANZI.match(char) or char.isdigit() for char in way):
            continue
        said = symbols(way)
        # A letter's name has no tone of its own, and no character that would be right.
        yield Form(way, said, _of_letters(chars, way, said), (said,), lettered=True)


def _of_letters(chars: str, way: str, said: str) -> tuple[Syllable | None, ...]:
    given: list[Syllable | None] = []
    rest = list(zip(way, said, strict=True))
    kept = [char for char in chars if char not in NAMES]
    while rest:
        char, symbol = rest.pop(0)
        if kept and char == kept[0] and len(rest) + 1 >= len(kept):
            kept.pop(0)
            given.append(None)
            continue
        reading = next((one for one in readings(char) if one.symbol == symbol), None)
        given.append(replace(reading, tone=0) if reading else None)
    return tuple(given)


def _everyday(surface: str) -> bool:
    return words.costs().get(surface, 99.0) <= _EVERYDAY_COST


def _codes(texts: list[str]) -> NDArray[np.uint32]:
    return np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)

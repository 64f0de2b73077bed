"""How characters are read: a table of characters and the phrases in which a polyphone is read otherwise.

The readings are pypinyin's (MIT). A text becomes a string of symbols, one for each character: a Chinese character gives
one private-use character for its canonical syllable (`edge_agent.phonetics`), anything else gives itself. So an
automaton can search sounds as it searches spellings.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from edge_agent.automaton import Automaton
from edge_agent.phonetics import HANZI, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_SYMBOL = 0xF0000
_TONES = {"\u0304": 1, "\u0301": 2, "\u030c": 3, "\u0300": 4}
_WRITTEN = re.compile(r"([a-zêü]+)([0-5])?")
_INITIAL = re.compile(r"zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]|")


@dataclass(frozen=True, slots=True)
class Syllable:
    """A pinyin syllable (`zh`, `ang`, 1); tone 5 is the neutral one, 0 is one that was not given."""

    initial: str
    final: str
    tone: int

    @classmethod
    def parse(cls, written: str) -> Syllable:
        """Read one syllable: `zhāng`, `zhang1` or `zhang`, with `ü`, `v` or `u:`.

        Raises:
            ValueError: it is none that Mandarin has.
        """
        syllable = cls._split(written.lower().replace("u:", "ü").replace("v", "ü"))
        if syllable is None or syllable.canonical not in _table().symbols:
            raise ValueError(f"{written!r} is no pinyin syllable")
        return syllable

    @classmethod
    @cache
    def _split(cls, written: str) -> Syllable | None:
        marks = unicodedata.normalize("NFD", written)
        tone = next((_TONES[mark] for mark in marks if mark in _TONES), 0)
        plain = unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in _TONES))
        match = _WRITTEN.fullmatch(plain)
        if match is None:
            return None
        initial = _INITIAL.match(match[1])
        assert initial is not None  # the pattern's last branch is empty
        return cls(initial[0], match[1][initial.end() :], int(match[2] or tone))

    @property
    def canonical(self) -> str:
        """The syllable with tone and easily confused sounds merged (`edge_agent.phonetics.canonical`)."""
        return canonical(self.initial + self.final)

    @property
    def symbol(self) -> str:
        """The character that stands for the canonical syllable in `symbols`."""
        return _table().symbols[self.canonical]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    symbols: dict[str, str]
    """Canonical syllable → its symbol."""
    characters: dict[int, str]
    """Code point → the symbol of its usual reading, as `str.translate` takes it."""
    phrases: Automaton
    """Phrases with a character that is read otherwise than alone."""
    readings: list[str]
    """The symbols of each of these phrases."""


@cache
def _table() -> _Table:
    from pypinyin.constants import PHRASES_DICT, PINYIN_DICT

    @cache
    def sound(written: str) -> str | None:
        syllable = Syllable._split(written)
        return syllable.canonical if syllable else None

    usual = {code: sound(written.split(",", 1)[0]) for code, written in PINYIN_DICT.items()}
    names = sorted({name for name in usual.values() if name})
    symbols = {name: chr(FIRST_SYMBOL + index) for index, name in enumerate(names)}
    phrases: dict[str, str] = {}
    for phrase, written in PHRASES_DICT.items():
        sounds = [sound(reading[0]) for reading in written]
        if len(sounds) == len(phrase) and any(usual.get(ord(c)) != s for c, s in zip(phrase, sounds, strict=True)):
            known = [symbols.get(name or "") for name in sounds]
            if all(known):
                phrases[phrase] = "".join(filter(None, known))
    return _Table(
        symbols=symbols,
        characters={code: symbols[name] for code, name in usual.items() if name},
        phrases=Automaton.build(list(phrases)),
        readings=list(phrases.values()),
    )


def symbols_alone(text: str) -> str:
    """Return the symbols of a text, one for each character, each read as it usually is."""
    return text.translate(_table().characters)


def symbols(text: str) -> str:
    """Return the symbols of a text, one for each character, polyphones read in their context."""
    table = _table()
    sounds = symbols_alone(text)
    found = table.phrases.find(text)
    if not found:
        return sounds
    out = list(sounds)
    done = 0
    for start, end, which in sorted(found, key=lambda hit: (hit[0], -hit[1])):
        if start >= done:
            out[start:end] = table.readings[which]
            done = end
    return "".join(out)


@cache
def every_symbol() -> dict[str, tuple[Syllable, ...]]:
    """Return every symbol, in order, with the syllables that it stands for, without their tones."""
    from pypinyin.constants import PINYIN_DICT

    alike: dict[str, dict[Syllable, None]] = {symbol: {} for symbol in _table().symbols.values()}
    for written in dict.fromkeys(written.split(",", 1)[0] for written in PINYIN_DICT.values()):
        syllable = Syllable._split(written)
        if syllable and syllable.canonical in _table().symbols:
            alike[syllable.symbol][replace(syllable, tone=0)] = None
    return {symbol: tuple(ones) for symbol, ones in alike.items()}


@lru_cache(maxsize=65536)
def readings(char: str) -> tuple[Syllable, ...]:
    """Return every reading of a Chinese character, the usual one first; none for another character."""
    from pypinyin.constants import PINYIN_DICT

    parsed = (Syllable._split(written) for written in PINYIN_DICT.get(ord(char), "").split(","))
    return tuple(
        replace(syllable, tone=syllable.tone or 5)
        for syllable in parsed
        if syllable and syllable.canonical in _table().symbols
    )


def known_word(text: str) -> bool:
    """Tell whether the lexicon of readings (47,000 words and idioms) has this very word."""
    from pypinyin.constants import PHRASES_DICT

    return text in PHRASES_DICT


def read_as(text: str, given: Iterable[Syllable]) -> tuple[Syllable | None, ...]:
    """Lay given syllables, one for each Chinese character, along a text; where none is left or due, None."""
    rest = iter(given)
    return tuple(next(rest, None) if HANZI.match(char) else None for char in text)

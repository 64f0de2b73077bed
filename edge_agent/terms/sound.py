"""Homophone correction: where a text sounds like a term but is spelled otherwise.

Canonical syllables, one symbol each, are searched by an automaton; every find is then verified by a score that says how
close the heard characters come to the term, character by character.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from edge_agent.automaton import Automaton
from edge_agent.phonetics import HANZI
from edge_agent.terms.compiled import ragged
from edge_agent.terms.normalise import Normalised, normalise
from edge_agent.terms.pack import Entry, Phonetic
from edge_agent.terms.pinyin import Syllable, known_word, read_as, readings, symbols, symbols_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts

SHORTEST = 3
"""Syllables (and letters) a term needs: two of them are heard by chance in every other sentence."""

# What a character adds to the score: itself 1, a homophone a little less, and less again for each part that differs.
# The thresholds by number of syllables fall because more equal syllables are less likely to be chance.
_HOMOPHONE = 0.95
_OTHER_TONE = 0.10
_OTHER_INITIAL = 0.15
_OTHER_FINAL = 0.15
# Small words make up half of all talk: one of them in a find speaks for plain language, not for a mishearing.
_EVERYDAY = frozenset("的了是在我你他她它们这那有不就和也都说要会能到去来上下吗呢吧啊哦嗯一个好很还没么什")
_EVERYDAY_COST = 0.10
_THRESHOLDS = {3: 0.90, 4: 0.84}
_THRESHOLD_LONG = 0.80
_PER_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class Sounding:
    """A term or an alias as it sounds.

    `chars` is how it is matched, `symbols` how it is said; `given` holds the admin's pinyin, None where the table is to
    be asked. `patterns` are what the automaton looks for: how it is said, and how the table reads it with and without
    its context, because so are the characters read that were heard right among others that were not.
    """

    entry: Entry
    surface: str
    chars: str
    symbols: str
    given: tuple[Syllable | None, ...]
    patterns: tuple[str, ...]

    @property
    def threshold(self) -> float:
        """The score from which this term is believed; weight moves it a little."""
        term = self.entry.term
        base = _THRESHOLD_LONG if term.phonetic is Phonetic.ON else _THRESHOLDS.get(len(self.chars), _THRESHOLD_LONG)
        return base - _PER_WEIGHT * term.weight

    def score(self, heard: str) -> float:
        """Return how close heard characters of the same sound come to the term, 0…1; 0 if they can't be read so."""
        total = 0.0
        for had, want, symbol, given in zip(heard, self.chars, self.symbols, self.given, strict=True):
            part = 1.0 if had == want else _likeness(had, want, symbol, given)
            if part <= 0.0:
                return 0.0
            total += part
        return total / len(self.chars)


@dataclass(frozen=True, slots=True)
class Correction:
    """What should stand instead of `text[start:end]` of a normalised text."""

    start: int
    end: int
    sounding: Sounding
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """Every term that may be corrected, by its sound."""

    automaton: Automaton
    spelling: Callable[[int], tuple[Entry, str]]
    """Gives the term and the way to write it that a number stands for."""
    members: NDArray[np.int32]
    """The numbers of the spellings of each pattern in turn; those of pattern k are `members[ends[k]:ends[k + 1]]`."""
    ends: NDArray[np.int64]

    @classmethod
    def build(cls, spelling: Callable[[int], tuple[Entry, str]], count: int) -> Sounds:
        """Compile `count` spellings; where two fit a text equally well, the heavier term wins, then the earlier."""
        alike: dict[str, list[int]] = {}
        for number in range(count):
            if one := sounding(*spelling(number)):
                for pattern in one.patterns:
                    alike.setdefault(pattern, []).append(number)
        return cls(Automaton.build(list(alike)), spelling, *ragged(list(alike.values())))

    @classmethod
    def from_parts(cls, parts: Parts, spelling: Callable[[int], tuple[Entry, str]]) -> Sounds:
        """Take the sounds that `parts` gave out."""
        automaton = Automaton.from_parts(parts, "sound.automaton")
        return cls(automaton, spelling, parts["sound.members"], parts["sound.ends"])

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the sounds."""
        return self.automaton.parts("sound.automaton") | {"sound.members": self.members, "sound.ends": self.ends}

    def of_pattern(self, which: int) -> list[Sounding]:
        """Return what sounds like a pattern of the automaton; made when it is heard, for most terms never are."""
        numbers = self.members[self.ends[which] : self.ends[which + 1]]
        return [one for number in numbers.tolist() if (one := sounding(*self.spelling(number)))]

    def find(self, text: Normalised, allowed: Callable[[Correction], bool]) -> list[Correction]:
        """Return the corrections that are believed and allowed, in order and without overlap; the longest go first."""
        found: list[Correction] = []
        for start, end, which in self.automaton.find(symbols(text.text)):
            if not text.whole(start, end):
                continue
            heard = text.text[start:end]
            for sounding in self.of_pattern(which):
                one = Correction(start, end, sounding, sounding.score(heard))
                if one.score >= sounding.threshold and _plausible(heard, sounding) and allowed(one):
                    found.append(one)
        chosen: list[Correction] = []
        for one in sorted(found, key=_rank):
            if all(one.end <= other.start or other.end <= one.start for other in chosen):
                chosen.append(one)
        return sorted(chosen, key=lambda one: one.start)


def sounding(entry: Entry, surface: str) -> Sounding | None:
    """Return how one spelling of a term sounds, or None if it may not be corrected."""
    chars = normalise(surface).text
    hanzi = sum(1 for char in chars if HANZI.match(char))
    spoken = hanzi + sum(1 for char in chars if char.isascii() and char.isalnum())
    if entry.term.phonetic is Phonetic.OFF or spoken < SHORTEST or hanzi < 2:
        return None
    own_pinyin = entry.term.pinyin if surface == entry.term.term else ()
    given = read_as(chars, own_pinyin)
    usual = symbols(chars)
    said = "".join(one.symbol if one else symbol for one, symbol in zip(given, usual, strict=True))
    return Sounding(entry, surface, chars, said, given, tuple(dict.fromkeys((said, usual, symbols_alone(chars)))))


def _rank(one: Correction) -> tuple[int, float, float, int]:
    return one.start - one.end, -one.score, -one.sounding.entry.term.weight, one.start


def _plausible(heard: str, sounding: Sounding) -> bool:
    """Tell a mishearing from the term itself, and (unless the admin insists) from plain language.

    Plain language is a word that the lexicon has, or nothing but small words (要是会上).
    """
    if heard == sounding.chars:
        return False
    return sounding.entry.term.phonetic is Phonetic.ON or not (known_word(heard) or _EVERYDAY.issuperset(heard))


@lru_cache(maxsize=65536)
def _likeness(had: str, want: str, symbol: str, given: Syllable | None) -> float:
    """Return what a character that was heard for another adds to the score, 0 if it can't be said like it."""
    wanted = [given] if given else _said_as(want, symbol)
    closest = max((_closeness(a, b) for a in _said_as(had, symbol) for b in wanted), default=0.0)
    return closest - _EVERYDAY_COST * (had in _EVERYDAY)


def _said_as(char: str, symbol: str) -> list[Syllable]:
    """Return the readings that sound like `symbol`: the usual one alone if it does, for the others are rare then."""
    alike = [syllable for syllable in readings(char) if syllable.symbol == symbol]
    return alike[:1] if alike[:1] == list(readings(char)[:1]) else alike


def _closeness(a: Syllable, b: Syllable) -> float:
    other_tone = a.tone != b.tone and 0 not in (a.tone, b.tone)
    return (
        _HOMOPHONE
        - _OTHER_TONE * other_tone
        - _OTHER_INITIAL * (a.initial != b.initial)
        - _OTHER_FINAL * (a.final != b.final)
    )

"""Terms listened for in an utterance's syllables: all of a dictionary's at once, whatever the text says.

The second pass's ear gives every syllable of an utterance the chance of every sound (`rescore`). A term is spotted
where its own sounds are, taken together, not much less likely than the likeliest ones. That finds a name which no text
would show: both passes write what they have seen before. Whether it is believed is not decided here; the dictionary
weighs it against plain language (`edge_agent.terms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge_agent.asr.rescore import LETTERS, TONES
from edge_agent.types import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.asr.rescore import Passage, Rescorer, Written

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.int64]

LONGEST = 12
"""Syllables of a term that is listened for."""
MOST = 24
"""So many readings of an utterance are told, the nearest first."""
_MEAN = 2.2
"""How much less likely than the likeliest a term's sounds may be on average (natural logarithms)."""
_EACH = 4.5
"""The same for one of its first two syllables, by which terms are looked up."""
_NAMES = {
    "B": "必",
    "C": "西",
    "D": "弟",
    "E": "一",
    "G": "记",
    "I": "爱",
    "J": "杰",
    "O": "欧",
    "P": "皮",
    "Q": "酷",
    "R": "尔",
}
_NAMES |= {"T": "替", "U": "优", "V": "维", "Y": "歪"}
"""Letters whose names sound like a character: 艾莱 may be heard as I莱."""
_LETTER = 0.5
"""What a character loses where a letter was heard."""
_WORST = 6.0
"""No syllable counts for more: it may have been swallowed."""


class Terms(Protocol):
    """What is listened for: spellings by number, as code points that lie one after the other."""

    @property
    def version(self) -> str:
        """Another one if anything has changed."""

    def spoken(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Return all code points, where each spelling begins, and how many it has."""

    def written(self, number: int) -> str:
        """Return how a spelling is to be written."""

    def doubts(self, heard: str, most: int = 4) -> Sequence[Reading]:
        """Return what may have been said though a text hardly shows it, to be weighed by the audio."""

    def mentions(self, heard: str) -> bool:
        """Tell whether a text has a term in it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """The spellings of one length: their numbers, and their characters as the ear numbers them, of shape (n, length).

    They are in the order of the first character; `second` is their order by the second one.
    """

    members: Numbers
    characters: Numbers
    second: Numbers


class Spotter:
    """Listens for terms with one model's ear; never changed after it was built."""

    def __init__(self, rescorer: Rescorer, terms: Terms) -> None:
        self.version = terms.version
        self._terms = terms
        self._rescorer = rescorer
        codes, starts, lengths = terms.spoken()
        numbers = _numbered(rescorer, codes)
        unknown = np.concatenate([[0], np.cumsum(numbers < 0)])
        heard = unknown[starts + lengths] == unknown[starts]
        self._alike: list[_Alike] = []
        for length in np.unique(lengths[heard & (lengths >= 2) & (lengths <= LONGEST)]).tolist():
            members = np.flatnonzero(heard & (lengths == length))
            characters = numbers[starts[members][:, None] + np.arange(length)]
            order = np.argsort(characters[:, 0], kind="stable")
            members, characters = members[order], characters[order]
            self._alike.append(_Alike(members, characters, np.argsort(characters[:, 1], kind="stable")))
        self._read, self._first = np.unique(rescorer.read, return_index=True)
        self._named = [(LETTERS.index(letter), _sounding_like(rescorer, name)) for letter, name in _NAMES.items()]
        self._letters = np.array([rescorer.characters.index(letter) for letter in LETTERS])

    def listen(self, passage: Passage, written: Written) -> tuple[Reading, ...]:
        """Return the terms that may stand in a text in place of what was written there, the nearest first."""
        behind = self._behind(passage)
        own = np.full(len(behind), _WORST, np.float32)
        where: dict[int, int] = {}
        for at, (character, place) in enumerate(zip(written.text, written.places, strict=False)):
            if place >= 0:
                number = self._rescorer.characters.find(character)
                own[place] = min(_WORST, float(behind[place, number])) if number >= 0 else _WORST
                where[place] = at
        found: list[tuple[float, Reading]] = []
        for total, at, length, number in self._spotted(behind):
            places = [where[place] for place in range(at, at + length) if place in where]
            if not places:
                continue
            start, end = places[0], places[-1] + 1
            put = self._terms.written(number)
            if written.text[start:end] == put:
                continue
            evidence = float(own[at : at + length].sum()) - total
            near = float(np.exp(-total / length))
            found.append((total / length - 0.5 * length, Reading(start, end, put, evidence, near, length)))
        return tuple(reading for _, reading in sorted(found, key=lambda one: one[0])[:MOST])

    def _behind(self, passage: Passage) -> Floats:
        """Return how much less likely than the likeliest sound each character is in each slot."""
        slots = passage.slots
        scores = np.full((len(slots), len(self._rescorer.characters)), -np.inf, np.float32)
        for row, slot in zip(scores, slots, strict=True):
            if slot.letter:
                for letter, characters in self._named:
                    row[characters] = np.maximum(row[characters], slot.scores[letter] - _LETTER)
                row[self._letters] = slot.scores
            else:  # of a character with several readings the likeliest counts
                row[self._read] = np.maximum.reduceat(slot.scores, self._first)
        best = np.array([slot.scores.max() for slot in slots], np.float32)
        behind: Floats = np.minimum(best[:, None] - scores, 2 * _WORST)
        return behind

    def _spotted(self, behind: Floats) -> list[tuple[float, int, int, int]]:
        """Return what is near enough: how far behind in all, the first slot, how many there are, the spelling."""
        found: list[tuple[float, int, int, int]] = []
        for alike in self._alike:
            length = alike.characters.shape[1]
            places = len(behind) - length + 1
            if places <= 0:
                continue
            at, rows = _expanded(behind[:places], alike.characters[:, 0])
            if length > 3:  # the first may have been misheard, if the second was not
                late_at, late = _expanded(behind[1 : places + 1], alike.characters[alike.second, 1])
                late = alike.second[late]
                new = behind[late_at, alike.characters[late, 0]] > _EACH
                at, rows = np.concatenate([at, late_at[new]]), np.concatenate([rows, late[new]])
            total = np.zeros(len(rows), np.float32)
            for place in range(length):
                total += np.minimum(behind[at + place, alike.characters[rows, place]], _WORST)
                kept = total <= _MEAN * length
                at, rows, total = at[kept], rows[kept], total[kept]
            found += zip(total.tolist(), at.tolist(), [length] * len(at), alike.members[rows].tolist(), strict=True)
        return found


def _numbered(rescorer: Rescorer, codes: NDArray[np.uint32]) -> Numbers:
    """Return the ear's number of each code point; -1 for what it can't hear."""
    table = np.full(1 << 16, -1, np.int64)
    spoken = set(np.unique(rescorer.read).tolist())
    for number, character in enumerate(rescorer.characters):
        if number in spoken or character in LETTERS:
            table[ord(character)] = number
    numbers: Numbers = np.where(codes < len(table), table[np.minimum(codes, len(table) - 1)], -1)
    return numbers


def _sounding_like(rescorer: Rescorer, character: str) -> Numbers:
    """Return the numbers of characters that can be read as one is, but for the tone."""
    own = rescorer.read == rescorer.characters.find(character)
    sounds = rescorer.read_initial * len(rescorer.hear_finals) + rescorer.read_final // TONES
    return np.unique(rescorer.read[np.isin(sounds, sounds[own])])


def _expanded(behind: Floats, characters: Numbers) -> tuple[Numbers, Numbers]:
    """Return the pairs of slot and row whose character is near enough there; `characters` rise."""
    each, starts = np.unique(characters, return_index=True)
    ends = np.append(starts[1:], len(characters))
    at, which = np.nonzero(behind[:, each] <= _EACH)
    counts = (ends - starts)[which]
    flat = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(at, counts), flat + np.repeat(starts[which], counts)


def times_ms(written: Written) -> tuple[tuple[int, int], ...]:
    """Return when each character of a text was heard, in ms since the utterance began; a mark stands between two."""
    spans: list[tuple[int, int]] = []
    last = 0
    for frames in written.frames:
        start, end = (last, last) if frames is None else (frames[0] * 20, frames[1] * 20)
        spans.append((start, end))
        last = end
    return tuple(spans)

"""Where a term may stand with one syllable wrong, missing or too many: an index of what is left when one is taken away.

Every term gives its syllables as they are and with each one left out; a text gives its runs of syllables, and those
with one inside left out. Where two of these are equal, the term is at most one edit away (the deletion neighbourhood of
Mor & Fraenkel 1982, which SymSpell made known). A term of more than eight syllables gives its two halves and some
other pieces of its head and tail: one of them is whole wherever the error lies. Keys are 64-bit hashes in one sorted
array; all runs of a text are looked up at once by numpy, most of them stopped by a table of one byte for each of 2²²
hashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.terms.pinyin import FIRST_SYMBOL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts

    Numbers = NDArray[np.int64]

LONGEST = 8
"""Syllables of a key."""
SHORTEST = 2
_HEAD, _TAILS = 3, (6, 8)
"""Further pieces of long terms: one of their halves may be what many share (有限公司), and the error in the other."""
MOST = 48
"""Terms that may share a key; a key that more terms share says nothing (限公司)."""
_TABLE_BITS = 22


def _numbers(count: int, seed: int) -> NDArray[np.uint64]:
    """Return odd 64-bit numbers, the same on every machine and for ever, for they lie in files (SplitMix64)."""
    mixed = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)


_FACTORS = _numbers(LONGEST, 1)
_VALUES = _numbers(2048, 1 << 20)
# For every length of key, which syllable inside a run is left out: (left out, length of the key).
_INSIDE = [(out, length) for length in range(SHORTEST, LONGEST + 1) for out in range(1, length)]
_OUT = np.array([out for out, _ in _INSIDE]) - 1
_LENGTH = np.array([length for _, length in _INSIDE]) - 1
_CONTIGUOUS = np.arange(SHORTEST, LONGEST + 1) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Seeds:
    """The index. `members` are numbers of forms; those of key k are `members[starts[k]:starts[k + 1]]`.

    `places` says for each member which syllable was left out, -1 for none, -2 for the first half of a long term, -3 for
    its last half.
    """

    keys: NDArray[np.int64]
    starts: NDArray[np.int32]
    members: NDArray[np.int32]
    places: NDArray[np.int32]
    _table: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def build(cls, forms: Sequence[tuple[str, int]]) -> Seeds:
        """Index forms, each a string of symbols and its number; those with fewer than three symbols are left out."""
        by_length: dict[int, list[int]] = {}
        for row, (form, _) in enumerate(forms):
            if len(form) >= 3:
                by_length.setdefault(len(form), []).append(row)
        keys: list[NDArray[np.uint64]] = []
        members: list[NDArray[np.int32]] = []
        places: list[NDArray[np.int32]] = []
        for length, chosen in by_length.items():
            values = _values("".join(forms[row][0] for row in chosen)).reshape(len(chosen), length)
            numbers = np.array([forms[row][1] for row in chosen], np.int32)
            if length > LONGEST:
                firsts = {min(LONGEST, (length + 1) // 2), _HEAD}
                lasts = {min(LONGEST, length // 2), *(last for last in _TAILS if length - last <= LONGEST)}
                cuts = [(values[:, :first], -2) for first in sorted(firsts)]
                cuts += [(values[:, -last:], -3) for last in sorted(lasts)]
            else:
                cuts = [(np.delete(values, out, axis=1), out) for out in range(length)]
                cuts.append((values, -1))
            for cut, place in cuts:
                keys.append((cut * _FACTORS[: cut.shape[1]]).sum(axis=1, dtype=np.uint64))
                members.append(numbers)
                places.append(np.full(len(numbers), place, np.int32))
        if not keys:
            nothing = np.zeros(0, np.int32)
            return cls.of(np.zeros(0, np.int64), np.zeros(1, np.int32), nothing, nothing)
        every, member, left = np.concatenate(keys).view(np.int64), np.concatenate(members), np.concatenate(places)
        order = np.lexsort((left, member, every))
        every, member, left = every[order], member[order], left[order]
        heads = np.flatnonzero(np.concatenate([[True], every[1:] != every[:-1]]))
        counts = np.diff(np.append(heads, len(every)))
        kept = counts <= MOST
        fits = np.repeat(kept, counts)
        starts = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int32)
        return cls.of(every[heads[kept]], starts, member[fits], left[fits])

    @classmethod
    def of(
        cls, keys: NDArray[np.int64], starts: NDArray[np.int32], members: NDArray[np.int32], places: NDArray[np.int32]
    ) -> Seeds:
        """Make the index of its parts; the table is made anew."""
        table = np.zeros(1 << _TABLE_BITS, np.uint8)
        slots, bits = _slots(keys.view(np.uint64))
        for bit in range(8):
            table[slots[bits == bit]] |= np.uint8(1 << bit)
        return cls(keys, starts, members, places, table)

    @classmethod
    def from_parts(cls, parts: Parts) -> Seeds:
        """Take the index that `parts` gave out."""
        return cls.of(*(parts[f"seed.{name}"] for name in ("keys", "starts", "members", "places")))

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the index."""
        return {
            "seed.keys": self.keys,
            "seed.starts": self.starts,
            "seed.members": self.members,
            "seed.places": self.places,
        }

    def find(self, symbols: str) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
        """Return candidates, in columns.

        Where a run starts, how long its key is, what was left out of it (-1: nothing), the form, and what was left out
        of that (`places`).
        """
        n = len(symbols)
        if n < SHORTEST or not len(self.keys):
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing, nothing, nothing
        values = np.zeros(n + LONGEST + 1, np.uint64)
        values[:n] = _values(symbols)
        runs = np.lib.stride_tricks.sliding_window_view(values, LONGEST)
        sums = (runs * _FACTORS).cumsum(axis=1, dtype=np.uint64)
        here, after = sums[:n], sums[1 : n + 1]
        keys = np.concatenate([here[:, _CONTIGUOUS], here[:, _OUT] + after[:, _LENGTH] - after[:, _OUT]], axis=1)
        slots, bits = _slots(keys)
        rows, columns = np.nonzero((self._table[slots] >> bits) & 1)
        wanted = keys[rows, columns].view(np.int64)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        there = self.keys[at] == wanted
        rows, columns, at = rows[there], columns[there], at[there]
        inside = columns - len(_CONTIGUOUS)
        whole = inside < 0
        lengths = np.where(whole, columns + SHORTEST, _LENGTH[inside] + 1)
        outs = np.where(whole, -1, _OUT[inside] + 1)
        # A run must not reach beyond the text; zeros after it count for nothing in a sum.
        fits = rows + lengths + (outs >= 0) <= n
        rows, lengths, outs, at = rows[fits], lengths[fits], outs[fits], at[fits]
        counts = self.starts[at + 1] - self.starts[at]
        each = np.repeat(np.arange(len(rows)), counts)
        flat = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts) + self.starts[at][each]
        places = self.places[flat].astype(np.int64)
        rows, lengths, outs, members = rows[each], lengths[each], outs[each], self.members[flat].astype(np.int64)
        # Nothing left out of either is no error; one left out of each must be the same place.
        sound = np.where(places == -1, outs >= 0, (outs < 0) | (outs == places))
        return rows[sound], lengths[sound], outs[sound], members[sound], places[sound]


def _values(symbols: str) -> NDArray[np.uint64]:
    """Return a random number for every symbol; what is neither syllable nor letter nor digit has one no term has."""
    codes = np.frombuffer(symbols.encode("utf-32-le"), np.uint32).astype(np.int64)
    numbers = np.where(codes >= FIRST_SYMBOL, codes - FIRST_SYMBOL + 256, np.minimum(codes, 255))
    return _VALUES[np.minimum(numbers, len(_VALUES) - 1)]


def _slots(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    mixed = keys * np.uint64(0x9E3779B97F4A7C15)
    slots = (mixed >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)
    return slots, ((mixed >> np.uint64(8)) & np.uint64(7)).astype(np.uint8)

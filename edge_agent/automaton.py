"""Many patterns, one pass: Aho–Corasick over characters, by whichever library has a wheel for this machine.

`daachorse` (x86-64) is the faster; `ahocorasick_rs` serves where there is none.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

Occurrence = tuple[int, int, int]
"""Start, end (half-open, in characters) and the index of the pattern."""


class Spans:
    """Occurrences, to be asked which of them lie somewhere."""

    def __init__(self, found: Sequence[Occurrence]) -> None:
        self._found = sorted(found)
        self._starts = [start for start, _, _ in self._found]
        self._longest = max((end - start for start, end, _ in found), default=0)

    def within(self, start: int, end: int) -> list[Occurrence]:
        """Return those that share a character with a span."""
        first = bisect_left(self._starts, start - self._longest)
        return [one for one in self._found[first : bisect_left(self._starts, end)] if one[1] > start]


def leftmost_longest(
    found: Iterable[Occurrence], allowed: Callable[[Occurrence], bool] = lambda _: True
) -> list[Occurrence]:
    """Of occurrences that share characters, return the one that begins first, then the longest, in order."""
    chosen: list[Occurrence] = []
    done = 0
    for one in sorted(found, key=lambda each: (each[0], -each[1])):
        if one[0] >= done and allowed(one):
            chosen.append(one)
            done = one[1]
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Automaton:
    """Finds every occurrence of its patterns, overlapping ones too; safe to read from many threads."""

    find: Callable[[str], list[Occurrence]]
    freeze: Callable[[], bytes]
    """Gives the bytes that `thaw` makes this automaton of again: what it was built into or, where the library can't
    give that out, its patterns."""

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Automaton:
        """Compile patterns: distinct, none empty, none with a NUL. Without any, nothing is ever found."""
        if not patterns:
            return cls(lambda _: [], lambda: b"")
        try:
            import daachorse
        except ImportError:
            return _ahocorasick_rs(patterns)
        machine = daachorse.CharwiseDoubleArrayAhoCorasick(list(patterns), daachorse.MATCH_KIND_STANDARD)
        return cls(machine.find_overlapping, lambda: _DAACHORSE + machine.serialize())

    @classmethod
    def thaw(cls, frozen: bytes) -> Automaton:
        """Make the automaton again that `freeze` gave out; the bytes must be whole (`edge_agent.terms.compiled`)."""
        if not frozen:
            return cls.build(())
        if not frozen.startswith(_DAACHORSE):
            return cls.build(frozen.decode().split("\0"))
        import daachorse

        machine = daachorse.CharwiseDoubleArrayAhoCorasick.deserialize(frozen[len(_DAACHORSE) :])
        return cls(machine.find_overlapping, lambda: _DAACHORSE + machine.serialize())

    @classmethod
    def from_parts(cls, parts: Mapping[str, NDArray[Any]], name: str) -> Automaton:
        """Take the automaton that `parts` gave out under a name."""
        return cls.thaw(parts[name].tobytes())

    def parts(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the part of a file that holds this automaton."""
        return {name: np.frombuffer(self.freeze(), np.uint8)}


_DAACHORSE = b"\0daachorse\0"  # no pattern is empty, so patterns never begin with NUL


def _ahocorasick_rs(patterns: Sequence[str]) -> Automaton:
    import ahocorasick_rs

    machine = ahocorasick_rs.AhoCorasick(list(patterns), matchkind=ahocorasick_rs.MatchKind.Standard)

    def find(text: str) -> list[Occurrence]:
        return [(start, end, which) for which, start, end in machine.find_matches_as_indexes(text, overlapping=True)]

    return Automaton(find, lambda: "\0".join(patterns).encode())

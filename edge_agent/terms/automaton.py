"""Many patterns, one pass: Aho–Corasick over characters, by whichever library has a wheel for this machine.

`daachorse` (x86-64) is the faster; `ahocorasick_rs` serves where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Occurrence = tuple[int, int, int]
"""Start, end (half-open, in characters) and the index of the pattern."""


@dataclass(frozen=True, slots=True, eq=False)
class Automaton:
    """Finds every occurrence of its patterns, overlapping ones too; safe to read from many threads."""

    find: Callable[[str], list[Occurrence]]

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Automaton:
        """Compile patterns: distinct, none empty. Without any, nothing is ever found."""
        if not patterns:
            return cls(lambda _: [])
        try:
            return cls(_daachorse(patterns))
        except ImportError:
            return cls(_ahocorasick_rs(patterns))


def _daachorse(patterns: Sequence[str]) -> Callable[[str], list[Occurrence]]:
    import daachorse

    machine = daachorse.CharwiseDoubleArrayAhoCorasick(list(patterns), daachorse.MATCH_KIND_STANDARD)
    find: Callable[[str], list[Occurrence]] = machine.find_overlapping
    return find


def _ahocorasick_rs(patterns: Sequence[str]) -> Callable[[str], list[Occurrence]]:
    import ahocorasick_rs

    machine = ahocorasick_rs.AhoCorasick(list(patterns), matchkind=ahocorasick_rs.MatchKind.Standard)

    def find(text: str) -> list[Occurrence]:
        return [(start, end, which) for which, start, end in machine.find_matches_as_indexes(text, overlapping=True)]

    return find

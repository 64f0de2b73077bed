"""What the classifier sees of a turn: its words, and what is around it, as hashed features that are counted."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.nodes.phrase import CLAUSE_ENDS
from edge_agent.phonetics import HANZI, syllables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edge_agent.nodes.concepts import Concepts
    from edge_agent.nodes.match import Hit
    from edge_agent.types import Speaker

_TEXT, _SOUND, _BEFORE = (1, 3, 1.0), (2, 3, 0.5), (1, 2, 0.3)
_MEANING, _PAIRS, _MEANING_BEFORE = 0.6, 0.4, 0.2
_APART, _FAR = 0.9, 6
_RULES, _STANDING = 0.5, 0.4
_LAST_WORDS = 40
CIRCUMSTANCES = 2
"""How many kinds of features, the last, are not words."""
_EARLY = 3
_CLAUSE = re.compile(rf"[^{CLAUSE_ENDS}]+")


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Features of one kind, how often each stands in the text, and what the kind weighs."""

    weight: float
    features: NDArray[np.uint32]
    often: NDArray[np.float32]


def _counts(weight: float, counter: Counter[int]) -> Counted:
    size = len(counter)
    return Counted(
        weight,
        np.fromiter(counter.keys(), dtype=np.uint32, count=size),
        np.fromiter(counter.values(), dtype=np.float32, count=size),
    )


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a turn: the other party's last words, the common rules that hold, where the call stands.

    `rules` names rules, and nodes with `>` before them; `standing` says how far the call is and which objections are
    open (`open:objection.price`) or answered; `turns` are the last turns, who said what. All may be empty where nothing
    is known of them.
    """

    before: str = ""
    rules: frozenset[str] = frozenset()
    standing: frozenset[str] = frozenset()
    turns: tuple[tuple[Speaker, str], ...] = ()


def counted(text: str, around: Around, concepts: Concepts) -> list[Counted]:
    """Count the features of a text and of what is around it, each kind with its weight.

    A feature is the CRC-32 of its kind and its characters.
    """
    last = around.before[-_LAST_WORDS:]
    return [
        *of_words(text, concepts),
        _ngrams(b"b", last, _BEFORE),
        _named(b"d", _MEANING_BEFORE, {name for _, name in concepts.find(last)}),
        _named(b"r", _RULES, around.rules),
        _named(b"x", _STANDING, around.standing),
    ]


def believed(hits: Iterable[Hit]) -> frozenset[str]:
    """Name the common rules that hold, and what they raise."""
    return frozenset(name for hit in hits if hit.common for name in (hit.rule, f">{hit.raises}"))


def standing(cases: Mapping[str, str], turn: int) -> frozenset[str]:
    """Say where a call stands: which objections are `open` or `answered`, and how far it is (index of the turn)."""
    where = {name for node, how in cases.items() for name in (how, f"{how}:{node}")}
    return frozenset((where or {"quiet"}) | {f"turn:{min(turn, _EARLY)}"})


def of_words(text: str, concepts: Concepts) -> list[Counted]:
    """Count the features of the words alone."""
    found = concepts.find(text)
    return [
        _ngrams(b"t", text, _TEXT),
        _ngrams(b"s", stable_sound(text), _SOUND),
        _apart(text),
        _named(b"c", _MEANING, {name for _, name in found}),
        _named(b"p", _PAIRS, concepts.pairs(found)),
    ]


def _apart(text: str) -> Counted:
    """Count the pairs of characters that stand in one clause with one to five others between them."""
    return _counts(
        _APART,
        Counter(
            zlib.crc32(b"k" + (char + other).encode())
            for clause in _CLAUSE.findall(text)
            for at, char in enumerate(clause)
            for other in clause[at + 2 : at + _FAR + 1]
        ),
    )


def _ngrams(kind: bytes, words: str, lengths: tuple[int, int, float]) -> Counted:
    shortest, longest, weight = lengths
    return _counts(
        weight,
        Counter(
            zlib.crc32(kind + words[at : at + length].encode())
            for length in range(shortest, longest + 1)
            for at in range(len(words) - length + 1)
        ),
    )


def _named(kind: bytes, weight: float, names: Iterable[str]) -> Counted:
    return _counts(weight, Counter(zlib.crc32(kind + name.encode()) for name in names))


class _Stable(dict[int, str]):
    """The symbol of a character's usual reading, the same in every process: for what is written into files."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if HANZI.match(char):
            char = chr(0xF0000 + zlib.crc32(syllables(char)[0].encode()) % 0xFFFD)
        self[code] = char
        return char


_STABLE = _Stable()


def stable_sound(text: str) -> str:
    """Return what `edge_agent.nodes.phrase.plain_sound` does, in symbols that don't depend on what was read before."""
    return text.translate(_STABLE)

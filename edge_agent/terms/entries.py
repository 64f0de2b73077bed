"""The terms of a compiled dictionary, in columns: a row becomes an object when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from edge_agent.terms.compiled import Strings
from edge_agent.terms.pack import Entry, Phonetic, Term
from edge_agent.terms.pinyin import Syllable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts

_BETWEEN = "\x1f"  # between the parts of a cell; a pack refuses control characters, so no term holds it
_TEXTS = ("term", "category", "aliases", "pinyin", "note", "pack")
_PHONETIC = tuple(Phonetic)


class Entries(Sequence[Entry]):
    """The terms that stand, in order of packs; reads as a tuple of `Entry` does."""

    def __init__(self, texts: dict[str, Strings], weight: NDArray[np.float64], phonetic: NDArray[np.uint8]) -> None:
        self._texts = texts
        self.weight = weight
        self._phonetic = phonetic

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Lay entries into columns."""
        rows = list(entries)
        texts = {
            "term": Strings.of(row.term.term for row in rows),
            "category": Strings.of(row.term.category for row in rows),
            "aliases": Strings.of(_BETWEEN.join(row.term.aliases) for row in rows),
            "pinyin": Strings.of(_BETWEEN.join(map(_write, row.term.pinyin)) for row in rows),
            "note": Strings.of(row.term.note for row in rows),
            "pack": Strings.of(row.pack for row in rows),
        }
        weight = np.array([row.term.weight for row in rows], np.float64)
        return cls(texts, weight, np.array([_PHONETIC.index(row.term.phonetic) for row in rows], np.uint8))

    @classmethod
    def from_parts(cls, parts: Parts) -> Entries:
        """Take the entries that `parts` gave out."""
        texts = {name: Strings.from_parts(parts, f"entry.{name}") for name in _TEXTS}
        return cls(texts, parts["entry.weight"], parts["entry.phonetic"])

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the entries."""
        out: dict[str, NDArray[Any]] = {"entry.weight": self.weight, "entry.phonetic": self._phonetic}
        for name, texts in self._texts.items():
            out |= texts.parts(f"entry.{name}")
        return out

    def __len__(self) -> int:
        """Return how many terms stand."""
        return len(self.weight)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        """Return one entry, made anew."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        aliases, pinyin = self._texts["aliases"][index], self._texts["pinyin"][index]
        term = Term(
            term=self._texts["term"][index],
            category=self._texts["category"][index],
            aliases=tuple(aliases.split(_BETWEEN)) if aliases else (),
            pinyin=tuple(map(_read, pinyin.split(_BETWEEN))) if pinyin else (),
            weight=float(self.weight[index]),
            phonetic=_PHONETIC[self._phonetic[index]],
            note=self._texts["note"][index],
        )
        return Entry(term, self._texts["pack"][index])


def _write(syllable: Syllable) -> str:
    return f"{syllable.initial},{syllable.final},{syllable.tone}"


def _read(written: str) -> Syllable:
    initial, final, tone = written.split(",")
    return Syllable(initial, final, int(tone))

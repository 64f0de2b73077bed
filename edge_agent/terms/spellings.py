"""Every way to write a term, by number: whose it is, how it is written, and whether it is the term's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.terms.compiled import Strings
from edge_agent.terms.normalise import normalise
from edge_agent.terms.variants import spelled

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts
    from edge_agent.terms.entries import Entries
    from edge_agent.terms.pack import Entry


@dataclass(frozen=True, slots=True, eq=False)
class Spellings:
    """The spellings of all terms: `owner` is the number of the entry, `own` is 1 for the term's own spelling."""

    entries: Entries
    owner: NDArray[np.int32]
    own: NDArray[np.uint8]
    surfaces: Strings

    @classmethod
    def of(cls, entries: Entries) -> tuple[list[str], Spellings]:
        """Return the normalised spellings and what they mean: a term's own before an alias, then the heavier term.

        Where numbers stand in a spelling, the other ways to write them count as aliases, after all that were given.
        """
        out = {normalise(entry.term.term).text: (number, entry.term.term, 1) for number, entry in enumerate(entries)}
        varied: list[tuple[str, int, str]] = []
        for number, entry in enumerate(entries):
            for surface in (entry.term.term, *entry.term.aliases):
                key = normalise(surface).text
                varied += ((normalise(way).text, number, way) for way in spelled(surface))
                rival = out.get(key)
                if rival is None or (not rival[2] and entry.term.weight > entries.weight[rival[0]]):
                    out[key] = (number, surface, 0)
        for key, number, way in varied:
            out.setdefault(key, (number, way, 0))
        owner, surfaces, own = zip(*out.values(), strict=True) if out else ((), (), ())
        return list(out), cls(entries, np.array(owner, np.int32), np.array(own, np.uint8), Strings.of(surfaces))

    @classmethod
    def from_parts(cls, parts: Parts, entries: Entries) -> Spellings:
        """Take the spellings that `parts` gave out."""
        surfaces = Strings.from_parts(parts, "spelling.surface")
        return cls(entries, parts["spelling.owner"], parts["spelling.own"], surfaces)

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the spellings."""
        return {"spelling.owner": self.owner, "spelling.own": self.own, **self.surfaces.parts("spelling.surface")}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.owner)

    def named(self, which: int) -> tuple[Entry, str]:
        """Return the term and how it is written."""
        return self.entries[int(self.owner[which])], self.surfaces[which]

    def via(self, which: int) -> str:
        """Return how a text that has this spelling names the term."""
        return "exact" if self.own[which] else "alias"

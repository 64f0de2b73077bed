"""The dictionary: packs compiled into automatons, and the pure function that finds their terms in a text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.automaton import Automaton
from edge_agent.errors import DictionaryError
from edge_agent.terms import compiled
from edge_agent.terms.compiled import Strings
from edge_agent.terms.entries import Entries
from edge_agent.terms.normalise import Normalised, normalise
from edge_agent.terms.pack import Entry, Pack
from edge_agent.terms.sound import Correction, Sounds
from edge_agent.types import TermHit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts


@dataclass(frozen=True, slots=True)
class Recognition:
    """A text after correction, beside what was heard; `terms` in order of place, their spans in `text`.

    Putting each phonetic hit's `heard` back in its place gives `heard` again.
    """

    text: str
    heard: str
    terms: tuple[TermHit, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A term in a normalised text; `put` is what stands there from now on, None what was said."""

    start: int
    end: int
    entry: Entry
    via: str
    score: float
    put: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """What the packs say, ready to be searched: never changed after it was compiled, safe to read from many threads.

    `version` is a short hash of the packs' content and order; `entries` are the terms that stand, in order of packs.
    """

    version: str
    entries: Entries
    _spellings: _Spellings
    _exact: Automaton
    _sounds: Sounds
    _decoy_terms: Strings
    """For each decoy, the terms it must not become, a line each; an empty line stands for all."""
    _decoys: Automaton

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Dictionary:
        """Read and compile the packs of these names from a folder of packs.

        Raises:
            DictionaryError: there is no such pack, or one is wrong.
        """
        there = sorted(file.parent.name for file in folder.glob("*/pack.toml"))
        for name in names:
            if name not in there and not (name and Path(name).name == name and (folder / name).is_dir()):
                raise DictionaryError(
                    f"no pack {name!r}",
                    where=str(folder),
                    remedy=f"there is: {', '.join(there)}"
                    if there
                    else "the folder holds no pack; check [dictionary] folder",
                )
        return cls.compile([Pack.load(folder / name) for name in dict.fromkeys(names)])

    @classmethod
    def compile(cls, packs: Sequence[Pack]) -> Dictionary:
        """Compile packs; of a term that stands in two, the row of higher weight counts, then that of the first pack."""
        rows: dict[str, Entry] = {}
        for entry in (Entry(term, pack.id) for pack in packs for term in pack.terms):
            key = normalise(entry.term.term).text
            if key not in rows or entry.term.weight > rows[key].term.weight:
                rows[key] = entry
        entries = Entries.of(rows.values())
        keys, spellings = _Spellings.of(entries)
        decoys: dict[str, set[str]] = {}
        for decoy in (decoy for pack in packs for decoy in pack.decoys):
            decoys.setdefault(normalise(decoy.heard).text, set()).add(decoy.term)
        return cls(
            version=hashlib.sha256("\n".join(pack.digest for pack in packs).encode()).hexdigest()[:12],
            entries=entries,
            _spellings=spellings,
            _exact=Automaton.build(keys),
            _sounds=Sounds.build(spellings.named, len(keys)),
            _decoy_terms=Strings.of("\n".join(sorted(terms)) for terms in decoys.values()),
            _decoys=Automaton.build(list(decoys)),
        )

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return all of it as named arrays, as `edge_agent.terms.compiled` writes them to a file."""
        return {
            "version": compiled.pack_text(self.version),
            **self.entries.parts(),
            **self._spellings.parts(),
            **self._exact.parts("exact"),
            **self._sounds.parts(),
            **self._decoy_terms.parts("decoy.terms"),
            **self._decoys.parts("decoy.automaton"),
        }

    @classmethod
    def from_parts(cls, parts: Parts) -> Dictionary:
        """Make the dictionary again that `parts` gave out: nothing is compiled, and nothing is made for each term.

        The parts must be whole: `edge_agent.terms.compiled.read` vouches for that.
        """
        entries = Entries.from_parts(parts)
        spellings = _Spellings.from_parts(parts, entries)
        return cls(
            version=parts["version"].tobytes().decode(),
            entries=entries,
            _spellings=spellings,
            _exact=Automaton.from_parts(parts, "exact"),
            _sounds=Sounds.from_parts(parts, spellings.named),
            _decoy_terms=Strings.from_parts(parts, "decoy.terms"),
            _decoys=Automaton.from_parts(parts, "decoy.automaton"),
        )

    def recognise(self, heard: str) -> Recognition:
        """Find the terms in a text and put right those that were misheard: a pure function.

        A term or an alias that was said stays as it was said; only what sounds like one of three syllables and more,
        but is spelled otherwise, is replaced.
        """
        text = normalise(heard)
        exact = self._find_exact(text)
        decoys = [
            (start, end, self._decoy_terms[which].split("\n")) for start, end, which in self._decoys.find(text.text)
        ]

        def allowed(correction: Correction) -> bool:
            term = correction.sounding.entry.term.term
            return not any(
                start < correction.end and correction.start < end and ("" in terms or term in terms)
                for start, end, terms in decoys
            ) and all(_compatible(correction, found, text) for found in exact)

        corrections = self._sounds.find(text, allowed)
        kept = [one for one in exact if all(one.end <= fix.start or fix.end <= one.start for fix in corrections)]
        fixed = [
            _Found(fix.start, fix.end, fix.sounding.entry, "phonetic", fix.score, fix.sounding.surface)
            for fix in corrections
        ]
        return _assemble(text, sorted(kept + fixed, key=lambda found: found.start))

    def _find_exact(self, text: Normalised) -> list[_Found]:
        """Return what is written as the dictionary has it: leftmost, then longest, and never a part of a word."""
        found: list[_Found] = []
        done = 0
        for start, end, which in sorted(self._exact.find(text.text), key=lambda hit: (hit[0], -hit[1])):
            if start >= done and text.whole(start, end):
                entry, _ = self._spellings.named(which)
                found.append(_Found(start, end, entry, self._spellings.via(which), 1.0))
                done = end
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Spellings:
    """Every way to write a term, by number: whose it is, how it is written, and whether it is the term's own."""

    entries: Entries
    owner: NDArray[np.int32]
    own: NDArray[np.uint8]
    surfaces: Strings

    @classmethod
    def of(cls, entries: Entries) -> tuple[list[str], _Spellings]:
        """Return the normalised spellings and what they mean: a term's own before an alias, then the heavier term."""
        out = {normalise(entry.term.term).text: (number, entry.term.term, 1) for number, entry in enumerate(entries)}
        for number, entry in enumerate(entries):
            for alias in entry.term.aliases:
                key = normalise(alias).text
                rival = out.get(key)
                if rival is None or (not rival[2] and entry.term.weight > entries.weight[rival[0]]):
                    out[key] = (number, alias, 0)
        owner, surfaces, own = zip(*out.values(), strict=True) if out else ((), (), ())
        return list(out), cls(entries, np.array(owner, np.int32), np.array(own, np.uint8), Strings.of(surfaces))

    @classmethod
    def from_parts(cls, parts: Parts, entries: Entries) -> _Spellings:
        surfaces = Strings.from_parts(parts, "spelling.surface")
        return cls(entries, parts["spelling.owner"], parts["spelling.own"], surfaces)

    def parts(self) -> dict[str, NDArray[Any]]:
        return {"spelling.owner": self.owner, "spelling.own": self.own, **self.surfaces.parts("spelling.surface")}

    def named(self, which: int) -> tuple[Entry, str]:
        """Return the term and how it is written."""
        return self.entries[int(self.owner[which])], self.surfaces[which]

    def via(self, which: int) -> str:
        return "exact" if self.own[which] else "alias"


def _compatible(correction: Correction, found: _Found, text: Normalised) -> bool:
    """Tell whether a correction leaves what was found alone: it lies apart, or holds it whole and unchanged.

    A single character that happens to be a term (丝, a hundredth of a millimetre) is no proof against a correction.
    """
    if found.end <= correction.start or correction.end <= found.start or found.end - found.start == 1:
        return True
    inside = correction.start <= found.start and found.end <= correction.end
    put = correction.sounding.chars[found.start - correction.start : found.end - correction.start]
    return inside and put == text.text[found.start : found.end]


def _assemble(text: Normalised, found: Iterable[_Found]) -> Recognition:
    """Write the corrected text, and every hit with its span in it."""
    heard = text.original
    pieces: list[str] = []
    hits: list[TermHit] = []
    done = length = 0
    for one in found:
        start, end = text.span(one.start, one.end)
        said = heard[start:end]
        put = said if one.put is None else one.put
        pieces += (heard[done:start], put)
        at = length + start - done
        done, length = end, at + len(put)
        term = one.entry.term
        hits.append(TermHit(term.term, (at, length), one.via, said, round(one.score, 3), term.category, one.entry.pack))
    pieces.append(heard[done:])
    return Recognition("".join(pieces), heard, tuple(hits))

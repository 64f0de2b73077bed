"""The dictionary: packs compiled into automatons, and the pure function that finds their terms in a text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_agent.errors import DictionaryError
from edge_agent.terms.automaton import Automaton
from edge_agent.terms.normalise import Normalised, normalise
from edge_agent.terms.pack import Entry, Pack
from edge_agent.terms.sound import Correction, Sounds, sounding
from edge_agent.types import TermHit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Recognition:
    """A text after correction, beside what was heard; `terms` in order of place, their spans in `text`.

    Putting each phonetic hit's `heard` back in its place gives `heard` again.
    """

    text: str
    heard: str
    terms: tuple[TermHit, ...]


@dataclass(frozen=True, slots=True)
class _Spelling:
    """One way to write a term, as it is matched."""

    entry: Entry
    surface: str
    via: Literal["exact", "alias"]


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
    entries: tuple[Entry, ...]
    _spellings: tuple[_Spelling, ...]
    _exact: Automaton
    _sounds: Sounds
    _decoy_terms: tuple[frozenset[str], ...]
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
        entries = tuple(rows.values())
        spellings = _spellings(entries)
        decoys: dict[str, set[str]] = {}
        for decoy in (decoy for pack in packs for decoy in pack.decoys):
            decoys.setdefault(normalise(decoy.heard).text, set()).add(decoy.term)
        return cls(
            version=hashlib.sha256("\n".join(pack.digest for pack in packs).encode()).hexdigest()[:12],
            entries=entries,
            _spellings=tuple(spellings.values()),
            _exact=Automaton.build(list(spellings)),
            _sounds=Sounds.build([s for one in spellings.values() if (s := sounding(one.entry, one.surface))]),
            _decoy_terms=tuple(map(frozenset, decoys.values())),
            _decoys=Automaton.build(list(decoys)),
        )

    def recognise(self, heard: str) -> Recognition:
        """Find the terms in a text and put right those that were misheard: a pure function.

        A term or an alias that was said stays as it was said; only what sounds like one of three syllables and more,
        but is spelled otherwise, is replaced.
        """
        text = normalise(heard)
        exact = self._find_exact(text)
        decoys = [(start, end, self._decoy_terms[which]) for start, end, which in self._decoys.find(text.text)]

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
                spelling = self._spellings[which]
                found.append(_Found(start, end, spelling.entry, spelling.via, 1.0))
                done = end
        return found


def _spellings(entries: Iterable[Entry]) -> dict[str, _Spelling]:
    """Return every normalised spelling with the term it means: a term's own before an alias, then the heavier term."""
    out = {normalise(entry.term.term).text: _Spelling(entry, entry.term.term, "exact") for entry in entries}
    for entry in entries:
        for alias in entry.term.aliases:
            key = normalise(alias).text
            rival = out.get(key)
            if rival is None or (rival.via == "alias" and entry.term.weight > rival.entry.term.weight):
                out[key] = _Spelling(entry, alias, "alias")
    return out


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

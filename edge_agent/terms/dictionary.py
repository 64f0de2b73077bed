"""The dictionary: packs compiled into automatons, and the pure function that finds their terms in a text."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.automaton import Automaton, Occurrence, Spans, leftmost_longest
from edge_agent.errors import DictionaryError
from edge_agent.terms import audible, boundary, compiled, words
from edge_agent.terms.audible import Found
from edge_agent.terms.compiled import Strings
from edge_agent.terms.entries import Entries
from edge_agent.terms.forms import LETTERED, Forms
from edge_agent.terms.likeness import near_table
from edge_agent.terms.normalise import Normalised, has_filler, normalise
from edge_agent.terms.pack import Entry, Pack
from edge_agent.terms.sound import Correction, Sounds, singles
from edge_agent.terms.spellings import Spellings
from edge_agent.types import Reading, TermHit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts
    from edge_agent.terms.segment import Segmenter


@dataclass(frozen=True, slots=True)
class Recognition:
    """A text after correction, beside what was heard; `terms` in order of place, their spans in `text`.

    Putting each phonetic hit's `heard` back in its place gives `heard` again.
    """

    text: str
    heard: str
    terms: tuple[TermHit, ...]


_BETWEEN = "\n"
_TERM_COST = 12.0
"""What a term costs as a word of plain language."""
_FAR_MORE = 8.0
"""Log odds from which a correction outweighs two characters that happen to be a term."""


def _no_segmenter() -> None:
    """Stand for a segmenter where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """What the packs say, ready to be searched: never changed after it was compiled, safe to read from many threads.

    `version` is a short hash of the packs' content and order; `entries` are the terms that stand, in order of packs.
    """

    version: str
    entries: Entries
    _spellings: Spellings
    _exact: Automaton
    _forms: Forms
    _sounds: Sounds
    _decoy_terms: Strings
    """For each decoy, the terms it must not become, a line each; an empty line stands for all."""
    _decoys: Automaton
    segmenter: Callable[[], Segmenter | None] = _no_segmenter
    """Gives what cuts texts into words, loaded when it is first needed; without one a word list must do."""

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
        keys, spellings = Spellings.of(entries)
        forms, patterns = Forms.build(spellings)
        decoys: dict[str, set[str]] = {}
        for decoy in (decoy for pack in packs for decoy in pack.decoys):
            decoys.setdefault(normalise(decoy.heard).text, set()).add(decoy.term)
        return cls(
            version=hashlib.sha256("\n".join(pack.digest for pack in packs).encode()).hexdigest()[:12],
            entries=entries,
            _spellings=spellings,
            _exact=Automaton.build(keys),
            _forms=forms,
            _sounds=Sounds.build(forms, patterns),
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
            **self._forms.parts(),
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
        spellings = Spellings.from_parts(parts, entries)
        forms = Forms.from_parts(parts, spellings)
        return cls(
            version=parts["version"].tobytes().decode(),
            entries=entries,
            _spellings=spellings,
            _exact=Automaton.from_parts(parts, "exact"),
            _forms=forms,
            _sounds=Sounds.from_parts(parts, forms),
            _decoy_terms=Strings.from_parts(parts, "decoy.terms"),
            _decoys=Automaton.from_parts(parts, "decoy.automaton"),
        )

    def prepare(self) -> None:
        """Make the tables of sounds now that the first doubtful hearing would wait for, and load the segmenter."""
        near_table()
        singles()
        self.segmenter()

    def recognise(self, heard: str, readings: Sequence[Reading] = (), *, correct: bool = True) -> Recognition:
        """Find the terms in a text and put right those that were misheard: a pure function.

        A term or an alias that was said stays as it was said; only what sounds like one of three syllables and more,
        but is spelled otherwise, is replaced. What people say while they think (嗯, 那个) may stand within a term.
        `readings` are what the audio suggests; what is believed of them goes before what the text alone shows. Without
        `correct`, for measuring, the text alone shows no more than what is written as the dictionary has it.
        """
        found = self._found((heard,))[0]
        if not correct:
            found = [one for one in found if one.via != "phonetic"]
        return _assemble(heard, audible.chosen(found, self._believed(heard, readings, found)))

    def recognise_all(self, lines: Sequence[str]) -> list[Recognition]:
        """Do the same to many texts at once, each by itself; some hundred of them are the fastest."""
        return [_assemble(line, hits) for line, hits in zip(lines, self._found(lines), strict=True)]

    def _found(self, lines: Sequence[str]) -> list[list[Found]]:
        found = self._in_lines(lines)
        hesitant = [at for at, line in enumerate(lines) if has_filler(line)]
        if hesitant:
            skipping = self._in_lines([lines[at] for at in hesitant], skipping=True)
            for at, more in zip(hesitant, skipping, strict=True):
                for one in more:
                    under = [other for other in found[at] if one.touches(other)]
                    # A filler may be part of a word (额度): what was found there without skipping stays.
                    if all(one.holds(other) for other in under):
                        found[at] = sorted([*(set(found[at]) - set(under)), one], key=lambda hit: hit.start)
        return found

    def spoken(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Return what may be listened for in the audio: code points, where each spelling begins, how many it has."""
        # Letters that stand as the characters they sound like are none that the ear would know.
        lettered = (self._forms.flags & LETTERED) > 0
        return self._forms.codes, self._forms.offsets, np.where(lettered, 0, self._forms.lengths)

    def written(self, number: int) -> str:
        """Return how a spelling of `spoken` is to be written."""
        return self._forms.named(number)[1]

    def _believed(self, heard: str, readings: Sequence[Reading], found: Sequence[Found]) -> list[tuple[float, Found]]:
        """Return which readings are believed, with their odds; none that a decoy or the admin forbids."""
        text = normalise(heard)
        decoys = Spans(self._decoys.find(text.text))
        believed = []
        for reading in readings:
            key = normalise(reading.put).text
            number = next((which for *span, which in self._exact.find(key) if span == [0, len(key)]), None)
            if number is None:
                continue  # of another version of the dictionary
            entry, surface = self._spellings.named(number)
            start = bisect_left(text.origin, reading.start)
            end = bisect_left(text.origin, reading.end)
            if self._forbidden(entry, decoys.within(start, end)):
                continue
            odds = audible.odds(text.text, start, end, reading, self._sounds.prior, entry.term)
            if odds is not None:
                said = Found(reading.start, reading.end, entry, surface, "audio", reading.near)
                if all(audible.compatible(said, odds, hit, heard) for hit in found if hit.via != "phonetic"):
                    believed.append((odds, said))
        return believed

    def _forbidden(self, entry: Entry, near: Sequence[tuple[int, int, int]]) -> bool:
        """Tell whether a decoy stands where a term would be put."""
        names = (self._decoy_terms[which].split("\n") for _, _, which in near)
        return any("" in terms or entry.term.term in terms for terms in names)

    def occurrences(self, text: str) -> list[Occurrence]:
        """Return every place where a spelling of a term stands in a normalised text, also within others and words."""
        return self._exact.find(text)

    def nearby(self, heard: str, most: int = 16) -> list[str]:
        """Return spellings of terms that may have been said though the text hardly shows it, the likeliest first."""
        return list(dict.fromkeys(one.put for one in self.doubts(heard, most)))

    def doubts(self, heard: str, most: int = 4) -> list[Reading]:
        """Return the same with their places, for the audio to judge; what a text shows well is not among it."""
        text = normalise(heard)
        sure = Spans([(fix.start, fix.end, fix.form) for fix in self._sounds.find(text, lambda fix: True)])
        doubts = []
        for fix in self._sounds.near(text.text, most):
            if not sure.within(fix.start, fix.end) and text.whole(fix.start, fix.end):
                put = self._forms.named(fix.form)[1]
                doubts.append(Reading(*text.span(fix.start, fix.end), put, 0.0, fix.score, len(put), "decoder"))
        return doubts

    def mentions(self, heard: str) -> bool:
        """Tell whether a text has a term in it as the dictionary has it."""
        return bool(self._exact.find(normalise(heard).text))

    def _in_lines(self, lines: Sequence[str], *, skipping: bool = False) -> list[list[Found]]:
        """Return what is in each line; if `skipping`, only what stands around a filler.

        They are searched as one text: no term reaches across what separates them.
        """
        text = normalise(_BETWEEN.join(lines))
        found: list[list[Found]] = [[] for _ in lines]
        starts = list(accumulate((len(line) + len(_BETWEEN) for line in lines), initial=0))
        for one in self._find(text.without_fillers() if skipping else text, skipping=skipping):
            line = bisect_right(starts, one.start) - 1
            found[line].append(replace(one, start=one.start - starts[line], end=one.end - starts[line]))
        return found

    def _find(self, text: Normalised, *, skipping: bool = False) -> list[Found]:
        """Return what is in a text, in order; if `skipping`, only what stands around something that was left out."""
        exact = self._find_exact(text)
        decoys = Spans(self._decoys.find(text.text))
        hits = Spans(exact)

        def allowed(correction: Correction) -> bool:
            start, end = correction.start, correction.end
            if any(not self._compatible(correction, hit, text) for hit in hits.within(start, end)):
                return False
            return not self._forbidden(self._forms.named(correction.form)[0], decoys.within(start, end))

        corrections = self._sounds.find(text, allowed)
        fixed = Spans([(fix.start, fix.end, fix.form) for fix in corrections])
        found = [
            Found(*text.span(start, end), *self._spellings.named(which), self._spellings.via(which), 1.0)
            for start, end, which in exact
            if not fixed.within(start, end) and (not skipping or text.skips(start, end))
        ]
        found += [self._corrected(text, fix) for fix in corrections if not skipping or text.skips(fix.start, fix.end)]
        return sorted(found, key=lambda one: one.start)

    def _corrected(self, text: Normalised, fix: Correction) -> Found:
        start, end = text.span(fix.start, fix.end)
        entry, surface = self._forms.named(fix.form)
        return Found(start, end, entry, text.original[start:end] if fix.cut else surface, "phonetic", fix.score)

    def _find_exact(self, text: Normalised) -> list[Occurrence]:
        """Return what is written as the dictionary has it: leftmost, then longest, and never a part of a word."""

        def stands(hit: Occurrence) -> bool:
            start, end, _ = hit
            return text.whole(start, end) and not boundary.straddles(text.text, start, end, self.segmenter)

        return leftmost_longest(self._exact.find(text.text), stands)

    def cut(self, text: str) -> list[str]:
        """Cut a text into words, its terms and aliases whole; without a segmenter it is one piece between them.

        The words together are the text again.
        """
        seen = normalise(text)
        terms = [seen.span(start, end) for start, end, _ in self._find_exact(seen)]
        segmenter = self.segmenter()
        if segmenter is not None:
            return segmenter.cut(text, terms)
        edges = [0, *(edge for span in terms for edge in span), len(text)]
        return [text[start:end] for start, end in pairwise(edges) if start < end]

    def _compatible(self, correction: Correction, hit: tuple[int, int, int], text: Normalised) -> bool:
        """Tell whether a correction leaves what was found alone: it lies apart, or holds it whole and unchanged.

        A single character that happens to be a term (丝, a hundredth of a millimetre) is no proof against a correction,
        and two are little against a term that explains far more.
        """
        start, end, _ = hit
        if end <= correction.start or correction.end <= start or end - start == 1:
            return True
        chars = self._forms.chars(correction.form)
        # What is a term itself speaks for no other one that holds it.
        if correction.odds - max(0.0, words.cost(text.text[start:end]) - _TERM_COST) < correction.gate:
            return False
        inside = correction.start <= start and end <= correction.end
        if inside and correction.sure:
            return chars[start - correction.start : end - correction.start] == text.text[start:end]
        if inside and text.text[start:end] in chars:
            return True
        return end - start == 2 and len(chars) >= 4 and correction.odds >= _FAR_MORE


def _assemble(heard: str, found: Iterable[Found]) -> Recognition:
    """Write the corrected text, and every hit with its span in it."""
    pieces: list[str] = []
    hits: list[TermHit] = []
    done = length = 0
    for one in found:
        said = heard[one.start : one.end]
        put = one.surface if one.via in ("phonetic", "audio") else said
        pieces += (heard[done : one.start], put)
        at = length + one.start - done
        done, length = one.end, at + len(put)
        term = one.entry.term
        hits.append(TermHit(term.term, (at, length), one.via, said, round(one.score, 3), term.category, one.entry.pack))
    pieces.append(heard[done:])
    return Recognition("".join(pieces), heard, tuple(hits))

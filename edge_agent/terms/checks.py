"""What is right in a pack and will hurt all the same: looked for before calls are judged by it.

Nothing here refuses anything. A warning names the term, says what will happen, and what to try.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI
from edge_agent.terms import words
from edge_agent.terms.dictionary import Dictionary
from edge_agent.terms.normalise import normalise
from edge_agent.terms.pack import Entry, Phonetic
from edge_agent.terms.pinyin import symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.terms.pack import Pack

_OFTEN_PER_10_000 = 8.0
"""Exact finds in 10,000 characters of ordinary talk from which a term tells nothing."""
_EVERYDAY_COST = 11.0
"""Minus the logarithm of the frequency of a word in plain text; more than one in 60,000 words is everyday."""
_ENOUGH = 2_000  # characters of ordinary text below which nothing is said of how often a term is found


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - it is what people call it
    """Something that will hurt: `kind` for programs, `what` and `remedy` for people, `others` the terms involved."""

    kind: str
    pack: str
    term: str
    what: str
    remedy: str
    others: tuple[str, ...] = ()


def examine(packs: Sequence[Pack], ordinary: Sequence[str], others: Sequence[Pack] = ()) -> Iterator[Warning]:
    """Yield every warning about packs: what they do to each other, to the `others` in use, and to ordinary text."""
    entries = [Entry(term, pack.id) for pack in packs for term in pack.terms]
    beside = [Entry(term, pack.id) for pack in others for term in pack.terms]
    yield from rivals(entries, beside)
    yield from _shared_aliases(entries)
    yield from _alike(entries, beside)
    yield from _short(entries)
    yield from _everyday(entries)
    yield from _burn_in(Dictionary.compile(list(packs)), ordinary)


def rivals(entries: Iterable[Entry], beside: Iterable[Entry] = ()) -> Iterator[Warning]:
    """Yield the terms that stand in several packs, and whose row counts: that of the higher weight, then the first."""
    rows: dict[str, list[Entry]] = defaultdict(list)
    own = list(entries)
    for entry in (*own, *beside):
        rows[normalise(entry.term.term).text].append(entry)
    for entry in own:
        group = rows[normalise(entry.term.term).text]
        if len(group) < 2 or group[0] is not entry:
            continue
        counts = max(group, key=lambda one: one.term.weight)
        said = ", ".join(
            f"{one.pack} ({one.term.category or 'no category'}, weight {one.term.weight:g})" for one in group
        )
        yield Warning(
            "duplicate",
            entry.pack,
            entry.term.term,
            f"stands in several packs: {said}; the row of {counts.pack} counts",
            "remove it from one of them, or give the row that should count the higher weight",
            tuple(one.pack for one in group),
        )


def _shared_aliases(entries: Sequence[Entry]) -> Iterator[Warning]:
    terms = {normalise(entry.term.term).text: entry for entry in entries}
    owners: dict[str, Entry] = {}
    for entry in entries:
        for alias in entry.term.aliases:
            key = normalise(alias).text
            other = terms.get(key) or owners.setdefault(key, entry)
            if other.term.term != entry.term.term:
                kind = "a term itself" if key in terms else f"an alias of {other.term.term} too"
                yield Warning(
                    "alias",
                    entry.pack,
                    entry.term.term,
                    f"its alias {alias!r} is {kind}",
                    "keep it with the term that people mean when they say it",
                    (other.term.term,),
                )


def _alike(entries: Sequence[Entry], beside: Sequence[Entry]) -> Iterator[Warning]:
    """Two terms that sound alike: whichever is said, only the spelling that was recognized decides."""
    sounds: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in (*entries, *beside):
        for spelling in (entry.term.term, *entry.term.aliases):
            key = normalise(spelling).text
            if sum(1 for char in key if HANZI.match(char)) >= 2:
                sounds[symbols(key)].setdefault(key, entry)
    own = {id(entry) for entry in entries}
    for group in sounds.values():
        terms = {entry.term.term: entry for entry in group.values()}
        if len(terms) < 2 or not any(id(entry) in own for entry in terms.values()):
            continue
        first, *rest = terms.values()
        spelled = " · ".join(group)
        yield Warning(
            "sounds_alike",
            first.pack,
            first.term.term,
            f"sounds as {', '.join(one.term.term for one in rest)} does ({spelled})",
            "set phonetic to off for the one that is said less, or name what is never meant in decoys.csv",
            tuple(one.term.term for one in rest),
        )


def _short(entries: Sequence[Entry]) -> Iterator[Warning]:
    for entry in entries:
        key = normalise(entry.term.term).text
        if len(key) == 1:
            what, remedy = "is a single character: it is found inside every word that has it", "write the whole word"
        elif len(key) == 2 and all(map(HANZI.match, key)):
            what = "has two characters: it is never corrected by its sound, and may be found across two words"
            remedy = "write the longer form that people say, and this one as its alias"
        else:
            continue
        yield Warning("short", entry.pack, entry.term.term, what, remedy)


def _everyday(entries: Sequence[Entry]) -> Iterator[Warning]:
    for entry in entries:
        if entry.term.phonetic is not Phonetic.OFF and is_everyday(entry.term.term):
            yield Warning(
                "everyday",
                entry.pack,
                entry.term.term,
                "is a word of everyday talk: finding it says little, and what sounds like it may be corrected to it",
                "set phonetic to off, or write the longer form that only the trade says",
            )


def is_everyday(text: str) -> bool:
    """Tell whether people say this word who know nothing of any trade: 价格 and 天气, but neither 医保 nor 肝功能."""
    return words.costs().get(normalise(text).text, _EVERYDAY_COST + 1) <= _EVERYDAY_COST


def _burn_in(dictionary: Dictionary, ordinary: Sequence[str]) -> Iterator[Warning]:
    """Look what the dictionary makes of text in which nothing was misheard: every correction is a false alarm."""
    corrected: dict[tuple[str, str], list[str]] = defaultdict(list)
    found: Counter[tuple[str, str]] = Counter()
    read = 0
    for text in ordinary:
        read += len(text)
        for hit in dictionary.recognise(text).terms:
            if hit.via in ("exact", "alias"):
                found[hit.pack, hit.term] += 1
            else:
                corrected[hit.pack, hit.term].append(hit.heard)
    for (pack, term), heard in sorted(corrected.items(), key=lambda one: -len(one[1])):
        yield Warning(
            "burn_in",
            pack,
            term,
            f"is put where {' · '.join(dict.fromkeys(heard))} stands in ordinary text ({len(heard)} times in"
            f" {read:,} characters)",
            "name that in decoys.csv (`heard,term`), or set phonetic to off",
            tuple(dict.fromkeys(heard)),
        )
    if read < _ENOUGH:
        return
    for (pack, term), count in found.most_common():
        if count * 10_000 / read >= _OFTEN_PER_10_000:
            yield Warning(
                "frequent",
                pack,
                term,
                f"is found {count} times in {read:,} characters of ordinary text",
                "leave it out if that is no news to anybody",
            )

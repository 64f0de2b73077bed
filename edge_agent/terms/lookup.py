"""Looking terms up: by a part of what they are called, by what they mean, by how they sound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI, canonical
from edge_agent.terms.normalise import normalise
from edge_agent.terms.pack import Entry
from edge_agent.terms.pinyin import readings, symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.terms.pack import Pack

_LATIN = re.compile(r"[a-zü:]{2,}[1-5]?(?:[ '][a-zü:]+[1-5]?)*", re.IGNORECASE)


def search(entries: Iterable[Entry], query: str) -> list[tuple[str, Entry]]:
    """Return the terms that a query finds, with what it was found by (`term`, `alias`, `note`, `sound`), best first."""
    key = normalise(query.strip()).text
    sound = _sound(query.strip())
    found: list[tuple[int, str, Entry]] = []
    for entry in entries:
        term = entry.term
        own = normalise(term.term).text
        aliases = [normalise(alias).text for alias in term.aliases]
        if not key:
            continue
        if key in own:
            found.append((0 if key == own else 1, "term", entry))
        elif any(key in alias for alias in aliases):
            found.append((2, "alias", entry))
        elif key in normalise(term.note).text or key == normalise(term.category).text:
            found.append((4, "note", entry))
        elif sound and any(sound in said for said in (_given(entry), *map(_spell, (own, *aliases)))):
            found.append((3, "sound", entry))
    return [(by, entry) for _, by, entry in sorted(found, key=lambda one: one[0])]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is known of one row: how it is said, what other terms sound like it, what must not become it.

    `in_force` says that this row counts; a row of another pack may have a higher weight.
    """

    entry: Entry
    pinyin: str
    in_force: bool
    sounds_like: tuple[str, ...]
    decoys: tuple[str, ...]

    @classmethod
    def of(cls, packs: Sequence[Pack], name: str) -> list[Sheet]:
        """Return a sheet for each row that has this term or, if none has, this alias."""
        key = normalise(name).text
        rows = [Entry(term, pack.id) for pack in packs for term in pack.terms]
        found = [row for row in rows if normalise(row.term.term).text == key]
        found = found or [row for row in rows if key in (normalise(alias).text for alias in row.term.aliases)]
        sheets = []
        for row in found:
            own = normalise(row.term.term).text
            rivals = [other for other in rows if normalise(other.term.term).text == own]
            sound = symbols(own)
            sheets.append(
                cls(
                    row,
                    pinyin_of(row),
                    row is max(rivals, key=lambda other: other.term.weight),
                    tuple(
                        dict.fromkeys(
                            other.term.term
                            for other in rows
                            if len(other.term.term) < 2 * len(own) + 2
                            and normalise(other.term.term).text != own
                            and symbols(normalise(other.term.term).text) == sound
                        )
                    ),
                    tuple(
                        decoy.heard
                        for pack in packs
                        for decoy in pack.decoys
                        if decoy.term == row.term.term
                        or (not decoy.term and symbols(normalise(decoy.heard).text) == sound)
                    ),
                )
            )
        return sheets


def pinyin_of(entry: Entry) -> str:
    """Return how a term is read, as `terms.csv` would write it."""
    if entry.term.pinyin:
        return entry.term.said
    from pypinyin import Style, lazy_pinyin

    hanzi = "".join(HANZI.findall(normalise(entry.term.term).text))
    return " ".join(lazy_pinyin(hanzi, style=Style.TONE3, neutral_tone_with_five=True))


def _sound(query: str) -> str:
    """Return how a query sounds: pinyin or Chinese characters; empty for anything else."""
    if HANZI.search(query):
        return _spell(query) if len(query) > 1 else ""
    if not _LATIN.fullmatch(query):
        return ""
    return re.sub(r"[^a-z]", "", "".join(_split(query.lower())))


def _given(entry: Entry) -> str:
    """Write how a term sounds by its own pinyin; empty where the table gives none."""
    return "".join(syllable.canonical for syllable in entry.term.pinyin)


def _spell(text: str) -> str:
    """Write how a text sounds in canonical letters."""
    return "".join(
        canonical(options[0].initial + options[0].final) if (options := readings(char)) else char.lower()
        for char in text
    )


def _split(letters: str) -> list[str]:
    """Cut pinyin without blanks into canonical syllables, the longest first; what is none stays as it is."""
    out: list[str] = []
    for word in re.split(r"[ '\d]+", letters):
        rest = word
        while rest:
            size = next((size for size in range(min(6, len(rest)), 0, -1) if rest[:size] in _syllables()), 1)
            out.append(canonical(rest[:size]))
            rest = rest[size:]
    return out


@cache
def _syllables() -> frozenset[str]:
    """Every syllable of Mandarin, without tones, as the table of characters has them."""
    return frozenset(one.initial + one.final for code in range(0x4E00, 0x9FA6) for one in readings(chr(code))[:1])

"""A pack: a folder of terms that an admin writes, and every reason why it is refused.

The folder holds `pack.toml` (id, name, industry, version, language, licence), `terms.csv` and, if wanted, `decoys.csv`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError
from edge_agent.phonetics import HANZI
from edge_agent.terms.normalise import normalise
from edge_agent.terms.pinyin import Syllable
from edge_agent.terms.sheet import Row, RowError, read_sheet, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

LONGEST_TERM = 64
LIGHTEST, HEAVIEST = -6.0, 5.0

_FIELDS = ("id", "name", "industry", "version", "language", "licence")
_TERM_COLUMNS = ("term", "category", "aliases", "pinyin", "weight", "phonetic", "note")
_DECOY_COLUMNS = ("heard", "term", "note")
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_EMOJI = re.compile("[\u2600-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u20e3\U0001f000-\U0001faff]")
_PHONETIC_NAMES = {"自动": "auto", "开": "on", "关": "off"}


class Phonetic(StrEnum):
    """Whether a term may be put where something that sounds like it was heard.

    `AUTO` holds back where that is risky, `ON` trusts the admin, `OFF` never corrects.
    """

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Term:
    """One row of `terms.csv`; `pinyin` has one syllable for each Chinese character of the term, or is empty."""

    term: str
    category: str = ""
    aliases: tuple[str, ...] = ()
    pinyin: tuple[Syllable, ...] = ()
    weight: float = 0.0
    phonetic: Phonetic = Phonetic.AUTO
    note: str = ""

    @property
    def said(self) -> str:
        """The pinyin as the table has it (`chong2 zu3`)."""
        return " ".join(f"{one.initial}{one.final}{one.tone or ''}" for one in self.pinyin)


@dataclass(frozen=True, slots=True)
class Decoy:
    """A hearing that must not become `term`; with an empty `term`, it becomes no term at all."""

    heard: str
    term: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A term and the id of the pack it stands in."""

    term: Term
    pack: str


@dataclass(frozen=True, slots=True)
class Pack:
    """The terms and decoys of one industry, as their folder has them."""

    id: str
    name: str = ""
    industry: str = ""
    version: str = ""
    language: str = "zh-CN"
    licence: str = ""
    terms: tuple[Term, ...] = ()
    decoys: tuple[Decoy, ...] = ()

    @classmethod
    def load(cls, folder: Path, refused: Callable[[RowError], None] | None = None) -> Pack:
        """Read a pack; the first wrong row ends it, unless there is `refused` to be told of each.

        Raises:
            DictionaryError: something is missing or wrong; names file, line and column.
        """
        refused = refused or _refuse
        fields = _read_fields(folder)
        terms = read_terms(read_sheet(folder / "terms.csv", _TERM_COLUMNS), refused)
        decoys = folder / "decoys.csv"
        return cls(**fields, terms=terms, decoys=_read_decoys(decoys, terms, refused) if decoys.exists() else ())

    @classmethod
    def parse(cls, content: bytes) -> Pack:
        """Read back what `content` gives out."""
        lines = content.decode().split("\n")
        terms, decoys = (int(count) for count in lines[1].split())
        rows = [json.loads(line) for line in lines[2 : 2 + terms + decoys]]
        return cls(
            **json.loads(lines[0]),
            terms=tuple(
                Term(term, category, tuple(aliases), _parse_pinyin(pinyin), weight, Phonetic(phonetic), note)
                for term, category, aliases, pinyin, weight, phonetic, note in rows[:terms]
            ),
            decoys=tuple(Decoy(*row) for row in rows[terms:]),
        )

    @property
    def content(self) -> bytes:
        """What the pack says, in one form: a line of fields, one of counts, and a line for each term and decoy."""
        lines = [_json(self.fields), f"{len(self.terms)} {len(self.decoys)}"]
        lines += [
            _json([one.term, one.category, one.aliases, one.said, one.weight, one.phonetic.value, one.note])
            for one in self.terms
        ]
        lines += [_json([decoy.heard, decoy.term, decoy.note]) for decoy in self.decoys]
        return "\n".join(lines).encode()

    @property
    def digest(self) -> str:
        """The SHA-256 of what the pack says, in hexadecimal; the way its files are laid out does not count."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def fields(self) -> dict[str, str]:
        """What `pack.toml` says."""
        return {name: getattr(self, name) for name in _FIELDS}


def check_id(name: str) -> str:
    """Return the id of a pack if it can be one.

    Raises:
        DictionaryError: it can't.
    """
    if not _ID.fullmatch(name):
        raise DictionaryError(
            f"{name!r} can't be the id of a pack", remedy="small letters, digits, `-` and `_`, 64 characters at most"
        )
    return name


def _refuse(error: RowError) -> None:
    raise error


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parse_pinyin(said: str) -> tuple[Syllable, ...]:
    return tuple(map(Syllable.parse, said.split()))


def _read_fields(folder: Path) -> dict[str, str]:
    file = folder / "pack.toml"
    remedy = f"a pack's folder needs pack.toml with {', '.join(_FIELDS)}, each a text in double quotes"
    try:
        table = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{file}:{line[1]}" if line else str(file)
        raise DictionaryError(f"not valid TOML: {error}", where=where, remedy=remedy) from error
    for name in _FIELDS:
        if not isinstance(table.get(name), str) or not table[name].strip():
            raise DictionaryError(f"`{name}` is missing, or is no text", where=str(file), remedy=remedy)
    if unknown := sorted(table.keys() - set(_FIELDS)):
        raise DictionaryError(
            f"unknown key {unknown[0]!r}", where=str(file), remedy=f"known keys: {', '.join(_FIELDS)}"
        )
    if not _ID.fullmatch(table["id"]) or table["id"] != folder.resolve().name:
        raise DictionaryError(
            f"the id {table['id']!r} is not the name of the folder",
            where=str(file),
            remedy="give both the same name: small letters, digits, `-` and `_`",
        )
    return table


def read_terms(rows: Iterable[Row], refused: Callable[[RowError], None]) -> tuple[Term, ...]:
    """Read the terms of a table; `refused` is told of every row that is none."""
    terms: list[Term] = []
    seen: dict[str, int] = {}
    for row in rows:
        try:
            row.check()
            term = _read_term(row)
            key = normalise(term.term).text
            if key in seen:
                row.refuse("term", f"{term.term!r} stands already in line {seen[key]}", "keep one of the two rows")
            seen[key] = row.line
            terms.append(term)
        except RowError as error:
            refused(error)
    return tuple(terms)


def _read_term(row: Row) -> Term:
    term = row["term"]
    _check_spelling(row, "term", term)
    aliases = tuple(alias for part in row["aliases"].replace("｜", "|").split("|") if (alias := part.strip()))
    for alias in aliases:
        _check_spelling(row, "aliases", alias)
    return Term(
        term=term,
        category=row["category"],
        aliases=aliases,
        pinyin=_read_pinyin(row, term),
        weight=_read_weight(row),
        phonetic=_read_phonetic(row),
        note=row["note"],
    )


def _check_spelling(row: Row, column: str, spelling: str) -> None:
    if not spelling:
        row.refuse(column, f"the {column} is empty", "write the word as it is spelled, or delete the row")
    if len(spelling) > LONGEST_TERM:
        row.refuse(
            column,
            f"{spelling[:12] + '…'!r} has {len(spelling)} characters",
            f"a term or alias has at most {LONGEST_TERM}; a longer phrase belongs in a rule",
        )
    if spelling.startswith("="):
        row.refuse(column, f"{spelling[:40]!r} is a formula", "copy the column and paste it as values")
    if emoji := _EMOJI.search(spelling):
        row.refuse(column, f"holds the emoji {emoji[0]}, which nobody says", "delete it")
    if not any(char.isalnum() for char in spelling):
        row.refuse(column, f"{spelling!r} has nothing that is said", "write the word as it is spelled")


def _read_pinyin(row: Row, term: str) -> tuple[Syllable, ...]:
    written = row["pinyin"].split()
    if not written:
        return ()
    expected = len(HANZI.findall(normalise(term).text))
    if len(written) != expected:
        row.refuse(
            "pinyin",
            f"{len(written)} syllables for the {expected} Chinese characters of {term!r}",
            "write one syllable for each Chinese character, blanks between them, letters and digits left out",
        )
    return tuple(_syllable(row, syllable) for syllable in written)


def _syllable(row: Row, written: str) -> Syllable:
    try:
        return Syllable.parse(written)
    except ValueError as error:
        row.refuse("pinyin", str(error), "write it as zhong4, zhòng or zhong")


def _read_weight(row: Row) -> float:
    remedy = f"a number from {LIGHTEST:g} to {HEAVIEST:g}, or nothing for 0"
    try:
        weight = float(row["weight"] or 0)
    except ValueError:
        row.refuse("weight", f"{row['weight']!r} is no number", remedy)
    if not LIGHTEST <= weight <= HEAVIEST:
        row.refuse("weight", f"{row['weight']} is out of range", remedy)
    return weight


def _read_phonetic(row: Row) -> Phonetic:
    try:
        written = row["phonetic"].lower()
        return Phonetic(_PHONETIC_NAMES.get(written, written) or Phonetic.AUTO)
    except ValueError:
        row.refuse("phonetic", f"{row['phonetic']!r} is none of its values", "auto, on or off; nothing means auto")


def _read_decoys(file: Path, terms: Iterable[Term], refused: Callable[[RowError], None]) -> tuple[Decoy, ...]:
    names = {normalise(spelling).text: term.term for term in terms for spelling in (*term.aliases, term.term)}
    decoys: list[Decoy] = []
    for row in read_sheet(file, _DECOY_COLUMNS):
        try:
            row.check()
            _check_spelling(row, "heard", row["heard"])
            term = names.get(normalise(row["term"]).text, "")
            if row["term"] and not term:
                row.refuse(
                    "term",
                    f"{row['term']!r} is no term of this pack",
                    "write it as terms.csv does, or leave it empty: the hearing then becomes no term at all",
                )
            decoys.append(Decoy(row["heard"], term, row["note"]))
        except RowError as error:
            refused(error)
    return tuple(decoys)

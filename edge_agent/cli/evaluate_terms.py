"""`edge-agent eval terms`: what the dictionary finds and puts right in lines whose terms are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.terms import Dictionary, Recognition

PER_HOUR = 15_000
"""Characters that people say in an hour."""
_BATCH = 256
_EXAMPLE = '{"heard": "你们有急采吗", "said": "你们有集采吗", "terms": ["集采"]}'


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what a recognizer wrote, what was said, the terms in it, and how it was misheard (`kind`)."""

    where: str
    heard: str
    said: str
    terms: tuple[str, ...]
    kind: str


@dataclass(slots=True)
class Tally:
    """What came of the lines of one kind; `before` are terms that were right without any correction."""

    lines: int = 0
    characters: int = 0
    terms: int = 0
    found: int = 0
    before: int = 0
    right: int = 0
    wrong: int = 0
    faults: list[tuple[Line, str, str]] = field(default_factory=list)

    def add(self, line: Line, heard: Recognition, said: Recognition, names: list[str]) -> None:
        """Hold a recognition against a line; `names` are its terms as the dictionary has them."""
        self.lines += 1
        self.characters += len(line.heard)
        wanted, hits = Counter(names), Counter(hit.term for hit in heard.terms)
        self.terms += wanted.total()
        self.found += (wanted & hits).total()
        self.before += (wanted & Counter(hit.term for hit in heard.terms if hit.via in ("exact", "alias"))).total()
        # What is a term of the dictionary and was said is no false alarm, listed or not.
        spare = hits - (wanted | Counter(hit.term for hit in said.terms))
        self.wrong += spare.total()
        self.right += hits.total() - spare.total()
        self.faults += ((line, "missed", term) for term in (wanted - hits).elements())
        self.faults += ((line, "false alarm", term) for term in spare.elements())

    @classmethod
    def over(cls, tallies: Iterable[Tally]) -> Tally:
        """Add up."""
        total = cls()
        for one in tallies:
            for name in ("lines", "characters", "terms", "found", "before", "right", "wrong"):
                setattr(total, name, getattr(total, name) + getattr(one, name))
        return total

    def json(self) -> dict[str, Any]:
        """Return the figures; a share of nothing is None."""
        hits = self.right + self.wrong
        return {
            "lines": self.lines,
            "characters": self.characters,
            "terms": self.terms,
            "found": self.found,
            "recall": _share(self.found, self.terms),
            "recall_uncorrected": _share(self.before, self.terms),
            "right": self.right,
            "wrong": self.wrong,
            "precision": _share(self.right, hits),
            "false_alarms_per_hour": round(self.wrong / self.characters * PER_HOUR, 2) if self.characters else None,
        }


def terms(
    file: Annotated[Path, typer.Argument(help="Lines in JSON Lines; - is standard input.")],
    pack: Annotated[list[str] | None, typer.Option("--pack", "-p", help="Pack to load (may be repeated).")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="List every missed term and every false alarm.")] = False,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Hold the terms that the dictionary finds against those that were said.

    A line is {"heard": "…", "said": "…", "terms": ["…"]}, and may name its `kind` of noise; `scripts/make_noise` writes
    such lines. Recall is over `terms`, precision over what was found: a term that is neither listed nor in `said` is a
    false alarm. An hour of talk is 15,000 characters.
    """
    from edge_agent.cli import script

    dictionary = open_dictionary(out.settings(config), pack)
    kinds: dict[str, Tally] = {}
    lines = (_line(where, value) for where, _, value in script.objects(file, "line", _EXAMPLE))
    while batch := list(islice(lines, _BATCH)):
        heard = dictionary.recognise_all([line.heard for line in batch])
        said = dictionary.recognise_all([line.said for line in batch])
        for line, one, other in zip(batch, heard, said, strict=True):
            kinds.setdefault(line.kind, Tally()).add(line, one, other, [_name(dictionary, term) for term in line.terms])
    rows = [("kind", name, tally) for name, tally in kinds.items()]
    rows.append(("total", "all", Tally.over(kinds.values())))
    faults = [fault for tally in kinds.values() for fault in tally.faults] if errors else []
    (_emit if as_json else _show)(rows, faults)


def open_dictionary(config: Any, packs: list[str] | None) -> Dictionary:
    """Compile the packs that are named, or those configured."""
    from edge_agent.packs import Packs

    return Packs(config.dictionary).dictionary(packs or None)


def _line(where: str, value: dict[str, Any]) -> Line:
    from edge_agent.errors import TranscriptError

    listed = value.get("terms", [])
    for key in ("heard", "said", "kind"):
        if not isinstance(value.get(key, "" if key == "kind" else None), str):
            raise TranscriptError(f"`{key}` is missing, or is no text", where=where, remedy=f"write it as {_EXAMPLE}")
    if not isinstance(listed, list) or not all(isinstance(term, str) and term for term in listed):
        raise TranscriptError(f"`terms` is {listed!r}", where=where, remedy='write it as ["GMP认证", "返点"]')
    return Line(where, value["heard"], value["said"], tuple(listed), value.get("kind", ""))


def _name(dictionary: Dictionary, term: str) -> str:
    """Return the term that a listed spelling means."""
    hits = [hit for hit in dictionary.recognise(term).terms if hit.at == (0, len(term))]
    return hits[0].term if hits else term


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _emit(rows: list[tuple[str, str, Tally]], faults: list[tuple[Line, str, str]]) -> None:
    for kind, name, tally in rows:
        out.emit({"type": kind, "name": name, **tally.json()})
    for line, what, term in faults:
        out.emit(
            {"type": "error", "kind": what, "noise": line.kind, "term": term, "heard": line.heard, "said": line.said}
        )


def _show(rows: list[tuple[str, str, Tally]], faults: list[tuple[Line, str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("noise")
    headings = ("terms", "recall", "uncorrected", "precision", "false alarms/h")
    for heading in headings:
        table.add_column(heading, justify="right")
    for kind, name, tally in rows:
        if kind == "total":
            table.add_section()
        figures = tally.json()
        shares = (figures[key] for key in ("recall", "recall_uncorrected", "precision"))
        cells = ("-" if share is None else f"{share:.3f}" for share in shares)
        table.add_row(Text(name or "-"), str(tally.terms), *cells, str(figures["false_alarms_per_hour"]))
    screen = out.console()
    screen.print(table)
    for line, what, term in faults:
        text = Text(f"{what:<12}", style="bold").append(f" {term}", "yellow").append(f"  heard {line.heard}")
        screen.print(text.append(f"  said {line.said}", "dim"), soft_wrap=True)

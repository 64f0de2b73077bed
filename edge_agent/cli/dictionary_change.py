"""`edge-agent dict import|add|remove|export`: terms come in from spreadsheets and go out to them again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out
from edge_agent.cli.applied import Activate, By, finish

if TYPE_CHECKING:
    from edge_agent.packs import Packs
    from edge_agent.terms import Pack, Term
    from edge_agent.terms.importing import Plan
    from edge_agent.terms.table import Table

OnePack = Annotated[str, typer.Option("--pack", "-p", help="Pack that is changed.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Rows of each kind that are shown; all are counted.")]


def register(group: typer.Typer) -> None:
    """Add these commands to the group."""
    group.command("import")(import_file)
    group.command()(add)
    group.command()(remove)
    group.command()(export)


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (UTF-8, GB18030), .xlsx, or a plain list.")],
    pack: OnePack,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; without this, only show what would change.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="The file is the whole pack: terms that it lacks are removed.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="Make a pack that is not there yet.")] = False,
    sheet: Annotated[str | None, typer.Option("--sheet", help="Sheet of the workbook; else the first.")] = None,
    refused: Annotated[
        Path | None, typer.Option("--refused", metavar="CSV", help="Write the refused rows here, with the reasons.")
    ] = None,
    limit: Limit = 20,
    by: By = "",
    activate: Activate = True,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Take terms from a file into a pack. First it says what would change; a wrong row is refused, not the file."""
    from edge_agent.packs import Packs
    from edge_agent.terms.importing import plan
    from edge_agent.terms.table import read_table

    packs = Packs(out.settings(config).dictionary)
    before = _base(packs, pack, new=new)
    table = read_table(file, sheet)
    planned = plan(before, table.rows, table.columns, whole=replace)
    others = [packs.load(name) for name in packs.settings.packs if name != pack]
    report = _Report(file, pack, table, planned, planned.conflicts(others), limit, as_json=as_json)
    report.rows()
    if refused is not None:
        report.write_refused(refused)
    useful = bool(planned.difference) or (new and bool(planned.pack.terms))
    if useful and not yes and sys.stdin.isatty() and not as_json:
        yes = typer.confirm("Do it?", default=False)
    change = None
    if useful and yes:
        change = packs.change(
            planned.pack,
            action="import",
            base=None if new else before.digest,
            note=f"{file.name}: {report.sentence()}",
            who=by,
            activate=activate,
        )
    report.end(change, useful=useful)
    if change:
        finish(config, change, as_json=as_json, activate=activate)
    if planned.refusals.count and not planned.difference and planned.difference.unchanged == planned.absent:
        raise report.nothing_right()


def add(
    term: Annotated[str, typer.Argument(help="The term as it is spelled.")],
    pack: OnePack,
    category: Annotated[str, typer.Option("--category", help="What it is: product, regulation, competitor, …")] = "",
    alias: Annotated[list[str] | None, typer.Option("--alias", help="Another way to say it (may be repeated).")] = None,
    pinyin: Annotated[str, typer.Option("--pinyin", help="How it is read, a syllable for each character.")] = "",
    weight: Annotated[str, typer.Option("--weight", help="-6 to 5.")] = "",
    phonetic: Annotated[str, typer.Option("--phonetic", help="auto, on or off.")] = "",
    note: Annotated[str, typer.Option("--note", help="What it means.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Change a term that the pack has already.")] = False,
    by: By = "",
    activate: Activate = True,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Add a term to a pack, or with --replace change one."""
    from edge_agent.errors import DictionaryError
    from edge_agent.packs import Packs
    from edge_agent.terms.importing import plan
    from edge_agent.terms.sheet import Row

    packs = Packs(out.settings(config).dictionary)
    before = packs.load(pack)
    given = {
        "category": category,
        "aliases": "|".join(alias or ()),
        "pinyin": pinyin,
        "weight": weight,
        "phonetic": phonetic,
        "note": note,
    }
    cells = {"term": term.strip(), **{column: cell for column, cell in given.items() if cell}}
    planned = plan(before, [Row(Path("command line"), 1, cells)], cells)
    if planned.refusals.first:
        raise planned.refusals.first[0]
    if planned.difference.changed and not replace:
        (was, _), *_ = planned.difference.changed
        raise DictionaryError(f"{was.term!r} is there already", where=f"pack {pack}", remedy="--replace changes it")
    if not planned.difference:
        raise DictionaryError(
            f"{term!r} is there already, just so", where=f"pack {pack}", remedy="nothing is to be done"
        )
    change = packs.change(planned.pack, action="add", base=before.digest, note=cells["term"], who=by, activate=activate)
    finish(config, change, as_json=as_json, activate=activate)


def remove(
    terms: Annotated[list[str], typer.Argument(metavar="TERM...", help="Terms as the pack has them.")],
    pack: OnePack,
    by: By = "",
    activate: Activate = True,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Remove terms from a pack; `dict rollback` brings them back."""
    from dataclasses import replace

    from edge_agent.errors import DictionaryError
    from edge_agent.packs import Packs
    from edge_agent.terms.importing import key_of
    from edge_agent.terms.normalise import normalise

    packs = Packs(out.settings(config).dictionary)
    before = packs.load(pack)
    wanted = {normalise(term.strip()).text: term for term in terms}
    if missing := sorted(wanted.keys() - {key_of(term) for term in before.terms}):
        raise DictionaryError(
            f"no term {wanted[missing[0]]!r}",
            where=f"pack {pack}",
            remedy="nothing was removed; `edge-agent dict search` shows how terms are written (an alias is no term)",
        )
    gone = {term.term for term in before.terms if key_of(term) in wanted}
    after = replace(
        before,
        terms=tuple(term for term in before.terms if term.term not in gone),
        decoys=tuple(decoy for decoy in before.decoys if decoy.term not in gone),
    )
    change = packs.change(
        after, action="remove", base=before.digest, note="、".join(sorted(gone))[:200], who=by, activate=activate
    )
    finish(config, change, as_json=as_json, activate=activate)


def export(
    pack: OnePack,
    to: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Ends in .csv, .xlsx or .txt; without it, standard output.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="A hash, active, previous or folder.")] = "active",
    encoding: Annotated[
        str, typer.Option("--encoding", help="Of a CSV: utf-8-sig (Excel knows it), utf-8 or gb18030.")
    ] = "utf-8-sig",
    folder: Annotated[bool, typer.Option("--folder", help="Write a whole pack: FILE is a new folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Write a pack as a table that a spreadsheet opens and `dict import` takes back unchanged."""
    from edge_agent.errors import DictionaryError
    from edge_agent.packs import Packs
    from edge_agent.terms import exporting

    content = Packs(out.settings(config).dictionary).load_version(pack, version)
    if to is None:
        if as_json:
            for term in content.terms:
                out.emit(term_json(term, pack))
        else:
            sys.stdout.buffer.write(exporting.csv_bytes(content, "utf-8"))
        return
    if to.exists() and not force:
        raise DictionaryError("the file is there already", where=str(to), remedy="--force writes over it")
    exporting.write(content, to, encoding=encoding, folder=folder)
    summary = {
        "type": "export",
        "pack": pack,
        "version": content.digest[:12],
        "file": str(to),
        "terms": len(content.terms),
        "decoys": len(content.decoys),
    }
    if as_json:
        out.emit(summary)
    else:
        typer.echo(f"{to}: {len(content.terms)} terms of {pack}, version {content.digest[:12]}")


def term_json(term: Term, pack: str) -> dict[str, Any]:
    """Return every column of a term (docs/json.md)."""
    return {
        "term": term.term,
        "category": term.category,
        "aliases": list(term.aliases),
        "pinyin": term.said,
        "weight": term.weight,
        "phonetic": term.phonetic.value,
        "note": term.note,
        "pack": pack,
    }


def _base(packs: Packs, name: str, *, new: bool) -> Pack:
    """Return the pack that is changed; with `new`, an empty one."""
    from edge_agent.errors import DictionaryError
    from edge_agent.terms import Pack
    from edge_agent.terms.pack import check_id

    if not new:
        return packs.load(name)
    if check_id(name) in packs.names():
        raise DictionaryError("the pack is there already", where=f"pack {name}", remedy="leave out --new")
    return Pack(id=name, name=name, industry=name, version="1", language="zh-CN", licence="proprietary")


class _Report:
    """Says what an import would change, or has: bounded, whatever the file holds."""

    def __init__(
        self, file: Path, pack: str, table: Table, planned: Plan, conflicts: list[str], limit: int, *, as_json: bool
    ) -> None:
        self._file = file
        self._pack = pack
        self._table = table
        self._plan = planned
        self._conflicts = conflicts
        self._limit = limit
        self._json = as_json

    def rows(self) -> None:
        """Show the first rows of each kind."""
        from edge_agent.terms.importing import changed_columns

        found, limit = self._plan.difference, self._limit
        for term in found.added[:limit]:
            self._row("added", term, "")
        for before, after in found.changed[:limit]:
            self._row("changed", after, ", ".join(changed_columns(before, after)), before)
        for term in found.removed[:limit]:
            self._row("removed", term, "")
        for error in self._plan.refusals.first[:limit]:
            if self._json:
                out.emit(
                    {
                        "type": "refused",
                        "file": str(self._file),
                        "row": error.line,
                        "column": error.column,
                        "what": error.what,
                        "remedy": error.remedy,
                        "cells": {name: cell[:200] for name, cell in error.cells.items()},
                    }
                )
            else:
                typer.echo(f"! refused  {error}\n           {error.remedy}")

    def _row(self, kind: str, term: Term, columns: str, before: Term | None = None) -> None:
        if self._json:
            line = {"type": kind, **term_json(term, self._pack)}
            if before is not None:
                line |= {"columns": columns.split(", "), "before": term_json(before, self._pack)}
            out.emit(line)
        else:
            sign = {"added": "+", "changed": "~", "removed": "-"}[kind]
            typer.echo(f"{sign} {kind:<8} {term.term}" + (f"  ({columns})" if columns else ""))

    def sentence(self) -> str:
        """Say how many rows of each kind there are."""
        found = self._plan.difference
        counts = {
            "added": len(found.added),
            "changed": len(found.changed),
            "removed": len(found.removed),
            "unchanged": found.unchanged - self._plan.absent,
            "refused": self._plan.refusals.count,
        }
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())

    def end(self, change: Any, *, useful: bool) -> None:
        """Say how many there are of each kind, and whether anything was done."""
        table, found, refusals = self._table, self._plan.difference, self._plan.refusals
        conflicts = self._conflicts[: self._limit]
        if len(self._conflicts) > self._limit:
            conflicts.append(f"{len(self._conflicts):,} of these terms stand in other packs too")
        if self._json:
            out.emit(
                {
                    "type": "import",
                    "file": str(self._file),
                    "pack": self._pack,
                    "form": table.form,
                    "encoding": table.encoding,
                    "sheet": table.sheet,
                    "added": len(found.added),
                    "changed": len(found.changed),
                    "removed": len(found.removed),
                    "unchanged": found.unchanged - self._plan.absent,
                    "absent": self._plan.absent,
                    "refused": refusals.count,
                    "reasons": dict(refusals.reasons.most_common(20)),
                    "notes": [*table.notes, *conflicts],
                    "applied": change is not None,
                    "version": change.version if change else None,
                }
            )
            return
        for reason, count in refusals.reasons.most_common(5) if refusals.count > self._limit else ():
            typer.echo(f"! {count:,} rows: {reason}")
        for note in (*table.notes, *conflicts):
            typer.echo(f"  note: {note}")
        typer.echo(f"{self._file} ({table.sheet or table.encoding}) into {self._pack}: {self.sentence()}")
        if self._plan.absent:
            typer.echo(
                f"  {self._plan.absent:,} terms of the pack are not in the file and stay (--replace removes them)"
            )
        if change is None:
            typer.echo("Nothing was changed." + (" --yes does it." if useful else ""))

    def write_refused(self, file: Path) -> None:
        """Write the refused rows as a table, with the reasons, to be mended and imported."""
        from edge_agent.terms.exporting import refused_bytes

        file.write_bytes(refused_bytes(self._plan.refusals.first))

    def nothing_right(self) -> Exception:
        """Return the error that says that no row of the file was right."""
        from edge_agent.errors import DictionaryError

        first = self._plan.refusals.first[0]
        return DictionaryError(
            f"all {self._plan.refusals.count:,} rows were refused; the first: {first.what}",
            where=first.where,
            remedy=first.remedy,
        )

"""`edge-agent dict versions|diff|rollback|activate`: what was in force when, who did it, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import out
from edge_agent.cli.applied import By, change_json, finish

if TYPE_CHECKING:
    from edge_agent.packs import Packs
    from edge_agent.terms import Pack, Term

OnePack = Annotated[str, typer.Option("--pack", "-p", help="Pack it is about.")]


def register(group: typer.Typer) -> None:
    """Add these commands to the group."""
    group.command()(versions)
    group.command()(diff)
    group.command()(rollback)
    group.command()(activate)


def versions(
    pack: Annotated[str | None, typer.Option("--pack", "-p", help="Pack; without it, all.")] = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """List what was done to packs, the newest first: version, who, when, and what is in force."""
    packs = _packs(config)
    changes = packs.history(pack)
    if pack is not None and not changes:
        packs.load(pack)  # no such pack is an error; one that nobody ever changed is not
    if as_json:
        for change in changes:
            out.emit({"type": "version", **change_json(change)})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("", "pack")
    table.add_column("version", no_wrap=True, min_width=12)
    for name in ("terms", "action", "who", "when", "note"):
        table.add_column(name)
    for change in changes:
        mark = "*" if change.active else ""
        cells = (change.pack, change.version, f"{change.terms:,}", change.action, change.who, change.at, change.note)
        table.add_row(mark, *map(Text, cells))
    untouched = [name for name in ([pack] if pack else packs.names()) if name not in packs.active()]
    table.caption = "* in force" + (f"; as their folder has them: {', '.join(untouched)}" if untouched else "")
    out.console().print(table)


def diff(
    pack: OnePack,
    before: Annotated[
        str, typer.Argument(metavar="FROM", help="A hash, previous, active, folder, or a file of terms.")
    ] = "previous",
    after: Annotated[str, typer.Argument(metavar="TO", help="The same.")] = "active",
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Show what differs between two versions of a pack; without FROM and TO, what the last change did."""
    from edge_agent.cli.dictionary_change import term_json
    from edge_agent.terms.importing import changed_columns, compare

    packs = _packs(config)
    old, new = _side(packs, pack, before), _side(packs, pack, after)
    found = compare(old, new)
    if as_json:
        for term in found.added:
            out.emit({"type": "added", **term_json(term, pack)})
        for was, term in found.changed:
            columns = list(changed_columns(was, term))
            out.emit({"type": "changed", **term_json(term, pack), "columns": columns, "before": term_json(was, pack)})
        for term in found.removed:
            out.emit({"type": "removed", **term_json(term, pack)})
        out.emit(
            {
                "type": "diff",
                "pack": pack,
                "from": old.digest[:12],
                "to": new.digest[:12],
                "added": len(found.added),
                "changed": len(found.changed),
                "removed": len(found.removed),
                "unchanged": found.unchanged,
                "decoys_added": found.decoys_added,
                "decoys_removed": found.decoys_removed,
                "fields": list(found.fields),
            }
        )
        return
    for term in found.added:
        typer.echo(f"+ {_line(term)}")
    for was, term in found.changed:
        typer.echo(f"~ {term.term}  ({', '.join(changed_columns(was, term))})\n  - {_line(was)}\n  + {_line(term)}")
    for term in found.removed:
        typer.echo(f"- {_line(term)}")
    counts = f"{len(found.added)} added, {len(found.changed)} changed, {len(found.removed)} removed"
    decoys = f", decoys +{found.decoys_added} -{found.decoys_removed}"
    typer.echo(f"{pack} {old.digest[:12]} → {new.digest[:12]}: {counts}{decoys}, {found.unchanged} the same")


def rollback(pack: OnePack, by: By = "", as_json: out.AsJson = False, config: out.ConfigFile = None) -> None:
    """Put in force again what was in force before; once more goes one further back."""
    change = _packs(config).roll_back(pack, who=by)
    finish(config, change, as_json=as_json)


def activate(
    version: Annotated[str, typer.Argument(help="A hash or its beginning, previous, or folder.")],
    pack: OnePack,
    by: By = "",
    note: Annotated[str, typer.Option("--note", help="Why, for the record.")] = "",
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Put a version of a pack in force, in the running appliance too."""
    change = _packs(config).activate(pack, version, who=by, note=note)
    finish(config, change, as_json=as_json)


def _packs(config: Path | None) -> Packs:
    from edge_agent.packs import Packs

    return Packs(out.settings(config).dictionary)


def _side(packs: Packs, name: str, which: str) -> Pack:
    """Return a version of a pack, or what a file of terms would make a whole pack of."""
    file = Path(which)
    if not file.suffix or not file.is_file():
        return packs.load_version(name, which)
    from edge_agent.terms.importing import plan
    from edge_agent.terms.table import read_table

    table = read_table(file)
    return plan(packs.load(name), table.rows, table.columns, whole=True).pack


def _line(term: Term) -> str:
    cells = (
        term.term,
        term.category,
        "|".join(term.aliases),
        term.said,
        f"{term.weight:g}",
        term.phonetic.value,
        term.note,
    )
    return ",".join(cells).rstrip(",")

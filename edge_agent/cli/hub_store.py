"""`hub backup|restore|check`: copies of the hub's SQLite file, and a look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.out import AsJson, ConfigFile, emit, settings

Copy = Annotated[Path, typer.Argument(metavar="FILE", help="The copy.")]


def register(group: typer.Typer) -> None:
    """Add these commands to the group `hub`."""
    for command in (backup, restore, check):
        group.command()(command)


def backup(file: Copy, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Write a copy of the hub's database as of now, while it serves; an existing file is never overwritten."""
    from edge_agent.hub import rescue

    events = rescue.copy(_database(config), file)
    if as_json:
        emit({"type": "hub.backup", "file": str(file), "events": events})
    else:
        typer.echo(f"{events} events are in {file}")


def restore(file: Copy, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put a copy in the place of the hub's database; the hub must be stopped.

    Branches send again what the copy lacks, as far as they keep it. The present database is moved aside.
    """
    from edge_agent.hub import rescue

    events, aside = rescue.put_back(file, _database(config))
    if as_json:
        emit({"type": "hub.restore", "events": events, "aside": aside})
        return
    typer.echo(f"{events} events; branches send again what is newer, as far as they keep it")
    if aside:
        typer.echo(f"what was there before lies in {aside}")


def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look through the hub's whole database; the exit code is 0 if nothing is wrong with it."""
    from edge_agent.errors import StoreError
    from edge_agent.hub import rescue

    path = _database(config)
    found = rescue.damage(path)
    if as_json:
        emit({"type": "hub.check", "file": str(path), "ok": found is None, "found": found})
    elif found is None:
        typer.echo(f"{path}: nothing wrong")
    if found is not None:
        raise StoreError(
            f"the hub's database is damaged: {found}",
            where=str(path),
            remedy="start the hub again: it moves the file aside, saves what can be read, and branches send the rest",
        )


def _database(config: Path | None) -> Path:
    from edge_agent.errors import ConfigError
    from edge_agent.hub.rescue import file_of

    where = settings(config).hub.database
    path = file_of(where)
    if path is None:
        raise ConfigError(
            "this hub's database is PostgreSQL",
            where="[hub].database",
            remedy="`pg_dump` copies it, `pg_restore` puts a copy back, `pg_amcheck` looks through it",
        )
    return path

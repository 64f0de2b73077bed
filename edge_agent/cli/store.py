"""`store`: copies of the branch's database, and a look at it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.out import AsJson, ConfigFile, emit, settings

if TYPE_CHECKING:
    from edge_agent.config import Config

Copy = Annotated[Path, typer.Argument(metavar="FILE", help="The copy.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="Copy the branch's database, put a copy back, check it.", no_args_is_help=True)
    group.command()(backup)
    group.command()(restore)
    group.command()(check)
    app.add_typer(group, name="store")


def backup(file: Copy, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Write a copy as of now, while the service runs; an existing file is never overwritten."""
    from edge_agent.store import Store

    with Store.open(_database(settings(config)), readonly=True) as store:
        store.database.copy_to(file)
    with Store.open(file, readonly=True) as copied:
        events = copied.counts().events
    if as_json:
        emit({"type": "store.backup", "file": str(file), "events": events})
    else:
        typer.echo(f"{events} events are in {file}")


def restore(file: Copy, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put a copy in the place of the database; the service must be stopped.

    A new epoch begins and everything is sent again: head office knows by their ids the events that it has. What the
    present database holds beyond the copy is taken over, and the database itself is moved aside.
    """
    from edge_agent.store import put_back

    given = settings(config)
    _refuse_while_it_runs(given)
    done = put_back(file, _database(given))
    if as_json:
        emit({"type": "store.restore", "events": done.events, "kept": done.kept, "aside": done.aside})
        return
    typer.echo(f"{done.events} events, of which {done.kept} are newer than the copy; all are sent again")
    if done.aside:
        typer.echo(f"what was there before lies in {done.aside}")


def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look through the whole database; the exit code is 0 if nothing is wrong with it."""
    from edge_agent.errors import StoreError
    from edge_agent.store import Store

    path = _database(settings(config))
    with Store.open(path, readonly=True) as store:
        found, counts = store.damage(), store.counts()
    if as_json:
        emit({"type": "store.check", "file": str(path), "ok": found is None, "found": found, "events": counts.events})
    elif found is None:
        typer.echo(f"{path}: nothing wrong, {counts.events} events, {counts.waiting} waiting")
    if found is not None:
        raise StoreError(
            f"the database is damaged: {found}",
            where=str(path),
            remedy="start the service again: it moves the file aside and saves what can be read",
        )


def _database(config: Config) -> Path:
    from edge_agent import paths

    return paths.under_state(config.store.database)


def _refuse_while_it_runs(config: Config) -> None:
    from edge_agent import control, paths
    from edge_agent.errors import ControlError, StoreError

    path = paths.under_state(config.control.socket)
    with suppress(ControlError):
        control.ask(path, "status")
        raise StoreError(
            "the appliance is running on this database", where=str(path), remedy="stop the service first, then restore"
        )

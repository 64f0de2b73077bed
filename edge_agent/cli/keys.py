"""`keys`: who this machine is to the other end of the wire."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.out import AsJson, ConfigFile, emit, settings

if TYPE_CHECKING:
    from edge_agent.keys import KeyPair


class End(StrEnum):
    """Which end of the wire a key is for."""

    BRANCH = "branch"
    HUB = "hub"


KeyFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="Key file; without it, the one that the configuration names.")
]
For = Annotated[End, typer.Option("--for", help="Which key of the configuration: [uplink].key_file or [hub].key_file.")]

Next = Annotated[bool, typer.Option("--next", help="The key that is to follow it (FILE.next).")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="Make and show the CURVE key of this machine.", no_args_is_help=True)
    group.command("new")(new)
    group.command()(show)
    group.command("fingerprint")(show_fingerprint)
    group.command()(switch)
    app.add_typer(group, name="keys")


def new(
    file: KeyFile = None,
    end: For = End.BRANCH,
    following: Next = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key pair and write it (mode 0600); an existing key is never overwritten."""
    from edge_agent import keys

    path = file or _configured(end, config)
    if following:
        keys.load(path)  # what has no key yet has none to change
        path = keys.next_of(path)
    _print(path, keys.new(path), as_json)


def show(
    file: KeyFile = None,
    end: For = End.BRANCH,
    following: Next = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the public key, to be given to the other end; the secret one is never shown."""
    from edge_agent import keys

    path = _file(file, end, following, config)
    _print(path, keys.load(path), as_json)


def show_fingerprint(
    file: KeyFile = None,
    end: For = End.BRANCH,
    following: Next = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the public key in short, to compare it by eye or over the telephone."""
    from edge_agent import keys

    path = _file(file, end, following, config)
    pair = keys.load(path)
    if as_json:
        _print(path, pair, as_json)
    else:
        typer.echo(pair.fingerprint)


def switch(file: KeyFile = None, end: For = End.BRANCH, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put the key that `keys new --next` made in place of the present one; the old one is kept beside it."""
    from edge_agent import keys

    path = file or _configured(end, config)
    pair, old = keys.switch(path)
    if as_json:
        emit(
            {"type": "key", "file": str(path), "public": pair.public, "fingerprint": pair.fingerprint, "was": str(old)}
        )
        return
    _print(path, pair, as_json)
    typer.echo(f"old key      {old}")
    typer.echo("It counts from the next start of the service; restart it now.")


def _file(file: Path | None, end: End, following: bool, config: Path | None) -> Path:
    from edge_agent import keys

    path = file or _configured(end, config)
    return keys.next_of(path) if following else path


def _configured(end: End, config: Path | None) -> Path:
    from edge_agent import paths

    given = settings(config)
    return paths.under_state(given.hub.key_file if end is End.HUB else given.uplink.key_file)


def _print(path: Path, pair: KeyPair, as_json: bool) -> None:
    if as_json:
        emit({"type": "key", "file": str(path), "public": pair.public, "fingerprint": pair.fingerprint})
    else:
        typer.echo(f"key file     {path}\npublic key   {pair.public}\nfingerprint  {pair.fingerprint}")
        typer.echo("(a shell takes the key only between single quotes)")

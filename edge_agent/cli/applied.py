"""What the commands that change a pack share: who does it, whether it takes effect, and telling the appliance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.store import Change

By = Annotated[str, typer.Option("--by", help="Who does it, for the record; else the user of this session.")]
Activate = Annotated[
    bool, typer.Option("--activate/--no-activate", help="Put the new version in force, or only keep it.")
]


def change_json(change: Change) -> dict[str, Any]:
    """Return a change of a pack as commands print it (docs/json.md)."""
    return {
        "pack": change.pack,
        "version": change.version,
        "hash": change.hash,
        "action": change.action,
        "who": change.who,
        "at": change.at,
        "note": change.note,
        "terms": change.terms,
        "decoys": change.decoys,
        "active": change.active,
        "number": change.number,
    }


def finish(config: Path | None, change: Change, *, as_json: bool, activate: bool = True) -> None:
    """Have the running appliance take what is in force now, and say what was done.

    Raises:
        ControlError: the appliance runs and refused; it goes on with what it had.
    """
    from edge_agent import control, paths
    from edge_agent.errors import ControlError

    settings = out.settings(config)
    in_use = change.pack in settings.dictionary.packs
    socket = paths.under_state(settings.control.socket)
    answer: dict[str, Any] | None = None
    if activate and in_use and _runs(socket):
        try:
            answer = control.ask(socket, "dictionary")
        except ControlError as error:
            raise ControlError(
                f"version {change.version} of {change.pack} is in force, but the running appliance goes on with what it"
                f" had: {error.what}",
                where=error.where,
                remedy=error.remedy or f"`edge-agent dict rollback --pack {change.pack}` goes back",
            ) from error
    if as_json:
        out.emit({"type": "change", **change_json(change), "running": answer["dictionary"] if answer else None})
        return
    done = "is in force" if activate else "is kept, not in force: `dict activate` does that"
    typer.echo(f"{change.pack}: version {change.version} ({change.terms:,} terms) {done}")
    if answer:
        typer.echo(f"The running appliance judges with dictionary {answer['dictionary']} from now on.")
    elif activate and not in_use:
        typer.echo(f"The pack is not in use: add {change.pack!r} to [dictionary] packs in the configuration.")


def _runs(socket: Path) -> bool:
    from edge_agent import control
    from edge_agent.errors import ControlError

    if not socket.exists():
        return False
    try:
        control.ask(socket, "status")
    except ControlError:
        return False
    return True

"""`doctor`, `version`: is this machine fit, and what runs on it."""

from __future__ import annotations

import typer

from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.command()(doctor)
    app.command()(version)


def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look at the machine, the model, the dictionary and what the site keeps, and say what to mend."""
    from edge_agent.cli.checkup import State, examine
    from edge_agent.errors import SetupError

    colour = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}
    screen = console()
    failed = False
    for check in examine(settings(config)):
        failed |= check.state is State.FAIL
        if as_json:
            emit(
                {
                    "type": "check",
                    "name": check.name,
                    "state": check.state.value,
                    "found": check.found,
                    "remedy": check.remedy,
                }
            )
            continue
        screen.print(f"{check.state:<4}", style=colour[check.state], end="  ")
        screen.print(f"{check.name:<13} {check.found}", markup=False, soft_wrap=True)
        if check.remedy:
            screen.print(f"      {'':<13} try: {check.remedy}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(SetupError.exit_code)


def version(as_json: AsJson = False) -> None:
    """Print the version of the appliance, and of what it stands on."""
    import platform

    from edge_agent import __version__
    from edge_agent.sqlite import sqlite_version

    sqlite = ".".join(map(str, sqlite_version()))
    if as_json:
        emit({"type": "version", "version": __version__, "python": platform.python_version(), "sqlite": sqlite})
    else:
        typer.echo(f"edge-agent {__version__} (Python {platform.python_version()}, SQLite {sqlite})")

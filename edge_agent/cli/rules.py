"""`edge-agent rules`: checks rule files before they go into use."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from edge_agent.cli import out

group = typer.Typer(help="Check rule files.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.add_typer(group, name="rules")


@group.callback()
def _together() -> None:
    """Check rule files."""


@group.command("lint")
def lint(
    files: Annotated[list[Path], typer.Argument(help="Rule files (YAML), checked together with the common set.")],
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Check rule files: ok with counts, or each error with file, line and what to do (exit code 6)."""
    from edge_agent import rooms
    from edge_agent.errors import DictionaryError
    from edge_agent.nodes import Rules

    inuse = rooms.rule_files(out.settings(config))
    wrong = 0
    for file in files:
        right, errors = Rules.check(file, [path for path in inuse if path.resolve() != file.resolve()])
        wrong += len(errors)
        for error in errors:
            out.report(error)
        if as_json:
            found = [{"where": error.where, "what": error.what, "remedy": error.remedy} for error in errors]
            out.emit({"type": "rules", "file": str(file), "ok": not errors, "rules": right, "errors": found})
        elif not errors:
            print(f"{file}: ok, {right} rules")
    if wrong:
        raise typer.Exit(DictionaryError.exit_code)

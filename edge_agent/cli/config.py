"""`config show`, `config check`: every setting there is, and whether a file is right."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, ConfigFile, emit, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.config import Config


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="The settings: what there is, and whether a file is right.", no_args_is_help=True)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="config")


def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting with its value, unit, default and purpose: a whole file to start from."""
    from edge_agent.config import to_toml

    given = settings(config)
    if as_json:
        for row in _rows(given):
            emit(row)
    else:
        typer.echo(to_toml(given), nl=False)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file (TOML).")], as_json: AsJson = False
) -> None:
    """Say whether a file is right; if not, which line is wrong and what to write there."""
    given = settings(file)
    if as_json:
        emit({"type": "config", "file": str(file), "ok": True, "sources": len(given.sources)})
    else:
        typer.echo(f"{file}: ok ({len(given.sources)} {'source' if len(given.sources) == 1 else 'sources'})")


def _rows(given: Config) -> Iterator[dict[str, Any]]:
    """Yield a row for each setting; those of `[[sources]]` once for each table, or once without a value."""
    from edge_agent.config import settings as every

    plain = given.model_dump(mode="json")
    for table, name, unit, default, sentence in every():
        row = {"type": "setting", "table": table, "index": None, "name": name, "unit": unit, "about": sentence}
        values = plain[table]
        if isinstance(values, dict):
            yield row | {"default": default, "value": values[name]}
        elif not values:
            yield row | {"default": default, "value": None}
        for index, value in enumerate(values if isinstance(values, list) else ()):
            yield row | {"index": index, "default": default, "value": value[name]}

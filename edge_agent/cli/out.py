"""How commands speak: JSON Lines to programs, tables and colour to people."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from edge_agent.config import Config
    from edge_agent.errors import EdgeError
    from edge_agent.types import TermHit

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON Lines for programs.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file (TOML); without it, every default.")
]


def emit(value: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def as_lines(values: Iterable[dict[str, Any]]) -> str:
    """Return JSON objects, each on a line of its own."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return "".join(encode(value) + "\n" for value in values)


def write(text: str) -> None:
    """Print a text as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """Return a console for people; progress and notes go to standard error."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def report(error: EdgeError) -> None:
    """Print what happened, where, and what to try."""
    print(f"Error: {error}", file=sys.stderr)
    if error.remedy:
        print(f"Try: {error.remedy}", file=sys.stderr)


def settings(path: Path | None) -> Config:
    """Read the configuration, or take every default."""
    from edge_agent import config

    return config.load(path) if path is not None else config.Config()


def term_json(hit: TermHit) -> dict[str, Any]:
    """Return a term found in a text as commands print it; `at` counts characters of the corrected text."""
    spoken = {"start_ms": hit.span_ms[0], "end_ms": hit.span_ms[1]} if hit.span_ms else {}
    return {
        "term": hit.term,
        "at": list(hit.at),
        "via": hit.via,
        "heard": hit.heard,
        "score": hit.score,
        "category": hit.category,
        "pack": hit.pack,
        **spoken,
    }

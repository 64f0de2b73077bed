"""`edge-agent dict`: what the dictionary holds, and what it would make of a sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge_agent.terms import Dictionary, Entry, Recognition

Packs = Annotated[
    list[str] | None, typer.Option("--pack", "-p", help="Pack to load (may be repeated); without it, those configured.")
]

group = typer.Typer(help="Look into the dictionary of terms.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.add_typer(group, name="dict")


@group.command("list")
def list_terms(packs: Packs = None, as_json: out.AsJson = False, config: out.ConfigFile = None) -> None:
    """List the terms that are loaded, in order of packs."""
    entries = _load(packs, config).entries
    if as_json:
        for entry in entries:
            out.emit(_entry_json(entry))
    else:
        _show_entries(entries)


@group.command("test")
def try_text(
    text: Annotated[list[str] | None, typer.Argument(help="Sentences; without any, lines of standard input.")] = None,
    packs: Packs = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Show which terms are found in sentences, and what is corrected."""
    dictionary = _load(packs, config)
    for line in text or _lines():
        recognition = dictionary.recognise(line)
        if as_json:
            out.emit(
                {
                    "text": recognition.text,
                    "heard": recognition.heard,
                    "terms": [out.term_json(hit) for hit in recognition.terms],
                }
            )
        else:
            _show(recognition)


def _load(packs: list[str] | None, config: Path | None) -> Dictionary:
    from edge_agent import paths
    from edge_agent.terms import Dictionary

    settings = out.settings(config).dictionary
    folder = Path(settings.folder) if settings.folder else paths.shipped() / "dictionaries"
    return Dictionary.load(folder, packs or settings.packs)


def _lines() -> Iterator[str]:
    """Read standard input line by line, as it comes."""
    from edge_agent.errors import TranscriptError

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise TranscriptError(
                "not UTF-8 text", where=f"standard input:{number}", remedy="convert it: iconv -f GB18030 -t UTF-8"
            ) from error


def _entry_json(entry: Entry) -> dict[str, object]:
    term = entry.term
    return {
        "term": term.term,
        "category": term.category,
        "aliases": list(term.aliases),
        "weight": term.weight,
        "phonetic": term.phonetic.value,
        "pack": entry.pack,
    }


def _show_entries(entries: Iterable[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("term", "category", "aliases")
    table.add_column("weight", justify="right")
    table.add_column("pack")
    for entry in entries:
        term = entry.term
        cells = (term.term, term.category, " · ".join(term.aliases), f"{term.weight:g}", entry.pack)
        table.add_row(*map(Text, cells))
    table.caption = f"{table.row_count} terms"
    out.console().print(table)


def _show(recognition: Recognition) -> None:
    from rich.text import Text

    marked = Text(recognition.text)
    for hit in recognition.terms:
        marked.stylize("bold yellow" if hit.via == "phonetic" else "bold green", *hit.at)
    console = out.console()
    console.print(marked)
    for hit in recognition.terms:
        line = Text("  ").append(hit.term, "bold").append(f"  {hit.via}", "dim")
        line.append(f"  heard {hit.heard}  score {hit.score:.2f}  {hit.category}  {hit.pack}")
        console.print(line)

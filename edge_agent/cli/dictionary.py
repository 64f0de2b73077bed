"""`edge-agent dict`: what the dictionary holds, and what it would make of a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import dictionary_change, dictionary_check, dictionary_versions, out

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_agent.packs import Packs
    from edge_agent.terms import Entry, Recognition

PackNames = Annotated[
    list[str] | None, typer.Option("--pack", "-p", help="Pack to load (may be repeated); without it, those configured.")
]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="The dictionary of terms: what it holds, and every change of it.", no_args_is_help=True)
    group.command("list")(list_terms)
    group.command()(search)
    group.command()(show)
    group.command("test")(try_text)
    dictionary_change.register(group)
    dictionary_versions.register(group)
    dictionary_check.register(group)
    app.add_typer(group, name="dict")


def list_terms(
    packs: PackNames = None,
    category: Annotated[str | None, typer.Option("--category", help="Only terms of this category.")] = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """List the terms that are loaded, in order of packs."""
    entries = _packs(config).dictionary(packs or None).entries
    chosen = (entry for entry in entries if category is None or entry.term.category == category)
    if as_json:
        for entry in chosen:
            out.emit(entry_json(entry))
    else:
        _show_entries(chosen)


def search(
    query: Annotated[str, typer.Argument(help="A part of a term, an alias or a note; or how a term sounds.")],
    packs: PackNames = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Find terms by what they are called, what they mean, or how they sound (任正 and renzheng find 认证)."""
    from edge_agent.terms.lookup import search as look

    found = look(_packs(config).dictionary(packs or None).entries, query)
    if as_json:
        for by, entry in found:
            out.emit({**entry_json(entry), "by": by})
    else:
        _show_entries((entry for _, entry in found), [by for by, _ in found])
    if not found:
        raise typer.Exit(1)


def show(
    term: Annotated[str, typer.Argument(help="A term, or one of its aliases.")],
    packs: PackNames = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Show all that is known of a term: every pack that has it, how it is said, and what sounds like it."""
    from edge_agent.errors import DictionaryError
    from edge_agent.terms.lookup import Sheet

    store = _packs(config)
    sheets = Sheet.of([store.load(name) for name in packs or store.settings.packs], term)
    if not sheets:
        raise DictionaryError(
            f"no term or alias {term!r}",
            where=", ".join(packs or store.settings.packs),
            remedy=f"`edge-agent dict search {term}` looks for parts of it, and for what sounds like it",
        )
    for sheet in sheets:
        if as_json:
            out.emit(_sheet_json(sheet))
        else:
            _show_sheet(sheet)


def try_text(
    text: Annotated[list[str] | None, typer.Argument(help="Sentences; without any, lines of standard input.")] = None,
    packs: PackNames = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Show which terms are found in sentences, and what is corrected."""
    dictionary = _packs(config).dictionary(packs or None)
    from edge_agent.cli import lines

    def in_json(batch: list[str]) -> str:
        return out.as_lines(
            {"text": one.text, "heard": one.heard, "terms": [out.term_json(hit) for hit in one.terms]}
            for one in dictionary.recognise_all(batch)
        )

    batches = [text] if text else lines.batches()
    if as_json:
        for answer in lines.spread(in_json, batches):
            out.write(answer)
        return
    for batch in batches:
        for one in dictionary.recognise_all(batch):
            _show(one)


def _packs(config: Path | None) -> Packs:
    from edge_agent.packs import Packs

    return Packs(out.settings(config).dictionary)


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return a term as `dict list` prints it (docs/json.md)."""
    term = entry.term
    return {
        "term": term.term,
        "category": term.category,
        "aliases": list(term.aliases),
        "weight": term.weight,
        "phonetic": term.phonetic.value,
        "pack": entry.pack,
    }


def _sheet_json(sheet: Any) -> dict[str, Any]:
    return {
        "type": "term",
        **entry_json(sheet.entry),
        "note": sheet.entry.term.note,
        "pinyin": sheet.pinyin,
        "pinyin_given": bool(sheet.entry.term.pinyin),
        "in_force": sheet.in_force,
        "sounds_like": list(sheet.sounds_like),
        "decoys": list(sheet.decoys),
    }


def _show_entries(entries: Iterable[Entry], by: list[str] | None = None) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("term", "category", "aliases")
    table.add_column("weight", justify="right")
    table.add_column("pack")
    if by is not None:
        table.add_column("found by")
    for number, entry in enumerate(entries):
        term = entry.term
        cells = [term.term, term.category, " · ".join(term.aliases), f"{term.weight:g}", entry.pack]
        table.add_row(*map(Text, cells + ([by[number]] if by is not None else [])))
    table.caption = f"{table.row_count} terms"
    out.console().print(table)


def _show_sheet(sheet: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    term = sheet.entry.term
    table = Table(show_header=False, box=None, title=Text(term.term, "bold"), title_justify="left")
    rows = {
        "pack": sheet.entry.pack + ("" if sheet.in_force else "  (another pack's row of higher weight counts)"),
        "category": term.category,
        "aliases": " · ".join(term.aliases),
        "pinyin": sheet.pinyin + ("  (given)" if term.pinyin else ""),
        "weight": f"{term.weight:g}",
        "phonetic": term.phonetic.value,
        "sounds like": " · ".join(sheet.sounds_like),
        "decoys": " · ".join(sheet.decoys),
        "note": term.note,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
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

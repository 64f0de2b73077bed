"""`edge-agent dict validate|suggest|stats`: what will hurt, what is missing, and what is used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.config import Config
    from edge_agent.packs import Packs
    from edge_agent.terms import Pack
    from edge_agent.terms.sheet import RowError

PackNames = Annotated[
    list[str] | None, typer.Option("--pack", "-p", help="Pack (may be repeated); without it, those configured.")
]
Since = Annotated[int | None, typer.Option("--days", min=1, help="Only calls of the last so many days.")]


def register(group: typer.Typer) -> None:
    """Add these commands to the group."""
    group.command()(validate)
    group.command()(suggest)
    group.command()(stats)


def validate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A pack's folder; without it, the packs in force.")
    ] = None,
    packs: PackNames = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Ordinary talk, one sentence a line, to try the terms on.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Findings of each kind that are shown.")] = 20,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Say what is wrong with packs, and what will hurt: terms that sound alike, are short, or are everyday words."""
    from edge_agent.errors import DictionaryError
    from edge_agent.terms import Pack
    from edge_agent.terms.checks import examine

    store = _packs(config)
    errors: list[RowError] = []
    chosen = [Pack.load(folder, errors.append)] if folder else []
    chosen += [store.load(name) for name in packs or (() if folder else store.settings.packs)]
    beside = [store.load(name) for name in store.settings.packs if name not in {pack.id for pack in chosen}]
    for error in errors[: limit if limit else None]:
        if as_json:
            out.emit(
                {
                    "type": "error",
                    "row": error.line,
                    "column": error.column,
                    "where": error.where,
                    "what": error.what,
                    "remedy": error.remedy,
                }
            )
        else:
            typer.echo(f"error    {error}\n         {error.remedy}")
    counts: Counter[str] = Counter()
    for warning in examine(chosen, list(_ordinary(text)), beside):
        counts[warning.kind] += 1
        if counts[warning.kind] > limit:
            continue
        if as_json:
            out.emit(
                {
                    "type": "warning",
                    "kind": warning.kind,
                    "pack": warning.pack,
                    "term": warning.term,
                    "what": warning.what,
                    "remedy": warning.remedy,
                    "others": list(warning.others),
                }
            )
        else:
            typer.echo(f"warning  {warning.pack}: {warning.term} {warning.what}\n         {warning.remedy}")
    summary = {
        "type": "validate",
        "packs": [pack.id for pack in chosen],
        "terms": sum(len(pack.terms) for pack in chosen),
        "errors": len(errors),
        "warnings": dict(counts),
        "ok": not errors and not (strict and counts),
    }
    if as_json:
        out.emit(summary)
    else:
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"
        names, terms = ", ".join(pack.id for pack in chosen), sum(len(pack.terms) for pack in chosen)
        typer.echo(f"{names}: {terms:,} terms, {len(errors)} errors; warnings: {kinds}")
    if errors:
        raise DictionaryError(f"{len(errors)} rows are wrong", where=errors[0].where, remedy=errors[0].remedy)
    if strict and counts:
        raise DictionaryError(f"{counts.total()} warnings", remedy="they are listed above; without --strict they pass")


def suggest(
    least: Annotated[int, typer.Option("--least", min=2, help="How often a word must have been said.")] = 3,
    days: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Words that are shown.")] = 30,
    file: Annotated[
        Path | None, typer.Option("--text", help="Look in this file, one sentence a line, instead of stored calls.")
    ] = None,
    packs: PackNames = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Name words that were said often in the stored calls and that no pack knows, with examples."""
    from edge_agent.event import redact
    from edge_agent.terms.suggest import suggest as mine

    settings = out.settings(config)
    lines = ((f"line {number}", text) for number, text in enumerate(_lines_of(file) if file else (), 1))
    said = lines if file else _said(settings, days)
    dictionary = _packs(config).dictionary(packs or None)
    found = mine(said, dictionary, least=least, segment=dictionary.cut if dictionary.segmenter() else None)
    for one in found[:limit]:
        examples = [redact(example) for example in one.examples]
        if as_json:
            out.emit(
                {
                    "type": "suggestion",
                    "word": one.word,
                    "count": one.count,
                    "calls": one.calls,
                    "cohesion": one.cohesion,
                    "freedom": one.freedom,
                    "examples": examples,
                }
            )
        else:
            typer.echo(f"{one.word}  {one.count} times in {one.calls} calls\n    " + "\n    ".join(examples))
    if as_json:
        out.emit({"type": "suggest", "found": len(found), "shown": min(limit, len(found))})
    else:
        hint = "" if found else "; fewer than --least times is not counted"
        typer.echo(f"{len(found)} words that no pack knows{hint}. `edge-agent dict add WORD --pack P` takes one in.")


def stats(
    packs: PackNames = None, days: Since = None, as_json: out.AsJson = False, config: out.ConfigFile = None
) -> None:
    """Count terms by pack and category, and how often each was heard in the stored calls."""
    settings = out.settings(config)
    store = _packs(config)
    ways = _heard(settings, days)
    names = packs or list(store.settings.packs)
    active = store.active()
    for name in names:
        row = _pack_stats(store.load(name), ways)
        row["version"] = active[name].version if name in active else "folder"
        if as_json:
            out.emit(row)
        else:
            _show_stats(row)
    dictionary = store.dictionary(names)
    cached = store.cached()
    total = {
        "type": "dictionary",
        "version": dictionary.version,
        "packs": names,
        "terms": len(dictionary.entries),
        "compiled_bytes": cached.stat().st_size if cached and not packs else None,
    }
    if as_json:
        out.emit(total)
    else:
        size = f", compiled {cached.stat().st_size / 1e6:.1f} MB" if cached and not packs else ""
        typer.echo(f"together {total['terms']:,} terms, dictionary {total['version']}{size}")


def _pack_stats(pack: Pack, ways: dict[tuple[str, str], Counter[str]]) -> dict[str, Any]:
    terms = pack.terms
    found = {term.term: ways.get((pack.id, term.term), Counter()) for term in terms}
    mine = {term: each.total() for term, each in found.items()}
    via = sum(found.values(), Counter[str]())
    return {
        "type": "pack",
        "pack": pack.id,
        "terms": len(terms),
        "aliases": sum(len(term.aliases) for term in terms),
        "decoys": len(pack.decoys),
        "categories": dict(Counter(term.category for term in terms).most_common()),
        "phonetic": dict(Counter(term.phonetic.value for term in terms)),
        "heard": sum(mine.values()),
        "via": dict(via),
        "most_heard": [[term, count] for term, count in Counter(mine).most_common(10) if count],
        "never_heard": sum(not count for count in mine.values()),
    }


def _show_stats(row: dict[str, Any]) -> None:
    categories = ", ".join(f"{name or 'none'} {count}" for name, count in row["categories"].items())
    typer.echo(
        f"{row['pack']} ({row['version']}): {row['terms']:,} terms, {row['aliases']:,} aliases, {row['decoys']} decoys"
    )
    typer.echo(f"  categories: {categories}")
    if row["heard"]:
        most = ", ".join(f"{term} {count}" for term, count in row["most_heard"])
        via = ", ".join(f"{name} {count}" for name, count in row["via"].items())
        typer.echo(f"  heard {row['heard']:,} times ({via}): {most}; never heard: {row['never_heard']:,}")


def _packs(config: Path | None) -> Packs:
    from edge_agent.packs import Packs

    return Packs(out.settings(config).dictionary)


def _ordinary(file: Path | None) -> Iterator[str]:
    """Yield talk in which nobody says anything worth noticing: a file's, or what the nodes' examples hold of it."""
    from edge_agent import paths

    if file is not None:
        yield from _lines_of(file)
        return
    for table in sorted((paths.shipped() / "dictionaries" / "nodes" / "examples").glob("none-*.tsv")):
        for line in table.read_text(encoding="utf-8").splitlines()[1:]:
            yield line.partition("\t")[0]


def _lines_of(file: Path) -> list[str]:
    from edge_agent.terms.sheet import read_text

    return [line for line in read_text(file).splitlines() if line.strip()]


def _since(days: int | None) -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(days=days) if days else None


def _said(settings: Config, days: int | None) -> Iterator[tuple[str, str]]:
    from edge_agent import paths
    from edge_agent.store import Store

    with Store.open(paths.under_state(settings.store.database), readonly=True) as store:
        yield from store.said(_since(days))


def _heard(settings: Config, days: int | None) -> dict[tuple[str, str], Counter[str]]:
    """Count how the terms of stored calls were found, by pack and term; none where nothing is stored yet."""
    from edge_agent import paths
    from edge_agent.store import Store

    file = paths.under_state(settings.store.database)
    if not file.exists():
        return {}
    ways: dict[tuple[str, str], Counter[str]] = {}
    with Store.open(file, readonly=True) as store:
        for hit in store.heard_terms(_since(days)):
            ways.setdefault((hit.pack, hit.term), Counter())[hit.via] += 1
    return ways

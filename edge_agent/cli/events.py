"""`edge-agent events`: what was noticed and kept, for people, programs and spreadsheets."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.table import Table
    from rich.text import Text

    from edge_agent.store import Store, StoredEvent

POLL_S = 0.2

_DATA = (
    "node",
    "severity",
    "speaker",
    "turn",
    "start_ms",
    "end_ms",
    "confidence",
    "quote",
    "by",
    "case",
    "customer_id",
)
_COLUMNS = ("sequence", "time", "type", "call", *_DATA, "state", "id")
_STYLES = {"alarm": "bold red", "warning": "yellow"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # how a text begins that a spreadsheet runs

group = typer.Typer(help="List, show and export the events that are kept here.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.add_typer(group, name="events")


class Format(StrEnum):
    """How events are exported."""

    JSONL = "jsonl"
    CSV = "csv"


def moment(text: str) -> datetime:
    """Read `2026-03-01`, `2026-03-01T09:30` (local time unless it names a zone), or `30m`, `2h`, `7d` ago."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[ago[2]]
        return datetime.now(UTC) - timedelta(**{unit: int(ago[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-03-01, 2026-03-01T09:30, or 30m, 2h, 7d ago"
        ) from error


Kind = Annotated[str, typer.Option("--type", help="Only this type: edge.node.raised, or raised for short.")]
Node = Annotated[str, typer.Option("--node", help="Only this node, such as objection.price.")]
InCall = Annotated[str, typer.Option("--call", help="Only this call.")]
Severity = Annotated[str, typer.Option("--severity", help="Only this severity, such as alarm.")]
Since = Annotated[datetime | None, typer.Option("--since", parser=moment, metavar="TIME", help="From this time on.")]
Until = Annotated[datetime | None, typer.Option("--until", parser=moment, metavar="TIME", help="Before this time.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")]


@group.command("list")
def list_events(
    kind: Kind = "",
    node: Node = "",
    call: InCall = "",
    severity: Severity = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new ones until Ctrl-C.")] = False,
    config: ConfigFile = None,
) -> None:
    """List events, oldest first. TIME is 2026-03-01, 2026-03-01T09:30, or 30m, 2h, 7d ago."""
    chosen = _filters(kind, node, call, severity, since, until)
    with _store(config) as store:
        if follow:
            _follow(store, chosen, limit, as_json)
        elif as_json:
            for row in store.events(**chosen, limit=limit, newest=True):
                emit(_envelope(row))
        else:
            console().print(_table(store.events(**chosen, limit=limit, newest=True)))


@group.command()
def show(
    event: Annotated[str, typer.Argument(metavar="ID", help="An event's id, or its number in `events list`.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Show one event whole, and whether head office has it."""
    from edge_agent.errors import StoreError

    with _store(config) as store:
        row = store.event(event)
        if row is None and event.isascii() and event.isdigit():
            row = next((found for found in store.events(after=int(event) - 1, limit=1)), None)
            row = row if row is not None and row.sequence == int(event) else None
        if row is None:
            raise StoreError(
                f"no event {event}",
                where=str(store.database.path),
                remedy="`edge-agent events list` shows what is here; acknowledged events go after a while",
            )
    if as_json:
        emit(_envelope(row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in {**_cells(row), "reason": row.reason, "versions": row.event.data.get("versions")}.items():
        if value not in (None, "", {}):
            table.add_row(name, Text(str(value)))
    console().print(table)


@group.command()
def export(
    kind: Kind = "",
    node: Node = "",
    call: InCall = "",
    severity: Severity = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="The newest so many; else all.")] = None,
    form: Annotated[Format, typer.Option("--format", help="JSON Lines of the envelopes, or a table.")] = Format.JSONL,
    excel: Annotated[bool, typer.Option("--excel", help="CSV that Excel reads as UTF-8 (byte order mark).")] = False,
    output: Output = None,
    config: ConfigFile = None,
) -> None:
    """Export events as JSON Lines or CSV, oldest first."""
    with _store(config) as store:
        rows = store.events(**_filters(kind, node, call, severity, since, until), limit=limit, newest=True)
        with writing_to(output) as out:
            if excel or form is Format.CSV:
                _write_csv(rows, out, mark=excel)
            else:
                for row in rows:
                    out.write(row.body + "\n")


def _filters(
    kind: str, node: str, call: str, severity: str, since: datetime | None, until: datetime | None
) -> dict[str, Any]:
    if kind and "." not in kind:
        kind = f"edge.node.{kind}"
    elif kind and not kind.startswith("edge."):
        kind = f"edge.{kind}"
    return {
        "type": kind or None,
        "node": node or None,
        "subject": call or None,
        "severity": severity or None,
        "since": since,
        "until": until,
    }


def _store(config: Path | None) -> Store:
    from edge_agent import paths
    from edge_agent.store import Store

    return Store.open(paths.under_state(settings(config).store.database), readonly=True)


def _follow(store: Store, chosen: dict[str, Any], limit: int, as_json: bool) -> None:
    import time

    screen = console()
    after = store.last()
    rows: Iterable[StoredEvent] = list(store.events(**chosen, limit=limit, newest=True))
    try:
        while True:
            for row in rows:
                after = max(after, row.sequence)
                if as_json:
                    emit(_envelope(row))
                else:
                    screen.print(*_brief(row), sep="  ", soft_wrap=True)
            time.sleep(POLL_S)
            rows = store.events(**chosen, after=after)
    except KeyboardInterrupt:  # how one stops following
        return


def _envelope(row: StoredEvent) -> dict[str, Any]:
    import json

    envelope: dict[str, Any] = json.loads(row.body)
    return envelope


def _cells(row: StoredEvent) -> dict[str, Any]:
    """One event as a row under `_COLUMNS`."""
    event = row.event
    whole = {"sequence": row.sequence, "time": event.to_dict()["time"], "type": event.type, "call": event.subject}
    data = {name: event.data.get(name) for name in _DATA}
    return {**whole, **data, "state": row.state.value, "id": event.id}


def _brief(row: StoredEvent) -> list[Text]:
    from rich.text import Text

    event = row.event
    what = event.type.removeprefix("edge.")
    if node := event.data.get("node"):
        what = f"{node} {what.removeprefix('node.')}"
    said = event.data.get("quote") or event.data.get("reason") or event.data.get("origin") or ""
    return [
        Text(str(row.sequence)),
        Text(f"{event.time.astimezone():%m-%d %H:%M:%S}"),
        Text(event.subject),
        Text(what, style=_STYLES.get(event.data.get("severity", ""), "")),
        Text(str(said)),
        Text(row.state.value, style="dim" if row.state.value == "acknowledged" else "yellow"),
    ]


def _table(rows: Iterable[StoredEvent]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("time", no_wrap=True)
    table.add_column("call", overflow="fold", max_width=12)
    table.add_column("what happened", overflow="fold")
    table.add_column("said", overflow="fold")
    table.add_column("head office", no_wrap=True)
    for row in rows:
        table.add_row(*_brief(row))
    if not table.row_count:
        table.caption = "no events match"
    return table


@contextmanager
def writing_to(path: Path | None) -> Iterator[TextIO]:
    """Open a file for an export, or standard output."""
    if path is None:
        yield sys.stdout
        return
    from edge_agent.errors import StoreError

    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise StoreError(
            f"the export can't be written ({error.strerror})", where=str(path), remedy="name another file"
        ) from error


def _write_csv(rows: Iterable[StoredEvent], out: TextIO, *, mark: bool) -> None:
    """Write RFC 4180 with a header; `mark` puts the byte order mark before it."""
    import csv

    if mark:
        out.write("\ufeff")
    writer = csv.DictWriter(out, _COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: harmless(value) for name, value in _cells(row).items()})


def harmless(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula (OWASP: CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

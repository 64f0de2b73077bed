"""`hub secret|deadletters|requeue|replay|export`: from head office on, into a CRM or a spreadsheet."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.events import Format, Output, Since, Until, harmless, moment, writing_to
from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.hub import HubEvent, Ledger

Branch = Annotated[str, typer.Option("--branch", help="Only this branch, by name or key.")]
Kind = Annotated[str, typer.Option("--type", help="Only this type, such as edge.node.raised.")]

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
_COLUMNS = ("number", "received_at", "branch", "sequence", "id", "type", "time", "subject", *_DATA, "data")


def register(group: typer.Typer) -> None:
    """Add these commands to the group `hub`."""
    for command in (secret, deadletters, requeue, replay, export):
        group.command()(command)


def open_ledger(config: Path | None, *, readonly: bool = True) -> Ledger:
    """Open the hub's database as the configuration names it."""
    from edge_agent.hub import Ledger

    return Ledger.open(settings(config).hub.database, readonly=readonly)


def secret(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Make the secret that signs what goes to the CRM, and show it once; it is to be pasted there."""
    import os

    from edge_agent import paths
    from edge_agent.errors import KeyFileError
    from edge_agent.hub.webhook import new_secret

    path = paths.under_state(settings(config).delivery.secret_file)
    text = new_secret()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError as error:
        raise KeyFileError(
            "a secret is there already and is not overwritten",
            where=str(path),
            remedy="to change it, add a second line to the file, tell the CRM, and remove the first line later",
        ) from error
    except OSError as error:
        raise KeyFileError(
            f"the secret can't be written: {error.strerror}", where=str(path), remedy="run this as the hub's user"
        ) from error
    if as_json:
        emit({"type": "hub.secret", "file": str(path), "secret": text})
    else:
        typer.echo(
            f"secret file  {path}\nsecret       {text}\n(the CRM checks signatures with it; docs/hub.md says how)"
        )


def deadletters(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what was put aside: r… came from a branch and is no event, d… the CRM did not take."""
    from rich.table import Table

    from edge_agent.hub.deliveries import Deliveries

    with open_ledger(config) as ledger:
        received = ledger.dead_letters()
        undelivered = Deliveries(ledger.base).undelivered()
    if as_json:
        for letter in received:
            body = bytes(letter.body).decode("utf-8", "replace")
            emit(
                {
                    "type": "hub.deadletter",
                    "ref": f"r{letter.number}",
                    "kind": "received",
                    **asdict(letter),
                    "body": body,
                }
            )
        for one in undelivered:
            event = asdict(one)
            event["event_type"] = event.pop("type")
            emit({"type": "hub.deadletter", "ref": f"d{one.number}", "kind": "delivery", **event})
        return
    table = Table("no.", "branch", "received", "event", "why", box=None)
    for letter in received:
        table.add_row(f"r{letter.number}", letter.branch, letter.received_at, "none", letter.reason)
    for one in undelivered:
        table.add_row(f"d{one.number}", one.branch, one.received_at, f"{one.type} of {one.lane}", one.reason)
    console().print(table if table.row_count else "nothing was put aside")


def requeue(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[NO]...", help="As `hub deadletters` shows them: r3, d17.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give dead letters another try: what the CRM refused is sent again, what was no event is judged again."""
    from edge_agent.hub.deliveries import Deliveries

    if bool(letters) == everything:
        raise typer.BadParameter("name dead letters, such as r3 or d17, or --all")
    chosen: dict[str, list[int]] = {"r": [], "d": []}
    for letter in letters or ():
        if letter[:1] not in chosen or not letter[1:].isdecimal():
            raise typer.BadParameter(f"{letter!r} is none; `edge-agent hub deadletters` shows them: r3, d17")
        chosen[letter[0]].append(int(letter[1:]))
    with open_ledger(config, readonly=False) as ledger:
        queue = Deliveries(ledger.base)
        missing = [f"r{n}" for n in set(chosen["r"]) - {one.number for one in ledger.dead_letters()}]
        missing += [f"d{n}" for n in set(chosen["d"]) - {one.number for one in queue.undelivered()}]
        if missing:
            raise typer.BadParameter(f"no dead letter {', '.join(sorted(missing))}")
        filed, kept = ledger.judge_again(None if everything else chosen["r"], time.time_ns() // 1_000_000)
        sent = queue.requeue(None if everything else chosen["d"])
    if as_json:
        emit({"type": "hub.requeued", "delivery": sent, "filed": filed, "no_event": kept})
    else:
        typer.echo(f"{sent} will be delivered again, {filed} filed as events, {kept} are still no events")


def replay(
    since: Annotated[datetime, typer.Option("--since", parser=moment, metavar="TIME", help="Received from then on.")],
    until: Until = None,
    branch: Branch = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Deliver again what was received since a date, with the same idempotency keys.

    TIME is 2026-03-01, 2026-03-01T09:30 (local time), or 30m, 2h, 7d ago.
    """
    from edge_agent.errors import ConfigError
    from edge_agent.hub.deliveries import Deliveries

    given = settings(config).delivery
    if not given.url:
        raise ConfigError("nothing is delivered from here", remedy="set `url` in [delivery], and name the file with -c")
    begin, end = _stamp(since), _stamp(until)
    with open_ledger(config, readonly=False) as ledger:
        count = Deliveries(ledger.base).replay(begin, end, branch, given.types)
    if as_json:
        emit({"type": "hub.replay", "since": begin, "until": end or None, "events": count})
    else:
        typer.echo(f"{count} events received since {begin} will be delivered again")


def export(
    branch: Branch = "",
    kind: Kind = "",
    since: Since = None,
    until: Until = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only what was received after this number.")] = 0,
    form: Annotated[Format, typer.Option("--format", help="JSON Lines, or a table.")] = Format.JSONL,
    excel: Annotated[bool, typer.Option("--excel", help="CSV that Excel reads as UTF-8 (byte order mark).")] = False,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    config: ConfigFile = None,
) -> None:
    """Export what every branch sent, in the order of receipt; TIME (of receipt) is 2026-03-01 or 7d ago."""
    import csv

    table = (excel or form is Format.CSV) and not as_json
    with open_ledger(config) as ledger, writing_to(output) as out:
        rows = ledger.events(branch=branch, kind=kind, since=_stamp(since), until=_stamp(until), after=after)
        if not table:
            for row in rows:
                out.write(json.dumps(event_json(row), ensure_ascii=False) + "\n")
            return
        if excel:
            out.write("\ufeff")
        writer = csv.DictWriter(out, _COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: harmless(value) for name, value in _cells(row).items()})


def event_json(row: HubEvent) -> dict[str, Any]:
    """Return an event as commands print it."""
    value = asdict(row)
    return {"type": "hub.event", **value, "event": json.loads(value.pop("body"))}


def _cells(row: HubEvent) -> dict[str, object]:
    envelope = json.loads(row.body)
    data = envelope["data"]
    cells: dict[str, object] = {name: envelope.get(name) for name in ("id", "type", "time", "subject")}
    cells |= {"number": row.number, "received_at": row.received_at, "branch": row.branch, "sequence": row.sequence}
    cells |= {name: data.get(name) for name in _DATA}
    return {**cells, "data": json.dumps(data, ensure_ascii=False)}


def _stamp(at: datetime | None) -> str:
    """Write a time as the ledger does, so that the two compare as texts."""
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

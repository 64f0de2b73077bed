"""`hub`: head office's end of the wire, who may come in, and what has come."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import hub_crm, hub_publish, hub_store
from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.hub import Branch


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="Head office's end of the wire; `hub` alone runs it.")
    group.callback(invoke_without_command=True)(bare)
    for command in (run, allow, revoke, status, branches, events):
        group.command()(command)
    group.command("list")(list_allowed)
    hub_crm.register(group)
    hub_publish.register(group)
    hub_store.register(group)
    app.add_typer(group, name="hub")


def bare(context: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Head office's end of the wire; without a command, run it."""
    if context.invoked_subcommand is None:
        run(config, as_json)
    elif config is not None or as_json:
        raise typer.BadParameter(f"write options after `{context.invoked_subcommand}`")


def run(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Take in the events of every allowed branch until SIGTERM; with --json, print the endpoint once it listens.

    With `url` in [delivery], they go on into the CRM.
    """
    import signal
    import threading

    from edge_agent import notify
    from edge_agent.cli.run import start_log
    from edge_agent.hub import serve

    given = settings(config)
    start_log(given)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stop.set())

    courier = None
    if given.delivery.url:
        from edge_agent.hub.courier import Courier

        courier = Courier(given.hub.database, given.delivery)

    def ready(endpoint: str) -> None:
        if courier is not None:
            courier.start()
        notify.ready()
        if as_json:
            emit({"type": "hub.ready", "endpoint": endpoint})

    try:
        serve(given.hub, ready=ready, alive=notify.alive, stop=stop)
    finally:
        notify.stopping()
        if courier is not None:
            courier.stop()


def allow(
    key: Annotated[str, typer.Argument(metavar="PUBLICKEY", help="From `edge-agent keys show` at the branch.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call this branch; no blanks.")],
    config: ConfigFile = None,
) -> None:
    """Let a branch in; a running hub takes it up at once."""
    from edge_agent import keys

    keys.allow(_allow_file(settings(config)), key, name)
    typer.echo(f"{name} is allowed ({keys.fingerprint(key)})")


def revoke(
    who: Annotated[str, typer.Argument(metavar="NAME|PUBLICKEY", help="A branch as `hub list` shows it.")],
    config: ConfigFile = None,
) -> None:
    """Shut a branch out, connected or not; what it sent before stays."""
    from edge_agent import keys

    for key, name in keys.revoke(_allow_file(settings(config)), who).items():
        typer.echo(f"{name} is not allowed any more ({keys.fingerprint(key)})")


def list_allowed(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the branches that may connect."""
    from edge_agent import keys

    for key, name in keys.read_allowed(_allow_file(settings(config))).items():
        if as_json:
            emit({"type": "hub.allowed", "name": name, "key": key, "fingerprint": keys.fingerprint(key)})
        else:
            typer.echo(f"{key} {name} ({keys.fingerprint(key)})")


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every branch, how much has come, and how delivery into the CRM goes."""
    from edge_agent import __version__
    from edge_agent.hub.deliveries import Deliveries
    from edge_agent.hub.rescue import last_rescue

    given = settings(config)
    with hub_crm.open_ledger(config) as ledger:
        rows = ledger.branches()
        _, total, letters = ledger.totals()
        queue = Deliveries(ledger.base)
        waiting, oldest = queue.waiting() if given.delivery.url else (0, "")
        trouble, since = queue.trouble() if given.delivery.url else ("", "")
        said: dict[str, Any] = {
            "type": "hub.status",
            "version": __version__,
            "database": ledger.base.kind,
            "branches": len(rows),
            "events": total,
            "dead_letters": letters,
            "rescued": asdict(rescue) if (rescue := last_rescue(ledger)) else None,
            "delivery": {
                "configured": bool(given.delivery.url),
                "delivered": queue.delivered(),
                "waiting": waiting,
                "oldest": oldest or None,
                "undelivered": len(queue.undelivered()),
                "trouble": trouble or None,
                "since": since or None,
            },
        }
    _show(rows, as_json)
    if as_json:
        emit(said)
        return
    typer.echo(f"\n{total} events in {said['database']}, {letters} dead letters")
    if rescue is not None and Path(rescue.aside).exists():
        typer.echo(f"A DAMAGED DATABASE WAS REPLACED at {rescue.at}: `edge-agent doctor` says more")
    if given.delivery.url:
        typer.echo(f"CRM: {queue_line(said['delivery'])}")


def queue_line(delivery: dict[str, Any]) -> str:
    """Say how delivery goes in one line."""
    line = f"{delivery['delivered']} delivered, {delivery['waiting']} wait"
    if delivery["oldest"]:
        line += f" (since {delivery['oldest']})"
    line += f", {delivery['undelivered']} undelivered"
    if delivery["trouble"]:
        line += f"\nnothing is delivered since {delivery['since']}: {delivery['trouble']}"
    return line


def branches(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every branch that ever came: what waits there, when it was last heard of, and which versions run there."""
    from rich.table import Table

    from edge_agent.hub.publications import Publications

    with hub_crm.open_ledger(config) as ledger:
        rows = ledger.branches()
        installed = Publications(ledger.base).installed()
    if as_json:
        for branch in rows:
            took = [
                {"kind": kind, "name": name, "serial": serial, "sha256": sha256, "error": error or None}
                for kind, name, serial, sha256, error in installed.get(branch.key, ())
            ]
            emit({"type": "hub.branch", **asdict(branch), "published": took})
        return
    table = Table("branch", "waiting", "last seen", "clock skew", "runs", "published by us", box=None)
    for branch in rows:
        runs = ", ".join(f"{what} {version}" for what, version in sorted(branch.about.items()))
        published = [
            f"{name} {'refused' if error else sha256[:8]}"
            for _, name, _, sha256, error in installed.get(branch.key, ())
        ]
        cells = (str(branch.waiting), branch.last_seen, f"{branch.skew_ms} ms", runs, ", ".join(published))
        table.add_row(branch.name, *cells)
    console().print(table if rows else "no branch has come yet")


def _show(rows: list[Branch], as_json: bool) -> None:
    from rich.table import Table

    if as_json:
        for branch in rows:
            emit({"type": "hub.branch", **asdict(branch)})
        return
    table = Table("branch", "events", "through", "dead letters", "missing", "last seen", "clock skew", box=None)
    for branch in rows:
        counts = (branch.events, branch.through, branch.dead_letters, branch.missing)
        table.add_row(branch.name, *map(str, counts), branch.last_seen, f"{branch.skew_ms} ms")
    console().print(table if rows else "no branch has come yet")


def events(
    branch: Annotated[str, typer.Option("--branch", help="Only this branch, by name or key.")] = "",
    after: Annotated[int, typer.Option("--after", min=0, help="Only what was received after this number.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="The first so many.")] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """List what has come, in the order of receipt."""
    with hub_crm.open_ledger(config) as ledger:
        for event in ledger.events(branch=branch, after=after, limit=limit):
            row = hub_crm.event_json(event)
            if as_json:
                emit(row)
            else:
                envelope = row["event"]
                what = envelope["data"].get("node") or ""
                typer.echo(
                    f"{event.number}  {event.received_at}  {event.branch}  {envelope['subject']}  "
                    f"{envelope['type']}  {what}".rstrip()
                )


def _allow_file(config: Config) -> Path:
    from edge_agent import paths

    return paths.under_state(config.hub.allow_file)

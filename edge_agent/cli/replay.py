"""`edge-agent replay`: judges calls that are there as text, by the same code as calls that are heard."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from rich.console import Console

    from edge_agent.cli.script import Script
    from edge_agent.pipeline import Knowledge


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command("replay")(replay)


def replay(
    file: Annotated[Path, typer.Argument(help="Calls in JSON Lines, one a line; - is standard input.")],
    pack: Annotated[
        list[str] | None,
        typer.Option("--pack", "-p", help="Pack to load (may be repeated)."),
    ] = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Find the moments that matter in calls that are there as text.

    A call is {"id": …, "turns": [{"speaker": "agent" or "customer", "text": …}, …]}; `start_ms` and `end_ms` of a turn,
    `started_at` and `customer_id` of a call may be given; labels are ignored.
    """
    from edge_agent import rooms
    from edge_agent.cli import script

    given = script.choose(out.settings(config), pack)
    knowledge = rooms.open_knowledge(given)
    screen = None if as_json else out.console()
    for call in script.read(file):
        if screen is None:
            _emit(call, knowledge, given.site.id)
        else:
            _show(call, knowledge, screen)


def _emit(call: Script, knowledge: Knowledge, site: str) -> None:
    from edge_agent import event
    from edge_agent.cli import script

    versions = script.versions(knowledge)
    for _, findings in script.judge(call, knowledge):
        for finding in findings:
            out.emit(event.node_event(site, call.call, finding, versions).to_dict())


def _show(call: Script, knowledge: Knowledge, screen: Console) -> None:
    from edge_agent.cli import script, show

    screen.print(f"[bold]{call.call.id}[/bold]")
    all_findings = []
    for transcript, findings in script.judge(call, knowledge):
        if transcript is not None:
            screen.print(show.transcript_line(transcript), soft_wrap=True)
        for finding in findings:
            screen.print(show.finding_line(finding), soft_wrap=True)
        all_findings += findings
    screen.print(show.node_table(all_findings))

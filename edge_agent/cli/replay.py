"""`edge-agent replay`: judges calls that are there as text, by the same code as calls that are heard."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer reads the annotations
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out
from edge_agent.cli.events import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text

    from edge_agent.cli.script import Customers, Script
    from edge_agent.judging import Knowledge
    from edge_agent.types import Finding

_WHAT = "a rule file, a folder of them, a classifier (.npz), a configuration (.toml) or a version that is kept"


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command("replay")(replay)


def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="Calls in JSON Lines, one a line; - is standard input. Without it: the calls kept here."),
    ] = None,
    pack: Annotated[
        list[str] | None,
        typer.Option("--pack", "-p", help="Pack to load (may be repeated)."),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", metavar="VERSION", help=f"Print what is gained and lost against it: {_WHAT}.")
    ] = "",
    shadow: Annotated[
        str, typer.Option("--shadow", metavar="CANDIDATE", help=f"Let it judge beside, as in production: {_WHAT}.")
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option("--since", parser=moment, metavar="TIME", help="Only kept calls that began from this time on."),
    ] = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Find the moments that matter in calls that are there as text.

    A call is {"id": …, "turns": [{"speaker": "agent" or "customer", "text": …}, …]}; `start_ms` and `end_ms` of a turn,
    `started_at` and `customer_id` of a call may be given; labels are ignored. With --against, the files as they are now
    are held against another version: gained is what only they find. With --shadow a candidate judges beside what is in
    force, and what it would change is told after each call.
    """
    from dataclasses import replace

    from edge_agent import rooms
    from edge_agent.cli import script

    given = script.choose(out.settings(config), pack)
    knowledge = rooms.open_knowledge(given)
    calls = script.stored(given, since) if file is None else script.read(file)
    if against:
        _compare(calls, rooms.open_candidate(given, knowledge, against), knowledge, as_json=as_json)
        return
    if shadow:
        knowledge = replace(knowledge, candidates=(rooms.open_candidate(given, knowledge, shadow),))
    customers = script.Customers()
    screen = None if as_json else out.console()
    for call in calls:
        if screen is None:
            _emit(call, customers, knowledge, given.site.id)
        else:
            _show(call, customers, knowledge, screen)
        for each in customers.shadowed(given.site.id) if shadow else ():
            change = "gained" if each.gained else "lost"
            if screen is None:
                out.emit({"type": "shadow", "who": each.who, "change": change, "event": each.event.to_dict()})
            else:
                screen.print(finding_line(each.gained, each.event.data), soft_wrap=True)


def _emit(call: Script, customers: Customers, knowledge: Knowledge, site: str) -> None:
    from edge_agent import event
    from edge_agent.cli import script

    versions = script.versions(knowledge)
    for _, findings in customers.judge(call, knowledge):
        for finding in findings:
            out.emit(event.node_event(site, call.call, finding, versions).to_dict())


def _show(call: Script, customers: Customers, knowledge: Knowledge, screen: Console) -> None:
    from edge_agent.cli import show

    screen.print(f"[bold]{call.call.id}[/bold]")
    all_findings = []
    for transcript, findings in customers.judge(call, knowledge):
        if transcript is not None:
            screen.print(show.transcript_line(transcript), soft_wrap=True)
        for finding in findings:
            screen.print(show.finding_line(finding), soft_wrap=True)
        all_findings += findings
    screen.print(show.node_table(all_findings))


def _compare(calls: Iterable[Script], before: Knowledge, after: Knowledge, *, as_json: bool) -> None:
    """Judge every call twice and print, call by call, what changes from one to the other, and the sums."""
    from edge_agent.cli.script import Customers
    from edge_agent.nodes.compare import compare

    screen = out.console()
    old, new = Customers(), Customers()
    sums = {"calls": 0, "gained": 0, "lost": 0, "changed": 0, "same": 0}
    for call in calls:
        told = compare(
            [finding for _, found in old.judge(call, before) for finding in found],
            [finding for _, found in new.judge(call, after) for finding in found],
        )
        counts = {"gained": len(told.gained), "lost": len(told.lost), "changed": len(told.changed), "same": told.same}
        sums["calls"] += 1
        for name, count in counts.items():
            sums[name] += count
        if as_json:
            for name, findings in (("gained", told.gained), ("lost", told.lost)):
                for finding in findings:
                    out.emit({"type": name, "call": call.call.id, **_data(finding)})
            for changed in told.changed:
                out.emit(
                    {
                        "type": "changed",
                        "call": call.call.id,
                        "node": changed.node,
                        "before": changed.before,
                        "after": changed.after,
                    }
                )
            out.emit({"type": "call", "call": call.call.id, **counts})
        elif told.gained or told.lost or told.changed:
            screen.print(f"[bold]{call.call.id}[/bold]")
            for gained, findings in ((True, told.gained), (False, told.lost)):
                for finding in findings:
                    screen.print(finding_line(gained, _data(finding)), soft_wrap=True)
            for changed in told.changed:
                screen.print(f"  ~ {changed.node}: {changed.before} → {changed.after}", soft_wrap=True)
    if as_json:
        out.emit({"type": "total", "before": before.version, "after": after.version, **sums})
    else:
        screen.print(
            f"{sums['calls']} calls, from {before.version} to {after.version}: {sums['gained']} gained, "
            f"{sums['lost']} lost, {sums['same']} the same; {sums['changed']} objections end otherwise",
            soft_wrap=True,
        )


def _data(finding: Finding) -> dict[str, Any]:
    from edge_agent.event import redact

    return {
        "node": finding.node,
        "turn": finding.turn,
        "speaker": finding.speaker.value,
        "quote": redact(finding.quote),
        "confidence": round(finding.confidence, 3),
        "by": finding.by,
    }


def finding_line(gained: bool, data: dict[str, Any]) -> Text:
    """Return one line of what is gained or lost."""
    from rich.text import Text

    from edge_agent.cli import show

    line = Text("  + " if gained else "  - ", style="green" if gained else "red")
    turn = "" if data["turn"] is None else f" turn {data['turn']}"
    line.append(f"{show.node_name(data['node'])} {data['node']}{turn}")
    return line.append(f"  {data['confidence']:.2f} {data['by']}  ", style="dim").append(data["quote"])

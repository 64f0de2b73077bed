"""`edge-agent events review`: people look at what was raised, and what they say is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import events, out

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_agent.store import Store, Verdict, Waiting


def register(_: typer.Typer) -> None:
    """Add this command to `events`."""
    events.group.command("review")(review)


def review(
    event: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="Events to judge, by id or number; without: what waits.")
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="It is what it says.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It is nothing of the kind.")] = False,
    relabel: Annotated[str, typer.Option("--relabel", metavar="NODE", help="It is another node.")] = "",
    note: Annotated[str, typer.Option("--note", help="Why, for others.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="The newest so many of what waits.")] = 50,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """List the nodes that nobody has looked at, or accept, reject or relabel some of them.

    Verdicts are kept, shown by `eval verdicts`, and learned from by `nodes retrain`. A rule or class of which too small
    a share is accepted goes to shadow: it is recorded, and raises nothing, until `nodes release`.
    """
    chosen = sum((accept, reject, bool(relabel)))
    if bool(event) != bool(chosen) or chosen > 1:
        raise typer.BadParameter("name events and one of --accept, --reject, --relabel NODE; or neither to list")
    if relabel:
        _known(relabel)
    if not event:
        with _store(config, readonly=True) as store:
            _list(store.reviews.waiting(limit), as_json=as_json)
        return
    with _store(config, readonly=False) as store:
        verdicts = [_verdict(store, name, accept=accept, relabel=relabel, note=note) for name in event]
        with store.transaction():
            for verdict in verdicts:
                store.reviews.judge(verdict)
    for verdict in verdicts:
        if as_json:
            out.emit(verdict_json(verdict))
        else:
            label = f" as {verdict.label}" if relabel else ""
            print(f"{verdict.event_id}: {verdict.word.value}{label} ({verdict.by})")


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as commands print it."""
    return {
        "type": "verdict",
        "event": verdict.event_id,
        "call": verdict.call_id,
        "verdict": verdict.word.value,
        "node": verdict.node,
        "label": verdict.label,
        "by": verdict.by,
        "at": verdict.at.isoformat(timespec="seconds"),
        "note": verdict.note,
    }


def _known(node: str) -> None:
    import difflib

    from edge_agent.nodes import catalogue

    if node not in catalogue or node.startswith("process."):
        near = difflib.get_close_matches(node, catalogue, n=1)
        hint = f"did you mean {near[0]}?" if near else "`edge-agent events list` shows nodes"
        raise typer.BadParameter(f"no node {node}: {hint}", param_hint="--relabel")


def _verdict(store: Store, name: str, *, accept: bool, relabel: str, note: str) -> Verdict:
    from edge_agent.errors import StoreError
    from edge_agent.store import Verdict, Word, source

    found = store.reviews.event(name)
    if found is None or found.event.type != "edge.node.raised":
        what = f"event {name} raises no node" if found else f"no event {name}"
        raise StoreError(
            what, where=str(store.database.path), remedy="`edge-agent events review` lists what can be judged"
        )
    data = found.event.data
    text, before = store.reviews.words(found.event)
    word = Word.ACCEPTED if accept else Word.RELABELLED if relabel else Word.REJECTED
    return Verdict(
        event_id=found.event.id,
        call_id=found.event.subject,
        word=word,
        node=data["node"],
        label=data["node"] if accept else relabel or "none",
        by=source(data["by"], data["node"]),
        text=text or data["quote"],
        before=before,
        speaker=data["speaker"],
        at=datetime.now(UTC),
        note=note,
    )


def _list(waiting: Iterable[Waiting], *, as_json: bool) -> None:
    if as_json:
        for each in waiting:
            out.emit({"type": "waiting", "shadow": each.shadow, "event": each.event.to_dict()})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("id", "node", "said", "sure", "by", "lost"):
        table.add_column(heading, overflow="fold")
    for each in waiting:
        data = each.event.data
        lost = data.get("alternative")
        by = data["by"] + (f" (shadow: {each.shadow})" if each.shadow else "")
        other = f"{lost['node']} {lost['confidence']:.2f}" if lost else ""
        table.add_row(each.event.id, data["node"], data["quote"], f"{data['confidence']:.2f}", by, other)
    table.caption = "" if table.row_count else "nothing waits"
    out.console().print(table)


def _store(config: Path | None, *, readonly: bool) -> Store:
    from edge_agent import paths
    from edge_agent.store import Store

    path = paths.under_state(out.settings(config).store.database)
    Store.open(path, readonly=True).close()  # a review makes no database
    return Store.open(path, readonly=readonly)

"""`edge-agent eval`: how well the rules do on labelled calls; the other measures are in `evaluate_…`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import evaluate_asr, evaluate_spoken, evaluate_terms, out

if TYPE_CHECKING:
    from collections import Counter

    from edge_agent.cli.score import Score, Tally

group = typer.Typer(help="Measure quality on labelled data.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group.command("asr")(evaluate_asr.asr)
    group.command("terms")(evaluate_terms.terms)
    group.command("spoken")(evaluate_spoken.spoken)
    app.add_typer(group, name="eval")


@group.callback()
def _together() -> None:
    """Measure quality on labelled data."""


@group.command("nodes")
def nodes(
    file: Annotated[Path, typer.Argument(help="Labelled calls in JSON Lines; - is standard input.")],
    pack: Annotated[
        list[str] | None,
        typer.Option("--pack", "-p", help="Pack to load (may be repeated)."),
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="List every miss, false alarm and wrong state.")] = False,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Hold the nodes found in labelled calls against the labels.

    A node counts as found in its turn or the one after. Precision and recall are over turns; states over the labelled
    objections; process nodes over calls.
    """
    from edge_agent import rooms
    from edge_agent.cli import script
    from edge_agent.cli.score import score

    knowledge = rooms.open_knowledge(script.choose(out.settings(config), pack))
    result = score(script.read(file), knowledge)
    (_emit if as_json else _show)(result, errors)


@group.command("verdicts")
def verdicts(as_json: out.AsJson = False, config: out.ConfigFile = None) -> None:
    """Show how often reviewers accepted what each rule and each class of the classifier raised."""
    from edge_agent import paths
    from edge_agent.store import Store, muted

    given = out.settings(config)
    with Store.open(paths.under_state(given.store.database), readonly=True) as store:
        shares = store.reviews.shares()
    silent = muted(shares, given.nodes.review_floor, given.nodes.review_least)
    if as_json:
        for share in shares:
            told = {"accepted": share.accepted, "of": share.of, "share": share.accepted / share.of}
            out.emit({"type": "verdicts", "by": share.by, **told, "shadow": share.by in silent})
        return
    from rich.table import Table

    table = Table("raised by", title="Verdicts of reviewers", title_justify="left")
    for heading in ("accepted", "of", "share", ""):
        table.add_column(heading, justify="right")
    for share in shares:
        state = "in shadow" if share.by in silent else ""
        table.add_row(share.by, str(share.accepted), str(share.of), f"{share.accepted / share.of:.3f}", state)
    table.caption = None if shares else "no verdicts yet: `edge-agent events review`"
    out.console().print(table)


def _rows(result: Score) -> list[tuple[str, str, Tally]]:
    from edge_agent.nodes import catalogue

    order = list(catalogue)
    families = list(dict.fromkeys(node.partition(".")[0] for node in order))
    rows = [("node", node, result.nodes[node]) for node in sorted(result.nodes, key=order.index)]
    sums = result.families()
    rows += [("family", name, sums[name]) for name in families if name in sums]
    return [*rows, ("total", "turn nodes", result.total())]


def _shares(result: Score) -> list[tuple[str, Counter[bool]]]:
    return [("hard_negatives", result.refused), ("states", result.states), ("process", result.process)]


def _emit(result: Score, errors: bool) -> None:
    for kind, name, tally in _rows(result):
        out.emit(
            {
                "type": kind,
                "name": name,
                "right": tally.right,
                "wrong": tally.wrong,
                "missed": tally.missed,
                "precision": tally.precision,
                "recall": tally.recall,
                "f1": tally.f1,
            }
        )
    for kind, counter in _shares(result):
        of = counter.total()
        out.emit({"type": kind, "right": counter[True], "of": of, "share": counter[True] / of if of else None})
    for fault in result.faults if errors else ():
        out.emit(
            {
                "type": "error",
                "kind": fault.kind,
                "call": fault.call,
                "turn": fault.turn,
                "node": fault.node,
                "text": fault.text,
                "detail": fault.detail,
            }
        )


def _show(result: Score, errors: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = out.console()
    table = Table("node", title=f"{result.calls} calls", title_justify="left")
    for heading in ("precision", "recall", "F1", "right", "wrong", "missed"):
        table.add_column(heading, justify="right")
    last = "node"
    for kind, name, tally in _rows(result):
        if kind != last:
            table.add_section()
            last = kind
        shares = ("-" if share is None else f"{share:.3f}" for share in (tally.precision, tally.recall, tally.f1))
        table.add_row(name, *shares, str(tally.right), str(tally.wrong), str(tally.missed))
    screen.print(table)
    words = {"hard_negatives": "hard negatives refused", "states": "states right", "process": "process nodes right"}
    for kind, counter in _shares(result):
        if counter.total():
            share = counter[True] / counter.total()
            screen.print(f"{words[kind]}: {counter[True]} of {counter.total()} ({share:.3f})")
    for fault in result.faults if errors else ():
        line = Text(f"{fault.kind:<12}", style="bold")
        line.append(f" {fault.call}" + (f":{fault.turn}" if fault.turn is not None else ""), style="cyan")
        line.append(f" {fault.node} ").append(fault.detail, style="dim").append(f"  {fault.text}")
        screen.print(line, soft_wrap=True)

"""How a call looks to a person: its transcript as it grows, with terms and nodes marked where they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edge_agent.cli.out import emit, term_json
from edge_agent.nodes import catalogue
from edge_agent.types import Finding, Speaker, Step, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from edge_agent.pipeline import Outcome

_VOICE = {Speaker.AGENT: "cyan", Speaker.CUSTOMER: "green", Speaker.UNKNOWN: "white"}
_SEVERITY = {"alarm": "bold red", "warning": "yellow", "info": "blue"}


def clock(ms: int) -> str:
    """Write a time in a call as 01:02.3, with hours where there are any."""
    seconds, tenths = ms // 1000, ms % 1000 // 100
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths}"


def node_name(node: str) -> str:
    """Return a node's Chinese name; what a rule across calls raises has only the rule's."""
    return catalogue[node].name if node in catalogue else node


def utterance_json(transcript: Transcript, file: str | None) -> dict[str, Any]:
    """Return the documented JSON object of an utterance (docs/json.md)."""
    return {
        "type": "utterance",
        "file": file,
        "call_id": transcript.call_id,
        "channel": transcript.channel,
        "speaker": transcript.speaker.value,
        "turn": transcript.turn,
        "start_ms": transcript.start_ms,
        "end_ms": transcript.end_ms,
        "heard": transcript.heard,
        "text": transcript.text,
        "terms": [term_json(hit) for hit in transcript.terms],
        "confidence": round(transcript.confidence, 3),
        "dictionary": transcript.dictionary,
    }


def transcript_line(transcript: Transcript) -> Text:
    """Return one line of the transcript; its terms are underlined and named, with what was heard where that differs."""
    line = Text()
    line.append(f"{clock(transcript.start_ms):>8}  ", style="dim")
    line.append(f"{transcript.speaker.value:<9}", style=_VOICE[transcript.speaker])
    start = len(line)
    line.append(transcript.text)
    for hit in transcript.terms:
        line.stylize("bold magenta underline", start + hit.at[0], start + hit.at[1])
    for hit in transcript.terms:
        corrected = hit.heard != transcript.text[slice(*hit.at)]
        line.append(f"  ◆{hit.term}" + (f" ← {hit.heard}" if corrected else ""), style="magenta")
    return line


def finding_line(finding: Finding) -> Text:
    """Return one line for a step of a node, with its evidence."""
    style = _SEVERITY[finding.severity] if finding.step in (Step.RAISED, Step.REPEATED, Step.REOPENED) else "dim"
    line = Text(" " * 10)
    line.append(f"▲ {node_name(finding.node)} {finding.node} {finding.step.value}", style=style)
    line.append(f"  {finding.confidence:.2f} {finding.by}", style="dim")
    return line


def show(console: Console, outcome: Outcome) -> None:
    """Print what came of one item."""
    if outcome.transcript is not None:
        console.print(transcript_line(outcome.transcript), soft_wrap=True)
    for finding in outcome.findings:
        console.print(finding_line(finding), soft_wrap=True)


def emit_outcome(outcome: Outcome) -> None:
    """Print what came of one item as JSON Lines: the utterance, then its events."""
    if outcome.transcript is not None:
        emit(utterance_json(outcome.transcript, outcome.item.call.file))
    for event in outcome.events:
        emit(event.to_dict())


def node_states(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return each node once, in order, with the state it ended in; the steps of one case are one node."""
    return [
        {"node": steps[0].node, "state": steps[-1].step.value, "case": steps[0].case, "turn": steps[0].turn}
        for steps in _cases(findings)
    ]


def _cases(findings: Iterable[Finding]) -> list[list[Finding]]:
    cases: dict[str, list[Finding]] = {}
    for number, finding in enumerate(findings):
        cases.setdefault(finding.case or f"{finding.node}/{number}", []).append(finding)
    return list(cases.values())


def node_table(findings: Iterable[Finding]) -> Table:
    """Return the nodes of a call with the state they ended in; the steps of one case are one row."""
    table = Table(title="Nodes", title_justify="left")
    for heading in ("time", "node", "", "speaker", "state", "evidence"):
        table.add_column(heading, overflow="fold")
    for steps in _cases(findings):
        first, last = steps[0], steps[-1]
        table.add_row(
            clock(first.start_ms),
            first.node,
            node_name(first.node),
            first.speaker.value,
            Text(last.step.value, style=_SEVERITY[first.severity] if last.step != Step.CLOSED else "green"),
            first.quote,
        )
    return table

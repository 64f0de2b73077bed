"""What one set of rules and classifier finds in a call and another does not: the before and after of a switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.types import Finding, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOTICED = (Step.RAISED, Step.REPEATED, Step.REOPENED)


@dataclass(frozen=True, slots=True)
class Changed:
    """An objection that ends otherwise: before and after, as the last part of the event's type, or `nothing`."""

    node: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What would be gained, lost, and end otherwise in one call; `same` counts what stays."""

    gained: tuple[Finding, ...]
    lost: tuple[Finding, ...]
    changed: tuple[Changed, ...]
    same: int


def compare(before: Iterable[Finding], after: Iterable[Finding]) -> Comparison:
    """Hold the findings of one call against those of another judge of it; a node counts once in a turn."""
    before, after = list(before), list(after)
    old, new = _noticed(before), _noticed(after)
    states, ends = _states(before), _states(after)
    return Comparison(
        gained=tuple(finding for key, finding in new.items() if key not in old),
        lost=tuple(finding for key, finding in old.items() if key not in new),
        changed=tuple(
            Changed(node, states[node], ends[node]) for node in states if node in ends and states[node] != ends[node]
        ),
        same=len(old.keys() & new.keys()),
    )


def _noticed(findings: Iterable[Finding]) -> dict[tuple[int | None, str], Finding]:
    """What was noticed in which turn and not taken back."""
    out: dict[tuple[int | None, str], Finding] = {}
    for finding in findings:
        if finding.step in _NOTICED:
            out.setdefault((finding.turn, finding.node), finding)
        elif finding.step is Step.RETRACTED:
            out.pop((finding.turn, finding.node), None)
    return out


def _states(findings: Iterable[Finding]) -> dict[str, str]:
    """How each objection ends."""
    out: dict[str, str] = {}
    for finding in findings:
        if finding.case and finding.step is Step.RETRACTED:
            out.pop(finding.node, None)
        elif finding.case:
            out[finding.node] = finding.step.value
    return out

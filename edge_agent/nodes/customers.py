"""Rules across calls: judged at the end of a call, over what is remembered of the customer's calls before it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from edge_agent.types import Call, Finding, PastCall, Speaker, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.nodes.judge import CallJudge
    from edge_agent.nodes.rules import Across, Rules


def conclude(
    judge: CallJudge, rules: Rules, call: Call, past: Sequence[PastCall], end_ms: int
) -> tuple[list[Finding], PastCall | None]:
    """End a call: what only its end shows, what the customer's calls show together, and what to remember of it.

    Of a caller who is not known by a number nothing is remembered.
    """
    findings = judge.end(end_ms)
    if call.customer_id is None:
        return findings, None
    now = PastCall(call.id, call.customer_id, call.started_at, frozenset(judge.noticed), judge.left())
    return findings + patterns(rules, past, now, end_ms), now


def patterns(rules: Rules, past: Sequence[PastCall], call: PastCall, end_ms: int) -> list[Finding]:
    """Return what a customer's calls show together, now that one more has ended.

    Args:
        rules: those in force.
        past: the customer's earlier calls, oldest first.
        call: the call that ends.
        end_ms: when it ended, in milliseconds since it began.
    """
    out = []
    for rule in rules.across:
        assert rule.across is not None
        if shown := _holds(rule.across, past, call):
            out.append(
                Finding(
                    step=Step.RAISED,
                    node=rule.raises,
                    speaker=Speaker.UNKNOWN,
                    quote=rule.name,
                    start_ms=0,
                    end_ms=end_ms,
                    confidence=rule.confidence,
                    by=f"rule:{rule.id}",
                    severity=rule.severity,
                    version=rule.version,
                    calls=tuple(each.call_id for each in shown),
                )
            )
    return out


def _holds(wanted: Across, past: Sequence[PastCall], call: PastCall) -> list[PastCall]:
    """Return the calls that show it, this one last; none if they don't."""
    if call.noticed.isdisjoint(wanted.having):
        return []
    since = call.started_at - timedelta(days=wanted.within_days) if wanted.within_days is not None else None
    same = [
        each
        for each in past
        if not each.noticed.isdisjoint(wanted.having) and (since is None or each.started_at >= since)
    ]
    shown = [*same, call][-wanted.calls :]
    met = len(shown) == wanted.calls and all(each.noticed.isdisjoint(wanted.without) for each in shown)
    return shown if met else []

"""The life of an objection: raised, repeated, answered, closed or put off, and opened again.

One case for each kind of objection in a call. What is said moves a case only at the end of the turn in which it is
said, so that a 「行」 that goes on as 「行是行，就是贵」 closes nothing; raising and answering count at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.types import Alternative, Finding, OpenCase, Speaker, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AUTHORITY = "objection.authority"
BUDGET = "objection.budget"
TIMING = "objection.timing"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was said: by whom, when, in which words, and by which rule it was noticed."""

    speaker: Speaker
    quote: str
    start_ms: int
    end_ms: int
    turn: int
    confidence: float
    by: str
    severity: str = "info"
    span: tuple[int, int] | None = None
    version: str = ""
    alternative: Alternative | None = None

    def finding(self, step: Step, node: str, *, case: str | None = None, severity: str | None = None) -> Finding:
        """Make the finding that this is the evidence of."""
        return Finding(
            step=step,
            node=node,
            speaker=self.speaker,
            quote=self.quote,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            confidence=self.confidence,
            by=self.by,
            turn=self.turn,
            case=case,
            severity=severity or self.severity,
            span=self.span,
            version=self.version,
            alternative=self.alternative,
        )


@dataclass(slots=True)
class Case:
    """Where one objection stands."""

    id: str
    node: str
    first: Evidence
    last: Evidence
    open: bool = True
    deferred: bool = False
    answered: bool = False
    answered_turn: int = -1
    waits: bool = False
    argued: bool = False
    turns: set[int] = field(default_factory=set)

    def finding(self, step: Step, evidence: Evidence) -> Finding:
        """Make the finding of a step of this case."""
        return evidence.finding(step, self.node, case=self.id, severity=self.first.severity)


# An acceptance this many turns after the answer is one of something else.
_SOON = 3
# What an answer to an older objection speaks of; the one raised last is answered by whatever has substance.
_TOPICS = {
    "price": "价|折|便宜|优惠|省下|成本|块|元",
    "competitor": "他们|那家|别家|区别|同样的|对比|比他",
    "budget": "预算|分期|租|补贴|明年|月付|季付",
    "authority": "领导|老板|院长|上会|材料|汇报|总部",
    "timing": "先试|现在|提前|截止|以后|到时",
    "need": "用得|用上|省|场景|帮您",
    "quality": "检测|报告|质保|质量|案例|换新|工程师|保修|赔|证书",
    "supply": "货|库存|仓|交期|到货|天到|备",
    "terms": "账期|付|押金|定金|订金|发票|开票|条款|合同|分期|违约",
}


def concerns(node: str, text: str) -> bool:
    """Say whether words speak of what this objection is about."""
    return re.search(_TOPICS[node.partition(".")[2]], text) is not None


class Cases:
    """The objections of one call. `answer_within_ms` counts from the end of the objection to the answer's start.

    What the customer's last call left open is `carried`: it sleeps until the customer raises it again, and goes on then
    under the id it had.
    """

    def __init__(self, call_id: str, answer_within_ms: int, carried: Iterable[OpenCase] = ()) -> None:
        self._call_id = call_id
        self._carried = {case.node: case for case in carried}
        self._answer_within_ms = answer_within_ms
        self._cases: dict[str, Case] = {}

    def __iter__(self) -> Iterator[Case]:
        """Give every case, in the order in which they were raised."""
        return iter(self._cases.values())

    @property
    def unsettled(self) -> list[Case]:
        """The cases that stand open."""
        return [case for case in self if case.open]

    def standing(self) -> dict[str, str]:
        """Say of each objection that stands open whether it is `open` or `answered`."""
        return {case.node: "answered" if case.answered or case.deferred else "open" for case in self.unsettled}

    def raise_(self, node: str, evidence: Evidence) -> Finding:
        """Note that the customer raises an objection, for the first time or again."""
        case = self._cases.get(node)
        if case is None and (carried := self._carried.get(node)):
            case = self._cases[node] = Case(carried.id, node, evidence, evidence)
            step = Step.REOPENED if carried.deferred else Step.REPEATED
        elif case is None:
            case = self._cases[node] = Case(f"{self._call_id}/{node}/1", node, evidence, evidence)
            step = Step.RAISED
        else:
            # Once put off, an objection that is raised again is as open as one that had been settled.
            step = Step.REPEATED if case.open and not case.deferred else Step.REOPENED
            case.last, case.open = evidence, True
            case.deferred = case.answered = case.argued = False
        case.turns.add(evidence.turn)
        return case.finding(step, evidence)

    def retract(self, node: str, evidence: Evidence) -> Finding | None:
        """Take back an objection that the rest of the sentence denied, if this turn was the first to raise it."""
        case = self._cases.get(node)
        if case is None or case.turns != {evidence.turn}:
            return None
        del self._cases[node]
        return case.finding(Step.RETRACTED, evidence)

    def answer(self, evidence: Evidence) -> list[Finding]:
        """Note that the agent responds to the substance: every open case that is young enough counts as answered.

        What is put off stays so, but the customer may now accept before the day comes.
        """
        out = []
        latest = max((case.last.turn for case in self.unsettled), default=-1)
        for case in self.unsettled:
            if case.last.turn < latest and not concerns(case.node, evidence.quote):
                continue
            case.argued = case.argued or case.deferred
            late = evidence.start_ms - case.last.end_ms > self._answer_within_ms
            if late or case.last.turn == evidence.turn:
                continue
            case.answered_turn = evidence.turn
            if not (case.answered or case.deferred):
                case.answered = True
                out.append(case.finding(Step.ANSWERED, evidence))
        return out

    def settle(
        self,
        evidence: Evidence,
        *,
        accepts: bool,
        defers: bool,
        waits: bool,
        decides: bool,
        dated: bool,
        buys: bool = False,
    ) -> list[Finding]:
        """Move open cases at the end of a customer's turn.

        An objection that was answered is closed where the customer agrees soon after, authority too: what was agreed is
        how the matter gets to who decides. With a date alone, unanswered, authority and a budget that waits are put
        off. A customer who agrees and goes on to object agrees to what was talked of last, not to everything.

        Args:
            evidence: The words that accept or put off.
            accepts: The customer agrees.
            defers: The customer names a date or an owner for the matter itself.
            waits: The customer waits for the money of a later period, without a date.
            decides: The customer says that the decision is his own.
            dated: A next step with a time is on the table.
            buys: The customer agrees by asking for a trial, or how to order: that settles whatever was answered.
        """
        undecided = any(case.node == AUTHORITY and case.last.turn < evidence.turn for case in self.unsettled)
        earlier = [case.last.turn for case in self.unsettled if case.last.turn < evidence.turn]
        objects = any(case.last.turn == evidence.turn for case in self)
        latest = max(earlier, default=0) if objects else 0
        raised_last = max((case.last.turn for case in self.unsettled), default=-1)
        latest_answer = max((case.answered_turn for case in self.unsettled), default=-1)
        out = []
        for case in self.unsettled:
            here = case.last.turn == evidence.turn
            # Who puts off speaks of the objection that is on the table, or of one that only time can settle.
            meant = case.last.turn == raised_last or case.node in (AUTHORITY, BUDGET, TIMING)
            case.waits = case.waits or (waits and case.node == BUDGET)
            if case.node == AUTHORITY:
                settled = accepts and case.answered and not defers and evidence.turn - case.answered_turn <= _SOON
                closes = not here and (decides or settled)
                puts_off = (defers and meant) or (accepts and dated and not here)
            else:
                agrees = accepts and case.answered and (case.argued or not case.deferred) and case.last.turn >= latest
                agrees = agrees and (
                    buys or (case.answered_turn >= latest_answer and evidence.turn - case.answered_turn <= _SOON)
                )
                # Who agrees and names a day for the decision has put off the decision, not what was agreed.
                agrees = agrees and (undecided or not defers)
                closes = not here and (agrees or (decides and (case.answered or case.deferred)))
                puts_off = (defers and meant) or (accepts and dated and case.waits and not here)
            if closes:
                case.open = False
                out.append(case.finding(Step.CLOSED, evidence))
            elif puts_off and not case.deferred:
                case.deferred = True
                out.append(case.finding(Step.DEFERRED, evidence))
        return out

    def end(self) -> list[Finding]:
        """Name every case that is neither closed nor put off."""
        return [case.finding(Step.UNRESOLVED, case.last) for case in self if case.open and not case.deferred]

    def left(self) -> tuple[OpenCase, ...]:
        """Return what goes on in the customer's next call: what is open or put off here, and what still sleeps."""
        sleeping = [case for node, case in self._carried.items() if node not in self._cases]
        here = [OpenCase(case.id, case.node, case.deferred, case.first.severity) for case in self if case.open]
        return (*sleeping, *here)

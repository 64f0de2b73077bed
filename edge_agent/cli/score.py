"""How well the rules do on labelled calls: what they find, what they miss, what they make up."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_agent.cli.script import Customers
from edge_agent.nodes import catalogue
from edge_agent.types import Finding, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.cli.script import Script
    from edge_agent.pipeline import Knowledge

_NOTICED = (Step.RAISED, Step.REPEATED, Step.REOPENED)
_STATES = (Step.CLOSED, Step.DEFERRED, Step.UNRESOLVED)


@dataclass(slots=True)
class Tally:
    """Right, made up and missed, of one kind of node or of many."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        """Add another tally to this one."""
        self.right += other.right
        self.wrong += other.wrong
        self.missed += other.missed
        return self

    @property
    def precision(self) -> float | None:
        """Share of what was raised that is right; None if nothing was raised."""
        raised = self.right + self.wrong
        return self.right / raised if raised else None

    @property
    def recall(self) -> float | None:
        """Share of what is labelled that was raised; None if nothing is labelled."""
        labelled = self.right + self.missed
        return self.right / labelled if labelled else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if nothing is labelled or raised."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong: in which call and turn, with the words, and what was expected or found."""

    kind: str
    call: str
    node: str
    turn: int | None
    text: str
    detail: str


@dataclass(slots=True)
class Score:
    """The sums over all calls."""

    calls: int = 0
    nodes: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    refused: Counter[bool] = field(default_factory=Counter)
    states: Counter[bool] = field(default_factory=Counter)
    process: Counter[bool] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def families(self) -> dict[str, Tally]:
        """Sum up by family, process nodes too."""
        out: dict[str, Tally] = defaultdict(Tally)
        for node, tally in self.nodes.items():
            out[node.partition(".")[0]] += tally
        return out

    def total(self) -> Tally:
        """Sum up over every node that a turn raises: all but the process nodes."""
        out = Tally()
        for family, tally in self.families().items():
            if family != "process":
                out += tally
        return out


def score(scripts: Iterable[Script], knowledge: Knowledge) -> Score:
    """Judge every call and hold it against its labels."""
    total, customers = Score(), Customers()
    for script in scripts:
        findings = [finding for _, found in customers.judge(script, knowledge) for finding in found]
        _Call(script, findings, total).count()
    return total


class _Call:
    """One call held against its labels."""

    def __init__(self, script: Script, findings: list[Finding], total: Score) -> None:
        self._labels = script.labels
        self._id = script.call.id
        self._turns: list[dict[str, Any]] = script.labels["turns"]
        self._findings = findings
        self._total = total

    def count(self) -> None:
        self._total.calls += 1
        raised = self._raised()
        self._count_nodes(dict(raised))
        self._count_refused(raised)
        self._count_states()
        self._count_process()

    def _raised(self) -> dict[tuple[int, str], Finding]:
        """What was raised in which turn and not taken back."""
        out: dict[tuple[int, str], Finding] = {}
        for finding in self._findings:
            if finding.turn is None:
                continue
            if finding.step in _NOTICED:
                out.setdefault((finding.turn, finding.node), finding)
            elif finding.step is Step.RETRACTED:
                out.pop((finding.turn, finding.node), None)
        return out

    def _count_nodes(self, raised: dict[tuple[int, str], Finding]) -> None:
        labelled = [(turn, node) for turn, value in enumerate(self._turns) for node in value.get("nodes", ())]
        late: list[tuple[int, str]] = []
        for turn, node in labelled:
            if raised.pop((turn, node), None):
                self._total.nodes[node].right += 1
            else:
                late.append((turn, node))
        for (
            turn,
            node,
        ) in late:  # noticed one turn late is noticed, once every turn has had its own
            if raised.pop((turn + 1, node), None):
                self._total.nodes[node].right += 1
            else:
                self._total.nodes[node].missed += 1
                self._fault("miss", node, turn)
        for (turn, node), finding in raised.items():
            self._total.nodes[node].wrong += 1
            self._fault("false alarm", node, turn, finding.by)

    def _count_refused(self, raised: dict[tuple[int, str], Finding]) -> None:
        for trap in self._labels.get("hard_negatives", ()):
            finding = raised.get((trap["turn"], trap["node"]))
            self._total.refused[finding is None] += 1
            if finding is not None:
                self._fault("hard negative", trap["node"], trap["turn"], finding.by)

    def _count_states(self) -> None:
        found: dict[str, str] = {}
        for finding in self._findings:
            if finding.case and finding.step is Step.RETRACTED:
                found.pop(finding.node, None)
            elif finding.case:
                found[finding.node] = finding.step.value
        for node, state in self._labels.get("states", {}).items():
            right = found.get(node) == state
            self._total.states[right] += 1
            if not right:
                self._fault("state", node, None, f"expected {state}, found {found.get(node, 'nothing')}")

    def _count_process(self) -> None:
        labelled = set(self._labels.get("process", ()))
        found = {finding.node for finding in self._findings if finding.turn is None}
        for node in (node for node in catalogue if node.startswith("process.")):
            right = (node in labelled) == (node in found)
            self._total.process[right] += 1
            tally = self._total.nodes[node]
            if node in found:
                tally.right += right
                tally.wrong += not right
            elif not right:
                tally.missed += 1
            if not right:
                self._fault("process", node, None, "expected" if node in labelled else "not expected")

    def _fault(self, kind: str, node: str, turn: int | None, detail: str = "") -> None:
        text = str(self._turns[turn]["text"]) if turn is not None and turn < len(self._turns) else ""
        self._total.faults.append(Fault(kind, self._id, node, turn, text, detail))

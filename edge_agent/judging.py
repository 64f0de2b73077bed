"""Judging a call: by the rules and the classifier in force, over the customer's calls before it, and in shadow.

The corridor, `replay` and `eval` all judge here, so that what an admin tries on text is what runs live.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent import event
from edge_agent.event import Shadowed
from edge_agent.types import Call, Finding, PastCall, Transcript, Versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.nodes import CallJudge, Classifier, Limits, Rules
    from edge_agent.terms import Dictionary
    from edge_agent.types import OpenCase

MUTED = "muted"
"""Who speaks in shadow for what raises nothing because reviewers accepted too little of it."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What judges a call and may be exchanged while calls run, by swapping one reference.

    A new dictionary serves running calls at once; new rules serve the calls that begin after it, because open cases
    belong to the rules that raised them. What is `muted` (`rule:<id>`, `classifier:<node>`) is recorded and raises
    nothing; each `candidate` judges beside, and what it would change is recorded.
    """

    dictionary: Dictionary
    rules: Rules
    limits: Limits
    classifier: Classifier | None = None
    muted: frozenset[str] = frozenset()
    candidates: tuple[Knowledge, ...] = ()

    def judge(self, carried: Iterable[OpenCase] = ()) -> CallJudge:
        """Return a judge for one call."""
        from edge_agent.nodes import CallJudge

        return CallJudge(self.rules, self.limits, self.classifier, carried=carried, muted=self.muted)

    def prepare(self) -> None:
        """Make now what the first call would wait for: a second of compiling."""
        _ = self.rules.matcher
        self.dictionary.prepare()

    def versions(self, model: str = "") -> Versions:
        """Return who judges, for the events; `rules` names the classifier too, where there is one."""
        return Versions(self.dictionary.version, self.version, model)

    @property
    def version(self) -> str:
        """Rules and classifier by their hashes."""
        return self.rules.version + (f"+{self.classifier.version}" if self.classifier else "")

    @property
    def beside(self) -> list[tuple[str, Knowledge]]:
        """Who judges in shadow, by name."""
        whole = [(MUTED, replace(self, muted=frozenset(), candidates=()))] if self.muted else []
        return whole + [(candidate.version, candidate) for candidate in self.candidates]


class Judging:
    """One call under judgement; `past` are the customer's earlier calls, oldest first.

    After `end`, `memory` is what to remember of the call, None for a caller without a number.
    """

    def __init__(self, call: Call, knowledge: Knowledge, past: Sequence[PastCall] = ()) -> None:
        self.call = call
        self.knowledge = knowledge
        self.memory: PastCall | None = None
        self._past = past
        carried = past[-1].cases if past else ()
        self._judge = knowledge.judge(carried)
        self._beside = [(who, other, other.judge(carried)) for who, other in knowledge.beside]
        self._found: list[Finding] = []
        self._others: list[list[Finding]] = [[] for _ in self._beside]

    def hear(self, transcript: Transcript) -> list[Finding]:
        """Judge one utterance."""
        findings = [_with_terms(finding, transcript) for finding in self._judge.hear(transcript)]
        if self._beside:
            self._found += findings
            for found, (_, _, judge) in zip(self._others, self._beside, strict=True):
                found += (_with_terms(finding, transcript) for finding in judge.hear(transcript))
        return findings

    def end(self, end_ms: int) -> list[Finding]:
        """Return what only the end of a call shows."""
        from edge_agent.nodes.customers import conclude

        findings, self.memory = conclude(self._judge, self.knowledge.rules, self.call, self._past, end_ms)
        self._found += findings
        for found, (_, other, judge) in zip(self._others, self._beside, strict=True):
            found += conclude(judge, other.rules, self.call, self._past, end_ms)[0]
        return findings

    def shadowed(self, site: str, model: str = "") -> tuple[Shadowed, ...]:
        """Return, once the call is over, what was found in shadow and what a candidate would not have found."""
        from edge_agent.nodes.compare import compare

        out: list[Shadowed] = []
        for found, (who, other, _) in zip(self._others, self._beside, strict=True):
            told = compare(self._found, found)
            new, old = other.versions(model), self.knowledge.versions(model)
            out += (Shadowed(who, True, event.node_event(site, self.call, each, new)) for each in told.gained)
            if who != MUTED:
                out += (Shadowed(who, False, event.node_event(site, self.call, each, old)) for each in told.lost)
        return tuple(out)


def _with_terms(finding: Finding, transcript: Transcript) -> Finding:
    """Return a finding that quotes an utterance with the terms in what it quotes."""
    at = transcript.text.find(finding.quote) if finding.quote else -1
    if not transcript.terms or at < 0 or (finding.start_ms, finding.end_ms) != (transcript.start_ms, transcript.end_ms):
        return finding
    end = at + len(finding.quote)
    within = tuple(
        replace(hit, at=(hit.at[0] - at, hit.at[1] - at))
        for hit in transcript.terms
        if at <= hit.at[0] and hit.at[1] <= end
    )
    return replace(finding, terms=within)

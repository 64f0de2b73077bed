"""The judge of one call: hears transcripts in order, tells the moments that matter.

It knows no clock: every time is the call's own, so a replay gives what the live call gave.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.nodes.cases import TIMING, Cases, Evidence
from edge_agent.nodes.catalogue import CATALOGUE
from edge_agent.nodes.classifier import STAY, SURE, SURE_OF_RULE, SURE_OF_SIGNAL
from edge_agent.nodes.encoder import BACK
from edge_agent.nodes.features import Around, standing
from edge_agent.nodes.features import believed as common_of
from edge_agent.nodes.match import UNKNOWN_CONFIDENCE, Context, Hit
from edge_agent.nodes.process import Process
from edge_agent.nodes.turn import TAIL, Turn, evidence_of, moved, plain, told_from_words
from edge_agent.nodes.watch import Held, Stretch, Watch
from edge_agent.types import Alternative, Finding, OpenCase, Speaker, Step, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from edge_agent.nodes.classifier import Classifier
    from edge_agent.nodes.rules import Rules

_BEFORE = 400
_WHO_MOVES = {
    "answer": (Speaker.AGENT,),
    "notice": (Speaker.AGENT,),
    "discovery": (Speaker.AGENT,),
    "accept": (Speaker.CUSTOMER,),
    "defer": (Speaker.CUSTOMER,),
    "wait": (Speaker.CUSTOMER,),
    "decide": (Speaker.CUSTOMER,),
    "refuse": (Speaker.CUSTOMER,),
    "step": (Speaker.AGENT, Speaker.CUSTOMER),
}
# A customer who asks for a trial, or how to order, agrees to what was offered.
_AGREES = ("opportunity.sample_request", "opportunity.purchase_signal")


@dataclass(frozen=True, slots=True)
class Limits:
    """The timers of a call, in milliseconds of call time."""

    answer_within_ms: int = 120_000
    recording_notice_within_ms: int = 30_000
    discovery_after_ms: int = 120_000


class CallJudge:
    """State of one call. Feed it every transcript in order of time, then `end` it once.

    `carried` are the objections that the customer's last call left open. What is `muted` (`rule:<id>`, or
    `classifier:<node>`) raises nothing. `noticed` names, once the call is over, every node and signal it had.
    """

    def __init__(
        self,
        rules: Rules,
        limits: Limits | None = None,
        classifier: Classifier | None = None,
        *,
        carried: Iterable[OpenCase] = (),
        muted: frozenset[str] = frozenset(),
    ) -> None:
        self._matcher = rules.matcher
        self._watch = Watch(rules)
        self._carried = tuple(carried)
        self._muted = muted
        self.noticed: set[str] = set()
        self._classifier = classifier
        self._limits = limits or Limits()
        self._cases: Cases | None = None
        self._process = Process(self._limits.recording_notice_within_ms, self._limits.discovery_after_ms)
        self._turn: Turn | None = None
        self._last: dict[Speaker, str] = {}
        self._turns: deque[tuple[Speaker, str]] = deque(maxlen=BACK)

    def hear(self, transcript: Transcript) -> list[Finding]:
        """Judge one utterance, together with what its turn has said so far."""
        if not transcript.text.strip():
            return []
        if self._cases is None:
            self._cases = Cases(transcript.call_id, self._limits.answer_within_ms, self._carried)
        findings = self._due(transcript.start_ms)
        if transcript.speaker is not Speaker.UNKNOWN or self._classifier is None:
            return findings + self._hear(transcript)
        speaker, sure = self._classifier.who(transcript.text, self._before(Speaker.UNKNOWN))
        heard = self._hear(replace(transcript, speaker=speaker))
        if speaker is Speaker.UNKNOWN:
            return findings + heard
        return findings + [told_from_words(finding, sure, transcript) for finding in heard]

    def _hear(self, transcript: Transcript) -> list[Finding]:
        assert self._cases is not None
        findings: list[Finding] = []
        turn = self._turn
        if turn is None or (turn.number, turn.speaker) != (transcript.turn, transcript.speaker):
            findings += self._close_turn()
            turn = self._turn = Turn(transcript.turn, transcript.speaker)
        tail = turn.tail()
        offset = len(turn.text) - len(tail)
        window = tail + transcript.text
        said = len(turn.text)
        turn.terms += (moved(term, said) for term in transcript.terms)
        terms = tuple(moved(term, -offset) for term in turn.terms if term.at[0] >= offset)
        context = Context(self._before(turn.speaker), self._process.talk_ms, terms)
        stretch = Stretch(transcript, offset, said, self._process.talk_ms)
        hits = self._watch.hear(self._matcher.hits(window, turn.speaker, context), stretch)
        hits = self._weigh(turn, window, context, hits)
        turn.text += transcript.text
        findings += self._nodes(turn, transcript, hits, offset)
        findings += self._signals(turn, transcript, hits, offset)
        self._process.hear(transcript.end_ms - transcript.start_ms)
        return findings

    def end(self, end_ms: int) -> list[Finding]:
        """End the call: what is left open, and what was never said."""
        findings = self._due(math.inf, end_ms) + self._close_turn()
        self._turn = None
        for held in self._watch.late(self._process.talk_ms):
            findings += self._late(held, None)
        if self._cases is not None:
            findings += self._cases.end()
        return findings + self._process.end(end_ms)

    def left(self) -> tuple[OpenCase, ...]:
        """Return the objections that go on in the customer's next call."""
        return self._cases.left() if self._cases is not None else self._carried

    def _due(self, now_ms: float, end_ms: float = math.inf) -> list[Finding]:
        """Raise what was not said before its deadline."""
        out: list[Finding] = []
        for held in self._watch.due(now_ms):
            out += self._late(held, round(min(held.due_ms, end_ms)))
        return out

    def _late(self, held: Held, end_ms: int | None) -> list[Finding]:
        """Raise a node that showed only after its words; the event's time is when it showed."""
        node, said = held.hit.raises, held.transcript
        if held.hit.by in self._muted:
            return []
        if said is None:
            speaker = Speaker.UNKNOWN if held.rule.speaker is None else held.rule.speaker
            evidence = Evidence(speaker, "", 0, end_ms or 0, -1, held.hit.confidence, held.hit.by, held.hit.severity)
            finding = replace(evidence.finding(Step.RAISED, node), turn=None, version=held.rule.version)
            self.noticed.add(node)
            return [finding]
        evidence = evidence_of(said, held.hit)
        evidence = replace(evidence, end_ms=max(evidence.end_ms, end_ms or 0))
        self.noticed.add(node)
        if node.startswith("objection.") and self._cases is not None:
            return [self._cases.raise_(node, evidence)]
        return [evidence.finding(Step.RAISED, node)]

    def _weigh(self, turn: Turn, window: str, context: Context, hits: list[Hit]) -> list[Hit]:
        """Let the classifier overrule what it does not believe of the common rules, and add what they did not see."""
        if self._muted:
            hits = [hit for hit in hits if hit.by not in self._muted]
        if self._classifier is None:
            return hits
        where = standing(self._cases.standing() if self._cases else {}, turn.number)
        around = Around(context.before, common_of(hits), where, tuple(self._turns))
        believed = self._classifier.probabilities(window, turn.speaker, around)
        kept = [hit for hit in hits if not hit.common or self._holds(turn, hit.raises, believed, SURE_OF_RULE)]
        raised = {hit.raises for hit in kept}
        kept += self._moves(turn, window, believed, raised)
        for node, (probability, quote) in believed.items():
            if node not in CATALOGUE:
                continue
            kind = CATALOGUE[node]
            unsure = kind.speaker is not None and turn.speaker is Speaker.UNKNOWN
            if node in raised or (kind.speaker not in (None, turn.speaker) and not unsure):
                continue
            if f"classifier:{node}" in self._muted:
                continue
            if self._holds(turn, node, believed):
                confidence = probability * (UNKNOWN_CONFIDENCE if unsure else 1.0)
                by = f"classifier:{self._classifier.version}"
                version = self._classifier.version
                kept.append(Hit(node, by, 0, len(window), quote, confidence, kind.severity, version=version))
        return [replace(hit, alternative=self._lost(hit, kept, believed)) for hit in kept]

    @staticmethod
    def _holds(turn: Turn, name: str, believed: Mapping[str, tuple[float, str]], sure: float = SURE) -> bool:
        """Say whether the classifier believes in a node or signal, or knows none of that name.

        What was raised earlier in the turn stays at a lower probability, lest every word tips it over.
        """
        if name not in believed:
            return True
        least = STAY if name in turn.raised else SURE_OF_SIGNAL.get(name, sure)
        return believed[name][0] >= least

    def _moves(
        self, turn: Turn, window: str, believed: Mapping[str, tuple[float, str]], known: set[str]
    ) -> Iterator[Hit]:
        """Give what the turn does to an objection in the classifier's opinion, where no rule says so."""
        assert self._classifier is not None
        for signal, speakers in _WHO_MOVES.items():
            probability, quote = believed.get(signal, (0.0, ""))
            speaks = turn.speaker in (*speakers, Speaker.UNKNOWN)
            if speaks and signal not in known and probability >= SURE_OF_SIGNAL.get(signal, SURE):
                by, version = f"classifier:{self._classifier.version}", self._classifier.version
                yield Hit(signal, by, 0, len(window), quote, probability, version=version)

    def _lost(self, hit: Hit, kept: Iterable[Hit], believed: Mapping[str, tuple[float, str]]) -> Alternative | None:
        """Return the likeliest reading of the words that was not taken: another node, or none at all."""
        if hit.raises not in CATALOGUE or self._classifier is None:
            return None
        raised = {each.raises for each in kept}
        by = f"classifier:{self._classifier.version}"
        others = [
            Alternative(node, by, sure)
            for node, (sure, _) in believed.items()
            if node in CATALOGUE and node not in raised
        ]
        if hit.raises in believed:
            others.append(Alternative("none", by, 1 - believed[hit.raises][0]))
        return max(others, key=lambda other: other.confidence, default=None)

    def _before(self, speaker: Speaker) -> str:
        """The other party's last turn."""
        others = [text for who, text in self._last.items() if who is not speaker or who is Speaker.UNKNOWN]
        return others[-1][-_BEFORE:] if others else ""

    def _nodes(self, turn: Turn, transcript: Transcript, hits: Iterable[Hit], offset: int) -> list[Finding]:
        """Raise what is new in this turn, take back what its going on has denied."""
        assert self._cases is not None
        best: dict[str, Hit] = {}
        for hit in hits:
            node = hit.raises
            if node in CATALOGUE and (node not in best or hit.confidence > best[node].confidence):
                best[node] = hit
        defers = "defer" in {hit.raises for hit in hits}
        if TIMING in best and defers and any(case.node != TIMING for case in self._cases.unsettled):
            # The sentence that puts off a raised objection is no new one.
            del best[TIMING]
        out: list[Finding] = []
        for node, start in list(turn.raised.items()):
            if start >= offset and node not in best:
                del turn.raised[node]
                self.noticed.discard(node)
                out += self._retracted(node, transcript)
        for node, hit in best.items():
            again = turn.speaker is Speaker.UNKNOWN and offset + hit.start > turn.raised.get(node, -1) + TAIL
            if node in turn.raised and not again:
                continue
            turn.raised[node] = offset + hit.start
            self.noticed.add(node)
            evidence = evidence_of(transcript, hit)
            if node in _AGREES:
                turn.note("accept", turn.raised[node], evidence)
                turn.note("buys", turn.raised[node], evidence)
            if node.startswith("objection."):
                out.append(self._cases.raise_(node, evidence))
            else:
                out.append(evidence.finding(Step.RAISED, node))
        return out

    def _retracted(self, node: str, transcript: Transcript) -> list[Finding]:
        assert self._cases is not None
        evidence = plain(transcript, 0.8, "rule:retracted")
        if node.startswith("objection."):
            found = self._cases.retract(node, evidence)
            return [found] if found else []
        return [evidence.finding(Step.RETRACTED, node)]

    def _signals(self, turn: Turn, transcript: Transcript, hits: Iterable[Hit], offset: int) -> list[Finding]:
        """Note what moves the life of a node; a 「行」 that goes on as 「行是行」 is forgotten."""
        assert self._cases is not None
        raised = {hit.raises for hit in hits}
        for signal, (at, _) in list(turn.signals.items()):
            if (
                at >= offset
                and signal not in raised
                and not (signal in ("accept", "buys") and raised.intersection(_AGREES))
            ):
                del turn.signals[signal]
        out: list[Finding] = []
        # What breaches the rules is no next step, whatever its date.
        breaches = {hit.quote for hit in hits if hit.raises.startswith("compliance.")}
        for hit in hits:
            signal = hit.raises
            if signal in CATALOGUE or (signal == "step" and hit.quote in breaches):
                continue
            evidence = evidence_of(transcript, hit)
            turn.note(signal, offset + hit.start, evidence)
            match signal:
                case "answer" if not any(node.startswith("compliance.") for node in turn.raised):
                    # An offence is no argument: who runs a rival down or offers a gift has answered nothing.
                    out += self._cases.answer(evidence)
                case "discovery":
                    self._process.discovered = True
                case "notice":
                    self._process.notice(self._process.talk_ms + self._spoken(transcript, turn, offset + hit.start))
        return out

    @staticmethod
    def _spoken(transcript: Transcript, turn: Turn, at: int) -> float:
        """Return how many milliseconds of the utterance were over when the character `at` of its turn was said."""
        length = len(transcript.text)
        return (transcript.end_ms - transcript.start_ms) * max(0, at - (len(turn.text) - length)) / length

    def _close_turn(self) -> list[Finding]:
        """Draw the conclusions that need the whole turn."""
        turn = self._turn
        if turn is None or self._cases is None:
            return []
        self._last.pop(turn.speaker, None)
        self._last[turn.speaker] = turn.text
        self._turns.append((turn.speaker, turn.text[-_BEFORE:]))
        said = {signal: evidence for signal, (_, evidence) in turn.signals.items()}
        self.noticed.update(said)
        refuses = "refuse" in said and "accept" not in said
        self._process.turn_ends(turn.speaker, turn.number, proposes="step" in said, refuses=refuses)
        if turn.speaker is Speaker.AGENT:
            return []
        evidence = next((said[name] for name in ("accept", "decide", "defer", "wait") if name in said), None)
        if evidence is None:
            return []
        return self._cases.settle(
            evidence,
            accepts="accept" in said,
            defers="defer" in said,
            waits="wait" in said,
            decides="decide" in said,
            dated=self._process.dated,
            buys="buys" in said,
        )

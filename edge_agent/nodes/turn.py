"""What one party says until the other speaks, and the evidence that its words give."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge_agent.nodes.cases import Evidence
from edge_agent.nodes.catalogue import CATALOGUE
from edge_agent.nodes.phrase import SENTENCE_ENDS

if TYPE_CHECKING:
    from edge_agent.nodes.match import Hit
    from edge_agent.types import Finding, Speaker, TermHit, Transcript

# How far back a sentence that is still going on is read again when its next piece arrives.
TAIL = 80


@dataclass(slots=True)
class Turn:
    """What one party has said since the other last spoke."""

    number: int
    speaker: Speaker
    text: str = ""
    raised: dict[str, int] = field(default_factory=dict)
    signals: dict[str, tuple[int, Evidence]] = field(default_factory=dict)
    terms: list[TermHit] = field(default_factory=list)

    def note(self, signal: str, at: int, evidence: Evidence) -> None:
        """Keep the first place where a signal was given."""
        self.signals.setdefault(signal, (at, evidence))

    def tail(self) -> str:
        """The sentence that is still going on."""
        end = max(self.text.rfind(mark) for mark in SENTENCE_ENDS)
        return self.text[max(end + 1, len(self.text) - TAIL) :]


def told_from_words(finding: Finding, sure: float, transcript: Transcript) -> Finding:
    """Say how sure it is who spoke; where a node hangs on it, the node is no surer."""
    if finding.start_ms != transcript.start_ms or finding.turn is None:
        return finding
    kind = CATALOGUE.get(finding.node)
    hangs = kind is not None and kind.speaker is not None
    return replace(
        finding, speaker_confidence=sure, confidence=finding.confidence * sure if hangs else finding.confidence
    )


def evidence_of(transcript: Transcript, hit: Hit) -> Evidence:
    """Return what an utterance gives in evidence of a hit in it."""
    return Evidence(
        speaker=transcript.speaker,
        quote=hit.quote,
        start_ms=transcript.start_ms,
        end_ms=transcript.end_ms,
        turn=transcript.turn,
        confidence=hit.confidence,
        by=hit.by,
        severity=hit.severity,
        span=hit.span,
        version=hit.version,
        alternative=hit.alternative,
    )


def moved(term: TermHit, by: int) -> TermHit:
    """Return a term as many characters further on."""
    return replace(term, at=(term.at[0] + by, term.at[1] + by))


def plain(transcript: Transcript, confidence: float, by: str) -> Evidence:
    """Return a whole utterance as evidence."""
    return Evidence(
        speaker=transcript.speaker,
        quote=transcript.text.strip(),
        start_ms=transcript.start_ms,
        end_ms=transcript.end_ms,
        turn=transcript.turn,
        confidence=confidence,
        by=by,
    )

"""The nouns of the house: frozen values that pass from room to room.

Times are whole milliseconds since the call began, counted in samples of 16 kHz audio and never read off a clock. The
wall clock stamps a call once, in `Call.started_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # numpy is heavy, and `--help` must answer at once
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000


class Speaker(StrEnum):
    """Who speaks on a leg."""

    AGENT = "agent"
    CUSTOMER = "customer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One conversation.

    `speakers` names the party on each channel, in channel order; its length is the number of channels that are heard.
    `file` is the recording the call is read from, if it is read from one.
    """

    id: str
    source: str
    started_at: datetime
    speakers: tuple[Speaker, ...]
    file: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Audio as a source delivers it.

    `samples` is float32 of shape (channels, n) at 16 kHz within [-1, 1]; `start` is the index of its first sample since
    the call began.
    """

    start: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio that was not heard, and why.

    Without a `channel` nothing of the call was heard. With one only that leg is missing: its row of the chunks holds
    zeros there, and the gap only tells of it.
    """

    start_ms: int
    end_ms: int
    reason: str
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last item of a source that knows why its call ended, such as `hung up`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the VAD cuts out of one channel; the unit of recognition.

    `samples` is float32 of shape (n,) at 16 kHz. `forced` says that it was cut because it grew too long, not because
    the speaker paused. After such a cut within speech, `samples` begin `lead_ms` before `start_ms`: what is heard there
    belongs to the utterance before. `voiced_ms` is for how long speech was probable.
    """

    call_id: str
    channel: int
    speaker: Speaker
    start_ms: int
    end_ms: int
    samples: Samples
    forced: bool = False
    lead_ms: int = 0
    voiced_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What may have been said in place of `text[start:end]` of a hypothesis, as far as the audio can tell.

    `evidence` is the natural logarithm of how much likelier the audio is if `put` was said; `near` in 0…1 is how
    likely each of its `syllables` is beside the likeliest one (the geometric mean). The `ear` knows sounds alone; where
    the `decoder` weighed both texts, it has plain language in it already, and `near` is how near the text comes.
    """

    start: int
    end: int
    put: str
    evidence: float
    near: float
    syllables: int
    by: Literal["ear", "decoder"] = "ear"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the recognizer made of an utterance; `confidence` in 0…1 is the mean probability of its tokens.

    `readings` are terms that the audio suggests. `times_ms` says of each character of the text from when to when it was
    heard, in ms since the utterance's samples began; it is empty where that isn't known.
    """

    text: str
    confidence: float
    no_speech: float = 0.0
    readings: tuple[Reading, ...] = ()
    times_ms: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TermHit:
    """A dictionary term found in a text.

    `at` is the half-open span of characters in the corrected text; `via` is `exact`, `alias`, `phonetic` or `audio`;
    `heard` is what the recognizer wrote there; `score` in 0…1 is 1 for what was written as the dictionary has it.
    `span_ms` is from when to when it was said, counted from the beginning of the call; None where there is no audio.
    """

    term: str
    at: tuple[int, int]
    via: str
    heard: str
    score: float
    category: str = ""
    pack: str = ""
    span_ms: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final text of an utterance: `heard` by the recognizer, `text` after the dictionary's corrections.

    `turn` counts turns of the call from 0: it grows whenever the other party starts to speak. `dictionary` is the
    version that judged it.
    """

    call_id: str
    channel: int
    speaker: Speaker
    turn: int
    start_ms: int
    end_ms: int
    heard: str
    text: str
    terms: tuple[TermHit, ...] = ()
    confidence: float = 1.0
    dictionary: str = ""


class Step(StrEnum):
    """What happened to a node: the last part of an event's type (`edge.node.<step>`)."""

    RAISED = "raised"
    REPEATED = "repeated"
    ANSWERED = "answered"
    CLOSED = "closed"
    DEFERRED = "deferred"
    REOPENED = "reopened"
    UNRESOLVED = "unresolved"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class Alternative:
    """The reading of the words that lost: a node, or `none`; who spoke for it, and how surely."""

    node: str
    by: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A moment that matters, with its evidence; it becomes an event.

    `case` ties the steps of one objection together. `by` names the rule or the classifier that fired
    (`rule:<rule id>`), `version` is a hash of what that rule or classifier says. `turn` is None for what no single turn
    shows (process nodes). `span` is the half-open span of characters in the quote that were decisive, None where the
    quote was judged as a whole. `calls` are the calls that show it, where one does not. `speaker_confidence`
    says how sure it is who spoke, where that was told from the words; None where the channel told it. `terms` are the
    dictionary's terms in the quote, their places counted in it.
    """

    step: Step
    node: str
    speaker: Speaker
    quote: str
    start_ms: int
    end_ms: int
    confidence: float
    by: str
    turn: int | None = None
    case: str | None = None
    severity: str = "info"
    span: tuple[int, int] | None = None
    version: str = ""
    alternative: Alternative | None = None
    calls: tuple[str, ...] = ()
    speaker_confidence: float | None = None
    terms: tuple[TermHit, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenCase:
    """An objection that stood open, or was put off, when a call ended; it goes on in the customer's next call."""

    id: str
    node: str
    deferred: bool
    severity: str


@dataclass(frozen=True, slots=True)
class PastCall:
    """What is remembered of a customer's call: which nodes and signals were noticed in it, and what stayed open."""

    call_id: str
    customer_id: str
    started_at: datetime
    noticed: frozenset[str]
    cases: tuple[OpenCase, ...] = ()


@dataclass(frozen=True, slots=True)
class Versions:
    """Which dictionary, rules and model judged; content hashes or names, they travel with every event."""

    dictionary: str = ""
    rules: str = ""
    model: str = ""

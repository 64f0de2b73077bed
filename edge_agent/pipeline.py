"""The corridor: from sources to events, one direction, with door 1 in the middle.

Every source is heard on a thread of its own (`edge_agent.hearing`). One thread takes the utterances out of the queue,
has them recognized in batches, judges them in order, and yields an `Outcome` for each. The daemon, the demo and
`transcribe` all walk through here: what an admin tries offline is what runs live.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edge_agent import event
from edge_agent.hearing import Closed, Item, Listener, Missed, Opened, Paused, Reception, Resumed, Spoken
from edge_agent.pausing import Pauses
from edge_agent.types import Call, Finding, Hypothesis, Speaker, Transcript, Utterance, Versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.audio import Intake, Source
    from edge_agent.event import Event
    from edge_agent.nodes import CallJudge, Classifier, Limits, Rules
    from edge_agent.terms import Dictionary
    from edge_agent.types import Samples
    from edge_agent.vad import EndpointSettings


class Recognizer(Protocol):
    """What the corridor needs of an engine; only one thread calls it."""

    @property
    def name(self) -> str:
        """The model's name and version."""

    def transcribe(self, samples: Sequence[Samples]) -> list[Hypothesis]:
        """Recognize utterances, each float32 of shape (n,) at 16 kHz; results in the same order."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What judges a call and may be exchanged while calls run, by swapping one reference.

    A new dictionary serves running calls at once; new rules serve the calls that begin after it, because open cases
    belong to the rules that raised them.
    """

    dictionary: Dictionary
    rules: Rules
    limits: Limits
    classifier: Classifier | None = None

    def judge(self) -> CallJudge:
        """Return a judge for one call."""
        from edge_agent.nodes import CallJudge

        return CallJudge(self.rules, self.limits, self.classifier)

    def versions(self, model: str = "") -> Versions:
        """Return who judges, for the events; `rules` names the classifier too, where there is one."""
        classifier = f"+{self.classifier.version}" if self.classifier else ""
        return Versions(self.dictionary.version, self.rules.version + classifier, model)


@dataclass(frozen=True, slots=True)
class Settings:
    """How the corridor works: endpointing, the width of door 1, and how utterances share a batch."""

    site: str
    endpoint: EndpointSettings
    queue_utterances: int = 256
    batch: int = 8
    gather_ms: int = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one item: the events to keep, in order, and for speech its transcript and findings."""

    item: Item
    events: tuple[Event, ...] = ()
    transcript: Transcript | None = None
    findings: tuple[Finding, ...] = ()


class Conversation:
    """What the pure rooms remember of one call; it lives as long as the call."""

    def __init__(self, call: Call, knowledge: Knowledge) -> None:
        self.call = call
        self.knowledge = knowledge
        self.utterances = 0
        self._judge = knowledge.judge()
        self._voice: tuple[int, Speaker] | None = None
        self._turn = -1

    def hear(
        self, utterance: Utterance, hypothesis: Hypothesis, dictionary: Dictionary
    ) -> tuple[Transcript, tuple[Finding, ...]]:
        """Make the transcript of an utterance and judge it."""
        voice = (utterance.channel, utterance.speaker)
        if voice != self._voice:
            self._voice = voice
            self._turn += 1
        recognition = dictionary.recognise(hypothesis.text)
        transcript = Transcript(
            call_id=self.call.id,
            channel=utterance.channel,
            speaker=utterance.speaker,
            turn=self._turn,
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            heard=hypothesis.text,
            text=recognition.text,
            terms=recognition.terms,
            confidence=hypothesis.confidence,
        )
        self.utterances += 1
        return transcript, tuple(self._judge.hear(transcript))

    def end(self, end_ms: int) -> tuple[Finding, ...]:
        """Return what only the end of a call shows."""
        return tuple(self._judge.end(end_ms))


class Corridor:
    """Sources in, outcomes out.

    `attach` begins to hear a source, `receive` every source that an intake announces; `outcomes` yields what comes of
    them, in the thread that asks; `close` says that no further source or intake comes, so that `outcomes` ends after
    the last call; `stop` ends all calls now, and what was heard by then is still judged. `knowledge` may be swapped at
    any time.
    """

    def __init__(
        self, engine: Recognizer, knowledge: Knowledge, settings: Settings, pauses: Pauses | None = None
    ) -> None:
        self.knowledge = knowledge
        self._pauses = pauses or Pauses()
        self._engine = engine
        self._settings = settings
        self._door: queue.Queue[Item] = queue.Queue(maxsize=settings.queue_utterances)
        self._listeners: list[Listener] = []
        self._receptions: list[Reception] = []
        self._lock = threading.Lock()
        self._conversations: dict[str, Conversation] = {}
        self._closing = threading.Event()
        self._stopping = threading.Event()

    def attach(self, source: Source) -> None:
        """Hear a source until it ends or `stop` is called, and close it then."""
        listener = Listener(source, self._settings.endpoint, self._door, self._stopping, self._pauses)
        with self._lock:
            listener.start()
            self._listeners.append(listener)
            if self._stopping.is_set():
                listener.stop()

    def receive(self, intake: Intake) -> None:
        """Hear every call that an intake announces, until it has no more or `stop` is called."""
        reception = Reception(intake, self.attach)
        with self._lock:
            reception.start()
            self._receptions.append(reception)

    def close(self) -> None:
        """Say that no further source will be attached."""
        self._closing.set()

    def stop(self) -> None:
        """End all calls now; what was heard is still judged."""
        self._stopping.set()
        self._closing.set()
        with self._lock:
            ending: list[Reception | Listener] = [*self._receptions, *self._listeners]
        for one in ending:
            one.stop()

    @property
    def waiting(self) -> int:
        """How many items wait behind door 1."""
        return self._door.qsize()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that run."""
        return tuple(conversation.call for conversation in list(self._conversations.values()))

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what comes of each item, in order, until the corridor is closed and empty.

        Only one thread may run this: it alone touches the model.
        """
        while items := self._gather():
            spoken = [item.utterance.samples for item in items if isinstance(item, Spoken)]
            hypotheses = iter(self._engine.transcribe(spoken) if spoken else ())
            for item in items:
                yield self._judge(item, next(hypotheses) if isinstance(item, Spoken) else None)

    def _judge(self, item: Item, hypothesis: Hypothesis | None) -> Outcome:
        knowledge, call, site = self.knowledge, item.call, self._settings.site
        conversation = self._conversations.get(call.id)
        if conversation is None:
            conversation = self._conversations[call.id] = Conversation(call, knowledge)
        versions = replace(conversation.knowledge.versions(self._engine.name), dictionary=knowledge.dictionary.version)
        match item:
            case Opened():
                return Outcome(item, (event.call_started(site, call, versions),))
            case Missed():
                return Outcome(item, (event.audio_gap(site, call, item.gap, versions),))
            case Paused():
                by, until = item.pause.by, item.pause.until
                return Outcome(item, (event.audio_paused(site, call, item.at_ms, by, until, versions),))
            case Resumed():
                return Outcome(item, (event.audio_resumed(site, call, item.paused_ms, item.at_ms, versions),))
            case Spoken():
                if hypothesis is None or not hypothesis.text:
                    return Outcome(item)
                transcript, findings = conversation.hear(item.utterance, hypothesis, knowledge.dictionary)
                events = tuple(event.node_event(site, call, finding, versions) for finding in findings)
                return Outcome(item, events, transcript, findings)
            case Closed():
                del self._conversations[call.id]
                findings = conversation.end(item.end_ms)
                events = tuple(event.node_event(site, call, finding, versions) for finding in findings)
                ended = event.call_ended(site, call, item.end_ms, conversation.utterances, item.reason, versions)
                return Outcome(item, (*events, ended), None, findings)

    def _gather(self) -> list[Item]:
        """Wait for an item, then for others to share its batch; an empty list says that all is done."""
        items: list[Item] = []
        while not items:
            # Intakes are asked before listeners, and those before the queue: one that has ended has handed on already.
            with self._lock:
                self._receptions = [reception for reception in self._receptions if reception.alive]
                self._listeners = [listener for listener in self._listeners if listener.alive]
                over = self._closing.is_set() and not self._receptions and not self._listeners
            try:
                items.append(self._door.get_nowait() if over else self._door.get(timeout=0.1))
            except queue.Empty:
                if over:
                    return []
        until = time.monotonic() + self._settings.gather_ms / 1000
        while sum(isinstance(item, Spoken) for item in items) < self._settings.batch:
            try:
                items.append(self._door.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return items

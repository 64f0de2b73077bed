"""The corridor: from sources to events, one direction, with door 1 in the middle.

Every source is heard on a thread of its own (`edge_agent.hearing`). Door 1 has the utterances of all calls recognized
by the workers, and one thread takes them out of it in the order of their calls, judges them, and yields an `Outcome`
for each. The daemon, the demo and `transcribe` all walk through here: what an admin tries offline is what runs live.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edge_agent import event, evidence
from edge_agent.asr.card import Card
from edge_agent.asr.workers import Desk, Prompted, Recognized, Recognizer
from edge_agent.door import Door
from edge_agent.errors import OverloadError
from edge_agent.hearing import Closed, Item, Listener, Missed, Opened, Paused, Reception, Resumed, Spoken
from edge_agent.judging import Judging
from edge_agent.judging import Knowledge as Knowledge
from edge_agent.pausing import Pauses
from edge_agent.terms import Hotwords
from edge_agent.types import Call, Finding, Hypothesis, PastCall, Speaker, Transcript, Utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edge_agent.asr.spool import Spool
    from edge_agent.audio import Intake, Source
    from edge_agent.event import Event, Shadowed
    from edge_agent.terms import Dictionary
    from edge_agent.vad import EndpointSettings

log = logging.getLogger(__name__)

_ABANDON_S = 10.0
"""How long a source that ends is waited for before its thread is left behind."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the corridor works: endpointing, the width of door 1, and how utterances share a batch.

    Measures are taken when an utterance has waited `behind_ms` for the model (`edge_agent.asr.relief`). `about` names,
    for a source, the packs and categories of terms that its calls are about.
    """

    site: str
    endpoint: EndpointSettings
    queue_utterances: int = 256
    batch: int = 4
    gather_ms: int = 40
    behind_ms: int = 400
    gain: bool = True
    about: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one item: the events to keep, in order, and for speech its transcript and findings.

    At the end of a call also what to remember of it for the customer's next, and what was found in shadow.
    """

    item: Item
    events: tuple[Event, ...] = ()
    transcript: Transcript | None = None
    findings: tuple[Finding, ...] = ()
    memory: PastCall | None = None
    shadowed: tuple[Shadowed, ...] = ()


class Conversation:
    """What the pure rooms remember of one call; it lives as long as the call."""

    def __init__(
        self, call: Call, knowledge: Knowledge, past: Sequence[PastCall] = (), hotwords: Hotwords | None = None
    ) -> None:
        self.call = call
        self.told: tuple[str, ...] = hotwords.now(knowledge.dictionary) if hotwords else ()
        """The terms that are likely in what is said next; nothing for a recognizer that can't be told."""
        self._hotwords = hotwords
        self.knowledge = knowledge
        self.utterances = 0
        self.judging = Judging(call, knowledge, past)
        self._voice: tuple[int, Speaker] | None = None
        self._turn = -1
        self._before: dict[int, str] = {}

    def hear(
        self, utterance: Utterance, hypothesis: Hypothesis, dictionary: Dictionary
    ) -> tuple[Transcript, tuple[Finding, ...]]:
        """Make the transcript of an utterance and judge it."""
        voice = (utterance.channel, utterance.speaker)
        if voice != self._voice:
            self._voice = voice
            self._turn += 1
        hypothesis = evidence.without_lead(self._before.get(utterance.channel, ""), hypothesis, utterance)
        heard = hypothesis.text
        self._before[utterance.channel] = heard
        recognition = dictionary.recognise(heard, hypothesis.readings)
        transcript = Transcript(
            call_id=self.call.id,
            channel=utterance.channel,
            speaker=utterance.speaker,
            turn=self._turn,
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            heard=heard,
            text=recognition.text,
            terms=evidence.timed(recognition, hypothesis, utterance),
            confidence=hypothesis.confidence,
            dictionary=dictionary.version,
        )
        self.utterances += 1
        if self._hotwords:
            self.told = self._hotwords.hear(heard, transcript.terms, dictionary)
        return transcript, tuple(self.judging.hear(transcript))

    def end(self, end_ms: int) -> tuple[Finding, ...]:
        """Return what only the end of a call shows."""
        return tuple(self.judging.end(end_ms))


class Corridor:
    """Sources in, outcomes out.

    In place of recognizers there may be the card of the model that is yet to be read, and no knowledge: then sources
    are heard already, and what was said waits until `equip` brings both.
    `attach` begins to hear a source, `receive` every source that an intake announces; `outcomes` yields what comes of
    them, in the thread that asks; `close` says that no further source or intake comes, so that `outcomes` ends after
    the last call; `stop` ends all calls now, and what was heard by then is still judged. `knowledge` may be swapped at
    any time.
    """

    def __init__(
        self,
        engine: Recognizer | Sequence[Desk] | Card,
        knowledge: Knowledge | None,
        settings: Settings,
        pauses: Pauses | None = None,
        *,
        spool: Spool | None = None,
    ) -> None:
        self.knowledge: Knowledge
        self.past_calls: Callable[[str], Sequence[PastCall]] = lambda customer_id: ()
        """What is remembered of a customer's calls, oldest first; whoever keeps them says so."""
        self._pauses = pauses or Pauses()
        self.refused = 0
        """How many calls were not let in."""
        self._settings = settings
        buckets = engine.buckets_s if isinstance(engine, Card) else _desks(engine)[0].careful.buckets
        self._endpoint = within_context(settings.endpoint, buckets[-1])
        self._door = Door(
            (),
            buckets=buckets,
            width=settings.queue_utterances,
            batch=settings.batch,
            gather_s=settings.gather_ms / 1000,
            behind_s=settings.behind_ms / 1000,
            spool=spool,
            hints=self._hints,
        )
        self._spool = spool
        self._listeners: list[Listener] = []
        self._receptions: list[Reception] = []
        self._lock = threading.Lock()
        self._conversations: dict[str, Conversation] = {}
        self._closing = threading.Event()
        self._stopping = threading.Event()
        if not isinstance(engine, Card) and knowledge is not None:
            self.equip(engine, knowledge)

    def equip(self, engine: Recognizer | Sequence[Desk], knowledge: Knowledge) -> None:
        """Bring what recognizes and what judges, before `outcomes`."""
        self.knowledge = knowledge
        desks = _desks(engine)
        self._model = desks[0].careful.name
        self._prompted = isinstance(desks[0].careful, Prompted) and desks[0].careful.takes_prompts
        for desk in desks:
            desk.heed(lambda: self.knowledge.dictionary)
        self._door.workers.seat(desks)

    def attach(self, source: Source) -> None:
        """Hear a source until it ends or `stop` is called, and close it then.

        A live source is refused while memory and spool are full: its call is recorded as ended for that reason.
        """
        if source.live and self._door.refusing():
            self._refuse(source)
            return
        listener = Listener(source, self._endpoint, self._door, self._stopping, self._pauses, gain=self._settings.gain)
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

    def _hints(self, spoken: Spoken) -> Sequence[str]:
        """Return the hotwords of an utterance, as they are when it goes before the recognizer."""
        conversation = self._conversations.get(spoken.call.id)
        return conversation.told if conversation else ()

    def _refuse(self, source: Source) -> None:
        error = OverloadError(
            "the call is not heard: recognition is behind and the spool is full",
            where=source.call.source,
            remedy="`edge-agent status` shows what waits; give the appliance more cores, or a smaller model",
        )
        log.error("call %s: %s", source.call.id, error)
        self.refused += 1
        source.close()
        self._door.put(Opened(source.call))
        self._door.put(Closed(source.call, 0, "refused", error))

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

    def abandon(self) -> None:
        """Stop where nobody asks for outcomes, or no longer: what waits is let go, and no thread is left hearing."""
        self.stop()
        self._door.close()
        for listener in self._listeners:
            listener.join(_ABANDON_S)

    @property
    def waiting(self) -> int:
        """How many items wait behind door 1."""
        return self._door.waiting

    @property
    def idle(self) -> bool:
        """Whether no call is between its beginning and its end, and nothing waits."""
        return not self._conversations and not self._door.waiting

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that run, those first whose beginning was judged already."""
        with self._lock:
            heard = [listener.call for listener in self._listeners if listener.alive]
        running = [conversation.call for conversation in list(self._conversations.values())]
        return tuple({call.id: call for call in (*running, *heard)}.values())

    def lag_ms(self, call: Call) -> list[int]:
        """Return for each channel for how long its oldest utterance has waited since it was said, in ms; 0: none."""
        return self._door.lag_ms(call.id, len(call.speakers))

    def load(self) -> dict[str, Any]:
        """Say how recognition keeps up, as JSON values."""
        counts = self._door.workers.counts
        return {
            "step": self._door.workers.step.name.lower(),
            "workers": self._door.workers.size,
            "batch": round(counts["utterances"] / counts["calls"], 2) if counts["calls"] else None,
            "guesses": counts["guesses"],
            "guesses_right": counts["guesses_right"],
            "guesses_dropped": counts["guesses_dropped"],
            "not_believed": counts["not_believed"],
            "spooled": self._spool.spooled if self._spool else 0,
            "in_spool": self._spool.waiting if self._spool else 0,
            "refused_calls": self.refused,
        }

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what comes of each item, in the order of its call, until the corridor is closed and empty.

        Only one thread may run this, and once.
        """
        self._door.workers.start()
        try:
            while True:
                # Intakes are asked before listeners, those before the door: one that has ended has handed on already.
                with self._lock:
                    self._receptions = [reception for reception in self._receptions if reception.alive]
                    self._listeners = [listener for listener in self._listeners if listener.alive]
                    over = self._closing.is_set() and not self._receptions and not self._listeners
                if taken := self._door.take(0.1):
                    yield self._judge(*taken)
                elif over and not self._door.waiting:
                    return
        finally:
            self._door.close()

    def _judge(self, item: Item, recognized: Recognized | None) -> Outcome:
        knowledge, call, site = self.knowledge, item.call, self._settings.site
        conversation = self._conversations.get(call.id)
        if conversation is None:
            past = self.past_calls(call.customer_id) if call.customer_id else ()
            hotwords = Hotwords(self._settings.about.get(call.source, ())) if self._prompted else None
            conversation = self._conversations[call.id] = Conversation(call, knowledge, past, hotwords)
        model = recognized.model if recognized else self._model
        versions = replace(conversation.knowledge.versions(model), dictionary=knowledge.dictionary.version)
        match item:
            case Opened():
                return Outcome(item, (event.call_started(site, call, versions),))
            case Missed():
                return Outcome(item, (event.audio_gap(site, call, item.gap, versions),))
            case Paused():
                by, until = item.pause.by, item.pause.until
                return Outcome(item, (event.audio_paused(site, call, item.at_ms, by, until, versions),))
            case Resumed():
                return Outcome(item, (event.audio_resumed(site, call, item.paused_ms, item.at_ms, item.by, versions),))
            case Spoken():
                if recognized is None or not recognized.hypothesis.text:
                    return Outcome(item)
                transcript, findings = conversation.hear(item.utterance, recognized.hypothesis, knowledge.dictionary)
                if not transcript.text:
                    return Outcome(item)
                events = tuple(event.node_event(site, call, finding, versions) for finding in findings)
                return Outcome(item, events, transcript, findings)
            case Closed():
                del self._conversations[call.id]
                findings = conversation.end(item.end_ms)
                events = tuple(event.node_event(site, call, finding, versions) for finding in findings)
                ended = event.call_ended(site, call, item.end_ms, conversation.utterances, item.reason, versions)
                shadowed = conversation.judging.shadowed(site, model)
                return Outcome(item, (*events, ended), None, findings, conversation.judging.memory, shadowed)


def _desks(engine: Recognizer | Sequence[Desk]) -> Sequence[Desk]:
    return engine if isinstance(engine, Sequence) else [Desk.of(engine)]


def within_context(endpoint: EndpointSettings, longest_s: int) -> EndpointSettings:
    """Return endpointing that cuts no utterance longer than the model's context, overlap and last window counted."""
    most_ms = longest_s * 1000 - endpoint.overlap_ms - 100
    return endpoint if endpoint.max_utterance_ms <= most_ms else replace(endpoint, max_utterance_ms=most_ms)

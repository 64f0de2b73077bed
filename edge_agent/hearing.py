"""Hear: one thread for each source cuts utterances and puts them through door 1 (`edge_agent.door`).

Anything may stall here; it never blocks the rest. A file waits where the door is full; a live source can't, so there
utterances go to the spool, and one that does not fit in there either is lost, and recorded as a gap. An utterance of a
live call that is probably over is passed on as a guess, so that its text is there when it is over. What is
paused is dropped here, before anything listens to it, and the timeline goes on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_agent.errors import EdgeError
from edge_agent.pausing import Pause, Pauses
from edge_agent.types import SAMPLES_PER_MS, Call, Chunk, End, Gap, Utterance

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.audio import Intake, Source
    from edge_agent.vad import EndpointSettings, Segmenter

log = logging.getLogger(__name__)

# How far back the delivery times of audio are remembered; every utterance is cut well within this time.
_REMEMBERED_S = 60


@dataclass(frozen=True, slots=True)
class Opened:
    """A call begins."""

    call: Call


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance was cut; `heard_at` is the monotonic time in seconds when its last sample was delivered."""

    call: Call
    utterance: Utterance
    heard_at: float


@dataclass(frozen=True, slots=True)
class Missed:
    """Audio was not heard."""

    call: Call
    gap: Gap


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody asked that a call be not heard for a while."""

    call: Call
    at_ms: int
    pause: Pause


@dataclass(frozen=True, slots=True)
class Resumed:
    """A call is heard again; what was said since `paused_ms` was dropped."""

    call: Call
    paused_ms: int
    at_ms: int
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """A call is over; `error` says why it ended before its source did."""

    call: Call
    end_ms: int
    reason: str
    error: EdgeError | None = None


Item = Opened | Spoken | Missed | Paused | Resumed | Closed


class Entrance(Protocol):
    """Door 1 as a listener sees it."""

    def put(self, item: Item) -> None:
        """Let an item in; wait while there is no room."""

    def put_nowait(self, item: Item) -> None:
        """Let an item of a live call in; `queue.Full` says that there is no room, in memory or on disk."""

    def guess(self, spoken: Spoken | None, call_id: str, channel: int) -> None:
        """Recognize an utterance that is probably over; None takes back what was guessed of this channel."""


class Listener:
    """Hears one source to its end, or until `stopping` is set, on a thread of its own."""

    def __init__(
        self,
        source: Source,
        endpoint: EndpointSettings,
        door: Entrance,
        stopping: threading.Event,
        pauses: Pauses | None = None,
        *,
        gain: bool = True,
    ) -> None:
        # Imported here and not on the thread, so that two threads never import parts of one package at once.
        from edge_agent.audio.gain import Leveller
        from edge_agent.vad import Segmenter

        self._source = source
        self._leveller = Leveller(len(source.call.speakers)) if gain else None
        self._segmenter = Segmenter(source.call, endpoint)
        self._pauses = pauses or Pauses()
        self._paused_from: int | None = None
        self._door = door
        self._stopping = stopping
        self._deliveries = _Deliveries()
        self._lost: deque[Missed | Paused | Resumed] = deque()
        self._missed_until_ms = 0
        self._thread = threading.Thread(target=self._run, name=f"hear-{source.call.id}", daemon=True)

    def start(self) -> None:
        """Begin to hear."""
        self._thread.start()

    def stop(self) -> None:
        """End the source; what was heard is still passed on."""
        self._source.close()

    def join(self, timeout_s: float) -> None:
        """Wait until nothing more comes from here, so long at most."""
        self._thread.join(timeout_s)

    @property
    def call(self) -> Call:
        """The call that is heard."""
        return self._source.call

    @property
    def alive(self) -> bool:
        """Whether something may still come through the door from here."""
        return self._thread.is_alive()

    def _run(self) -> None:
        call, segmenter = self._source.call, self._segmenter
        reason, error = "end of source", None
        self._door.put(Opened(call))
        try:
            reason = self._hear(segmenter)
        except EdgeError as problem:
            reason, error = "error", problem
            log.error("call %s ended early: %s", call.id, problem)
        except Exception as problem:
            reason, error = "error", EdgeError(f"{type(problem).__name__}: {problem}", where=call.source)
            log.exception("call %s ended by a fault of the program", call.id)
        finally:
            self._source.close()
        # What remains goes through the door even where it is full: the end of a call is never lost.
        for utterance in segmenter.flush():
            self._door.put(self._spoken(utterance))
        for lost in self._lost:
            self._door.put(lost)
        if self._paused_from is not None:
            self._door.put(self._not_heard(max(self._missed_until_ms, segmenter.position_ms)))
        self._door.put(Closed(call, max(segmenter.position_ms, self._missed_until_ms), reason, error))

    def _hear(self, segmenter: Segmenter) -> str:
        call, reason = self._source.call, "end of source"
        for heard in self._source:
            if self._stopping.is_set():
                return "stopped"
            match heard:
                case Gap():
                    if heard.channel is None:
                        self._missed_until_ms = heard.end_ms
                    self._pass(Missed(call, heard))
                case End():
                    reason = heard.reason
                case Chunk() if pause := self._pauses.of(call.id, live=self._source.live):
                    self._drop(heard, pause, segmenter)
                case Chunk():
                    if self._paused_from is not None:
                        paused_ms = self._paused_from // SAMPLES_PER_MS
                        self._pass(self._not_heard(heard.start // SAMPLES_PER_MS))
                        self._pass(
                            Resumed(call, paused_ms, heard.start // SAMPLES_PER_MS, self._pauses.resumed_by(call.id))
                        )
                        self._paused_from = None
                    self._deliveries.add(heard.start + heard.samples.shape[1])
                    if self._leveller is not None:
                        heard = Chunk(heard.start, self._leveller.feed(heard.samples))
                    for utterance in segmenter.feed(heard):
                        self._pass(self._spoken(utterance))
                    if self._source.live:
                        self._guess(segmenter)
        return "stopped" if self._stopping.is_set() else reason

    def _drop(self, chunk: Chunk, pause: Pause, segmenter: Segmenter) -> None:
        """Count a chunk that must not be heard; what was said before the pause is judged now."""
        if self._paused_from is None:
            for utterance in segmenter.flush():
                self._pass(self._spoken(utterance))
            if self._source.live:
                self._guess(segmenter)
            self._paused_from = chunk.start
            self._pass(Paused(self._source.call, chunk.start // SAMPLES_PER_MS, pause))
        self._missed_until_ms = (chunk.start + chunk.samples.shape[1]) // SAMPLES_PER_MS

    def _not_heard(self, until_ms: int) -> Missed:
        return Missed(self._source.call, Gap((self._paused_from or 0) // SAMPLES_PER_MS, until_ms, "paused"))

    def _guess(self, segmenter: Segmenter) -> None:
        call = self._source.call
        for channel, utterance in segmenter.guesses().items():
            self._door.guess(self._spoken(utterance) if utterance else None, call.id, channel)

    def _spoken(self, utterance: Utterance) -> Spoken:
        return Spoken(self._source.call, utterance, self._deliveries.at(utterance.end_ms))

    def _pass(self, item: Spoken | Missed | Paused | Resumed) -> None:
        if not self._source.live:
            self._door.put(item)
            return
        try:
            while self._lost:
                self._door.put_nowait(self._lost[0])
                self._lost.popleft()
            self._door.put_nowait(item)
        except queue.Full:
            if isinstance(item, Spoken):
                log.warning("call %s: recognition is behind, an utterance was lost", item.call.id)
                spoken = item.utterance
                item = Missed(item.call, Gap(spoken.start_ms, spoken.end_ms, "recognition was behind"))
            self._lost.append(item)


class Reception:
    """Takes the calls that one intake announces to `attach`, on a thread of its own, until it is closed."""

    def __init__(self, intake: Intake, attach: Callable[[Source], None]) -> None:
        self.intake = intake
        self._attach = attach
        self._thread = threading.Thread(target=self._run, name=f"intake-{intake.name}", daemon=True)

    def start(self) -> None:
        """Begin to wait for calls."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more calls and end those that are heard live."""
        self.intake.close()

    @property
    def alive(self) -> bool:
        """Whether another call may still come."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            for source in self.intake:
                self._attach(source)
        except EdgeError as problem:
            log.error("source %s hears nothing any more: %s", self.intake.name, problem)
        except Exception:
            log.exception("source %s ended by a fault of the program", self.intake.name)


class _Deliveries:
    """When which sample was delivered, for the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque()

    def add(self, end: int) -> None:
        now = time.monotonic()
        self._seen.append((end, now))
        while self._seen[0][1] < now - _REMEMBERED_S:
            self._seen.popleft()

    def at(self, ms: int) -> float:
        """Return the monotonic time at which the sample at `ms` was delivered."""
        moment = time.monotonic()
        for end, delivered in reversed(self._seen):
            if end < ms * SAMPLES_PER_MS:
                break
            moment = delivered
        return moment

"""Door 1: what was heard waits here to be recognized, and goes on in order.

Every call has a line of its own: what comes of an item is handed on when all that came before it in its call has been.
Utterances go before the workers (`edge_agent.asr.workers`) as soon as they come; a guess goes there early, and if the
utterance turns out to be what was guessed, its text is there already. Above `width` items a recording waits outside,
and of a live call the samples are written to the spool: a final is never dropped.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.asr.relief import Step
from edge_agent.asr.workers import Recognized, Task, Workers
from edge_agent.hearing import Closed, Item, Spoken
from edge_agent.types import SAMPLES_PER_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_agent.asr.spool import Spool
    from edge_agent.asr.workers import Desk
    from edge_agent.types import Samples

ANSWER_S = 1.0
"""So long after its last sample a live utterance should be recognized."""
RECORDING_S = 30.0
"""So long a recording's utterance may wait for those of live calls."""


@dataclass(slots=True)
class _Place:
    """An item in the line of its call; `result` is there when it was recognized."""

    item: Item
    result: Recognized | None = None

    @property
    def ready(self) -> bool:
        return not isinstance(self.item, Spoken) or self.result is not None


@dataclass(slots=True)
class _Guess:
    """An utterance that is probably over."""

    start_ms: int
    end_ms: int
    key: int
    result: Recognized | None = None


class Door:
    """The lines of all calls. Listeners `put`, one thread `take`s; `hints` names the hotwords of an utterance.

    Without desks utterances wait until the workers are given some; `buckets` says till then how long they may be.
    """

    def __init__(
        self,
        desks: Sequence[Desk],
        *,
        width: int = 256,
        batch: int = 4,
        gather_s: float = 0.04,
        behind_s: float = 0.4,
        spool: Spool | None = None,
        hints: Callable[[Spoken], Sequence[str]] = lambda spoken: (),
        buckets: tuple[int, ...] = (),
    ) -> None:
        self.workers = Workers(
            desks,
            self._recognized,
            self._failed,
            batch=batch,
            gather_s=gather_s,
            behind_s=behind_s,
            spool=spool,
            buckets=buckets,
        )
        self._width = width
        self._spool = spool
        self._hints = hints
        self._lines: dict[str, deque[_Place]] = {}
        self._guesses: dict[tuple[str, int], _Guess] = {}
        self._pending: dict[int, _Place | _Guess] = {}
        self._live: set[str] = set()
        self._waiting = 0
        self._fault: Exception | None = None
        self._open = True
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many items have not been taken."""
        return self._waiting

    def refusing(self) -> bool:
        """Whether no new call may come in: memory and spool are full."""
        return self.workers.watch(full=self._waiting >= self._width) >= Step.REFUSING

    def lag_ms(self, call_id: str, channels: int) -> list[int]:
        """Return for each channel of a call for how long its oldest utterance has waited since it was said, in ms."""
        now = time.monotonic()
        lag = [0] * channels
        with self._changed:
            for place in self._lines.get(call_id, ()):
                if isinstance(place.item, Spoken):
                    channel = place.item.utterance.channel
                    lag[channel] = max(lag[channel], round(1000 * (now - place.item.heard_at)))
        return lag

    def put(self, item: Item) -> None:
        """Let an item in; an utterance waits while there are as many as may be, unless there is room in the spool."""
        if item.call.id in self._live:
            with suppress(queue.Full):
                self.put_nowait(item)
                return
        with self._changed:
            while isinstance(item, Spoken) and self._waiting >= self._width and self._open:
                self._changed.wait()
            self._enter(item)

    def put_nowait(self, item: Item) -> None:
        """Let an item of a live call in; where memory holds as many as it may, its samples go to the spool.

        Raises:
            queue.Full: there is no spool, or no room in it.
        """
        file = None
        with self._changed:
            self._live.add(item.call.id)
            full = self._waiting >= self._width
            self.workers.watch(full=full)
            guessed = isinstance(item, Spoken) and self._right(item) is not None
        if full and isinstance(item, Spoken) and not guessed:
            file = self._spool.put(item.utterance.samples) if self._spool is not None else None
            if file is None:
                raise queue.Full
            item = replace(item, utterance=replace(item.utterance, samples=np.zeros(0, np.float32)))
        with self._changed:
            self._enter(item, file)

    def guess(self, spoken: Spoken | None, call_id: str, channel: int) -> None:
        """Recognize an utterance that is probably over, or take back what was guessed of this channel before."""
        with self._changed:
            self._live.add(call_id)
            before = self._guesses.pop((call_id, channel), None)
            if before is not None:
                self._pending.pop(before.key, None)
                self.workers.withdraw(before.key)
            if spoken is None:
                return
            utterance = spoken.utterance
            # The lock is held until the key is known: a worker may be done before.
            key = self.workers.submit(self._task(spoken, utterance.samples), guess=True)
            if key:
                guess = _Guess(utterance.start_ms, utterance.end_ms, key)
                self._guesses[call_id, channel] = guess
                self._pending[key] = guess

    def take(self, timeout_s: float) -> tuple[Item, Recognized | None] | None:
        """Return the next item whose turn it is, with what was recognized in an utterance; None if there was none.

        Raises:
            Exception: what ended a worker by a fault.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._fault is not None:
                    raise self._fault
                for call_id, line in self._lines.items():
                    if line and line[0].ready:
                        return self._leave(call_id, line.popleft())
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def close(self) -> None:
        """End the workers, and let nobody wait any more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self.workers.close()

    def _enter(self, item: Item, file: Path | None = None) -> None:
        place = _Place(item)
        if isinstance(item, Spoken):
            utterance = item.utterance
            guess = self._right(item)
            if guess is not None:
                del self._guesses[item.call.id, utterance.channel]
                place.result = guess.result
            if guess is not None and (guess.result or self.workers.confirm(guess.key, item.heard_at + ANSWER_S)):
                self.workers.counts["guesses_right"] += 1
                if guess.result is None:
                    self._pending[guess.key] = place
            else:
                self._pending[self.workers.submit(self._task(item, file or utterance.samples))] = place
        self._lines.setdefault(item.call.id, deque()).append(place)
        self._waiting += 1
        self._changed.notify_all()

    def _right(self, spoken: Spoken) -> _Guess | None:
        """Return the guess that turned out to be this utterance."""
        guess = self._guesses.get((spoken.call.id, spoken.utterance.channel))
        same = guess is not None and (guess.start_ms, guess.end_ms) == (
            spoken.utterance.start_ms,
            spoken.utterance.end_ms,
        )
        return guess if same else None

    def _task(self, spoken: Spoken, samples: Samples | Path) -> Task:
        utterance = spoken.utterance
        length = (utterance.end_ms - utterance.start_ms + utterance.lead_ms) * SAMPLES_PER_MS
        live = spoken.call.id in self._live
        deadline = spoken.heard_at + ANSWER_S if live else time.monotonic() + RECORDING_S
        return Task(
            spoken.call.id, samples, length, deadline, tuple(self._hints(spoken)), utterance.voiced_ms, live=live
        )

    def _leave(self, call_id: str, place: _Place) -> tuple[Item, Recognized | None]:
        self._waiting -= 1
        self._changed.notify_all()
        item, result = place.item, place.result
        if isinstance(item, Closed):
            del self._lines[call_id]
            self._live.discard(call_id)
        if isinstance(item, Spoken) and result is not None and result.samples is not None:
            item = replace(item, utterance=replace(item.utterance, samples=result.samples))
        return item, result

    def _recognized(self, key: int, result: Recognized) -> None:
        with self._changed:
            whose = self._pending.pop(key, None)
            if whose is not None:  # a guess that was taken back meanwhile is nobody's
                whose.result = result
                self._changed.notify_all()

    def _failed(self, fault: Exception) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

"""The threads that recognize: one for each core, each with recognizers that no other thread touches.

Utterances are handed over with `submit`; the scheduler decides which are next and which share a call, the ladder with
how much effort. What comes of them is told to `done` on the worker's thread.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edge_agent.asr.filters import believed
from edge_agent.asr.relief import CALM_S, LARGER, Ladder, Step
from edge_agent.asr.scheduler import Job, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.asr.spool import Spool
    from edge_agent.asr.spotting import Terms
    from edge_agent.types import Hypothesis, Samples

log = logging.getLogger(__name__)


class Recognizer(Protocol):
    """What recognition needs of an engine; only one thread calls it."""

    @property
    def name(self) -> str:
        """The model's name and version."""

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths of context in seconds, rising."""

    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        """Recognize utterances, each float32 of shape (n,) at 16 kHz; results in the same order."""


@runtime_checkable
class Attentive(Protocol):
    """A recognizer that listens for the dictionary's terms."""

    def heed(self, terms: Callable[[], Terms] | None) -> None:
        """Listen from now on for the terms of the dictionary that is in force."""


@runtime_checkable
class Prompted(Protocol):
    """A recognizer that may be told hotwords before it hears an utterance."""

    @property
    def takes_prompts(self) -> bool:
        """Whether its model was taught so."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The recognizers of one thread: the most careful one, and what stands in for it where recognition is behind.

    `narrow` searches with a beam of one, `quick` leaves out the second pass too, `smaller` is another model, if there
    is one.
    """

    careful: Recognizer
    narrow: Recognizer
    quick: Recognizer
    smaller: Recognizer | None = None

    @classmethod
    def of(cls, recognizer: Recognizer) -> Desk:
        """Return a desk at which there is but one."""
        return cls(recognizer, recognizer, recognizer)

    def heed(self, terms: Callable[[], Terms]) -> None:
        """Let the recognizers with two passes listen for terms; the others have no time for that."""
        for recognizer in (self.careful, self.narrow):
            if isinstance(recognizer, Attentive):
                recognizer.heed(terms)

    def at(self, step: Step) -> Recognizer:
        """Return which recognizer a step calls for."""
        if step >= Step.SMALLER_MODEL and self.smaller is not None:
            return self.smaller
        if step >= Step.ONE_PASS:
            return self.quick
        return self.narrow if step >= Step.BEAM_ONE else self.careful


@dataclass(frozen=True, slots=True)
class Task:
    """An utterance to recognize: float32 of shape (n,) at 16 kHz, or the file of the spool that holds it.

    `length` counts its samples, `told` are its hotwords. `voiced_ms` is how long speech was
    probable; 0 says that it isn't known. Of a `live` one somebody waits for the text: `deadline` is a monotonic time
    in seconds.
    """

    call_id: str
    samples: Samples | Path
    length: int
    deadline: float
    told: tuple[str, ...] = ()
    voiced_ms: int = 0
    live: bool = True


@dataclass(frozen=True, slots=True)
class Recognized:
    """What came of a task: the hypothesis, the model that made it, and the samples where they lay in the spool."""

    hypothesis: Hypothesis
    model: str
    samples: Samples | None = None


class Workers:
    """Recognizes on as many threads as there are desks.

    Utterances may be handed over before there are any: `seat` brings the recognizers later, and `buckets` (their
    lengths of context in seconds, rising) must be known till then. `done` is called with the key and the result of each
    task; `failed` once with what ended a thread by a fault.
    `counts` says how many utterances, calls of the model, guesses (made, dropped) and texts not believed there were.
    """

    def __init__(
        self,
        desks: Sequence[Desk],
        done: Callable[[int, Recognized], None],
        failed: Callable[[Exception], None],
        *,
        batch: int = 4,
        gather_s: float = 0.04,
        behind_s: float = 0.4,
        spool: Spool | None = None,
        buckets: tuple[int, ...] = (),
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.ladder = Ladder(behind_s)
        self._done = done
        self._failed = failed
        self._spool = spool
        self._scheduler = Scheduler(batch, gather_s)
        self._tasks: dict[int, Task] = {}
        self._running: set[int] = set()
        self._numbers = count(1)
        self._changed = threading.Condition()
        self._closing = False
        self._started_at = math.inf
        self._full = False
        self._threads: list[threading.Thread] = []
        self._buckets = buckets
        if desks:
            self.seat(desks)

    def seat(self, desks: Sequence[Desk]) -> None:
        """Have a thread for each of these desks, before `start`."""
        self._threads = [
            threading.Thread(target=self._run, args=(desk,), name=f"recognize-{number}", daemon=True)
            for number, desk in enumerate(desks)
        ]
        self._buckets = desks[0].careful.buckets

    def start(self) -> None:
        """Begin to recognize."""
        self._started_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads; what waits is forgotten. What is being recognized is waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join()

    @property
    def size(self) -> int:
        """How many threads recognize."""
        return len(self._threads)

    @property
    def step(self) -> Step:
        """What is given up at the moment."""
        return self.ladder.step

    def watch(self, *, full: bool) -> Step:
        """Say whether memory holds as many utterances as it may, and return the step that follows from it."""
        with self._changed:
            self._full = full
            return self._update()

    def submit(self, task: Task, *, guess: bool = False) -> int:
        """Hand over an utterance and return its key; a guess is forgotten at once (key 0) while recognition is behind.

        Raises:
            ValueError: it is longer than the model's longest context.
        """
        group = self._bucket_s(task.length), bool(task.told)
        with self._changed:
            if guess and self._update() >= Step.NO_GUESSES:
                self.counts["guesses_dropped"] += 1
                return 0
            key = next(self._numbers)
            self._tasks[key] = task
            self._scheduler.add(Job(key, task.call_id, group, task.deadline, time.monotonic(), guess, task.live))
            self.counts["guesses"] += guess
            self._changed.notify()
            return key

    def confirm(self, key: int, deadline: float) -> bool:
        """Say that a guess was right: it is a final now. False if it was forgotten, so that it must be submitted."""
        with self._changed:
            self._changed.notify()
            return self._scheduler.confirm(key, deadline, time.monotonic()) or key in self._running

    def withdraw(self, key: int) -> None:
        """Say that a guess was wrong: it is forgotten, unless it is being recognized already."""
        with self._changed:
            if self._scheduler.remove(key):
                del self._tasks[key]
                self.counts["guesses_dropped"] += 1

    def _bucket_s(self, length: int) -> int:
        for bucket in self._buckets:
            if length <= bucket * 16_000:
                return bucket
        raise ValueError(f"an utterance of {length / 16_000:.2f} s does not fit {self._buckets[-1]} s of context")

    def _update(self) -> Step:
        """Look how far behind recognition is, and give up or take up accordingly."""
        now = time.monotonic()
        before = self.ladder.step
        # What waits because nobody recognizes yet is no reason to do it with less care.
        step = self.ladder.update(
            now,
            min(self._scheduler.waited_s(now), max(0.0, now - self._started_at)),
            full=self._full,
            spool_full=self._full and (self._spool is None or self._spool.full),
        )
        if step != before:
            log.log(
                logging.WARNING if step > before else logging.INFO,
                "recognition is %s: %s",
                "behind" if step > before else "catching up",
                step.name.lower().replace("_", " "),
            )
        if step >= Step.NO_GUESSES:
            for key in self._scheduler.drop_guesses():
                del self._tasks[key]
                self.counts["guesses_dropped"] += 1
        return step

    def _take(self) -> tuple[list[tuple[int, Task]], Step]:
        """Wait for the next tasks that share a call; none says that all is over."""
        with self._changed:
            while not self._closing:
                step = self._update()
                batch = self._scheduler.batch * (LARGER if step >= Step.LARGE_BATCHES else 1)
                now = time.monotonic()
                if jobs := self._scheduler.take(now, batch):
                    self._running.update(job.key for job in jobs)
                    return [(job.key, self._tasks.pop(job.key)) for job in jobs], step
                due_in_s = self._scheduler.due_in_s(now, batch)
                # What was given up is taken up again although nothing comes.
                self._changed.wait(due_in_s if due_in_s is not None or step is Step.NONE else CALM_S)
        return [], Step.NONE

    def _run(self, desk: Desk) -> None:
        try:
            while True:
                jobs, step = self._take()
                if not jobs:
                    return
                self._recognize(desk.at(step), jobs)
        except Exception as error:
            log.exception("recognition ended by a fault of the program")
            self._failed(error)

    def _recognize(self, recognizer: Recognizer, jobs: list[tuple[int, Task]]) -> None:
        heard = [self._samples(task) for _, task in jobs]
        told: Any = [task.told or None for _, task in jobs] if any(task.told for _, task in jobs) else None
        hypotheses = recognizer.transcribe(heard, told)
        self.counts["calls"] += 1
        for (key, task), samples, hypothesis in zip(jobs, heard, hypotheses, strict=True):
            kept = believed(hypothesis, voiced_ms=task.voiced_ms, told=task.told)
            self.counts["utterances"] += 1
            self.counts["not_believed"] += bool(hypothesis.text) and not kept.text
            self._done(key, Recognized(kept, recognizer.name, samples if isinstance(task.samples, Path) else None))
            with self._changed:
                self._running.discard(key)

    def _samples(self, task: Task) -> Samples:
        if not isinstance(task.samples, Path):
            return task.samples
        assert self._spool is not None
        return self._spool.take(task.samples)


def physical_cores() -> int:
    """Return how many physical cores this process may use: two threads of one core share its arithmetic."""
    seen = set()
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            seen.add(tuple((topology / name).read_text().strip() for name in ("physical_package_id", "core_id")))
        except OSError:
            seen.add((str(cpu),))
    return max(1, len(seen))

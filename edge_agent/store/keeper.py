"""The one thread that writes the database."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edge_agent.errors import StoreError
from edge_agent.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from edge_agent.event import Event
    from edge_agent.store.rows import Counts, Ended, OutboxRow
    from edge_agent.types import Call, Transcript

T = TypeVar("T")

GROUP = 64  # batches that share one commit at most


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Store], Any]
    done: Future[Any]


class Keeper:
    """Writes for all threads, and reads for them, over one connection each.

    Batches that wait while one is committed share the next commit, so the disk is asked once for all of them. A future
    is done only after that commit; if the commit fails it carries the `StoreError`, nothing of the batch is stored, and
    the keeper goes on.

    It offers what the uplink needs of an outbox: `epoch`, `begins`, `acknowledged`, `pending`, `urgent`, `at`,
    `acknowledge`, `rewind`, `renew`, and `changed`, which is set whenever new events have been committed (wait for it,
    clear it, then read `pending`).
    """

    def __init__(self, path: Path) -> None:
        """Open the database and start the thread.

        Raises:
            StoreError: as `Store.open` for writing.
        """
        self.changed = threading.Event()
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="keeper")
        self._thread.start()
        ready.result()
        self._reading = threading.Lock()
        try:
            self._reader = Store.open(path, readonly=True, any_thread=True)
        except BaseException:
            self._close()
            raise

    def keep(
        self,
        *,
        calls: Iterable[Call] = (),
        transcripts: Iterable[Transcript] = (),
        events: Iterable[Event] = (),
        ended: Iterable[Ended] = (),
    ) -> Future[int]:
        """Queue a batch; the future gives the last sequence once it is on the disk (see `Store.keep`)."""
        batch = tuple(calls), tuple(transcripts), tuple(events), tuple(ended)
        return self._submit(
            lambda store: store.keep(calls=batch[0], transcripts=batch[1], events=batch[2], ended=batch[3])
        )

    def acknowledge(self, through: int, rejected: Mapping[int, str] | None = None) -> None:
        """Settle events and return when that is on the disk (see `Store.acknowledge`)."""
        self._submit(lambda store: store.acknowledge(through, rejected)).result()

    def rewind(self, through: int) -> None:
        """Let events wait again and return when that is on the disk (see `Store.rewind`)."""
        self._submit(lambda store: store.rewind(through)).result()

    def renew(self) -> None:
        """Begin a new epoch and return when that is on the disk (see `Store.renew`)."""
        self._submit(lambda store: store.renew()).result()

    def prune(self, before: datetime) -> Future[int]:
        """Queue the removal of what was acknowledged before a time (see `Store.prune`)."""
        return self._submit(lambda store: store.prune(before))

    def acknowledged(self) -> int:
        """Return the watermark (see `Store.acknowledged`)."""
        with self._reading:
            return self._reader.acknowledged()

    def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Return waiting events (see `Store.pending`)."""
        with self._reading:
            return self._reader.pending(after, limit)

    def urgent(self, after: int, limit: int) -> list[OutboxRow]:
        """Return waiting events that go ahead (see `Store.urgent`)."""
        with self._reading:
            return self._reader.urgent(after, limit)

    def at(self, sequence: int) -> OutboxRow | None:
        """Return the event with a sequence (see `Store.at`)."""
        with self._reading:
            return self._reader.at(sequence)

    @property
    def epoch(self) -> str:
        """The present life of the database."""
        with self._reading:
            return self._reader.epoch

    @property
    def begins(self) -> int:
        """The sequence up to which everything belongs to earlier epochs."""
        with self._reading:
            return self._reader.begins

    def counts(self) -> Counts:
        """Count the events (see `Store.counts`)."""
        with self._reading:
            return self._reader.counts()

    def stop(self) -> None:
        """Commit what is queued, then close; a second call does nothing."""
        self._close()
        with self._reading:
            self._reader.close()

    def __enter__(self) -> Self:
        """Use the keeper until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def _close(self) -> None:
        with self._gate:
            if self._open:
                self._open = False
                self._jobs.put(None)
        self._thread.join()

    def _submit(self, work: Callable[[Store], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._gate:
            if self._open:
                self._jobs.put(_Job(work, done))
                return done
        raise StoreError("the store is closed already", where=str(self._path), remedy="start the service again")

    def _run(self, ready: Future[None]) -> None:
        try:
            store = Store.open(self._path)
        except BaseException as error:
            ready.set_exception(error)
            return
        with store:
            ready.set_result(None)
            going = True
            while going:
                jobs, going = self._take()
                self._commit(store, [job for job in jobs if job.done.set_running_or_notify_cancel()])

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a batch, take what has queued up behind it, and say whether more may come."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP or self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _commit(self, store: Store, jobs: list[_Job]) -> None:
        try:
            with store.transaction():
                before = store.last()
                results = [job.work(store) for job in jobs]
                grown = store.last() > before
        except Exception as error:
            # A StoreError is the file's condition and meets the whole group; anything else is the fault of one batch,
            # and the others must not fail with it.
            if len(jobs) > 1 and not isinstance(error, StoreError):
                for job in jobs:
                    self._commit(store, [job])
                return
            for job in jobs:
                job.done.set_exception(error)
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)
        if grown:
            self.changed.set()

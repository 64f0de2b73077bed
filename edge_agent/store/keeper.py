"""The one thread that writes the database."""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edge_agent.errors import StoreError
from edge_agent.sqlite import DamagedError, FullError
from edge_agent.store.database import Store
from edge_agent.store.rescue import last_rescue, open_store
from edge_agent.store.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from edge_agent.event import Event, Shadowed
    from edge_agent.store.rescue import Rescue
    from edge_agent.store.reviews import Share
    from edge_agent.store.room import Space
    from edge_agent.store.rows import Counts, Ended, OutboxRow
    from edge_agent.types import Call, PastCall, Transcript

T = TypeVar("T")

GROUP = 64  # batches that share one commit at most
LOOK_S = 5.0  # how often the room on the disk is looked at
LOG_BYTES = 67_108_864  # a log that has grown beyond this is emptied as soon as no reader is in the way
PRUNE_AT_ONCE = 500  # events removed in one transaction where room is scarce

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Store], Any]
    done: Future[Any]


class Keeper:
    """Writes for all threads, and reads for them, over one connection each.

    Batches that wait while one is committed share the next commit, so the disk is asked once for all of them. A future
    is done only after that commit; if the commit fails it carries the `StoreError`, nothing of the batch is stored, and
    the keeper goes on. A database that turns out to be damaged, at the start or later, is replaced (see
    `edge_agent.store.rescue`). Where the disk runs full, acknowledged events are removed, and never others.

    It offers what the uplink needs of an outbox: `epoch`, `begins`, `acknowledged`, `pending`, `urgent`, `at`,
    `acknowledge`, `rewind`, `renew`, and `changed`, which is set whenever new events have been committed (wait for it,
    clear it, then read `pending`).
    """

    def __init__(self, path: Path, *, min_free_mib: int = 0) -> None:
        """Open the database and start the thread.

        `min_free_mib` is what should stay free on the disk: below it acknowledged events are removed early.

        Raises:
            StoreError: as `Store.open` for writing.
        """
        self.changed = threading.Event()
        self._path = path
        self._room = Room(path, min_free_mib)
        self._look_at = 0.0
        self.rescued: Rescue | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        self._reading = threading.Lock()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="keeper")
        self._thread.start()
        ready.result()
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
        remembered: Iterable[PastCall] = (),
        shadowed: Iterable[Shadowed] = (),
    ) -> Future[int]:
        """Queue a batch; the future gives the last sequence once it is on the disk (see `Store.keep`)."""
        batch: dict[str, Any] = {
            "calls": tuple(calls),
            "transcripts": tuple(transcripts),
            "events": tuple(events),
            "ended": tuple(ended),
            "remembered": tuple(remembered),
            "shadowed": tuple(shadowed),
        }
        return self._submit(lambda store: store.keep(**batch))

    def acknowledge(self, through: int, rejected: Mapping[int, str] | None = None) -> None:
        """Settle events and return when that is on the disk (see `Store.acknowledge`)."""
        self._submit(lambda store: store.acknowledge(through, rejected, drop=self._room.full)).result()

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

    def past_calls(self, customer_id: str) -> tuple[PastCall, ...]:
        """Return what is remembered of a customer's calls, oldest first (see `Reviews.past_calls`)."""
        with self._reading:
            return self._reader.reviews.past_calls(customer_id)

    def shares(self) -> list[Share]:
        """Return how often rules and classes were right (see `Reviews.shares`)."""
        with self._reading:
            return self._reader.reviews.shares()

    def counts(self) -> Counts:
        """Count the events (see `Store.counts`)."""
        with self._reading:
            return self._reader.counts()

    def space(self) -> Space:
        """Return how much room there was on the disk a moment ago."""
        return self._room.space

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
            self._store = open_store(self._path)
            self.rescued = last_rescue(self._store)
        except BaseException as error:
            ready.set_exception(error)
            return
        try:
            ready.set_result(None)
            going = True
            while going:
                if time.monotonic() >= self._look_at:
                    self._look_after()
                jobs, going = self._take()
                self._commit([job for job in jobs if job.done.set_running_or_notify_cancel()])
        finally:
            self._store.close()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait a while for a batch, take what has queued up behind it, and say whether more may come."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=LOOK_S)
        except queue.Empty:
            return jobs, True
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP or self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _commit(self, jobs: list[_Job], *, again: bool = True) -> None:
        if not jobs:
            return
        try:
            with self._store.transaction():
                before = self._store.last()
                results = [job.work(self._store) for job in jobs]
                grown = self._store.last() > before
        except Exception as error:
            # A StoreError is the file's condition and meets the whole group; anything else is the fault of one batch,
            # and the others must not fail with it.
            if again and self._mended(error):
                self._commit(jobs, again=False)
                return
            if len(jobs) > 1 and not isinstance(error, StoreError):
                for job in jobs:
                    self._commit([job], again=again)
                return
            for job in jobs:
                job.done.set_exception(error)
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)
        if grown:
            self.changed.set()

    def _mended(self, error: Exception) -> bool:
        """Do what can be done about the file's condition and say whether it is worth another try."""
        try:
            if isinstance(error, FullError):
                fresh = not self._room.full
                self._room.give_up_the_reserve()
                # The reserve is there to acknowledge and to remove, not to be filled with more: no new pages.
                self._store.limit(grow=False)
                return self._make_room() > 0 or fresh
            if isinstance(error, DamagedError):
                self._replace()
                return True
        except Exception as further:
            log.error("this could not be mended: %s", further)
        return False

    def _replace(self) -> None:
        """Close what is damaged and go on with what `open_store` makes of it; readers wait meanwhile."""
        with self._reading:
            self._reader.close()
            self._store.close()
            self._store = open_store(self._path)
            self._reader = Store.open(self._path, readonly=True, any_thread=True)
        self.rescued = last_rescue(self._store)
        self.changed.set()

    def _make_room(self) -> int:
        """Remove acknowledged events, the oldest first, and return how many; their pages are used again."""
        removed, at_once = 0, PRUNE_AT_ONCE
        while at_once:
            try:
                count = self._store.prune(datetime.now(UTC), at_once)
            except FullError:
                at_once //= 4
                continue
            finally:
                with suppress(StoreError):
                    self._store.database.value("PRAGMA wal_checkpoint(TRUNCATE)")
            removed += count
            if not count:
                break
        if removed:
            log.warning("%s acknowledged events were removed, for the disk is nearly full", removed)
        return removed

    def _look_after(self) -> None:
        """See that there is room, and that the log does not grow for ever."""
        self._look_at = time.monotonic() + LOOK_S
        try:
            was_full = self._room.full
            if self._room.look().tight or self._room.full:
                self._make_room()
            if was_full != self._room.full:
                self._store.limit(grow=was_full)
                log.warning("%s", "there is room on the disk again" if was_full else "the disk is full")
            wal = self._path.with_name(f"{self._path.name}-wal")
            if wal.exists() and wal.stat().st_size > LOG_BYTES:
                self._store.database.value("PRAGMA wal_checkpoint(TRUNCATE)")
        except (StoreError, OSError) as error:
            log.warning("the database was not looked after: %s", error)

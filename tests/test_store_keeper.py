"""The keeper: one thread writes, many ask; nothing is reported as stored before its commit."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from edge_agent import sqlite
from edge_agent.errors import StoreError
from edge_agent.event import Event, new_id
from edge_agent.store import Counts, Ended, Keeper, Store
from edge_agent.store import keeper as module
from edge_agent.store.room import Room
from edge_agent.types import Call, Speaker, Transcript
from tests.conftest import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOON_S = 20
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _event(subject: str = "c1", **data: object) -> Event:
    return Event(new_id(), "/sites/b", "edge.call.started", NOW, subject, data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edge.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Keeper]:
    with Keeper(path) as started:
        yield started


class _Held:
    """Another connection that holds the write lock, so that batches queue up behind it."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite.open_database(path)

    def __enter__(self) -> None:
        self.database.conn.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self.database.conn.execute("ROLLBACK")
        self.database.close()


def test_all_of_a_batch_is_there_once_the_future_is_done(keeper: Keeper, path: Path) -> None:
    call = Call("c1", "line 1", NOW, (Speaker.AGENT,))
    said = Transcript("c1", 0, Speaker.AGENT, 0, 0, 900, "您好", "您好")
    event = _event()
    last = keeper.keep(calls=[call], transcripts=[said], events=[event], ended=[Ended("c1", 900, "hung up")])
    assert last.result(SOON_S) == 1
    with Store.open(path, readonly=True) as reader:
        assert reader.calls() == [(call, Ended("c1", 900, "hung up"))]
        assert reader.transcripts("c1") == [said]
        assert [row.event for row in reader.events()] == [event]


def test_it_is_an_outbox_for_another_thread(keeper: Keeper, path: Path) -> None:
    events = [_event() for _ in range(5)]

    def uplink() -> list[str]:
        assert keeper.changed.wait(SOON_S)
        keeper.changed.clear()
        sent = [row.id for row in keeper.pending(keeper.acknowledged(), 10)]
        keeper.acknowledge(4, {2: "no such schema"})
        assert keeper.acknowledged() == 4
        keeper.rewind(3)
        assert [row.sequence for row in keeper.pending(0, 10)] == [4, 5]
        return sent

    with ThreadPoolExecutor(1) as other:
        working = other.submit(uplink)
        keeper.keep(events=events).result(SOON_S)
        assert working.result(SOON_S) == [event.id for event in events]
    assert keeper.counts() == Counts(events=5, waiting=2, acknowledged=2, rejected=1)
    assert not keeper.changed.is_set()
    assert keeper.prune(datetime.now(UTC) + timedelta(days=1)).result(SOON_S) == 2
    with Store.open(path, readonly=True) as reader:
        assert reader.epoch == keeper.epoch


def test_only_new_events_wake_the_uplink(keeper: Keeper) -> None:
    event = _event()
    keeper.keep(calls=[Call("c1", "line 1", NOW, (Speaker.AGENT,))]).result(SOON_S)
    assert not keeper.changed.is_set()
    keeper.keep(events=[event]).result(SOON_S)
    assert keeper.changed.is_set()
    keeper.changed.clear()
    keeper.keep(events=[event]).result(SOON_S)
    assert not keeper.changed.is_set()


def test_nothing_is_reported_before_it_is_committed(keeper: Keeper, path: Path) -> None:
    with _Held(path):
        waiting = keeper.keep(events=[_event()])
        assert not wait([waiting], timeout=0.2).done
        assert not keeper.changed.is_set()
        assert keeper.pending(0, 10) == []
    assert waiting.result(SOON_S) == 1


def test_batches_that_queue_up_share_a_commit(keeper: Keeper, path: Path) -> None:
    commits: list[str] = []

    def note(sql: str) -> None:
        if sql == "COMMIT":
            commits.append(sql)

    keeper._submit(lambda store: store.database.conn.set_trace_callback(note)).result(SOON_S)
    commits.clear()
    with _Held(path):
        batches = [keeper.keep(events=[_event()]) for _ in range(2 * module.GROUP + 1)]
    assert [one.result(SOON_S) for one in batches] == list(range(1, len(batches) + 1))
    assert 3 <= len(commits) <= 5


def test_one_bad_batch_does_not_take_the_others_with_it(keeper: Keeper, path: Path) -> None:
    with _Held(path):
        first = keeper.keep(events=[_event()])
        wait([first], timeout=0.2)
        good = keeper.keep(events=[_event()])
        bad = keeper.keep(events=[_event(), _event(not_json=object())])
        after = keeper.keep(events=[_event()])
    assert (first.result(SOON_S), good.result(SOON_S), after.result(SOON_S)) == (1, 2, 3)
    with pytest.raises(TypeError):
        bad.result(SOON_S)
    assert keeper.counts().events == 3


def test_a_lock_is_reported_and_the_keeper_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    with Keeper(path) as keeper:
        with _Held(path):
            with pytest.raises(StoreError, match="locked"):
                keeper.keep(events=[_event()]).result(SOON_S)
            with pytest.raises(StoreError, match="locked"):
                keeper.acknowledge(1)
        assert not keeper.changed.is_set()
        assert keeper.keep(events=[_event()]).result(SOON_S) == 1


def test_a_full_disk_is_reported_and_the_keeper_goes_on(keeper: Keeper, path: Path) -> None:
    def limit(store: Store) -> None:
        # SQLite keeps to this figure as to a disk of that size: SQLITE_FULL.
        pages = store.database.value("PRAGMA page_count")
        store.database.value(f"PRAGMA max_page_count = {pages}")

    keeper._submit(limit).result(SOON_S)
    with _Held(path):
        batches = [keeper.keep(events=[_event("c" * 5000)]) for _ in range(10)]
    for batch in batches:
        with pytest.raises(StoreError, match="disk is full"):
            batch.result(SOON_S)
    assert keeper.counts().events == 0
    assert not keeper.changed.is_set()
    keeper._submit(lambda store: store.database.value("PRAGMA max_page_count = 100000")).result(SOON_S)
    assert keeper.keep(events=[_event()]).result(SOON_S) == 1


def test_a_batch_that_was_cancelled_is_not_kept(keeper: Keeper, path: Path) -> None:
    with _Held(path):
        first = keeper.keep(events=[_event()])
        wait([first], timeout=0.2)
        second = keeper.keep(events=[_event()])
        assert second.cancel()
    assert keeper.keep(events=[_event()]).result(SOON_S) == 2


def test_stop_commits_what_is_queued_and_then_refuses(path: Path) -> None:
    keeper = Keeper(path)
    queued = [keeper.keep(events=[_event()]) for _ in range(300)]
    keeper.stop()
    keeper.stop()
    assert [one.result(0) for one in queued][-1] == 300
    with pytest.raises(StoreError, match="closed"):
        keeper.keep(events=[_event()])
    with Store.open(path, readonly=True) as reader:
        assert reader.last() == 300
    assert "keeper" not in {thread.name for thread in threading.enumerate()}


def test_a_database_that_can_not_be_opened_is_told_at_once(path: Path) -> None:
    path.write_text("no database" * 500)
    with pytest.raises(StoreError, match="not a database"):
        Keeper(path)
    assert "keeper" not in {thread.name for thread in threading.enumerate()}


def test_many_threads_may_ask_at_once(keeper: Keeper) -> None:
    def work(_: int) -> None:
        for _ in range(20):
            keeper.keep(events=[_event()]).result(SOON_S)
            rows = keeper.pending(0, 5)
            assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert keeper.counts() == Counts(events=160, waiting=160, acknowledged=0, rejected=0)


def test_without_a_reserve_the_disk_is_full_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    room = Room(path, 0)
    assert not room.look().full
    room.give_up_the_reserve()
    again = (
        "import resource, sys; from pathlib import Path; from edge_agent.store.room import RESERVE_BYTES, Room;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVE_BYTES // 2,) * 2);"  # no new reserve can be taken
        "print(Room(Path(sys.argv[1]), 0).look().full)"
    )
    done = subprocess.run([sys.executable, "-c", again, path], capture_output=True, text=True, check=True, cwd=TOP)
    assert done.stdout.strip() == "True", "what the reserve freed must not be filled: to acknowledge needs it"
    assert not Room(path, 0).look().full

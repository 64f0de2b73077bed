"""The store: what goes in comes out the same, once, and every event has its outbox row."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from edge_agent.event import Event, call_started, node_event
from edge_agent.store import Counts, Ended, State, Store
from edge_agent.store.database import PAGE
from edge_agent.types import Call, Finding, Speaker, Step, TermHit, Transcript, Versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
CALL = Call("c1", "line 1", START, (Speaker.AGENT, Speaker.CUSTOMER), customer_id="K-7")


def _event(second: int, *, node: str = "objection.price", call: Call = CALL, severity: str = "info") -> Event:
    finding = Finding(
        Step.RAISED,
        node,
        Speaker.CUSTOMER,
        "太贵了",
        second * 1000 - 900,
        second * 1000,
        0.9,
        "rule:x",
        severity=severity,
    )
    return node_event("branch", call, finding, Versions("d", "r", "m"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "edge.db") as opened:
        yield opened


def _sequences(store: Store) -> list[int]:
    return [row.sequence for row in store.pending(0, 10_000)]


def test_a_call_comes_back_the_same(store: Store) -> None:
    other = Call("c0", "line 2", START.replace(microsecond=123_456), (Speaker.UNKNOWN,), file="/a/b c.wav")
    late = replace(CALL, id="c2", started_at=START + timedelta(hours=1))
    store.keep(calls=[late, CALL, other])
    store.keep(ended=[Ended("c1", 61_000, "hung up")])
    assert store.calls() == [(CALL, Ended("c1", 61_000, "hung up")), (other, None), (late, None)]


def test_a_transcript_comes_back_the_same(store: Store) -> None:
    hits = (
        TermHit("阿莫西林", (2, 6), "phonetic", "阿莫西林", 0.93, category="drug", pack="pharma"),
        TermHit("GMP", (7, 10), "exact", "GMP", 1.0),
    )
    said = Transcript(
        "c1", 1, Speaker.CUSTOMER, 3, 5000, 7400, "我要阿莫西林和GMP", "我要阿莫西林和GMP", hits, 0.871234
    )
    first = Transcript("c1", 0, Speaker.AGENT, 0, 100, 2000, "您好", "您好")
    elsewhere = replace(first, call_id="c2")
    store.keep(transcripts=[said, elsewhere, first])
    store.keep(transcripts=[replace(said, text="anything else")])
    assert store.transcripts("c1") == [first, said]
    assert store.transcripts("c2") == [elsewhere]
    assert store.transcripts("c3") == []


def test_an_event_comes_back_byte_for_byte(store: Store) -> None:
    event = _event(1)
    assert store.keep(events=[event]) == 1
    row = store.event(event.id)
    assert row is not None
    assert (row.sequence, row.body, row.state, row.acknowledged_at) == (1, event.to_json(), State.WAITING, None)
    assert row.event == event
    assert store.event("no such id") is None


def test_an_event_that_is_stored_already_changes_nothing_and_takes_no_sequence(store: Store) -> None:
    first, second = _event(1), _event(2)
    store.keep(events=[first, first])
    store.acknowledge(1)
    assert store.keep(events=[first, replace(first, subject="another")]) == 1
    assert store.keep(events=[first, second]) == 2
    assert [(row.sequence, row.event.id, row.state) for row in store.events()] == [
        (1, first.id, State.ACKNOWLEDGED),
        (2, second.id, State.WAITING),
    ]


def test_a_batch_is_kept_whole_or_not_at_all(store: Store) -> None:
    said = Transcript("c1", 0, Speaker.AGENT, 0, 0, 10, "您好", "您好")
    not_json = replace(_event(2), data={"node": object()})
    with pytest.raises(TypeError):
        store.keep(calls=[CALL], transcripts=[said], events=[_event(1), not_json])
    assert (store.calls(), store.transcripts("c1"), list(store.events()), store.last()) == ([], [], [], 0)
    assert store.keep(events=[_event(3)]) == 1


def test_an_event_can_not_be_without_its_outbox_row(store: Store) -> None:
    store.keep(events=[_event(n) for n in range(1, 6)])
    store.database.conn.execute("DELETE FROM events WHERE sequence = 3")
    assert _sequences(store) == [1, 2, 4, 5]
    assert store.database.value("SELECT count(*) FROM outbox") == 4


def test_pending_comes_in_order_and_in_portions(store: Store) -> None:
    events = [_event(n) for n in range(1, 8)]
    assert store.keep(events=events) == 7
    portion = store.pending(2, 3)
    assert [row.sequence for row in portion] == [3, 4, 5]
    assert [(row.id, row.body) for row in portion] == [(event.id, event.to_json()) for event in events[2:5]]
    assert store.pending(7, 3) == []


def test_the_watermark_follows_what_is_settled(store: Store) -> None:
    assert store.acknowledged() == 0
    store.keep(events=[_event(n) for n in range(1, 6)])
    assert store.acknowledged() == 0
    store.acknowledge(3, {2: "no such schema", 5: "beyond what is acknowledged"})
    assert store.acknowledged() == 3
    assert _sequences(store) == [4, 5]
    states = {row.sequence: (row.state, row.reason) for row in store.events()}
    assert states[1] == (State.ACKNOWLEDGED, None)
    assert states[2] == (State.REJECTED, "no such schema")
    assert states[5] == (State.WAITING, None)
    assert store.counts() == Counts(events=5, waiting=2, acknowledged=2, rejected=1)
    store.acknowledge(5)
    assert store.acknowledged() == 5
    store.acknowledge(1, {1: "too late"})
    assert store.counts() == Counts(events=5, waiting=0, acknowledged=4, rejected=1)


def test_rewind_lets_events_wait_again(store: Store) -> None:
    store.keep(events=[_event(n) for n in range(1, 6)])
    store.acknowledge(4, {4: "unknown"})
    store.rewind(2)
    assert store.acknowledged() == 2
    assert _sequences(store) == [3, 4, 5]
    assert {row.acknowledged_at for row in store.events(after=2)} == {None}
    assert {row.reason for row in store.events(after=2)} == {None}


def test_prune_takes_only_what_was_acknowledged_long_ago(store: Store) -> None:
    store.keep(events=[_event(n) for n in range(1, 7)])
    store.acknowledge(4, {2: "unknown"})
    old = "UPDATE outbox SET acknowledged_at = '2026-01-01T00:00:00.000Z' WHERE sequence IN (1, 2)"
    store.database.conn.execute(old)
    assert store.prune(START) == 1
    assert [row.sequence for row in store.events()] == [2, 3, 4, 5, 6]
    assert store.prune(datetime.now(UTC) + timedelta(days=1)) == 2
    assert [row.sequence for row in store.events()] == [2, 5, 6]
    assert store.acknowledged() == 4


def test_a_pruned_sequence_is_never_given_out_again(store: Store) -> None:
    store.keep(events=[_event(1), _event(2)])
    store.acknowledge(2)
    assert store.prune(datetime.now(UTC) + timedelta(days=1)) == 2
    assert store.acknowledged() == 2
    assert store.keep(events=[_event(3)]) == 3


@pytest.fixture
def varied(store: Store) -> Store:
    other = replace(CALL, id="c2")
    store.keep(
        events=[
            call_started("branch", CALL, Versions()),
            _event(10),
            _event(20, node="compliance.rebate", severity="alarm"),
            _event(30, call=other),
            _event(40, node="compliance.rebate", severity="alarm", call=other),
        ]
    )
    return store


def test_events_are_found_by_what_they_are(varied: Store) -> None:
    def found(**filters: str) -> list[int]:
        return [row.sequence for row in varied.events(**filters)]  # type: ignore[arg-type]

    assert found() == [1, 2, 3, 4, 5]
    assert found(type="edge.call.started") == [1]
    assert found(node="objection.price") == [2, 4]
    assert found(subject="c2") == [4, 5]
    assert found(severity="alarm") == [3, 5]
    assert found(node="compliance.rebate", subject="c1") == [3]
    assert found(node="'; DROP TABLE events; --") == []


def test_events_are_found_by_time_and_place(varied: Store) -> None:
    def found(**filters: datetime | int | bool) -> list[int]:
        return [row.sequence for row in varied.events(**filters)]  # type: ignore[arg-type]

    twenty = START + timedelta(seconds=20)
    assert found(since=twenty) == [3, 4, 5]
    assert found(until=twenty) == [1, 2]
    assert found(since=twenty, until=twenty + timedelta(seconds=20)) == [3, 4]
    assert found(after=3) == [4, 5]
    assert found(limit=2) == [1, 2]
    assert found(limit=2, newest=True) == [4, 5]
    assert found(limit=9, newest=True) == [1, 2, 3, 4, 5]
    assert found(limit=0) == found(limit=0, newest=True) == []
    assert found(after=3, limit=1, newest=True) == [5]
    assert found(since=twenty + timedelta(days=1), limit=3, newest=True) == []


def test_more_events_than_a_page_come_whole_and_in_order(store: Store) -> None:
    count = 2 * PAGE + 7
    store.keep(events=[_event(n) for n in range(1, count + 1)])
    assert [row.sequence for row in store.events()] == list(range(1, count + 1))
    assert [row.sequence for row in store.events(limit=PAGE + 1)] == list(range(1, PAGE + 2))
    assert [row.sequence for row in store.events(limit=PAGE + 1, newest=True)] == list(range(count - PAGE, count + 1))


@pytest.mark.parametrize("column", ["type", "node", "subject", "severity"])
def test_every_filter_has_its_index(store: Store, column: str) -> None:
    plan = store.database.rows(f"EXPLAIN QUERY PLAN SELECT * FROM events WHERE {column} = 'x' ORDER BY sequence")
    assert [step[3] for step in plan] == [f"SEARCH events USING INDEX events_{column} ({column}=?)"]


def test_readers_see_whole_batches_while_one_writes(store: Store, tmp_path: Path) -> None:
    batches, size = 60, 10
    going = threading.Event()
    seen: list[int] = []

    def read() -> None:
        with Store.open(tmp_path / "edge.db", readonly=True) as reader:
            going.set()
            while not seen or seen[-1] < batches * size:
                seen.append(reader.counts().events)
                assert [row.sequence for row in reader.events(limit=size)] == list(range(1, size + 1))[
                    : seen[-1] or size
                ]

    store.keep(events=[_event(n) for n in range(size)])
    thread = threading.Thread(target=read)
    thread.start()
    assert going.wait(10)
    for batch in range(1, batches):
        store.keep(events=[_event(batch * size + n) for n in range(size)])
    thread.join(20)
    assert not thread.is_alive()
    assert seen == sorted(seen)
    assert all(count % size == 0 for count in seen)

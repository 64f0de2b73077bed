"""What the hub files: only events, each once, in order, and with its watermark in the same commit."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import wire
from edge_agent.errors import StoreError
from edge_agent.event import SCHEMA
from edge_agent.hub import Ledger
from edge_agent.hub.judge import Entry, judge
from edge_agent.hub.ledger import ForkError, GapError, UnknownSchemaError

from .line import NOW_MS, event, hello, lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# ---- the judge


def test_an_event_is_filed_as_it_came() -> None:
    given = event(1)
    line = wire.to_line(given.to_json())
    assert judge(line) == Entry(given.id, given.type, "2026-01-05T09:12:00.000Z", given.subject, line.decode(), SCHEMA)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "empty"),
        ({"time": "yesterday"}, "isoformat"),
        ({"time": "2026-01-05T09:12:00"}, "zone"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "out of range"),
        ({"data": None}, "not iterable"),
        ({"subject": "\ud800"}, "surrogates"),
        ({"subject": "a\x00b"}, "NUL"),
        ({"id": "x" * 513}, "512"),
        ({"data": {"score": float("nan")}}, "NaN"),
    ],
)
def test_what_is_no_event_is_told_why(change: dict[str, Any], said: str) -> None:
    reason = judge(json.dumps({**event(1).to_dict(), **change}).encode())
    assert isinstance(reason, str)
    assert said in reason


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000, b'{"id":"1","withheld_bytes":9}']
)
def test_what_is_not_even_json_is_told_too(line: bytes) -> None:
    reason = judge(line)
    assert isinstance(reason, str)
    assert 0 < len(reason) <= wire.MAX_REASON


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
attributes = st.fixed_dictionaries({}, optional=dict.fromkeys(event(0).to_dict(), json_values))


@given(attributes | json_values)
def test_judging_never_fails(value: object) -> None:
    found = judge(json.dumps({**event(1).to_dict(), **value} if isinstance(value, dict) else value).encode())
    assert isinstance(found, Entry | str)


# ---- the ledger


@pytest.fixture
def ledger(where: Path | str) -> Iterator[Ledger]:
    with Ledger.open(where) as ledger:
        yield ledger


def take(ledger: Ledger, first: int, what: list[bytes], *, key: str = "k1", epoch: str = "e1") -> tuple[int, Any]:
    with ledger.transaction():
        return ledger.take(key, key, wire.Events.of(epoch, first, what), NOW_MS)


def greet(ledger: Ledger, said: wire.Hello, *, key: str = "k1") -> tuple[int, str, Any]:
    with ledger.transaction():
        return ledger.greet(key, key, said, NOW_MS)


def bodies(ledger: Ledger) -> list[bytes]:
    return [row.body.encode() for row in ledger.events()]


def test_a_batch_sent_again_is_acknowledged_again_and_filed_once(ledger: Ledger) -> None:
    sent = lines(5)
    assert take(ledger, 1, sent) == (5, ())
    assert take(ledger, 1, sent) == (5, ())
    assert take(ledger, 2, sent[1:3]) == (5, ())
    assert bodies(ledger) == sent


def test_an_overlap_is_filed_from_where_the_hub_is(ledger: Ledger) -> None:
    sent = lines(8)
    take(ledger, 1, sent[:5])
    assert take(ledger, 3, sent[2:]) == (8, ())
    assert bodies(ledger) == sent
    assert [row.sequence for row in ledger.events()] == list(range(1, 9))


def test_a_gap_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    sent = lines(4)
    take(ledger, 1, sent[:2])
    with pytest.raises(GapError, match="sequence 3 is next"):
        take(ledger, 4, sent[3:])
    assert bodies(ledger) == sent[:2]
    assert greet(ledger, hello())[0] == 2


def test_an_event_is_filed_once_by_its_id_whatever_its_epoch_or_branch(ledger: Ledger) -> None:
    sent = lines(3)
    take(ledger, 1, sent)
    assert take(ledger, 1, sent, epoch="e2") == (3, ())
    assert take(ledger, 1, [*sent, *lines(1)], key="k2") == (4, ())
    assert bodies(ledger)[:3] == sent
    assert len(bodies(ledger)) == 4


def test_another_past_is_told_apart_and_nothing_of_it_filed(ledger: Ledger) -> None:
    """A copy of the branch's database went on elsewhere: the same sequences, other events."""
    ours, theirs = lines(6), lines(6)
    take(ledger, 1, ours[:4])
    for first, what in ((1, theirs[:3]), (1, theirs), (3, theirs[2:4])):
        with pytest.raises(ForkError):
            take(ledger, first, what)
    with pytest.raises(ForkError), ledger.transaction():
        ledger.take("k1", "k1", wire.Events.of("e1", 5, theirs[4:], "another id"), NOW_MS)
    assert take(ledger, 2, ours[1:]) == (6, ())
    assert bodies(ledger) == ours


def test_an_urgent_copy_is_filed_once_and_moves_no_watermark(ledger: Ledger) -> None:
    sent = lines(5)
    with ledger.transaction():
        for _ in range(2):
            ledger.urgent("k1", "k1", wire.Urgent.of("e1", {4: sent[3], 5: b"poison"}), NOW_MS)
    assert bodies(ledger) == [sent[3]]
    assert greet(ledger, hello())[:2] == (0, "")
    assert take(ledger, 1, sent) == (5, ())
    assert sorted(bodies(ledger)) == sorted(sent)
    assert [row.sequence for row in ledger.events()] == [4, 1, 2, 3, 5]
    with ledger.transaction():
        ledger.urgent("k1", "k1", wire.Urgent.of("e1", {7: lines(1)[0]}), NOW_MS)
    with pytest.raises(ForkError):
        take(ledger, 6, lines(2))  # what came ahead as 7 was another event


def test_an_event_of_an_unknown_schema_is_not_taken(ledger: Ledger) -> None:
    good = lines(2)
    later = good[1].replace(b"event:1", b"event:2")
    with pytest.raises(UnknownSchemaError, match="event:2"):
        take(ledger, 1, [good[0], later])
    assert bodies(ledger) == []
    assert ledger.dead_letters() == []


def test_a_new_key_goes_on_where_the_old_one_was(ledger: Ledger) -> None:
    """Same database, same name in the allow-list; whoever has but one of the two begins at nothing."""
    sent = [event(number) for number in range(3)]
    with ledger.transaction():
        ledger.take("old", "b1", wire.Events.of("e1", 1, [wire.to_line(one.to_json()) for one in sent]), NOW_MS)
        assert ledger.greet("new", "b1", hello(), NOW_MS)[:2] == (3, sent[-1].id)
        assert ledger.greet("other", "b2", hello(), NOW_MS)[:2] == (0, "")
        assert ledger.greet("again", "b1", hello("e2"), NOW_MS)[:2] == (0, "")


def test_what_a_branch_says_of_itself_is_kept(ledger: Ledger) -> None:
    said = wire.Hello("e1", 0, 0, (SCHEMA,), NOW_MS, boot_id="boot-1", about={"agent": "0.1.0"})
    greet(ledger, said)
    with ledger.transaction():
        ledger.seen({"k1": (NOW_MS + 60_000, 3_600_000)})
    (branch,) = ledger.branches()
    assert (branch.boot_id, branch.about, branch.skew_ms) == ("boot-1", {"agent": "0.1.0"}, 3_600_000)


def test_a_new_epoch_begins_without_a_hole(ledger: Ledger) -> None:
    assert greet(ledger, wire.Hello("e2", 0, 0, (SCHEMA,), NOW_MS, begins=40))[0] == 40
    assert take(ledger, 41, lines(1), epoch="e2") == (41, ())
    assert ledger.branches()[0].missing == 0


def test_each_epoch_has_its_own_watermark(ledger: Ledger) -> None:
    take(ledger, 1, lines(3))
    assert greet(ledger, hello("e2"))[0] == 0
    take(ledger, 1, lines(1), epoch="e2")
    assert greet(ledger, hello("e1"))[0] == 3
    assert greet(ledger, hello("e2"))[0] == 1
    (branch,) = ledger.branches()
    assert (branch.epoch, branch.through, branch.events, branch.skew_ms) == ("e2", 1, 4, -250)


def test_poison_goes_to_the_dead_letters_and_the_watermark_moves_on(ledger: Ledger) -> None:
    good = lines(2)
    through, rejected = take(ledger, 1, [good[0], b"{poison", good[1], b"\xff"])
    assert through == 4
    assert [sequence for sequence, _ in rejected] == [2, 4]
    assert bodies(ledger) == good
    assert [(letter.sequence, letter.body) for letter in ledger.dead_letters()] == [(2, b"{poison"), (4, b"\xff")]
    assert greet(ledger, hello(acked=2)) == (4, wire.mark(b"\xff"), tuple(pair for pair in rejected if pair[0] > 2))
    assert ledger.branches()[0].dead_letters == 2


def test_the_welcome_names_the_last_event(ledger: Ledger) -> None:
    sent = [event(1), event(2)]
    take(ledger, 1, [wire.to_line(one.to_json()) for one in sent])
    assert greet(ledger, hello())[:2] == (2, sent[1].id)


def test_pruned_events_leave_a_hole_that_is_counted(ledger: Ledger) -> None:
    take(ledger, 1, lines(2))
    assert greet(ledger, hello(pruned=7))[0] == 7
    assert greet(ledger, hello(pruned=7))[0] == 7
    assert take(ledger, 8, lines(1)) == (8, ())
    assert ledger.branches()[0].missing == 5


def test_what_is_not_committed_is_not_there(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.transaction():
            assert ledger.take("k1", "one", wire.Events.of("e1", 1, lines(3)), NOW_MS)[0] == 3
            ledger.take("k1", "one", wire.Events.of("e1", 9, lines(1)), NOW_MS)

    with pytest.raises(GapError):
        fail()
    assert bodies(ledger) == []
    assert greet(ledger, hello())[0] == 0


def test_reading_goes_by_number_and_branch(ledger: Ledger) -> None:
    take(ledger, 1, lines(3))
    take(ledger, 1, lines(2), key="k2")
    assert [row.sequence for row in ledger.events(branch="k2")] == [1, 2]
    assert [row.number for row in ledger.events(after=2, limit=2)] == [3, 4]


def test_another_database_is_not_taken_for_the_hubs(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        Ledger.open(path)
    with pytest.raises(StoreError, match="no such database"):
        Ledger.open(tmp_path / "none.db", readonly=True)


def test_rows_are_plain_values(ledger: Ledger) -> None:
    take(ledger, 1, [*lines(1), b"?"])
    greet(ledger, hello())
    assert json.loads(json.dumps(asdict(ledger.branches()[0])))["through"] == 2

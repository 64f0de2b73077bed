"""The hub's SQLite file: damaged, copied, put back; branches make up for what is lost, and nobody is told twice."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from edge_agent import salvage, wire
from edge_agent.cli import hub_store
from edge_agent.config import Config, Hub
from edge_agent.errors import ConfigError, StoreError
from edge_agent.hub import Ledger, rescue
from edge_agent.hub.deliveries import Deliveries
from edge_agent.sqlite import DamagedError
from edge_agent.store import Keeper

from .line import NOW_MS, Head, event, hello, lines, running, spoil, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Cli

COUNT = 1500


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    head = Head(tmp_path)
    yield head
    head.stop()


def through(head: Head) -> int:
    with Ledger.open(head.database, readonly=True) as ledger:
        return next(one.through for one in ledger.branches() if one.name == "b1")


def ids(head: Head) -> dict[str, int]:
    """Return the numbers of events by id."""
    return {json.loads(row.body)["id"]: row.number for row in head.events()}


@pytest.mark.parametrize(("start", "end"), [(0.3, 0.4), (0.8, 1.0), (0.0, 0.02)])
def test_a_damaged_ledger_is_replaced_and_branches_send_what_is_lost(
    head: Head, tmp_path: Path, start: float, end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvage, "_MISSES", 2000)
    head.start()
    settings = head.branch("b1")
    with Keeper(tmp_path / "branch.db") as keeper:
        sent = [event(number) for number in range(COUNT)]
        keeper.keep(events=sent).result()
        with running(keeper, settings) as uplink:
            assert uplink.drain(20)
        with Ledger.open(head.database) as ledger:
            before = ids(head)
            assert Deliveries(ledger.base).intake(["edge.*"]) == 500
        head.stop()
        spoil(head.database, start, end)
        if start == 0.0:  # its header as a power cut leaves it
            head.database.write_bytes(bytes(100) + head.database.read_bytes()[100:])
        assert rescue.damage(head.database)
        head.start()
        (aside,) = tmp_path.glob("hub.db.damaged-*Z")
        saved = ids(head)
        assert len(saved) < COUNT
        assert start == 0.0 or len(saved) > COUNT * 0.4
        with running(keeper, settings):
            until(lambda: len(head.events()) == COUNT and through(head) == COUNT)
        now = ids(head)
        assert set(now) == {one.id for one in sent}
        assert all(before[one] == number for one, number in saved.items())  # who reads on from a number may go on
        if start:
            assert min(now[one] for one in now if one not in saved) > max(before.values())
        assert sorted(row.sequence for row in head.events()) == list(range(1, COUNT + 1))
        with Ledger.open(head.database, readonly=True) as ledger:
            told = rescue.last_rescue(ledger)
            assert told is not None
            assert (told.aside, told.events) == (str(aside), len(saved))
            (branch,) = [one for one in ledger.branches() if one.name == "b1"]
            assert (branch.through, branch.missing) == (COUNT, 0)
            assert ledger.base.rows("PRAGMA foreign_key_check") == []


def test_a_watermark_begins_anew_where_the_file_has_everything(tmp_path: Path) -> None:
    """Events, dead letters, holes and what belongs to earlier epochs: the branch is asked for what comes after."""
    sent = lines(6)
    with Ledger.open(tmp_path / "hub.db") as ledger:
        with ledger.transaction():
            ledger.greet("k", "b", hello(pruned=2), NOW_MS)
            ledger.take("k", "b", wire.Events.of("e1", 3, [sent[0], b"poison", sent[1], sent[2]]), NOW_MS)
            through, last_id, _ = ledger.greet("k", "b", hello(), NOW_MS)
            ledger.base.run("UPDATE streams SET through = 0, last_id = ''")
            ledger.base.run("DELETE FROM events WHERE sequence = 5")
            again = ledger.greet("k", "b", hello(), NOW_MS)
        assert (through, last_id) == (6, json.loads(sent[2])["id"])
        assert again[:2] == (4, "")
        with ledger.transaction():  # the branch sends from there, and what is here already is passed over
            assert ledger.take("k", "b", wire.Events.of("e1", 4, [b"poison", sent[1], sent[2]]), NOW_MS)[0] == 6
        assert [row.sequence for row in sorted(ledger.events(), key=lambda row: row.sequence)] == [3, 5, 6]
        assert len(ledger.dead_letters()) == 1


def test_damage_that_shows_later_ends_the_hub_and_says_what_to_do(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[BaseException | None] = []
    monkeypatch.setattr("threading.excepthook", lambda failed: said.append(failed.exc_value))

    def damaged(*_: object) -> None:
        raise DamagedError("the database is damaged", where="hub.db", remedy="")

    monkeypatch.setattr(Ledger, "greet", damaged)
    head.start()
    with Keeper(tmp_path / "branch.db") as keeper, running(keeper, head.branch("b1")):
        until(lambda: said)
    assert isinstance(said[0], StoreError)
    assert "start the hub again" in said[0].remedy


def test_copies_are_taken_while_it_serves_and_put_back_while_it_does_not(cli: Cli, tmp_path: Path) -> None:
    cli.state.mkdir()
    with ExitStack() as stack:
        head = Head(cli.state)
        stack.callback(head.stop)
        _copies(cli, head, tmp_path)


def _copies(cli: Cli, head: Head, tmp_path: Path) -> None:
    head.start()
    settings = head.branch("b1")
    copy = tmp_path / "copies" / "monday.db"
    with Keeper(tmp_path / "branch.db") as keeper, running(keeper, settings) as uplink:
        keeper.keep(events=[event(number) for number in range(20)]).result()
        assert uplink.drain(20)
        (said,) = cli.lines("hub", "backup", copy, "--json")
        assert (said["type"], said["events"]) == ("hub.backup", 20)
        with pytest.raises(StoreError, match="already"):
            rescue.copy(head.database, copy)
        keeper.keep(events=[event(20)]).result()
        assert uplink.drain(20)
        for refused in (rescue.open_whole, lambda path: rescue.put_back(copy, path)):
            with pytest.raises(StoreError, match="another hub"):
                refused(head.database)
        head.stop()
        (said,) = cli.lines("hub", "restore", copy, "--json")
        assert (said["type"], said["events"]) == ("hub.restore", 20)
        assert len(head.events()) == 20
        head.start()
        until(lambda: len(head.events()) == 21)  # the branch sends again what the copy lacks
    head.stop()
    spoil(copy, 0.2, 0.9)
    with pytest.raises(StoreError, match="the copy is damaged"):
        rescue.put_back(copy, head.database)
    assert rescue.damage(head.database) is None
    spoil(head.database, 0.5, 0.9)
    assert "start the hub again" in cli.run("hub", "check", code=StoreError.exit_code).stderr
    with pytest.raises(ConfigError, match="PostgreSQL"):
        hub_store.check(_postgres(tmp_path))


def _postgres(folder: Path) -> Path:
    path = folder / "hub.toml"
    path.write_text('[hub]\ndatabase = "postgresql://h/d"\n')
    return path


def test_what_never_was_a_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_text("call,agent\n" * 500)
    with pytest.raises(StoreError, match="not a database"):
        rescue.open_whole(path)
    assert [file.name for file in tmp_path.iterdir()] == ["hub.db"]


def test_the_doctor_says_it_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_agent.cli.checkup import State, _hub_database

    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path))
    assert "no hub" in _hub_database(Config())[1]
    assert "PostgreSQL" in _hub_database(Config(hub=Hub(database="postgresql://h/d")))[1]
    with Ledger.open(tmp_path / "hub.db") as ledger, ledger.transaction():
        ledger.take("k", "b", wire.Events.of("e1", 1, lines(500)), NOW_MS)
    assert _hub_database(Config())[:2] == (
        State.OK,
        f"{tmp_path / 'hub.db'}: 500 events of 1 branches, 0 dead letters",
    )
    spoil(tmp_path / "hub.db", 0.4, 0.6)
    assert _hub_database(Config())[0] is State.FAIL
    rescue.open_whole(tmp_path / "hub.db").close()
    state, found, remedy = _hub_database(Config())
    assert state is State.WARN
    assert "A DAMAGED DATABASE WAS REPLACED" in found
    (aside,) = tmp_path.glob("hub.db.damaged-*Z")
    assert str(aside) in remedy
    aside.unlink()
    assert _hub_database(Config())[0] is State.OK

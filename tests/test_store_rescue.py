"""Damage, a full disk, copies: what was stored is saved as far as it can be read, and work goes on."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from edge_agent.errors import StoreError
from edge_agent.sqlite import FullError
from edge_agent.store import Keeper, Store, last_rescue, room
from edge_agent.store import keeper as keeping
from edge_agent.store.rescue import open_store

from .line import event, spoil

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Cli

COUNT = 2000


def filled(path: Path, count: int = COUNT) -> list[str]:
    """Make a store and return the ids of its events; half of them are acknowledged."""
    sent = [event(number) for number in range(count)]
    with Store.open(path) as store:
        store.keep(events=sent)
        store.acknowledge(count // 2)
        store.database.value("PRAGMA wal_checkpoint(TRUNCATE)")
    return [one.id for one in sent]


@pytest.mark.parametrize(("start", "end"), [(0.3, 0.4), (0.9, 1.0), (0.5, 0.501)])
def test_a_damaged_file_is_moved_aside_and_what_can_be_read_is_saved(tmp_path: Path, start: float, end: float) -> None:
    path = tmp_path / "edge.db"
    ids = filled(path)
    with Store.open(path, readonly=True) as store:
        before = store.epoch
    spoil(path, start, end)
    with Keeper(path) as keeper:
        assert keeper.rescued is not None
        saved = [row.id for row in keeper.pending(0, COUNT + 1)]
        assert keeper.epoch != before
        keeper.keep(events=[event(1)]).result()
    assert saved == [one for one in ids if one in set(saved)]  # in order, none twice
    assert len(saved) > COUNT * 0.6
    assert keeper.rescued.events == len(saved)
    (aside,) = tmp_path.glob("edge.db.damaged-*Z")
    assert str(aside) == keeper.rescued.aside
    with Store.open(path, readonly=True) as store:
        assert store.damage() is None
        assert last_rescue(store) == keeper.rescued
        assert [row.sequence for row in store.pending(0, COUNT + 2)] == list(range(1, len(saved) + 2))


def test_a_file_whose_beginning_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    filled(path, 10)
    path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
    with Keeper(path) as keeper:
        assert keeper.rescued is not None
        assert keeper.rescued.events == 0
        assert keeper.keep(events=[event(1)]).result() == 1


def test_damage_that_shows_later_is_mended_at_once(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    ids = filled(path)
    with Keeper(path) as keeper:
        keeper._submit(lambda store: store.database.value("PRAGMA shrink_memory")).result()
        spoil(path, 0.3, 1.0)
        more = event(99)
        keeper.keep(events=[more]).result()  # nobody but the log and the doctor notices
        assert keeper.rescued is not None
        saved = [row.id for row in keeper.pending(0, COUNT + 1)]
        assert saved[-1] == more.id
        assert saved[:-1] == [one for one in ids if one in set(saved)]
        assert len(saved) > COUNT * 0.1
        assert keeper.changed.is_set()


def test_what_never_was_a_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    path.write_text("call,agent\n" * 500)
    with pytest.raises(StoreError, match="not a database"):
        open_store(path)
    assert [file.name for file in tmp_path.iterdir()] == ["edge.db"]


def fill(store: Store) -> None:
    """Leave the file no page to grow by."""
    store.database.value(f"PRAGMA max_page_count = {store.database.value('PRAGMA page_count')}")


def test_on_a_full_disk_acknowledged_events_go_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 1e9)  # it would see that there is room in truth
    path = tmp_path / "edge.db"
    ids = filled(path)
    with Keeper(path) as keeper:
        keeper._submit(fill).result()
        kept = 0
        while True:
            done = keeper.keep(events=[event(number) for number in range(20)])
            if done.exception() is not None:
                break
            kept = done.result()
        assert isinstance(done.exception(), FullError)
        assert kept > COUNT  # the room of those that went was used again
        counts = keeper.counts()
        assert (counts.acknowledged, counts.waiting) == (0, kept - COUNT // 2)
        assert [row.id for row in keeper.pending(0, COUNT)][: COUNT // 2] == ids[COUNT // 2 :]
        keeper.acknowledge(kept - 100)  # there is no page for it, and it makes room all the same
        assert (keeper.counts().events, keeper.counts().waiting) == (100, 100)
        assert keeper.keep(events=[event(1)]).result() == kept + 1
        monkeypatch.undo()
        keeper._look_at = 0
        keeper.keep(events=[event(1)]).result()
        keeper.keep(events=[event(number) for number in range(3000)]).result()  # nobody had to do anything


def test_little_room_is_told_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "edge.db"
    filled(path, 100)
    with Keeper(path, min_free_mib=1 << 40) as keeper:
        keeper.keep(events=[event(1)]).result()
        assert keeper.space().tight
        assert (keeper.counts().acknowledged, keeper.counts().waiting) == (0, 51)
    assert "ARE FREE" in caplog.text


def test_a_reserve_is_kept_while_there_is_room(tmp_path: Path) -> None:
    with Keeper(tmp_path / "edge.db") as keeper:
        keeper.keep(events=[event(1)]).result()
        assert (tmp_path / "edge.db.reserve").stat().st_size == room.RESERVE_BYTES
        assert not keeper.space().tight


def test_the_log_is_emptied_though_somebody_always_reads(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Keeper(path) as keeper:
        for _ in range(25):
            keeper.keep(events=[event(number) for number in range(100)]).result()
            keeper.pending(0, 500)
        assert path.with_name("edge.db-wal").stat().st_size < 8 * 2**20


def test_a_copy_is_whole_and_put_back_it_begins_a_new_epoch(cli: Cli) -> None:
    path, copy = cli.state / "edge-agent.db", cli.state / "copies" / "monday.db"
    with Keeper(path) as keeper:
        keeper.keep(events=[event(number) for number in range(20)]).result()
        (said,) = cli.lines("store", "backup", copy, "--json")
        assert (said["type"], said["events"]) == ("store.backup", 20)
        later = event(21)
        keeper.keep(events=[later]).result()
        epoch = keeper.epoch
    assert "already" in cli.run("store", "backup", copy, code=StoreError.exit_code).stderr
    (said,) = cli.lines("store", "restore", copy, "--json")
    assert (said["type"], said["events"], said["kept"]) == ("store.restore", 21, 1)
    with Store.open(path, readonly=True) as store:
        assert store.epoch != epoch
        assert store.counts().waiting == 21
        assert store.event(later.id) is not None  # what came after the copy was taken is not lost
    spoil(copy, 0.2, 0.9)
    assert "damaged" in cli.run("store", "restore", copy, code=StoreError.exit_code).stderr
    (said,) = cli.lines("store", "check", "--json")
    assert (said["type"], said["ok"]) == ("store.check", True)


def test_a_copy_goes_nowhere_that_something_is(tmp_path: Path) -> None:
    with Store.open(tmp_path / "edge.db") as store:
        (tmp_path / "there").write_text("precious")
        with pytest.raises(StoreError, match="already"):
            store.database.copy_to(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "precious"


def test_a_copy_is_taken_while_somebody_writes_without_pause(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    ids = filled(path)
    done = threading.Event()

    def write(keeper: Keeper) -> None:
        while not done.is_set():
            keeper.keep(events=[event(1)]).result()

    with Keeper(path) as keeper:
        writer = threading.Thread(target=write, args=(keeper,))
        writer.start()
        with Store.open(path, readonly=True) as reader:
            reader.database.copy_to(tmp_path / "copy.db")
        done.set()
        writer.join()
    with Store.open(tmp_path / "copy.db") as copied:
        assert copied.damage() is None
        assert copied.counts().events >= len(ids)


def test_a_clock_that_jumps_back_does_not_disturb_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_agent.store import database

    class Back(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2020, 1, 1, tzinfo=UTC)

    with Store.open(tmp_path / "edge.db") as store:
        store.keep(events=[event(number) for number in range(10)])
        store.acknowledge(4)
        with monkeypatch.context() as patch:
            patch.setattr(database, "datetime", Back)
            store.acknowledge(8)
        assert store.prune(datetime.now(UTC) - timedelta(days=7)) == 4
        store.rewind(0)
        assert [row.sequence for row in store.pending(0, 20)] == [1, 2, 3, 4, 9, 10]
        assert json.loads(store.pending(0, 1)[0].body)["data"]["number"] == 0

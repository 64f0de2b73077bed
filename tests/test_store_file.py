"""The database file: how it is opened, brought up to date, and what is said when that can't be done."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent import sqlite
from edge_agent.errors import StoreError
from edge_agent.event import Event, new_id
from edge_agent.store import Counts, Store
from edge_agent.store.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator


def _event() -> Event:
    return Event(new_id(), "/sites/b", "edge.call.started", datetime(2026, 3, 1, tzinfo=UTC), "c1", {})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an unprivileged user can reach, which pytest's own can not be by."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Permissions do not bind root: act as nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def _refused(path: Path, *, readonly: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(path, readonly=readonly).close()
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return caught.value


def test_the_log_is_written_ahead_and_to_the_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path / "edge.db") as store:
        assert store.database.value("PRAGMA journal_mode") == "wal"
        assert store.database.value("PRAGMA synchronous") == 2  # FULL
        assert store.database.value("PRAGMA foreign_keys") == 1
        assert store.database.value("PRAGMA busy_timeout") == 100


def test_the_driver_is_the_one_of_sqlite_utils_and_new_enough(tmp_path: Path) -> None:
    with Store.open(tmp_path / "edge.db") as store:
        version = store.database.value("SELECT sqlite_version()")
        assert tuple(map(int, version.split("."))) == sqlite.sqlite_version()
        if importlib.util.find_spec("pysqlite3"):
            assert type(store.database.conn).__module__.startswith("pysqlite3")
            assert sqlite.sqlite_version() >= sqlite.SAFE_VERSION


def test_folders_are_made_and_open_to_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "edge.db"
    with Store.open(path) as store:
        store.keep(events=[_event()])
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "what?.db", "#1.db", "数据.db"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as store:
        store.keep(events=[_event()])
    with Store.open(tmp_path / name, readonly=True) as store:
        assert store.last() == 1
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {name}


def test_the_epoch_is_drawn_once_for_each_database(tmp_path: Path) -> None:
    epochs = set()
    for name in ("a.db", "b.db", "a.db"):
        with Store.open(tmp_path / name) as store:
            assert len(bytes.fromhex(store.epoch)) == 16
            epochs.add(store.epoch)
    assert len(epochs) == 2


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    path.touch()
    with Store.open(path) as store:
        applied = [migration.name for migration in SCHEMA.migrations.applied(store.database)]
        assert applied == ["m001_keep", "m002_find", "m003_dictionary", "m004_review"]


def _version_1(path: Path) -> str:
    database = sqlite.open_database(path)
    with database.transaction() as connection:
        SCHEMA.migrations.apply(database, stop_before="m002_find")
        connection.execute(
            "INSERT INTO events (id, type, time, subject, body)"
            " VALUES ('e1', 't', '2026-03-01T00:00:00.000Z', 'c1', '{}')"
        )
    epoch = database.value("SELECT value FROM meta WHERE key = 'epoch'")
    database.close()
    return str(epoch)


def test_version_1_is_brought_up_to_date_and_keeps_its_events(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    epoch = _version_1(path)
    with Store.open(path) as store:
        assert store.epoch == epoch
        assert [(row.sequence, row.id) for row in store.pending(0, 10)] == [(1, "e1")]
        assert not SCHEMA.migrations.pending(store.database)
        assert store.keep(events=[_event()]) == 2


def test_a_reader_does_not_migrate(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    _version_1(path)
    assert "earlier version" in _refused(path, readonly=True).what
    with Store.open(path):
        pass
    with Store.open(path, readonly=True) as store:
        assert store.last() == 1


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Store.open(path) as store:
        store.database["_sqlite_migrations"].insert({"migration_set": "store", "name": "m999_future"})  # type: ignore[union-attr]
    assert "m999_future" in _refused(path).what
    assert "later version" in _refused(path, readonly=True).what


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite.open_database(path)
    other.conn.execute("CREATE TABLE precious (value TEXT)")
    other.close()
    assert "something else" in _refused(path).what
    assert "something else" in _refused(path, readonly=True).what
    other = sqlite.open_database(path)
    assert other.table_names() == ["precious"]
    other.close()


def test_a_migration_that_is_cut_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edge.db"
    with monkeypatch.context() as patch:
        patch.setattr(SCHEMA.migrations, "_record_applied", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Store.open(path)
    with Store.open(path) as store:
        assert store.keep(events=[_event()]) == 1


def test_no_database_yet(tmp_path: Path) -> None:
    error = _refused(tmp_path / "none.db", readonly=True)
    assert error.what == "no such database"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_database(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "edge.db"
    path.write_text("call,agent\n" * 500)
    assert "not a database" in _refused(path, readonly=readonly).what
    assert path.read_text().startswith("call,agent")


@pytest.mark.parametrize("readonly", [False, True])
def test_a_folder_is_no_database(tmp_path: Path, readonly: bool) -> None:
    assert "can't be opened" in _refused(tmp_path, readonly=readonly).what
    assert not list(tmp_path.iterdir())


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Store.open(path) as store:
        store.keep(events=[_event() for _ in range(500)])
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    assert "damaged" in _refused(path).what


def test_a_read_only_file(folder: Path) -> None:
    path = folder / "edge.db"
    with Store.open(path) as store:
        store.keep(events=[_event()])
    path.chmod(0o444)
    with _unprivileged():
        assert "read-only" in _refused(path).what


def test_a_folder_in_which_nothing_may_be_made(folder: Path) -> None:
    folder.chmod(0o555)
    with _unprivileged():
        assert "Permission denied" in _refused(folder / "edge.db").what
        assert "Permission denied" in _refused(folder / "deeper" / "edge.db").what


@pytest.mark.parametrize("readonly", [False, True])
def test_somebody_elses_file(folder: Path, readonly: bool) -> None:
    path = folder / "deep" / "edge.db"
    Store.open(path).close()
    path.parent.chmod(0o755)
    path.chmod(0)
    with _unprivileged():
        assert "can't be opened" in _refused(path, readonly=readonly).what
    path.parent.chmod(0)
    with _unprivileged():
        assert "Permission denied" in _refused(path, readonly=readonly).what


def test_a_full_disk_and_after_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "edge.db") as store:
        store.keep(events=[_event() for _ in range(10)])
        pages = store.database.value("PRAGMA page_count")
        store.database.value(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="disk is full"):
            store.keep(events=[_event() for _ in range(1000)])
        assert store.counts() == Counts(events=10, waiting=10, acknowledged=0, rejected=0)
        store.database.value("PRAGMA max_page_count = 100000")
        assert store.keep(events=[_event()]) == 11


_HOLD = """
import sys
from pathlib import Path
from edge_agent.sqlite import open_database
with open_database(Path(sys.argv[1])).transaction():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Let another process hold BEGIN IMMEDIATE."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate("")
    assert other.returncode == 0


def test_a_database_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Store.open(path) as store:
        store.keep(events=[_event()])
        with _held(path):
            with pytest.raises(StoreError, match="locked by another process") as caught:
                store.keep(events=[_event()])
            assert caught.value.where == str(path)
            assert "locked" in _refused(path).what
            with Store.open(path, readonly=True) as reader:
                assert reader.last() == 1
        assert store.keep(events=[_event()]) == 2

"""The one opener of databases, shared by the store and the hub.

SQLite before 3.51.3 can corrupt a WAL database when the log is reset, so the newer SQLite inside `pysqlite3` is used
wherever that package is installed: sqlite-utils picks it, and this module takes the driver from sqlite-utils, so both
always speak to the same library. Every condition of the file that a person can mend (locked, read-only, full, damaged,
no database at all) is raised as a `StoreError` with a remedy; faults of the program pass as they are.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from errno import EISDIR
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

import sqlite_utils

from edge_agent.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
else:
    from sqlite_utils.utils import sqlite3

SAFE_VERSION = (3, 51, 3)
BUSY_TIMEOUT_S = 5.0

Error = sqlite3.Error
Connection = sqlite3.Connection


class DamagedError(StoreError):
    """The file is damaged, or is no database at all."""


class FullError(StoreError):
    """The disk is full; what was stored before is whole."""


def sqlite_version() -> tuple[int, ...]:
    """Return the version of the SQLite library in use; below `SAFE_VERSION` a WAL database is at risk."""
    return tuple(int(part) for part in sqlite3.sqlite_version.split("."))


class Database(sqlite_utils.Database):
    """An open database file: what sqlite-utils offers, transactions that hold the write lock, errors in words."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(connection, execute_plugins=False)
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold the write lock from the start (`BEGIN IMMEDIATE`), commit at the end, roll back on any error.

        Inside another transaction it is a savepoint.

        Raises:
            StoreError: the file is locked, read-only, damaged, or the disk is full.
        """
        with in_words(self.path):
            if self.conn.in_transaction:
                with self.atomic():
                    yield self.conn
                return
            self.conn.execute("BEGIN IMMEDIATE")
            try:
                yield self.conn
                self.conn.execute("COMMIT")
            except BaseException:
                self.rollback()
                raise

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Return every row of a query at once, so that no read transaction stays open.

        Raises:
            StoreError: the file can't be read.
        """
        with in_words(self.path):
            return self.conn.execute(sql, values).fetchall()

    def damage(self) -> str | None:
        """Look through the whole file (`quick_check`) and return what is wrong with it, or None."""
        try:
            found = self.rows("PRAGMA quick_check(1)")
        except DamagedError as error:
            return error.what
        return None if found == [("ok",)] else str(found[0][0])

    def copy_to(self, path: Path) -> None:
        """Write a copy of the database as it is at this moment, while it is in use (SQLite's backup API).

        Raises:
            StoreError: something is there already, or it can't be written.
        """
        whole = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole.unlink(missing_ok=True)
            whole.touch(mode=0o600)
            with in_words(whole), closing(sqlite3.connect(str(whole))) as target:
                # In one step: between two, any write by another connection would make it begin again, for ever.
                self.conn.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, to be carried anywhere
            sync(whole)
            os.link(whole, path)  # unlike a rename it fails where something is already
            sync(path.parent)
        except FileExistsError as error:
            raise StoreError("something is there already", where=str(path), remedy="name another file") from error
        except OSError as error:
            raise StoreError(
                f"the copy can't be written ({error.strerror})", where=str(path), remedy=_ACCESS
            ) from error
        finally:
            whole.unlink(missing_ok=True)

    def value(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """Return the first column of a query's first row, or None without a row."""
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None


def open_database(path: Path, *, readonly: bool = False, any_thread: bool = False) -> Database:
    """Open a database file in WAL mode with `synchronous=FULL`, a busy timeout and foreign keys.

    For writing, the file and its folder are created where they are missing, open to their owner only. With
    `any_thread` several threads may use the connection, one at a time: the caller holds a lock around it.

    Raises:
        StoreError: the file can't be opened, or is no database.
    """
    _find(path) if readonly else _create(path)
    address = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}"
    with in_words(path):
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=not any_thread
        )
        try:
            if not readonly:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            return Database(connection, path)
        except BaseException:
            connection.close()
            raise


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn what SQLite says about the condition of a file into a `StoreError`."""
    try:
        yield
    except Error as error:
        # The low byte is the primary result code: https://www.sqlite.org/rescode.html
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        said = _WORDS.get(code)
        if said is None:
            raise
        what, remedy = said
        raise _KINDS.get(code, StoreError)(f"{what} ({error})", where=str(path), remedy=remedy) from error


_ACCESS = "let the user that runs this own the file and its folder, on a disk that is mounted for writing"
_ASIDE = "stop what uses it, move the file aside, and a new one is made at the next start"
_KINDS: dict[int, type[StoreError]] = {11: DamagedError, 13: FullError, 26: DamagedError}
_WORDS = {
    3: ("no permission for the database", _ACCESS),
    5: ("the database is locked by another process", "wait for it, or see who holds it with `fuser -v` and the file"),
    6: ("the database is locked by another connection", "close what else uses it"),
    8: ("the database is read-only", _ACCESS),
    10: ("the disk failed to read or write", "see `dmesg` and `df` for this disk"),
    11: ("the database is damaged", _ASIDE),
    13: ("the disk is full", "free some space with `df` as a guide; what was stored before is whole"),
    14: ("the database can't be opened", _ACCESS),
    26: ("this file is not a database", f"name another file in the configuration, or {_ASIDE}"),
}


def move_aside(path: Path, why: str) -> Path:
    """Give a database that nobody has open another name, with the time in it, and return that; its log goes with it.

    Raises:
        StoreError: it can't be renamed.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    try:
        for end in (
            "-wal",
            "",
        ):  # the log first: without its database it says nothing, but the other way round it is lost
            if path.with_name(path.name + end).exists():
                path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"it can't be moved aside ({error.strerror})", where=str(path), remedy=_ACCESS) from error
    return aside


def sync(path: Path) -> None:
    """Have a file or a folder written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _find(path: Path) -> None:
    # Never by opening it: closing a second descriptor would drop the locks that this process holds on the file.
    try:
        if S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    except FileNotFoundError as error:
        raise StoreError(
            "no such database",
            where=str(path),
            remedy="it is made at the first `edge-agent run` (at head office `edge-agent hub run`)",
        ) from error
    except OSError as error:
        raise StoreError(f"the database can't be opened ({error.strerror})", where=str(path), remedy=_ACCESS) from error


def _create(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    except OSError as error:
        raise StoreError(
            f"the database can't be created ({error.strerror})", where=str(path), remedy=_ACCESS
        ) from error


class Schema:
    """The tables of a database and how they came to be: steps that are applied in order, in one transaction.

    Args:
        name: name of the set, as it stands in the database.
        steps: the steps from an empty file on; later versions only add to them.
        table: table of the configuration that names the file, for errors.
        command: what brings an old file up to date, for errors.
    """

    def __init__(
        self, name: str, steps: Sequence[Callable[[sqlite_utils.Database], None]], table: str, command: str
    ) -> None:
        self.migrations = sqlite_utils.Migrations(name)
        for step in steps:
            self.migrations()(step)
        self._steps = {step.__name__ for step in steps}
        self._table = table
        self._command = command

    def migrate(self, db: Database) -> None:
        """Bring the tables up to date; concurrent openers wait for each other.

        Raises:
            StoreError: the file holds something else, was written by a later version, or can't be written.
        """
        with db.transaction():
            self._refuse_strangers(db)
            self.migrations.apply(db)

    def check(self, db: Database) -> None:
        """Refuse a file, opened for reading only, whose tables are not those of this version.

        Raises:
            StoreError: it holds something else, or the tables of an earlier or a later version.
        """
        with in_words(db.path):
            self._refuse_strangers(db)
            if self.migrations.pending(db):
                raise StoreError(
                    "the database has the tables of an earlier version",
                    where=str(db.path),
                    remedy=f"start the service once (`{self._command}`): it brings them up to date",
                )

    def _refuse_strangers(self, db: Database) -> None:
        applied = {migration.name for migration in self.migrations.applied(db)}
        if not applied and db.table_names():
            raise StoreError(
                "this database belongs to something else",
                where=str(db.path),
                remedy=f"name another file as `database` in the configuration's table [{self._table}]",
            )
        if later := applied - self._steps:
            raise StoreError(
                f"the database was written by a later version (it has {', '.join(sorted(later))})",
                where=str(db.path),
                remedy="install that version again, or restore the copy from before it",
            )

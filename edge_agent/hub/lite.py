"""The hub's database in one SQLite file."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, Self

from edge_agent.hub.schema import SCHEMA
from edge_agent.sqlite import in_words, open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edge_agent.hub.base import Row
    from edge_agent.sqlite import Database


class Lite:
    """A `Base` in a file. A transaction holds the write lock from its start, so there is one writer at a time."""

    kind = "sqlite"
    for_update = ""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, int] = {}

    @classmethod
    def open(cls, path: Path, *, readonly: bool) -> Self:
        """Open the file; for writing it is created, or brought up to date, where needed."""
        database = open_database(path, readonly=readonly)
        try:
            (SCHEMA.check if readonly else SCHEMA.migrate)(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def transaction(self) -> AbstractContextManager[object]:
        """See `Base`."""
        return self._database.transaction()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See `Base`."""
        with in_words(self._database.path):
            return self._database.conn.execute(sql, values).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Base`."""
        with in_words(self._database.path):
            self._database.conn.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Base`."""
        return self._database.rows(sql, values)

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """See `Base`."""
        return self._database.value(sql, values)

    def settled(self) -> int:
        """See `Base`; with one writer at a time, numbers are committed in order."""
        return int(self.value("SELECT coalesce(max(number), 0) FROM events"))

    def alone(self, work: str) -> bool:
        """See `Base`; a lock on a file beside the database, which the system gives up with the process."""
        if work in self._held:
            return True
        handle = os.open(f"{self._database.path}.{work}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._held[work] = handle
        return True

    @property
    def database(self) -> Database:
        """The file, for what only files need: a look at the whole of it, and copies."""
        return self._database

    def close(self) -> None:
        """See `Base`."""
        for handle in self._held.values():
            os.close(handle)
        self._held.clear()
        self._database.close()

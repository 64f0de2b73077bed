"""The hub's database in PostgreSQL, where several hubs behind one address share it.

Any branch may land on any hub at any moment. A transaction holds the branch's row, so the hubs file the events of one
branch one after the other, and each reads the watermark under that lock. What a server can be in (away, full, a
standby, closed to us) is raised as a `StoreError`; the branch then keeps its events and tries again.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import errors

from edge_agent.errors import StoreError
from edge_agent.hub.schema import POSTGRES, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.hub.base import Row

CONNECT_TIMEOUT_S = 5
# A hub that stands still in the middle of a transaction must not hold up a branch that went on to another hub.
_SESSION = (
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '30s'",
    "SET tcp_user_timeout = '15s'",
    # What was acknowledged must be on the disk; a server that waits for its standbys too is left as it is.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)
_NUMBERS = 0x6564_6765_0001  # advisory locks: who draws numbers of events,
_TABLES = 0x6564_6765_0002  # who changes the tables,
_WORK = 0x6564_6765  # and, with a hash of its name, who does some work alone


class Postgres:
    """A `Base` on a server; a connection that was lost is made anew at the next use outside a transaction."""

    kind = "postgresql"
    for_update = " FOR UPDATE"

    def __init__(self, address: str, *, readonly: bool) -> None:
        self._address = address
        self._readonly = readonly
        self._depth = 0
        self.where = re.sub(r":[^:@/]*@", ":…@", address)
        self._connection = self._connect()

    @classmethod
    def open(cls, address: str, *, readonly: bool) -> Self:
        """Connect; for writing, the tables are made or brought up to date where needed."""
        base = cls(address, readonly=readonly)
        try:
            base._check() if readonly else base._migrate()
        except BaseException:
            base.close()
            raise
        return base

    @contextmanager
    def transaction(self) -> Iterator[object]:
        """See `Base`."""
        with self._in_words():
            self._revive()
            with self._connection.transaction():
                self._depth += 1
                try:
                    if self._depth == 1:
                        # Shared by all who write; `settled` waits until nobody is left inside.
                        self.run("SELECT pg_advisory_xact_lock_shared(?)", [_NUMBERS])
                    yield self._connection
                finally:
                    self._depth -= 1

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See `Base`."""
        with self._in_words():
            self._revive()
            return self._connection.execute(_statement(sql), values).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Base`; in pipeline mode, so that rows do not wait for each other's answer."""
        with self._in_words():
            self._revive()
            with self._connection.cursor() as cursor:
                cursor.executemany(_statement(sql), rows)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Base`."""
        with self._in_words():
            self._revive()
            return self._connection.execute(_statement(sql), values).fetchall()

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """See `Base`."""
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None

    def settled(self) -> int:
        """See `Base`; waits until every hub that is filing events has committed."""
        with self._in_words():
            self._revive()
            with self._connection.transaction():
                self.run("SELECT pg_advisory_xact_lock(?)", [_NUMBERS])
                return int(self.value("SELECT coalesce(max(number), 0) FROM events"))

    def alone(self, work: str) -> bool:
        """See `Base`; a lock of the session, which the server gives up with the connection."""
        return bool(self.value("SELECT pg_try_advisory_lock(?, hashtext(?))", [_WORK, work]))

    def close(self) -> None:
        """See `Base`."""
        self._connection.close()

    def _connect(self) -> psycopg.Connection[Row]:
        with self._in_words():
            connection = psycopg.connect(
                self._address, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="edge-agent hub"
            )
            for statement in _SESSION:
                connection.execute(statement.encode())
            connection.read_only = self._readonly
            return connection

    def _revive(self) -> None:
        if self._connection.closed and not self._depth:
            self._connection = self._connect()

    def _migrate(self) -> None:
        with self._in_words(), self._connection.transaction():
            self.run("SELECT pg_advisory_xact_lock(?)", [_TABLES])
            applied = self._applied()
            if not applied:
                self.run("CREATE TABLE hub_steps (step TEXT PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now())")
            for name, statements in STEPS.items():
                if name not in applied:
                    for statement in statements:
                        self.run(statement.format_map(POSTGRES))
                    self.run("INSERT INTO hub_steps (step) VALUES (?)", [name])

    def _check(self) -> None:
        if set(STEPS) - self._applied():
            raise StoreError(
                "the database has no tables of the hub yet, or those of an earlier version",
                where=self.where,
                remedy="start the hub once (`edge-agent hub run`): it makes them, or brings them up to date",
            )

    def _applied(self) -> set[str]:
        """Return the steps that were done; refuse tables that are not ours, or of a later version."""
        tables = {row[0] for row in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")}
        if "hub_steps" not in tables:
            if "events" in tables or "branches" in tables:
                raise StoreError(
                    "this database belongs to something else",
                    where=self.where,
                    remedy="make one for the hub alone (`createdb hub`) and name it as `database` in [hub]",
                )
            return set()
        applied = {row[0] for row in self.rows("SELECT step FROM hub_steps")}
        if later := applied - set(STEPS):
            raise StoreError(
                f"the database was written by a later version (it has {', '.join(sorted(later))})",
                where=self.where,
                remedy="install that version on every hub",
            )
        return applied

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = _words(error)
            if said is None:
                raise
            what, remedy = said
            detail = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoreError(f"{what} ({detail})", where=self.where, remedy=remedy) from error


def _statement(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _words(error: psycopg.Error) -> tuple[str, str] | None:
    """Say what condition of the server an error tells of; None for a fault of the program."""
    match error:
        case errors.DeadlockDetected() | errors.LockNotAvailable() | errors.SerializationFailure():
            return "another hub is at work on the same rows", "it is tried again by itself"
        case errors.InsufficientPrivilege():
            return "the database does not let us", "let the hub's user own the database, or its schema"
        case errors.ReadOnlySqlTransaction():
            return "the database is read-only", "give the address of the primary server, not of a standby"
        case errors.DiskFull():
            return "the server's disk is full", "free some space there; what was stored before is whole"
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return (
                "the database server can't be used",
                "see that it runs, and that address, user and password are right",
            )
    return None

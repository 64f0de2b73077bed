"""What the hub asks of a database, whichever it is: SQLite on one machine, PostgreSQL where several hubs share one.

Statements are written once, in the SQL that both take, with `?` for each value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from edge_agent import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

Row = tuple[Any, ...]
POSTGRES = ("postgresql://", "postgres://")


class Base(Protocol):
    """An open database; it belongs to the thread that opened it."""

    kind: str
    """`sqlite` or `postgresql`."""

    for_update: str
    """What a query ends with so that the rows it finds are held until the transaction ends."""

    def transaction(self) -> AbstractContextManager[object]:
        """Make several writes one commit; inside another transaction it is a savepoint.

        Raises:
            StoreError: the database can't be reached, or refuses for a reason that a person can mend.
        """

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it concerned."""

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of many rows."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return every row of a query at once.

        Raises:
            StoreError: the database can't be read.
        """

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of a query's first row, or None without a row."""

    def settled(self) -> int:
        """Return the number of the last event before which no other can come to stand any more.

        Several hubs draw numbers at once and commit in any order: whoever keeps his place by a number reads up to here.
        """

    def alone(self, work: str) -> bool:
        """Take some work for this process alone; False while another has it. It ends with the process."""

    def close(self) -> None:
        """Close it; what is not committed is rolled back."""


def open_base(where: Path | str, *, readonly: bool = False) -> Base:
    """Open the hub's database: a file, or a PostgreSQL address (`postgresql://user@host/database`).

    For writing, its tables are made or brought up to date where needed. A relative file counts from the state folder.

    Raises:
        StoreError: it is missing (for reading), not reachable, locked, read-only, damaged, foreign, or of a later
            version.
    """
    if isinstance(where, str) and where.startswith(POSTGRES):
        from edge_agent.hub.postgres import Postgres

        return Postgres.open(where, readonly=readonly)
    from edge_agent.hub.lite import Lite

    return Lite.open(paths.under_state(str(where)), readonly=readonly)

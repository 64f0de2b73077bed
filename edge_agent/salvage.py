"""What the branch's store and the hub's ledger share when a database is damaged, or a copy of one is put back."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from edge_agent.errors import StoreError
from edge_agent.sqlite import Error, move_aside, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.sqlite import Database

_PAGE = 100
_MISSES = 20_000  # rows that are looked for one by one beyond the last that was found, where the end is not known
_MAGIC = b"SQLite format 3\x00"


def was_a_database(path: Path) -> bool:
    """Say whether a file that is refused was a database: its header says so, or was blanked by a power cut."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError:
        return False
    return head in (_MAGIC, bytes(len(_MAGIC)))


def has(old: Database, table: str) -> bool:
    """Say whether there is such a table: a file of an earlier version lacks some."""
    try:
        return bool(old.rows("SELECT 1 FROM sqlite_schema WHERE name = ?", [table]))
    except (StoreError, Error):
        return False


def readable(old: Database, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield every row that can be read, in order: up to the damage, then by number, then what comes after it."""

    def page(where: str, values: list[int], order: str) -> list[tuple[Any, ...]] | None:
        query = f"SELECT rowid, {columns} FROM {table} WHERE {where} ORDER BY rowid {order} LIMIT {_PAGE}"  # noqa: S608
        try:
            return old.rows(query, values)
        except (StoreError, Error):
            return None

    low = 0
    while rows := page("rowid > ?", [low], "ASC"):
        yield from (row[1:] for row in rows)
        low = rows[-1][0]
    if rows is not None:
        return
    high, behind = 2**62, list[tuple[Any, ...]]()
    while rows := page("rowid > ? AND rowid < ?", [low, high], "DESC"):
        behind += (row[1:] for row in rows)
        high = rows[-1][0]
    missed = 0
    for number in range(low + 1, high) if rows is None else ():
        one = page("rowid = ?", [number], "ASC")
        missed = 0 if one else missed + 1
        yield from (row[1:] for row in one or ())
        if missed > _MISSES:
            break
    yield from reversed(behind)


def put_in_place(copy: Path, path: Path) -> Path | None:
    """Put a copy in the place of a database that nobody has open; return where that lies now, if there was one.

    Raises:
        StoreError: the disk refuses. The database is then as it was, or lies beside.
    """
    whole = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(copy, whole)
        whole.chmod(0o600)
        sync(whole)
        aside = move_aside(path, "replaced") if path.exists() else None
        os.replace(whole, path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(
            f"the copy can't be put in place ({error.strerror})",
            where=str(path),
            remedy="see `df`, and who owns the folder",
        ) from error
    finally:
        whole.unlink(missing_ok=True)
    return aside

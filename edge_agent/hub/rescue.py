"""The hub's SQLite file: looked through at each start, replaced when it is damaged, copied, and put back from a copy.

A damaged file is moved aside, and what can be read of it goes into a new one. Watermarks begin anew there: each branch
is asked for whatever the new file lacks and gets it again from what it keeps; what is there already is known by its
sequence and its id. The old file stays where it was moved to until a person removes it.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from edge_agent import paths
from edge_agent.errors import StoreError
from edge_agent.hub.base import POSTGRES
from edge_agent.hub.ledger import Ledger
from edge_agent.hub.lite import Lite
from edge_agent.salvage import has, put_in_place, readable, was_a_database
from edge_agent.sqlite import DamagedError, Error, move_aside, open_database

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_agent.sqlite import Database

log = logging.getLogger(__name__)

SERVING = "serving"  # the work that a hub holds its file by
_PAGE = 500
_TABLES = {
    "branches": "branch, key, name, present, first_seen, last_seen, skew_ms, boot_id, about, waiting",
    "streams": "stream, branch, epoch",
    "events": "number, stream, sequence, type, time, subject, received_at, id, body",
    "dead_letters": "number, stream, sequence, received_at, reason, body",
    "holes": "stream, first, last, noted_at",
    "customers": "stream, subject, customer",
    "deliveries": "number, lane, customer, tries, blamed, due_ms, first_ms, last_ms",
    "undelivered": "number, lane, customer, at, tries, reason",
    "notes": "name, value, at",
    "publications": "serial, kind, name, version, sha256, at, manifest, signature, content",
    "installed": "branch, kind, name, serial, sha256, error, at",
}
# What belongs to a row that could not be read: events stay, under a branch that is no one's; what only points does not.
_MEND = (
    """INSERT INTO branches (branch, key, name, first_seen, last_seen)
        SELECT DISTINCT branch, 'lost-' || branch, 'lost', '', '' FROM streams
        WHERE branch NOT IN (SELECT branch FROM branches)""",
    """INSERT INTO branches (key, name, first_seen, last_seen)
        SELECT DISTINCT 'lost-stream-' || stream, 'lost', '', '' FROM
            (SELECT stream FROM events UNION SELECT stream FROM dead_letters)
        WHERE stream NOT IN (SELECT stream FROM streams)""",
    """INSERT INTO streams (stream, branch, epoch)
        SELECT CAST(substr(key, 13) AS INTEGER), branch, key FROM branches WHERE key LIKE 'lost-stream-%'
        ON CONFLICT DO NOTHING""",
    "UPDATE branches SET present = NULL WHERE present NOT IN (SELECT stream FROM streams)",
    "DELETE FROM holes WHERE stream NOT IN (SELECT stream FROM streams)",
    "DELETE FROM customers WHERE stream NOT IN (SELECT stream FROM streams)",
    "DELETE FROM deliveries WHERE number NOT IN (SELECT number FROM events)",
    "DELETE FROM undelivered WHERE number NOT IN (SELECT number FROM events)",
    "DELETE FROM installed WHERE branch NOT IN (SELECT branch FROM branches)",
)


@dataclass(frozen=True, slots=True)
class Rescue:
    """What became of a damaged database: where it lies, what was wrong, and how much was saved."""

    at: str
    aside: str
    found: str
    branches: int
    events: int
    dead_letters: int


def open_whole(where: Path | str) -> Ledger:
    """Open the ledger for a hub that serves: a file is held alone and looked through, and replaced if damaged.

    Raises:
        StoreError: as `Ledger.open`; another hub has the file; or it never was a database, and is left alone.
    """
    path = file_of(where)
    if path is None:
        return Ledger.open(where)
    try:
        base = Lite.open(path, readonly=False)
        _hold(base)
        found = base.database.damage()
    except DamagedError as error:
        if not was_a_database(path):
            raise
        return Ledger(_rescue(path, error.what))
    if found is None:
        return Ledger(base)
    base.close()
    return Ledger(_rescue(path, found))


def file_of(where: Path | str) -> Path | None:
    """Return the file that a setting names, or None where it names PostgreSQL, which looks after itself."""
    return None if str(where).startswith(POSTGRES) else paths.under_state(str(where))


def last_rescue(ledger: Ledger) -> Rescue | None:
    """Return what was done when this database replaced a damaged one."""
    noted = ledger.base.value("SELECT value FROM notes WHERE name = 'rescued'")
    return Rescue(**json.loads(noted)) if noted else None


def damage(path: Path) -> str | None:
    """Look through a whole file and return what is wrong with it, or None.

    Raises:
        StoreError: it is missing, foreign or of another version.
    """
    try:
        with closing(Lite.open(path, readonly=True)) as base:
            return base.database.damage()
    except DamagedError as error:
        return error.what


def copy(path: Path, to: Path) -> int:
    """Write a copy of a ledger as of now, while the hub serves, and return how many events are in it.

    Raises:
        StoreError: there is no ledger, something is there already, or it can't be written.
    """
    with closing(Lite.open(path, readonly=True)) as base:
        base.database.copy_to(to)
    with closing(Lite.open(to, readonly=True)) as base:
        return int(base.value("SELECT count(*) FROM events"))


def put_back(copied: Path, path: Path) -> tuple[int, str]:
    """Put a copy in the place of a ledger; return how many events are in it, and where the former one lies.

    Branches send again what the copy lacks, as far as they keep it.

    Raises:
        StoreError: the copy is missing, damaged or foreign, a hub serves from this file, or the disk refuses.
    """
    if found := damage(copied):
        raise StoreError(f"the copy is damaged: {found}", where=str(copied), remedy="take another copy")
    if path.exists():
        with suppress(DamagedError), closing(Lite.open(path, readonly=False)) as base:
            _hold(base)
    aside = put_in_place(copied, path)
    with closing(Lite.open(path, readonly=False)) as base:
        return int(base.value("SELECT count(*) FROM events")), str(aside or "")


def _hold(base: Lite) -> None:
    if not base.alone(SERVING):
        base.close()
        raise StoreError(
            "another hub has this database",
            where=str(base.database.path),
            remedy="end it first; several hubs at once want PostgreSQL",
        )


def _rescue(path: Path, found: str) -> Lite:
    aside = move_aside(path, "damaged")
    base = Lite.open(path, readonly=False)
    try:
        _hold(base)
        saved = _salvage(base, aside)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        done = Rescue(now, str(aside), found[:500], saved["branches"], saved["events"], saved["dead_letters"])
        base.run("INSERT OR REPLACE INTO notes VALUES ('rescued', ?, ?)", [json.dumps(asdict(done)), now])
    except BaseException:
        base.close()
        raise
    log.critical(
        "THE HUB'S DATABASE WAS DAMAGED (%s): it was moved to %s, a new one begins; saved: %s events, %s dead letters,"
        " %s branches; branches are asked for what is missing",
        found,
        aside,
        done.events,
        done.dead_letters,
        done.branches,
    )
    return base


def _salvage(base: Lite, source: Path) -> dict[str, int]:
    """Take in what can be read of a damaged file; returns how many rows of each table."""
    saved = dict.fromkeys(_TABLES, 0)
    try:
        old = open_database(source, readonly=True)
    except StoreError as error:
        log.error("nothing can be read of %s: %s", source, error.what)
        return saved
    base.run("PRAGMA foreign_keys = OFF")  # what points at nothing is mended at the end
    with closing(old):
        for table, columns in _TABLES.items():
            if has(old, table):
                rows = (row for row in readable(old, table, columns) if table != "events" or _is_whole(row))
                saved[table] = _adopt(base, table, columns, rows)
        last = _last_number(old)
    with base.transaction():
        for statement in _MEND:
            base.run(statement)
        # No number is given twice: whoever reads on from one would miss an event.
        through = base.value("SELECT value FROM notes WHERE name = 'through'") or 0
        last = max(last, int(through), int(base.value("SELECT coalesce(max(number), 0) FROM events")))
        base.run("DELETE FROM sqlite_sequence WHERE name = 'events'")
        base.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", [last])
    base.run("PRAGMA foreign_keys = ON")
    return saved


def _adopt(base: Lite, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> int:
    marks = ", ".join("?" * len(columns.split(",")))
    query = f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    source, taken = iter(rows), 0
    while page := list(islice(source, _PAGE)):
        try:
            with base.transaction():
                base.many(query, page)
            taken += len(page)
        except Error:  # a row was read that is none: the others one by one
            for row in page:
                with suppress(Error), base.transaction():
                    taken += base.run(query, row)
    return taken


def _is_whole(row: tuple[Any, ...]) -> bool:
    try:
        return bool(json.loads(row[-1])["id"] == row[-2])
    except (ValueError, TypeError, KeyError):
        return False


def _last_number(old: Database) -> int:
    try:
        return int(old.value("SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0)
    except (StoreError, Error, ValueError):
        return 0

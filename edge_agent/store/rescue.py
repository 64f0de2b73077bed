"""A damaged database is moved aside, a new one begins, and what can still be read of the old one goes into it.

Everything that is saved waits for head office again, under a new epoch: head office knows by their ids those events
that it has. The old file stays where it was moved to until a person removes it.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edge_agent.errors import StoreError
from edge_agent.salvage import has, readable, was_a_database
from edge_agent.sqlite import DamagedError, move_aside, open_database
from edge_agent.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_CALLS = "id, source, started_at, speakers, file, customer_id, end_ms, reason"
_UTTERANCES = "call_id, channel, speaker, turn, start_ms, end_ms, heard, text, terms, confidence"
_EVENTS = "id, type, time, subject, node, severity, body"
# What people said of events and what is remembered of customers: nobody could write it again.
_REVIEWED = {
    "past_calls": "call_id, customer_id, started_at, noticed, cases",
    "verdicts": "event_id, call_id, word, node, label, by, text, before, speaker, at, note",
    "releases": "by, at",
}


@dataclass(frozen=True, slots=True)
class Rescue:
    """What became of a damaged database: where it lies, what was wrong, and how much was saved."""

    at: str
    aside: str
    found: str
    events: int
    transcripts: int
    calls: int


def open_store(path: Path) -> Store:
    """Open the store for writing, after a look at the whole file; a damaged one is replaced as told above.

    Raises:
        StoreError: as `Store.open`; a file that never was a database is refused and left alone.
    """
    try:
        store = Store.open(path)
    except DamagedError as error:
        if not was_a_database(path):
            raise
        return _rescue(path, error.what)
    found = store.damage()
    if found is None:
        return store
    store.close()
    return _rescue(path, found)


def last_rescue(store: Store) -> Rescue | None:
    """Return what was done when this database replaced a damaged one."""
    noted = store.noted("rescued")
    return Rescue(**json.loads(noted)) if noted else None


def salvage(store: Store, source: Path) -> tuple[int, int, int]:
    """Take into a store what another file holds and it does not; returns how many events, transcripts and calls.

    Raises:
        StoreError: the store can't be written.
    """
    try:
        old = open_database(source, readonly=True)
    except StoreError as error:
        log.error("nothing can be read of %s: %s", source, error.what)
        return 0, 0, 0
    with closing(old):
        calls = store.adopt("calls", _CALLS, readable(old, "calls", _CALLS))
        transcripts = store.adopt("utterances", _UTTERANCES, readable(old, "utterances", _UTTERANCES))
        whole = (row for row in readable(old, "events", _EVENTS) if _is_whole(row))
        events = store.adopt("events", _EVENTS, whole)
        for table, columns in _REVIEWED.items():
            if has(old, table):
                store.adopt(table, columns, readable(old, table, columns))
    return events, transcripts, calls


def _rescue(path: Path, found: str) -> Store:
    aside = move_aside(path, "damaged")
    store = Store.open(path)
    try:
        events, transcripts, calls = salvage(store, aside)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        done = Rescue(now, str(aside), found[:500], events, transcripts, calls)
        store.note("rescued", json.dumps(asdict(done)))
    except BaseException:
        store.close()
        raise
    log.critical(
        "THE DATABASE WAS DAMAGED (%s): it was moved to %s, a new one begins; saved: %s events, %s transcripts,"
        " %s calls",
        found,
        aside,
        events,
        transcripts,
        calls,
    )
    return store


def _is_whole(row: tuple[Any, ...]) -> bool:
    try:
        return bool(json.loads(row[-1])["id"] == row[0])
    except (ValueError, TypeError, KeyError):
        return False

"""The keep: calls, what was said in them, the events, and the outbox that head office is told from."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from edge_agent.sqlite import Connection, Database, open_database
from edge_agent.store import columns
from edge_agent.store.reviews import Reviews
from edge_agent.store.rows import Counts, Ended, OutboxRow, State, StoredEvent
from edge_agent.store.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edge_agent.event import Event, Shadowed
    from edge_agent.types import Call, PastCall, TermHit, Transcript

PAGE = 500  # rows read at once: no reader holds a snapshot for long, so the log can always be checkpointed

_EVENTS = """
    SELECT events.sequence, body, state, acknowledged_at, reason FROM events JOIN outbox USING (sequence)
    WHERE {where} ORDER BY events.sequence LIMIT :page"""


class Store:
    """One open database of the branch.

    A store belongs to the thread that opened it; one process writes at a time. After `keep` has returned, what it was
    given is on the disk; if it raises, nothing of it is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reviews = Reviews(database)

    @property
    def epoch(self) -> str:
        """The present life of this database."""
        return str(self.database.value("SELECT value FROM meta WHERE key = 'epoch'"))

    @property
    def begins(self) -> int:
        """The sequence up to which everything belongs to earlier epochs."""
        return int(self.database.value("SELECT value FROM meta WHERE key = 'begins'") or 0)

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False, any_thread: bool = False) -> Self:
        """Open the database; for writing it is created, or brought up to date, where needed.

        `any_thread` is as in `edge_agent.sqlite.open_database`.

        Raises:
            StoreError: the file is missing (for reading), locked, read-only, damaged, foreign, or of a later version.
        """
        database = open_database(path, readonly=readonly, any_thread=any_thread)
        try:
            (SCHEMA.check if readonly else SCHEMA.migrate)(database)
            return cls(database)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the file; what is not committed is rolled back."""
        self.database.close()

    def __enter__(self) -> Self:
        """Use the store until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def transaction(self) -> AbstractContextManager[Connection]:
        """Make several writes one commit (see `Database.transaction`)."""
        return self.database.transaction()

    def keep(
        self,
        *,
        calls: Iterable[Call] = (),
        transcripts: Iterable[Transcript] = (),
        events: Iterable[Event] = (),
        ended: Iterable[Ended] = (),
        remembered: Iterable[PastCall] = (),
        shadowed: Iterable[Shadowed] = (),
    ) -> int:
        """Keep all of it in one transaction and return the last sequence of the outbox.

        What is stored already (the call or the event by id, the transcript by call, start and channel) stays as it is
        and takes no sequence.

        Raises:
            StoreError: nothing was kept, because of the file or the disk.
        """
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO calls (id, source, started_at, speakers, file, customer_id) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                map(columns.call_row, calls),
            )
            connection.executemany(
                "INSERT INTO utterances (call_id, channel, speaker, turn, start_ms, end_ms, heard, text, terms,"
                " confidence, dictionary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                map(columns.transcript_row, transcripts),
            )
            # `ON CONFLICT DO NOTHING` would use up a sequence for an event that is there already; head office counts
            # on sequences without holes.
            connection.executemany(
                "INSERT INTO events (id, type, time, subject, node, severity, body)"
                " SELECT :id, :type, :time, :subject, :node, :severity, :body"
                " WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = :id)",
                map(columns.event_row, events),
            )
            connection.executemany(
                "UPDATE calls SET end_ms = ?, reason = ? WHERE id = ?",
                ((end.end_ms, end.reason, end.call_id) for end in ended),
            )
            self.reviews.remember(remembered)
            self.reviews.record(shadowed)
            return self.last()

    # ---- the outbox

    def last(self) -> int:
        """Return the highest sequence that was ever given out; 0 before the first."""
        return self.database.value("SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0

    def acknowledged(self) -> int:
        """Return the watermark: every sequence up to it is settled (acknowledged or rejected)."""
        first = self.database.value("SELECT min(sequence) FROM outbox WHERE state = 'waiting'")
        return self.last() if first is None else first - 1

    def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Return up to `limit` waiting events with a sequence above `after`, in order."""
        rows = self.database.rows(
            "SELECT sequence, id, body FROM outbox JOIN events USING (sequence)"
            " WHERE state = 'waiting' AND sequence > ? ORDER BY sequence LIMIT ?",
            [after, limit],
        )
        return [OutboxRow(*row) for row in rows]

    def acknowledge(self, through: int, rejected: Mapping[int, str] | None = None, *, drop: bool = False) -> None:
        """Settle every waiting event up to and including sequence `through`.

        `rejected` maps the sequences among them that head office put aside to its reasons. With `drop` (on a full disk)
        the acknowledged ones are removed instead of kept for a while.

        Raises:
            StoreError: nothing was settled, because of the file or the disk.
        """
        now = columns.time(datetime.now(UTC))
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE outbox SET state = 'rejected', acknowledged_at = ?, reason = ?"
                " WHERE state = 'waiting' AND sequence = ? AND sequence <= ?",
                ((now, reason, sequence, through) for sequence, reason in (rejected or {}).items()),
            )
            if drop:
                waiting = "SELECT sequence FROM outbox WHERE state = 'waiting' AND sequence <= ?"
                connection.execute(f"DELETE FROM events WHERE sequence IN ({waiting})", [through])  # noqa: S608
                return
            connection.execute(
                "UPDATE outbox SET state = 'acknowledged', acknowledged_at = ?"
                " WHERE state = 'waiting' AND sequence <= ?",
                [now, through],
            )

    def rewind(self, through: int) -> None:
        """Let every event above sequence `through` wait again: head office was restored and knows no later one.

        Raises:
            StoreError: nothing was changed, because of the file or the disk.
        """
        with self.transaction() as connection:
            connection.execute(
                "UPDATE outbox SET state = 'waiting', acknowledged_at = NULL, reason = NULL"
                " WHERE sequence > ? AND state <> 'waiting'",
                [through],
            )

    def urgent(self, after: int, limit: int) -> list[OutboxRow]:
        """Return waiting events above `after` that must not wait for their turn: compliance alarms."""
        rows = self.database.rows(
            "SELECT sequence, id, body FROM outbox JOIN events USING (sequence)"
            " WHERE state = 'waiting' AND severity = 'alarm' AND node LIKE 'compliance.%' AND sequence > ?"
            " ORDER BY sequence LIMIT ?",
            [after, limit],
        )
        return [OutboxRow(*row) for row in rows]

    def at(self, sequence: int) -> OutboxRow | None:
        """Return the event with a sequence, whatever its state; None where it isn't kept any more."""
        rows = self.database.rows("SELECT sequence, id, body FROM events WHERE sequence = ?", [sequence])
        return OutboxRow(*rows[0]) if rows else None

    def renew(self) -> str:
        """Begin a new epoch and return it: head office knows another past of the old one.

        Every event that is still kept waits again. Head office knows by their ids those that it has.

        Raises:
            StoreError: nothing was changed, because of the file or the disk.
        """
        with self.transaction() as connection:
            first = self.database.value("SELECT min(sequence) FROM events")
            begins = self.last() if first is None else first - 1
            epoch = secrets.token_hex(16)
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("epoch", epoch), ("begins", str(begins))]
            )
            self.rewind(begins)
        return epoch

    def damage(self) -> str | None:
        """Look through the whole file and return what is wrong with it, or None."""
        return self.database.damage()

    def limit(self, *, grow: bool) -> None:
        """Let the file grow, or keep it to the pages it has: those of removed events are used again."""
        most = 4_294_967_294 if grow else self.database.value("PRAGMA page_count")
        self.database.value(f"PRAGMA max_page_count = {most}")

    def note(self, key: str, value: str) -> None:
        """Remember something about this database; `noted` gives it back."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])

    def noted(self, key: str) -> str | None:
        """Return what was remembered, or None."""
        value = self.database.value("SELECT value FROM meta WHERE key = ?", [key])
        return None if value is None else str(value)

    def adopt(self, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> int:
        """Take rows of another store's table into this one and return how many; what is here already stays as it is.

        Raises:
            StoreError: the file can't be written; what came before is in.
        """
        marks = ", ".join("?" * len(columns.split(",")))
        known = "WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = ?1)" if table == "events" else "WHERE true"
        query = f"INSERT INTO {table} ({columns}) SELECT {marks} {known} ON CONFLICT DO NOTHING"
        query = query.replace("SELECT ?", "SELECT ?1", 1)
        source, taken = iter(rows), 0
        while page := list(islice(source, PAGE)):
            with self.transaction() as connection:
                taken += connection.executemany(query, page).rowcount
        return taken

    def counts(self) -> Counts:
        """Count the events, and those in each state."""
        by_state = dict(self.database.rows("SELECT state, count(*) FROM outbox GROUP BY state"))
        return Counts(sum(by_state.values()), *(by_state.get(state.value, 0) for state in State))

    def prune(self, before: datetime, limit: int = -1) -> int:
        """Remove the events that were acknowledged before a time and return how many; all others stay.

        `limit` takes the oldest so many: each needs a little room in the log.

        Raises:
            StoreError: nothing was removed, because of the file or the disk.
        """
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM events WHERE sequence IN (SELECT sequence FROM outbox"
                " WHERE state = 'acknowledged' AND acknowledged_at < ? ORDER BY sequence LIMIT ?)",
                [columns.time(before), limit],
            ).rowcount

    # ---- for people

    def events(
        self,
        *,
        type: str | None = None,  # noqa: A002
        node: str | None = None,
        subject: str | None = None,
        severity: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        limit: int | None = None,
        newest: bool = False,
    ) -> Iterator[StoredEvent]:
        """Yield the events that match everything given, in order of sequence.

        `since` is inclusive, `until` exclusive, `after` a sequence. `limit` takes the first so many, with `newest` the
        last so many.
        """
        given = {"type": type, "node": node, "subject": subject, "severity": severity}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        tests = ["events.sequence > :after", *(f"{name} = :{name}" for name in values)]
        values |= {"after": after, "page": PAGE}
        if since is not None:
            tests.append("time >= :since")
            values["since"] = columns.time(since)
        if until is not None:
            tests.append("time < :until")
            values["until"] = columns.time(until)
        where = " AND ".join(tests)
        left = limit
        if newest and left is not None:
            first = self.database.value(
                f"SELECT sequence FROM events WHERE {where} ORDER BY sequence DESC LIMIT 1 OFFSET :skip",  # noqa: S608
                values | {"skip": max(left - 1, 0)},
            )
            values["after"] = first - 1 if first else after
        while left is None or left > 0:
            page = self.database.rows(
                _EVENTS.format(where=where), values | {"page": PAGE if left is None else min(PAGE, left)}
            )
            if not page:
                return
            yield from map(columns.stored, page)
            values["after"] = page[-1][0]
            left = None if left is None else left - len(page)

    def event(self, id: str) -> StoredEvent | None:  # noqa: A002
        """Return one event by its id."""
        rows = self.database.rows(_EVENTS.format(where="id = :id"), {"id": id, "page": 1})
        return columns.stored(rows[0]) if rows else None

    def calls(self) -> list[tuple[Call, Ended | None]]:
        """Return every call in order of its start, with its end if it has ended."""
        rows = self.database.rows(
            "SELECT id, source, started_at, speakers, file, customer_id, end_ms, reason FROM calls"
            " ORDER BY started_at, id"
        )
        return [(columns.call(row), None if row[6] is None else Ended(row[0], row[6], row[7])) for row in rows]

    def said(self, since: datetime | None = None) -> Iterator[tuple[str, str]]:
        """Yield the call and the text of every utterance, of the calls since a time if one is given."""
        yield from self._utterances("text", since)

    def heard_terms(self, since: datetime | None = None) -> Iterator[TermHit]:
        """Yield every dictionary term that was found, in the calls since a time if one is given."""
        for _, terms in self._utterances("terms", since):
            yield from columns.hits(terms)

    def _utterances(self, column: str, since: datetime | None) -> Iterator[tuple[str, str]]:
        after, begin = 0, "" if since is None else since.astimezone(UTC).isoformat(timespec="microseconds")
        while page := self.database.rows(
            f"SELECT utterances.id, call_id, {column} FROM utterances LEFT JOIN calls ON calls.id = call_id"  # noqa: S608
            " WHERE utterances.id > ? AND coalesce(started_at, '') >= ? ORDER BY utterances.id LIMIT ?",
            [after, begin, PAGE],
        ):
            yield from ((call_id, value) for _, call_id, value in page)
            after = page[-1][0]

    def transcripts(self, call_id: str) -> list[Transcript]:
        """Return what was said in a call, in order of start."""
        rows = self.database.rows(
            "SELECT call_id, channel, speaker, turn, start_ms, end_ms, heard, text, terms, confidence,"
            " dictionary FROM utterances WHERE call_id = ? ORDER BY start_ms, channel",
            [call_id],
        )
        return [columns.transcript(row) for row in rows]

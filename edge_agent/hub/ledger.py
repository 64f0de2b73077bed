"""The hub's ledger: what came, from whom, and how far each branch is.

Events and watermark change in one transaction, so that a branch is never told of more than the file holds. An event is
taken once for ever: by (branch, epoch, sequence) and by its id. Where several hubs share a database, each holds the
branch's row until its commit, so that they file the events of one branch one after the other.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from edge_agent.errors import WireError
from edge_agent.hub.base import open_base
from edge_agent.hub.judge import Entry, judge
from edge_agent.hub.rows import Branch, DeadLetter, HubEvent, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edge_agent.hub.base import Base
    from edge_agent.wire import Events, Hello

Reasons = tuple[tuple[int, str], ...]

MAX_TOLD = 10_000  # rejected events that a WELCOME tells of
PAGE = 500  # rows read at once: no reader holds a snapshot for long

_SOURCE = "JOIN streams USING (stream) JOIN branches USING (branch)"


class GapError(WireError):
    """A batch begins beyond the next sequence that the hub can take."""


class Ledger:
    """An open database of the hub; it belongs to the thread that opened it.

    `greet`, `take` and `seen` are called inside `transaction`, and what they return holds once it is committed.
    """

    def __init__(self, base: Base) -> None:
        self.base = base

    @classmethod
    def open(cls, where: Path | str, *, readonly: bool = False) -> Self:
        """Open the database, a file or a PostgreSQL address; see `open_base`.

        Raises:
            StoreError: it is missing (for reading), not reachable, locked, read-only, damaged, foreign, or of a later
                version.
        """
        return cls(open_base(where, readonly=readonly))

    def close(self) -> None:
        """Close the database; what is not committed is rolled back."""
        self.base.close()

    def __enter__(self) -> Self:
        """Use the ledger until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def transaction(self, keys: Iterable[str] = ()) -> Iterator[None]:
        """Make several writes one commit.

        The branches of these keys are held from the start, in one order at every hub: two hubs that took them in turn
        could wait for each other.
        """
        with self.base.transaction():
            if held := sorted(set(keys)):
                marks = ", ".join("?" * len(held))
                query = f"SELECT branch FROM branches WHERE key IN ({marks}) ORDER BY key"  # noqa: S608
                if self.base.for_update:
                    self.base.rows(query + self.base.for_update, held)
            yield

    # ---- what the wire asks for

    def greet(self, key: str, name: str, hello: Hello, now_ms: int) -> tuple[int, str, Reasons]:
        """Begin or go on with a branch's stream.

        Returns its watermark, the id of the event there (empty if there is none), and what was rejected above the
        branch's own watermark. Sequences that the branch can't send any more are noted as a hole and passed over.
        """
        now = moment(now_ms)
        stream, through = self._stream(key, name, hello.epoch, now)
        run = self.base.run
        if hello.pruned > through:
            run("INSERT INTO holes VALUES (?, ?, ?, ?)", [stream, through + 1, hello.pruned, now])
            through = hello.pruned
            run("UPDATE streams SET through = ? WHERE stream = ?", [through, stream])
        run(
            "UPDATE branches SET name = ?, present = ?, last_seen = ?, skew_ms = ? WHERE key = ?",
            [name, stream, now, hello.clock_ms - now_ms, key],
        )
        last = self.base.value("SELECT id FROM events WHERE stream = ? AND sequence = ?", [stream, through])
        rejected = self.base.rows(
            "SELECT sequence, reason FROM dead_letters WHERE stream = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            [stream, hello.acked, MAX_TOLD],
        )
        return through, last or "", tuple((sequence, reason) for sequence, reason in rejected)

    def take(self, key: str, name: str, batch: Events, now_ms: int) -> tuple[int, Reasons]:
        """File a batch and move the watermark; what lies below it already is passed over.

        Returns the watermark and what of the batch was rejected, with reasons.

        Raises:
            GapError: something before the batch is missing; nothing was filed.
        """
        now = moment(now_ms)
        stream, through = self._stream(key, name, batch.epoch, now)
        if batch.first > through + 1:
            raise GapError(f"sequence {through + 1} is next, not {batch.first}")
        entries: list[tuple[int, int, str, str, str, str, str, str]] = []
        rejected: list[tuple[int, str]] = []
        for sequence, line in enumerate(batch.lines()[through + 1 - batch.first :], through + 1):
            match judge(line):
                case Entry() as entry:
                    row = (stream, sequence, entry.id, entry.type, entry.time, entry.subject, now, entry.body)
                    entries.append(row)
                case reason:
                    rejected.append((sequence, reason))
                    self.base.run(
                        "INSERT INTO dead_letters (stream, sequence, received_at, reason, body) VALUES (?, ?, ?, ?, ?)",
                        [stream, sequence, now, reason, line],
                    )
        self.base.many(
            "INSERT INTO events (stream, sequence, id, type, time, subject, received_at, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            entries,
        )
        if batch.last > through:
            through = batch.last
            self.base.run("UPDATE streams SET through = ? WHERE stream = ?", [through, stream])
        return through, tuple(rejected)

    def seen(self, when_ms: Mapping[str, int]) -> None:
        """Note when branches (by key) were last heard of."""
        self.base.many(
            "UPDATE branches SET last_seen = ? WHERE key = ?",
            [(moment(at), key) for key, at in sorted(when_ms.items())],
        )

    def _stream(self, key: str, name: str, epoch: str, now: str) -> tuple[int, int]:
        """Return a stream and its watermark; read anew each time, so that no other writer can make it stale."""
        query = "SELECT stream, through FROM streams JOIN branches USING (branch) WHERE key = ? AND epoch = ?"
        query += self.base.for_update
        found = self.base.rows(query, [key, epoch])
        if not found:
            self.base.run(
                "INSERT INTO branches (key, name, first_seen, last_seen) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [key, name, now, now],
            )
            # Held before its stream is made: two hubs that meet a branch for the first time wait here.
            self.base.rows(f"SELECT branch FROM branches WHERE key = ?{self.base.for_update}", [key])  # noqa: S608
            self.base.run(
                "INSERT INTO streams (branch, epoch) SELECT branch, ? FROM branches WHERE key = ?"
                " ON CONFLICT DO NOTHING",
                [epoch, key],
            )
            found = self.base.rows(query, [key, epoch])
        return int(found[0][0]), int(found[0][1])

    # ---- for people

    def branches(self) -> list[Branch]:
        """Return every branch that ever came, by name."""
        rows = self.base.rows(
            """
            WITH mine AS (SELECT branch, stream FROM streams)
            SELECT key, name, epoch, through,
                (SELECT count(*) FROM mine JOIN events USING (stream) WHERE mine.branch = branches.branch),
                (SELECT count(*) FROM mine JOIN dead_letters USING (stream) WHERE mine.branch = branches.branch),
                (SELECT CAST(coalesce(sum(last - first + 1), 0) AS BIGINT) FROM mine JOIN holes USING (stream)
                    WHERE mine.branch = branches.branch),
                first_seen, last_seen, skew_ms
            FROM branches JOIN streams ON stream = present ORDER BY name, key"""
        )
        return [Branch(*row) for row in rows]

    def events(self, *, branch: str = "", after: int = 0, limit: int | None = None) -> Iterator[HubEvent]:
        """Yield events in the order of receipt, with a number above `after`; `branch` is a name or a key."""
        left = limit
        end = self.base.settled()
        while left is None or left > 0:
            page = self.base.rows(
                f"SELECT number, key, name, epoch, sequence, received_at, body FROM events {_SOURCE}"  # noqa: S608
                " WHERE number > ? AND number <= ? AND (? = '' OR ? IN (name, key)) ORDER BY number LIMIT ?",
                [after, end, branch, branch, PAGE if left is None else min(PAGE, left)],
            )
            if not page:
                return
            yield from (HubEvent(*row) for row in page)
            after = page[-1][0]
            left = None if left is None else left - len(page)

    def dead_letters(self) -> list[DeadLetter]:
        """Return everything that was put aside, in the order of receipt."""
        rows = self.base.rows(
            f"SELECT number, key, name, epoch, sequence, received_at, reason, body FROM dead_letters {_SOURCE}"  # noqa: S608
            " ORDER BY number"
        )
        return [DeadLetter(*row) for row in rows]

"""The hub's ledger: what came, from whom, and how far each branch is.

Events and watermark change in one transaction, so that a branch is never told of more than the file holds. An event is
taken once for ever: by (branch, epoch, sequence) and by its id. Where several hubs share a database, each holds the
branch's row until its commit, so that they file the events of one branch one after the other.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from edge_agent.errors import WireError
from edge_agent.event import SCHEMA as KNOWN
from edge_agent.hub.base import open_base
from edge_agent.hub.judge import Entry, judge
from edge_agent.hub.rows import Branch, DeadLetter, HubEvent, moment
from edge_agent.wire import mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edge_agent.hub.base import Base
    from edge_agent.wire import Events, Hello, Urgent

Reasons = tuple[tuple[int, str], ...]

MAX_TOLD = 10_000  # rejected events that a WELCOME tells of
PAGE = 500  # rows read at once: no reader holds a snapshot for long

SCHEMAS = frozenset({KNOWN, ""})  # data schemas that are taken; an event may name none

_Filed = tuple[int, int, str, str, str, str, str, str]
_FILE = (
    "INSERT INTO events (stream, sequence, id, type, time, subject, received_at, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT"
)
_SOURCE = "JOIN streams USING (stream) JOIN branches USING (branch)"


class GapError(WireError):
    """A batch begins beyond the next sequence that the hub can take."""


class ForkError(WireError):
    """The hub has other events of this epoch than the branch: one of two copies of a database went on without it."""


class UnknownSchemaError(WireError):
    """A batch holds an event of a data schema that this hub does not know; it must wait at the branch."""


class Ledger:
    """An open database of the hub; it belongs to the thread that opened it.

    `greet`, `take`, `urgent` and `seen` are called inside `transaction`; what they return holds once it is committed.
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

        Returns its watermark, the mark of what stands there (empty if nothing is known of it), and what was rejected
        above the branch's own watermark. Sequences that the branch can't send any more are noted as a hole and passed
        over; those up to `begins` are passed over without one.
        """
        now = moment(now_ms)
        stream, through, last_id = self._stream(key, name, hello.epoch, now)
        run = self.base.run
        reached = self._onward(stream, max(through, hello.begins))
        if hello.pruned > reached:
            run("INSERT INTO holes VALUES (?, ?, ?, ?)", [stream, reached + 1, hello.pruned, now])
            reached = hello.pruned
        if reached > through:
            found = "SELECT id FROM events WHERE stream = ? AND sequence = ?"
            through, last_id = reached, self.base.value(found, [stream, reached]) or ""
            run("UPDATE streams SET through = ?, last_id = ? WHERE stream = ?", [through, last_id, stream])
        run(
            "UPDATE branches SET name = ?, present = ?, last_seen = ?, skew_ms = ?, boot_id = ?, about = ?"
            " WHERE key = ?",
            [name, stream, now, hello.clock_ms - now_ms, hello.boot_id, json.dumps(dict(hello.about)), key],
        )
        rejected = self.base.rows(
            "SELECT sequence, reason FROM dead_letters WHERE stream = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            [stream, hello.acked, MAX_TOLD],
        )
        return through, last_id, tuple((sequence, reason) for sequence, reason in rejected)

    def take(self, key: str, name: str, batch: Events, now_ms: int) -> tuple[int, Reasons]:
        """File a batch and move the watermark; what lies below it already is passed over.

        Returns the watermark and what of the batch was rejected, with reasons.

        Raises:
            GapError: something before the batch is missing.
            ForkError: what was taken before is not what the branch has.
            UnknownSchemaError: an event of another schema is among it.
            In each case nothing was filed.
        """
        now = moment(now_ms)
        stream, through, last_id = self._stream(key, name, batch.epoch, now)
        if batch.first > through + 1:
            raise GapError(f"sequence {through + 1} is next, not {batch.first}")
        lines = batch.lines()
        self._same_past(stream, through, last_id, batch, lines)
        entries: list[_Filed] = []
        letters: list[tuple[int, int, str, str, bytes]] = []
        for sequence, line in enumerate(lines[through + 1 - batch.first :], through + 1):
            match judge(line):
                case Entry() as entry if entry.schema not in SCHEMAS:
                    raise UnknownSchemaError(f"this hub does not know {entry.schema[:100]} (event {sequence})")
                case Entry() as entry:
                    entries.append(_filed(stream, sequence, entry, now))
                case reason:
                    letters.append((stream, sequence, now, reason, line))
        self._ahead(stream, entries)
        self.base.many(
            "INSERT INTO dead_letters (stream, sequence, received_at, reason, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (stream, sequence) DO NOTHING",
            letters,
        )
        self.base.many(f"{_FILE} (id) DO NOTHING", entries)
        if batch.last > through:
            through = batch.last
            last_id = entries[-1][2] if entries and entries[-1][1] == through else mark(lines[-1])
            self.base.run("UPDATE streams SET through = ?, last_id = ? WHERE stream = ?", [through, last_id, stream])
        return through, tuple((letter[1], letter[3]) for letter in letters)

    def urgent(self, key: str, name: str, message: Urgent, now_ms: int) -> None:
        """File copies of events ahead of their turn; the watermark stays. What is no event waits for its turn."""
        now = moment(now_ms)
        stream, through, _ = self._stream(key, name, message.epoch, now)
        judged = zip(message.sequences, map(judge, message.lines()), strict=True)
        self.base.many(
            f"{_FILE} DO NOTHING",
            [
                _filed(stream, sequence, entry, now)
                for sequence, entry in judged
                if isinstance(entry, Entry) and entry.schema in SCHEMAS and sequence > through
            ],
        )

    def seen(self, when_ms: Mapping[str, tuple[int, int | None]]) -> None:
        """Note when branches (by key) were last heard of, and their clock minus the hub's where they told it."""
        self.base.many(
            "UPDATE branches SET last_seen = ?, skew_ms = coalesce(?, skew_ms) WHERE key = ?",
            [(moment(at), skew, key) for key, (at, skew) in sorted(when_ms.items())],
        )

    def _same_past(self, stream: int, through: int, last_id: str, batch: Events, lines: list[bytes]) -> None:
        """Raise a `ForkError` where the branch's past differs from what was taken."""
        if batch.first == through + 1:
            ours, theirs = last_id, batch.prev
        else:
            at = min(batch.last, through)
            entry = judge(lines[at - batch.first])
            theirs = entry.id if isinstance(entry, Entry) else mark(lines[at - batch.first])
            ours = last_id
            if at < through:
                found = "SELECT id FROM events WHERE stream = ? AND sequence = ?"
                ours = self.base.value(found, [stream, at]) or ""
        hashed = ours.startswith("sha256:") or theirs.startswith("sha256:")
        if ours and theirs and ours != theirs and not hashed:
            raise ForkError(f"the hub has another event before {max(batch.first, through + 1)}")

    def _onward(self, stream: int, through: int) -> int:
        """Return how far everything beyond a watermark is here already: much is after a rescue, nothing otherwise."""
        while True:
            reached = through
            for table in ("events", "dead_letters"):
                last = self.base.value(
                    f"SELECT min(sequence) FROM {table} AS one WHERE stream = ? AND sequence > ?"  # noqa: S608
                    f" AND EXISTS (SELECT 1 FROM {table} WHERE stream = ? AND sequence = ?)"
                    f" AND NOT EXISTS (SELECT 1 FROM {table} AS next WHERE next.stream = one.stream"
                    " AND next.sequence = one.sequence + 1)",
                    [stream, reached, stream, reached + 1],
                )
                reached = max(reached, int(last or 0))
            hole = "SELECT max(last) FROM holes WHERE stream = ? AND first <= ?"
            reached = max(reached, int(self.base.value(hole, [stream, reached + 1]) or 0))
            if reached == through:
                return through
            through = reached

    def _ahead(self, stream: int, entries: list[_Filed]) -> None:
        """Raise a `ForkError` where an urgent copy that came ahead was of another event."""
        if not entries:
            return
        ids = {sequence: each for _, sequence, each, *_ in entries}
        ahead = self.base.rows(
            "SELECT sequence, id FROM events WHERE stream = ? AND sequence BETWEEN ? AND ?",
            [stream, entries[0][1], entries[-1][1]],
        )
        if strange := [sequence for sequence, theirs in ahead if ids.get(sequence) != theirs]:
            raise ForkError(f"the hub has another event {strange[0]}")

    def _stream(self, key: str, name: str, epoch: str, now: str) -> tuple[int, int, str]:
        """Return a stream, its watermark and the mark there; read anew each time, so no other writer makes it stale.

        A branch that comes with a new key but the database and the name (the allow-list's, not one it claims) that it
        had before goes on where it was.
        """
        query = "SELECT stream, through, last_id FROM streams JOIN branches USING (branch) WHERE key = ? AND epoch = ?"
        query += self.base.for_update
        found = self.base.rows(query, [key, epoch])
        if not found:
            self.base.run(
                "INSERT INTO branches (key, name, first_seen, last_seen) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [key, name, now, now],
            )
            # Held before its stream is made: two hubs that meet a branch for the first time wait here.
            self.base.rows(f"SELECT branch FROM branches WHERE key = ?{self.base.for_update}", [key])  # noqa: S608
            before = self.base.rows(
                "SELECT through, last_id FROM streams JOIN branches USING (branch) WHERE epoch = ? AND name = ?"
                " ORDER BY through DESC LIMIT 1",
                [epoch, name],
            )
            self.base.run(
                "INSERT INTO streams (branch, epoch, through, last_id)"
                " SELECT branch, ?, ?, ? FROM branches WHERE key = ? ON CONFLICT DO NOTHING",
                [epoch, *(before[0] if before else (0, "")), key],
            )
            found = self.base.rows(query, [key, epoch])
        return int(found[0][0]), int(found[0][1]), str(found[0][2])

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
                first_seen, last_seen, skew_ms, boot_id, about, waiting
            FROM branches JOIN streams ON stream = present ORDER BY name, key"""
        )
        return [_branch(row) for row in rows]

    def events(
        self,
        *,
        branch: str = "",
        after: int = 0,
        since: str = "",
        until: str = "",
        kind: str = "",
        limit: int | None = None,
    ) -> Iterator[HubEvent]:
        """Yield events in the order of receipt, with a number above `after`.

        `branch` is a name or a key, `kind` a type; they were received from `since` on and before `until` (RFC 3339,
        UTC). Whatever is empty does not count.
        """
        left = limit
        end = self.base.settled()
        while left is None or left > 0:
            page = self.base.rows(
                f"SELECT number, key, name, epoch, sequence, received_at, body FROM events {_SOURCE}"  # noqa: S608
                " WHERE number > ? AND number <= ? AND received_at >= ? AND (? = '' OR received_at < ?)"
                " AND ? IN ('', type) AND (? = '' OR ? IN (name, key)) ORDER BY number LIMIT ?",
                [after, end, since, until, until, kind, branch, branch, PAGE if left is None else min(PAGE, left)],
            )
            if not page:
                return
            yield from (HubEvent(*row) for row in page)
            after = page[-1][0]
            left = None if left is None else left - len(page)

    def totals(self) -> tuple[int, int, int]:
        """Return how many branches, events and dead letters there are."""
        ((branches, events, letters),) = self.base.rows(
            "SELECT (SELECT count(*) FROM branches), (SELECT count(*) FROM events), (SELECT count(*) FROM dead_letters)"
        )
        return int(branches), int(events), int(letters)

    def judge_again(self, numbers: Sequence[int] | None, now_ms: int) -> tuple[int, int]:
        """File dead letters that are events after all (None: all of them); return how many were, and were not."""
        filed = kept = 0
        with self.base.transaction():
            rows = self.base.rows("SELECT number, stream, sequence, body FROM dead_letters ORDER BY number")
            for number, stream, sequence, body in rows:
                if numbers is not None and number not in numbers:
                    continue
                match judge(bytes(body)):
                    case Entry() as entry if entry.schema not in SCHEMAS:
                        kept += 1
                    case Entry() as entry:
                        self.base.run(f"{_FILE} DO NOTHING", _filed(stream, sequence, entry, moment(now_ms)))
                        self.base.run("DELETE FROM dead_letters WHERE number = ?", [number])
                        filed += 1
                    case reason:
                        self.base.run("UPDATE dead_letters SET reason = ? WHERE number = ?", [reason, number])
                        kept += 1
        return filed, kept

    def dead_letters(self) -> list[DeadLetter]:
        """Return everything that was put aside, in the order of receipt."""
        rows = self.base.rows(
            f"SELECT number, key, name, epoch, sequence, received_at, reason, body FROM dead_letters {_SOURCE}"  # noqa: S608
            " ORDER BY number"
        )
        return [DeadLetter(*row) for row in rows]


def _filed(stream: int, sequence: int, entry: Entry, now: str) -> _Filed:
    return stream, sequence, entry.id, entry.type, entry.time, entry.subject, now, entry.body


def _branch(row: tuple[Any, ...]) -> Branch:
    return Branch(*(*row[:-2], json.loads(row[-2]), row[-1]))

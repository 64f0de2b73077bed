"""What waits for the CRM, what it did not take, and how far delivery is: tables beside the ledger.

Events are queued in the order of receipt, a bounded number at a time; the rest waits in the ledger. `intake`, `settle`,
`requeue` and `replay` are one transaction each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edge_agent.hub.rows import Undelivered, Waiting, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.hub.base import Base

QUEUE = 5000  # events queued at most by `intake`
PAGE = 500

_EVENT = "JOIN events USING (number) JOIN streams USING (stream) JOIN branches USING (branch)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try: gone, given up (with a reason), or to be tried again at `due_ms`."""

    waiting: Waiting
    delivered: bool = False
    given_up: str = ""
    due_ms: int = 0
    blamed: bool = False


class Deliveries:
    """The queue of a hub's database; it belongs to the thread that opened the database."""

    def __init__(self, base: Base) -> None:
        self._base = base

    # ---- for the courier

    def intake(self, types: Sequence[str]) -> int:
        """Queue events that have come since, of types that match; return how many were looked at."""
        end = self._base.settled()
        with self._base.transaction():
            room = QUEUE - int(self._base.value("SELECT count(*) FROM deliveries"))
            through = self.through()
            if room <= 0 or end <= through:
                return 0
            rows = self._base.rows(
                "SELECT number, stream, type, subject, body FROM events WHERE number > ? AND number <= ?"
                " ORDER BY number LIMIT ?",
                [through, end, min(room, PAGE)],
            )
            if not rows:  # what was counted was never committed
                self._note("through", str(end))
                return 0
            self._queue(rows, types)
            self._note("through", str(rows[-1][0]))
            return len(rows)

    def through(self) -> int:
        """Return the number of the last event that was looked at."""
        return int(self._base.value("SELECT value FROM notes WHERE name = 'through'") or 0)

    def heads(self, now_ms: int, limit: int) -> list[Waiting]:
        """Return the first waiting event of each customer that is due, those never tried first."""
        rows = self._base.rows(
            f"SELECT number, lane, customer, tries, blamed, first_ms, last_ms, name, received_at, body"  # noqa: S608
            f" FROM deliveries {_EVENT} WHERE due_ms <= ? AND NOT EXISTS"
            " (SELECT 1 FROM deliveries AS before WHERE before.lane = deliveries.lane"
            " AND before.number < deliveries.number) ORDER BY due_ms, number LIMIT ?",
            [now_ms, limit],
        )
        return [Waiting(*row) for row in rows]

    def settle(self, outcomes: Iterable[Outcome], now_ms: int) -> None:
        """Write down what became of some tries."""
        with self._base.transaction():
            delivered = 0
            for one in outcomes:
                number = one.waiting.number
                if one.delivered or one.given_up:
                    self._base.run("DELETE FROM deliveries WHERE number = ?", [number])
                    delivered += one.delivered
                else:
                    self._base.run(
                        "UPDATE deliveries SET tries = tries + 1, blamed = blamed + ?, due_ms = ?, last_ms = ?,"
                        " first_ms = CASE WHEN first_ms = 0 THEN ? ELSE first_ms END WHERE number = ?",
                        [int(one.blamed), one.due_ms, now_ms, now_ms, number],
                    )
                if one.given_up:
                    self._base.run(
                        "INSERT INTO undelivered VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        [number, one.waiting.lane, one.waiting.customer, moment(now_ms), one.waiting.tries + 1,
                         one.given_up.replace("\0", " ")],
                    )  # fmt: skip
            if delivered:
                self._note("delivered", str(self.delivered() + delivered), now_ms)

    def note_trouble(self, said: str, now_ms: int) -> None:
        """Write down why nothing is delivered at the moment; empty: it is."""
        with self._base.transaction():
            self._note("trouble", said.replace("\0", " "), now_ms)

    # ---- for people

    def delivered(self) -> int:
        """Return how many deliveries the CRM took, each replay counted."""
        return int(self._base.value("SELECT value FROM notes WHERE name = 'delivered'") or 0)

    def trouble(self) -> tuple[str, str]:
        """Return why nothing is delivered, and since when; empty while all is well."""
        rows = self._base.rows("SELECT value, at FROM notes WHERE name = 'trouble' AND value <> ''")
        return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")

    def waiting(self) -> tuple[int, str]:
        """Return how many events wait, those not queued yet included, and when the oldest was received."""
        ((queued, oldest, more, next_oldest),) = self._base.rows(  # in one statement: events move from one to the other
            """
            WITH later AS (SELECT received_at FROM events WHERE number >
                (SELECT coalesce(max(CAST(value AS BIGINT)), 0) FROM notes WHERE name = 'through'))
            SELECT (SELECT count(*) FROM deliveries),
                (SELECT min(received_at) FROM deliveries JOIN events USING (number)),
                (SELECT count(*) FROM later), (SELECT min(received_at) FROM later)"""
        )
        return int(queued) + int(more), str(oldest or next_oldest or "")

    def undelivered(self) -> list[Undelivered]:
        """Return what the CRM did not take, in the order of receipt."""
        rows = self._base.rows(
            f"SELECT number, name, lane, id, type, received_at, at, tries, reason FROM undelivered {_EVENT}"  # noqa: S608
            " ORDER BY number"
        )
        return [Undelivered(*row) for row in rows]

    def requeue(self, numbers: Sequence[int] | None) -> int:
        """Let undelivered events wait again, each at its old place among its customer's; None: all of them."""
        with self._base.transaction():
            found = self._base.rows("SELECT number, lane, customer FROM undelivered")
            rows = [row for row in found if numbers is None or row[0] in numbers]
            self._base.many(
                "INSERT INTO deliveries (number, lane, customer) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
            )
            self._base.many("DELETE FROM undelivered WHERE number = ?", [row[:1] for row in rows])
        return len(rows)

    def replay(self, since: str, until: str, branch: str, types: Sequence[str]) -> int:
        """Deliver again what was received from `since` on and before `until` (RFC 3339, UTC); return how many.

        What is not looked at yet comes by itself and is not counted.
        """
        after, queued = 0, 0
        while True:
            with self._base.transaction():
                rows = self._base.rows(
                    "SELECT number, stream, events.type, subject, body FROM events JOIN streams USING (stream)"
                    " JOIN branches USING (branch) WHERE number > ? AND number <= ? AND received_at >= ?"
                    " AND (? = '' OR received_at < ?) AND (? = '' OR ? IN (name, key)) ORDER BY number LIMIT ?",
                    [after, self.through(), since, until, until, branch, branch, PAGE],
                )
                if not rows:
                    return queued
                queued += self._queue(rows, types)
                self._base.many("DELETE FROM undelivered WHERE number = ?", [row[:1] for row in rows])
            after = rows[-1][0]

    def _queue(self, rows: Iterable[Sequence[Any]], types: Sequence[str]) -> int:
        wanted = []
        for number, stream, kind, subject, body in rows:
            customer = self._customer(stream, subject, body)
            if any(fnmatchcase(kind, pattern) for pattern in types):
                wanted.append((number, customer or subject or f"event-{number}", customer))
        self._base.many(
            "INSERT INTO deliveries (number, lane, customer) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", wanted
        )
        return len(wanted)

    def _customer(self, stream: int, subject: str, body: str) -> str:
        """Return whose event it is: as it says, or as another event of its call said; empty where nobody knows."""
        said = json.loads(body)["data"].get("customer_id")
        known = str(
            self._base.value("SELECT customer FROM customers WHERE stream = ? AND subject = ?", [stream, subject]) or ""
        )
        if not isinstance(said, str | int) or said in ("", known):
            return known
        customer = str(said).replace("\0", " ").encode("utf-8", "replace").decode()[:512]
        self._base.run(
            "INSERT INTO customers VALUES (?, ?, ?)"
            " ON CONFLICT (stream, subject) DO UPDATE SET customer = excluded.customer",
            [stream, subject, customer],
        )
        return customer

    def _note(self, name: str, value: str, now_ms: int = 0) -> None:
        self._base.run(
            "INSERT INTO notes VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
            [name, value, moment(now_ms)],
        )

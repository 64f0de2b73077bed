"""What people and later calls need of the past: customers' calls, what ran in shadow, and what reviewers said."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_agent.event import Event, Shadowed
from edge_agent.store import columns
from edge_agent.types import OpenCase, PastCall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.sqlite import Database

REMEMBERED = 50
"""So many of a customer's calls are looked back on."""


class Word(StrEnum):
    """What a reviewer says of an event."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RELABELLED = "relabelled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer said of one event, with what is needed to learn from it.

    `node` is what was raised and `label` what it is (`none`: nothing); `by` names the rule (`rule:<id>`) or the class
    (`classifier:<node>`) that raised it. `text`, `before` and `speaker` are the turn, what the other party said before
    it, and who spoke.
    """

    event_id: str
    call_id: str
    word: Word
    node: str
    label: str
    by: str
    text: str
    before: str
    speaker: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A raised node that nobody has looked at; `shadow` says that it was recorded only, and why."""

    event: Event
    shadow: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How a rule or a class of the classifier has done since it was last let go."""

    by: str
    accepted: int
    of: int


def source(by: str, node: str) -> str:
    """Return what a verdict is counted for: a rule, or one class of the classifier whatever its version."""
    return f"classifier:{node}" if by.startswith("classifier:") else by


class Reviews:
    """Reads and writes these tables of an open store's database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # ---- customers

    def remember(self, calls: Iterable[PastCall]) -> None:
        """Keep what is remembered of calls that have ended; a call that is known already stays as it is."""
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT INTO past_calls (call_id, customer_id, started_at, noticed, cases) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (
                    (
                        call.call_id,
                        call.customer_id,
                        columns.time(call.started_at),
                        json.dumps(sorted(call.noticed)),
                        json.dumps([asdict(case) for case in call.cases]),
                    )
                    for call in calls
                ),
            )

    def past_calls(self, customer_id: str) -> tuple[PastCall, ...]:
        """Return the customer's last calls, oldest first."""
        rows = self._db.rows(
            "SELECT call_id, customer_id, started_at, noticed, cases FROM past_calls WHERE customer_id = ?"
            " ORDER BY started_at DESC, rowid DESC LIMIT ?",
            [customer_id, REMEMBERED],
        )
        return tuple(
            PastCall(
                name,
                customer,
                datetime.fromisoformat(started_at),
                frozenset(json.loads(noticed)),
                tuple(OpenCase(**case) for case in json.loads(cases)),
            )
            for name, customer, started_at, noticed, cases in reversed(rows)
        )

    # ---- what ran in shadow

    def record(self, shadowed: Iterable[Shadowed]) -> None:
        """Keep what was found in shadow; it never goes to head office."""
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT INTO shadow (id, call_id, who, gained, node, body) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (
                    (each.event.id, each.event.subject, each.who, each.gained, each.node, each.event.to_json())
                    for each in shadowed
                ),
            )

    def shadowed(self, who: str | None = None) -> list[Shadowed]:
        """Return what was found in shadow, in order; of one candidate, or of all and of what is muted."""
        rows = self._db.rows(
            "SELECT who, gained, body FROM shadow WHERE ? IS NULL OR who = ? ORDER BY sequence", [who, who]
        )
        return [Shadowed(name, bool(gained), Event.from_json(body)) for name, gained, body in rows]

    # ---- review

    def waiting(self, limit: int | None = None) -> list[Waiting]:
        """Return the raised nodes without a verdict, newest first: those of the store, and those that ran in shadow."""
        rows = self._db.rows(
            "SELECT id, body, NULL FROM events WHERE type = 'edge.node.raised'"
            " AND id NOT IN (SELECT event_id FROM verdicts)"
            " UNION ALL SELECT id, body, who FROM shadow WHERE gained AND id NOT IN (SELECT event_id FROM verdicts)"
            " ORDER BY id DESC LIMIT ?",
            [-1 if limit is None else limit],
        )
        found = [Waiting(Event.from_json(body), who) for _, body, who in rows]
        return [each for each in found if each.event.data.get("turn") is not None]

    def event(self, name: str) -> Waiting | None:
        """Return a raised node by its event's id, wherever it is kept, or by the number of `events list`."""
        number = int(name) if name.isascii() and name.isdigit() else -1
        rows = self._db.rows("SELECT body, NULL FROM events WHERE id = ? OR sequence = ?", [name, number])
        rows += self._db.rows("SELECT body, who FROM shadow WHERE id = ?", [name])
        return Waiting(Event.from_json(rows[0][0]), rows[0][1]) if rows else None

    def words(self, event: Event) -> tuple[str, str]:
        """Return the text of an event's turn, and what was said in the turn before it by another; empty if unknown."""
        turn = event.data.get("turn")
        if turn is None:
            return "", ""
        rows = self._db.rows(
            "SELECT turn, speaker, text FROM utterances WHERE call_id = ? AND turn <= ? ORDER BY start_ms, channel",
            [event.subject, turn],
        )
        said = "".join(text for number, _, text in rows if number == turn)
        last = max((number for number, who, _ in rows if number < turn and who != event.data["speaker"]), default=None)
        return said, "".join(text for number, _, text in rows if number == last)

    def judge(self, verdict: Verdict) -> None:
        """Keep a verdict; a later one on the same event takes the place of the earlier."""
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO verdicts"
                " (event_id, call_id, word, node, label, by, text, before, speaker, at, note)"
                " VALUES (:event_id, :call_id, :word, :node, :label, :by, :text, :before, :speaker, :at, :note)",
                asdict(verdict) | {"at": columns.time(verdict.at), "word": verdict.word.value},
            )

    def verdicts(self) -> list[Verdict]:
        """Return every verdict, oldest first."""
        rows = self._db.rows(
            "SELECT event_id, call_id, word, node, label, by, text, before, speaker, at, note FROM verdicts ORDER BY at"
        )
        return [
            Verdict(event, call, Word(word), node, label, by, text, before, who, datetime.fromisoformat(at), note)
            for event, call, word, node, label, by, text, before, who, at, note in rows
        ]

    def shares(self) -> list[Share]:
        """Return how often each rule and class was right, of the verdicts since it was last let go."""
        rows = self._db.rows(
            "SELECT by, sum(word = 'accepted'), count(*) FROM verdicts"
            " WHERE at > coalesce((SELECT max(at) FROM releases WHERE releases.by = verdicts.by), '')"
            " GROUP BY by ORDER BY by"
        )
        return [Share(*row) for row in rows]

    def release(self, by: str) -> None:
        """Count the verdicts on a rule or class anew: somebody has looked at it."""
        with self._db.transaction() as connection:
            connection.execute("INSERT INTO releases (by, at) VALUES (?, ?)", [by, columns.time(datetime.now(UTC))])


def muted(shares: Iterable[Share], floor: float, least: int) -> frozenset[str]:
    """Return the rules and classes that raise nothing for now: enough verdicts, and too few of them accepted."""
    return frozenset(share.by for share in shares if share.of >= least and share.accepted < floor * share.of)

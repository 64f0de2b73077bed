"""The tables of the store and how they came to be.

A trigger gives every event its outbox row and a foreign key takes the row away with its event, so that neither can
ever be without the other, whoever writes.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from edge_agent.sqlite import Schema

if TYPE_CHECKING:
    import sqlite_utils


def m001_keep(db: sqlite_utils.Database) -> None:
    """Calls, utterances, events and the outbox; the epoch is drawn."""
    for statement in (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE calls (
            id TEXT PRIMARY KEY, source TEXT NOT NULL, started_at TEXT NOT NULL, speakers TEXT NOT NULL,
            file TEXT, customer_id TEXT, end_ms INTEGER, reason TEXT) STRICT""",
        # No foreign key to `calls`: an event must not be lost because the row of its call could not be written.
        """CREATE TABLE utterances (
            id INTEGER PRIMARY KEY, call_id TEXT NOT NULL, channel INTEGER NOT NULL, speaker TEXT NOT NULL,
            turn INTEGER NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, heard TEXT NOT NULL,
            text TEXT NOT NULL, terms TEXT NOT NULL, confidence REAL NOT NULL,
            UNIQUE (call_id, start_ms, channel)) STRICT""",
        """CREATE TABLE events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
            time TEXT NOT NULL, subject TEXT NOT NULL, node TEXT, severity TEXT, body TEXT NOT NULL) STRICT""",
        """CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY REFERENCES events (sequence) ON DELETE CASCADE,
            state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'acknowledged', 'rejected')),
            acknowledged_at TEXT, reason TEXT) STRICT""",
        "CREATE INDEX outbox_waiting ON outbox (sequence) WHERE state = 'waiting'",
        """CREATE TRIGGER events_to_outbox AFTER INSERT ON events
            BEGIN INSERT INTO outbox (sequence) VALUES (new.sequence); END""",
    ):
        db.conn.execute(statement)
    db.conn.execute("INSERT INTO meta VALUES ('epoch', ?)", [secrets.token_hex(16)])


def m002_find(db: sqlite_utils.Database) -> None:
    """Indexes for what people look for."""
    for statement in (
        "CREATE INDEX events_type ON events (type)",
        "CREATE INDEX events_time ON events (time)",
        "CREATE INDEX events_subject ON events (subject)",
        "CREATE INDEX events_node ON events (node) WHERE node IS NOT NULL",
        "CREATE INDEX events_severity ON events (severity) WHERE severity IS NOT NULL",
        "CREATE INDEX outbox_acknowledged ON outbox (acknowledged_at) WHERE state = 'acknowledged'",
    ):
        db.conn.execute(statement)


def m003_dictionary(db: sqlite_utils.Database) -> None:
    """The version of the dictionary that judged an utterance."""
    db.conn.execute("ALTER TABLE utterances ADD COLUMN dictionary TEXT NOT NULL DEFAULT ''")


def m004_review(db: sqlite_utils.Database) -> None:
    """What is remembered of customers' calls, what ran in shadow, and what reviewers said."""
    for statement in (
        """CREATE TABLE past_calls (
            call_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, started_at TEXT NOT NULL, noticed TEXT NOT NULL,
            cases TEXT NOT NULL) STRICT""",
        "CREATE INDEX past_calls_customer ON past_calls (customer_id, started_at)",
        """CREATE TABLE shadow (
            sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, call_id TEXT NOT NULL, who TEXT NOT NULL,
            gained INTEGER NOT NULL, node TEXT NOT NULL, body TEXT NOT NULL) STRICT""",
        "CREATE INDEX shadow_who ON shadow (who)",
        # The words stand here too: a verdict is worth more than the event, which goes once it is acknowledged.
        """CREATE TABLE verdicts (
            event_id TEXT PRIMARY KEY, call_id TEXT NOT NULL,
            word TEXT NOT NULL CHECK (word IN ('accepted', 'rejected', 'relabelled')),
            node TEXT NOT NULL, label TEXT NOT NULL, by TEXT NOT NULL, text TEXT NOT NULL, before TEXT NOT NULL,
            speaker TEXT NOT NULL, at TEXT NOT NULL, note TEXT NOT NULL) STRICT""",
        "CREATE INDEX verdicts_by ON verdicts (by)",
        "CREATE TABLE releases (by TEXT NOT NULL, at TEXT NOT NULL) STRICT",
    ):
        db.conn.execute(statement)


SCHEMA = Schema("store", (m001_keep, m002_find, m003_dictionary, m004_review), table="store", command="edge-agent run")

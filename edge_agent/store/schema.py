"""The tables and how they came to be: migrations, applied in order, in one transaction.

A trigger gives every event its outbox row and a foreign key takes the row away with its event, so that neither can
ever be without the other, whoever writes.
"""

from __future__ import annotations

import secrets

import sqlite_utils
from sqlite_utils import Migrations

from edge_agent.errors import StoreError
from edge_agent.sqlite import Database, in_words


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


STEPS = (m001_keep, m002_find)
migrations = Migrations("store")
for step in STEPS:
    migrations()(step)


def migrate(db: Database) -> None:
    """Bring the tables up to date; concurrent openers wait for each other.

    Raises:
        StoreError: the file holds something else, was written by a later version, or can't be written.
    """
    with db.transaction() as connection:
        _refuse_strangers(db)
        migrations.apply(db)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", [str(len(STEPS))])


def check(db: Database) -> None:
    """Refuse a file, opened for reading only, whose tables are not those of this version.

    Raises:
        StoreError: it holds something else, or the tables of an earlier or a later version.
    """
    with in_words(db.path):
        _refuse_strangers(db)
        if migrations.pending(db):
            raise StoreError(
                "the database has the tables of an earlier version",
                where=str(db.path),
                remedy="start the service once (`edge-agent run`): it brings them up to date",
            )


def _refuse_strangers(db: Database) -> None:
    applied = {migration.name for migration in migrations.applied(db)}
    if not applied and db.table_names():
        raise StoreError(
            "this database belongs to something else",
            where=str(db.path),
            remedy="name another file as `database` in the configuration's table [store]",
        )
    if later := applied - {step.__name__ for step in STEPS}:
        raise StoreError(
            f"the database was written by a later version (it has {', '.join(sorted(later))})",
            where=str(db.path),
            remedy="install that version again, or restore the copy from before it",
        )

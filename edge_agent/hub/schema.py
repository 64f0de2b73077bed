"""The hub's tables and how they came to be: migrations, applied in order, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

from edge_agent.errors import StoreError
from edge_agent.sqlite import in_words

if TYPE_CHECKING:
    import sqlite_utils

    from edge_agent.sqlite import Database


def m001_ledger(db: sqlite_utils.Database) -> None:
    """Branches, their streams (one for each life of a branch's database), events, dead letters and holes."""
    for statement in (
        """CREATE TABLE branches (
            branch INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, present INTEGER,
            first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, skew_ms INTEGER NOT NULL DEFAULT 0) STRICT""",
        """CREATE TABLE streams (
            stream INTEGER PRIMARY KEY, branch INTEGER NOT NULL REFERENCES branches, epoch TEXT NOT NULL,
            through INTEGER NOT NULL DEFAULT 0, UNIQUE (branch, epoch)) STRICT""",
        # `number` counts receipts and is never given twice: whoever hands events on keeps his place by it.
        """CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES streams,
            sequence INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, time TEXT NOT NULL,
            subject TEXT NOT NULL, received_at TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (stream, sequence)) STRICT""",
        """CREATE TABLE dead_letters (
            number INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES streams,
            sequence INTEGER NOT NULL, received_at TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL,
            UNIQUE (stream, sequence)) STRICT""",
        """CREATE TABLE holes (
            stream INTEGER NOT NULL REFERENCES streams, first INTEGER NOT NULL, last INTEGER NOT NULL,
            noted_at TEXT NOT NULL, PRIMARY KEY (stream, first)) STRICT""",
    ):
        db.conn.execute(statement)


STEPS = (m001_ledger,)
migrations = Migrations("hub")
for step in STEPS:
    migrations()(step)


def migrate(db: Database) -> None:
    """Bring the tables up to date.

    Raises:
        StoreError: the file holds something else, was written by a later version, or can't be written.
    """
    with db.transaction():
        _refuse_strangers(db)
        migrations.apply(db)


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
                remedy="start the hub once (`edge-agent hub run`): it brings them up to date",
            )


def _refuse_strangers(db: Database) -> None:
    applied = {migration.name for migration in migrations.applied(db)}
    later = applied - {step.__name__ for step in STEPS}
    if later or (not applied and db.table_names()):
        raise StoreError(
            "the database was written by a later version" if later else "this database belongs to something else",
            where=str(db.path),
            remedy="name another file as `database` in the configuration's table [hub], or install that version",
        )

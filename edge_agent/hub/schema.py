"""The tables of the hub and how they came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.sqlite import Schema

if TYPE_CHECKING:
    import sqlite_utils


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


SCHEMA = Schema("hub", (m001_ledger,), table="hub", command="edge-agent hub run")

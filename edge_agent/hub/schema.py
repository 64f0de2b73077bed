"""The tables of the hub and how they came to be, for both databases.

A step is a list of statements; what differs between SQLite and PostgreSQL stands in braces (see `LITE` and `POSTGRES`).
Later versions only add steps.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edge_agent.sqlite import Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlite_utils

_LEDGER = (
    # Branches, their streams (one for each life of a branch's database), events, dead letters and holes.
    """CREATE TABLE branches (
        branch {identity}, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, present {integer},
        first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, skew_ms {integer} NOT NULL DEFAULT 0) {strict}""",
    """CREATE TABLE streams (
        stream {identity}, branch {integer} NOT NULL REFERENCES branches, epoch TEXT NOT NULL,
        through {integer} NOT NULL DEFAULT 0, UNIQUE (branch, epoch)) {strict}""",
    # `number` counts receipts and is never given twice: whoever hands events on keeps his place by it.
    """CREATE TABLE events (
        number {counter}, stream {integer} NOT NULL REFERENCES streams,
        sequence {integer} NOT NULL, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, time TEXT NOT NULL,
        subject TEXT NOT NULL, received_at TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (stream, sequence)) {strict}""",
    """CREATE TABLE dead_letters (
        number {counter}, stream {integer} NOT NULL REFERENCES streams,
        sequence {integer} NOT NULL, received_at TEXT NOT NULL, reason TEXT NOT NULL, body {bytes} NOT NULL,
        UNIQUE (stream, sequence)) {strict}""",
    """CREATE TABLE holes (
        stream {integer} NOT NULL REFERENCES streams, first {integer} NOT NULL, last {integer} NOT NULL,
        noted_at TEXT NOT NULL, PRIMARY KEY (stream, first)) {strict}""",
)

_MARKS = (
    # The mark (`wire.mark`) of what was taken last: a branch with another past is told from it.
    "ALTER TABLE streams ADD COLUMN last_id TEXT NOT NULL DEFAULT ''",
    # What branches say of themselves.
    "ALTER TABLE branches ADD COLUMN boot_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE branches ADD COLUMN about TEXT NOT NULL DEFAULT '{{}}'",
    """UPDATE streams SET last_id = coalesce(
        (SELECT id FROM events WHERE events.stream = streams.stream AND sequence = through), '')""",
)

_DELIVERY = (
    # What waits for the CRM. A lane is a customer (or a call, where none is known); its lowest number goes first.
    """CREATE TABLE deliveries (
        number {integer} PRIMARY KEY REFERENCES events, lane TEXT NOT NULL, customer TEXT NOT NULL,
        tries {integer} NOT NULL DEFAULT 0, blamed {integer} NOT NULL DEFAULT 0, due_ms {integer} NOT NULL DEFAULT 0,
        first_ms {integer} NOT NULL DEFAULT 0, last_ms {integer} NOT NULL DEFAULT 0) {strict}""",
    "CREATE INDEX deliveries_lane ON deliveries (lane, number)",
    """CREATE TABLE undelivered (
        number {integer} PRIMARY KEY REFERENCES events, lane TEXT NOT NULL, customer TEXT NOT NULL,
        at TEXT NOT NULL, tries {integer} NOT NULL, reason TEXT NOT NULL) {strict}""",
    # Whose call it is: some events of a call do not say, and still keep their place among the customer's.
    """CREATE TABLE customers (
        stream {integer} NOT NULL REFERENCES streams, subject TEXT NOT NULL, customer TEXT NOT NULL,
        PRIMARY KEY (stream, subject)) {strict}""",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, at TEXT NOT NULL) {strict}",
)

_PUBLICATIONS = (
    """CREATE TABLE publications (
        serial {integer} PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        sha256 TEXT NOT NULL, at TEXT NOT NULL, manifest {bytes} NOT NULL, signature {bytes} NOT NULL,
        content {bytes} NOT NULL) {strict}""",
    # What each branch says that it took, the last of each name.
    """CREATE TABLE installed (
        branch {integer} NOT NULL REFERENCES branches, kind TEXT NOT NULL, name TEXT NOT NULL,
        serial {integer} NOT NULL, sha256 TEXT NOT NULL, error TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (branch, kind, name)) {strict}""",
    "ALTER TABLE branches ADD COLUMN waiting {integer} NOT NULL DEFAULT 0",
)

STEPS: dict[str, tuple[str, ...]] = {
    "m001_ledger": _LEDGER,
    "m002_marks": _MARKS,
    "m010_delivery": _DELIVERY,
    "m011_publications": _PUBLICATIONS,
}

LITE = {
    "identity": "INTEGER PRIMARY KEY",
    "counter": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "integer": "INTEGER",
    "bytes": "BLOB",
    "strict": "STRICT",
}
POSTGRES = {
    "identity": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "counter": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "integer": "BIGINT",
    "bytes": "BYTEA",
    "strict": "",
}


def _lite_step(name: str, statements: tuple[str, ...]) -> Callable[[sqlite_utils.Database], None]:
    def step(statements: tuple[str, ...], db: sqlite_utils.Database) -> None:
        for statement in statements:
            db.conn.execute(statement.format_map(LITE))

    bound = partial(step, statements)
    bound.__name__ = name  # type: ignore[attr-defined]  # the name is what the file remembers
    return bound


SCHEMA = Schema(
    "hub", [_lite_step(name, statements) for name, statements in STEPS.items()], "hub", "edge-agent hub run"
)

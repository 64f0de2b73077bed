"""The library: every version of every pack of terms, which one is in force, and who put it there when.

It is a file of its own beside the events' database: the daemon alone writes that one, admins write this one while it
runs. A version is kept by the hash of its content. What is in force is one row, changed in one transaction with
`synchronous=FULL`: after a power cut the old version is in force or the new one, never half of either.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from edge_agent.errors import DictionaryError, StoreError
from edge_agent.sqlite import Database, Schema, open_database

if TYPE_CHECKING:
    from pathlib import Path

    import sqlite_utils

SHORT = 12
"""Characters of a version's hash that commands print."""


def m001_library(db: sqlite_utils.Database) -> None:
    """Versions, their history, and what is in force."""
    for statement in (
        """CREATE TABLE versions (
            pack TEXT NOT NULL, hash TEXT NOT NULL, terms INTEGER NOT NULL, decoys INTEGER NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (pack, hash)) STRICT""",
        # `before` is what was in force before this: `rollback` follows it, so that two rollbacks go back by two.
        """CREATE TABLE history (
            number INTEGER PRIMARY KEY AUTOINCREMENT, pack TEXT NOT NULL, hash TEXT NOT NULL, action TEXT NOT NULL,
            who TEXT NOT NULL, at TEXT NOT NULL, note TEXT NOT NULL, follows INTEGER NOT NULL,
            before INTEGER REFERENCES history (number),
            FOREIGN KEY (pack, hash) REFERENCES versions (pack, hash)) STRICT""",
        """CREATE TABLE active (
            pack TEXT PRIMARY KEY, number INTEGER NOT NULL REFERENCES history (number)) STRICT""",
        "CREATE INDEX history_pack ON history (pack, number)",
    ):
        db.conn.execute(statement)


SCHEMA = Schema("library", (m001_library,), table="dictionary", command="edge-agent dict versions")


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a pack's history.

    `hash` is the version it is about; `action` what was done; `at` the time in UTC (ISO 8601). `follows` says that the
    pack's folder was in force, whose content had this hash. `before` is the number of the change in force until then.
    """

    number: int
    pack: str
    hash: str
    action: str
    who: str
    at: str
    note: str = ""
    follows: bool = False
    before: int | None = None
    terms: int = 0
    decoys: int = 0
    active: bool = False

    @property
    def version(self) -> str:
        """The hash as people and commands name it."""
        return self.hash[:SHORT]


_CHANGE = """
    SELECT history.number, history.pack, history.hash, action, who, at, note, follows, before, terms, decoys,
        active.number IS NOT NULL
    FROM history JOIN versions ON versions.pack = history.pack AND versions.hash = history.hash
    LEFT JOIN active ON active.number = history.number"""


class Library:
    """One open library; it belongs to the thread that opened it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False) -> Self:
        """Open the file; for writing it is created, or brought up to date, where needed.

        Raises:
            StoreError: the file is missing (for reading), locked, read-only, damaged, foreign, or of a later version.
        """
        database = open_database(path, readonly=readonly)
        try:
            (SCHEMA.check if readonly else SCHEMA.migrate)(database)
            return cls(database)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def __enter__(self) -> Self:
        """Use the library until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def active(self) -> dict[str, Change]:
        """Return what is in force, by pack; a pack that nothing was ever done to is in its folder alone."""
        rows = self.database.rows(f"{_CHANGE} WHERE active.number IS NOT NULL ORDER BY history.pack")
        return {row[1]: _change(row) for row in rows}

    def history(self, pack: str | None = None) -> list[Change]:
        """Return every change, of one pack or of all, the newest first."""
        where, values = ("", {}) if pack is None else ("WHERE history.pack = :pack", {"pack": pack})
        rows = self.database.rows(f"{_CHANGE} {where} ORDER BY history.number DESC", values)
        return [_change(row) for row in rows]

    def change(self, number: int) -> Change:
        """Return one change by its number."""
        (row,) = self.database.rows(f"{_CHANGE} WHERE history.number = ?", [number])
        return _change(row)

    def find(self, pack: str, version: str) -> str:
        """Return the hash that a version's beginning (four characters or more) stands for.

        Raises:
            DictionaryError: no version of the pack begins so, or several do.
        """
        rows = self.database.rows("SELECT hash FROM versions WHERE pack = ?", [pack])
        matches = [row[0] for row in rows if len(version) >= 4 and row[0].startswith(version.lower())]
        if len(matches) == 1:
            return str(matches[0])
        raise DictionaryError(
            f"{'several versions begin' if matches else 'no version begins'} with {version!r}",
            where=f"pack {pack}",
            remedy=f"`edge-agent dict versions --pack {pack}` lists them",
        )

    def body(self, pack: str, digest: str) -> bytes:
        """Return the content of a version as it was kept.

        Raises:
            StoreError: it is not there, or is damaged.
        """
        body = self.database.value("SELECT body FROM versions WHERE pack = ? AND hash = ?", [pack, digest])
        try:
            if body is not None:
                return zlib.decompress(body)
        except zlib.error:
            pass
        raise StoreError(
            f"version {digest[:SHORT]} of pack {pack} is {'missing' if body is None else 'damaged'}",
            where=str(self.database.path),
            remedy=f"`edge-agent dict rollback --pack {pack}` puts the version before it in force",
        )

    def record(
        self,
        pack: str,
        digest: str,
        body: bytes,
        *,
        terms: int,
        decoys: int,
        action: str,
        who: str,
        at: str,
        note: str = "",
        activate: bool = True,
        follows: bool = False,
    ) -> Change:
        """Keep a version, note what was done and, if it is to be, put it in force: one transaction, all or nothing.

        Raises:
            StoreError: nothing has changed, because of the file or the disk.
        """
        packed = zlib.compress(body, 6)
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO versions (pack, hash, terms, decoys, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (pack, hash) DO UPDATE SET body = excluded.body",
                [pack, digest, terms, decoys, packed],
            )
            return self._note(pack, digest, action, who, at, note, activate=activate, follows=follows)

    def activate(self, pack: str, digest: str, *, action: str, who: str, at: str, note: str = "") -> Change:
        """Put a version that is kept in force.

        Raises:
            StoreError: nothing has changed, because of the file or the disk.
        """
        with self.database.transaction():
            return self._note(pack, digest, action, who, at, note, activate=True, follows=False)

    def roll_back(self, pack: str, *, who: str, at: str, follows: bool) -> Change:
        """Put in force again what was in force before; the next time, what was before that.

        `follows` says that the version before is what lies in the pack's folder, which is followed again then.

        Raises:
            DictionaryError: nothing was in force before.
            StoreError: nothing has changed, because of the file or the disk.
        """
        with self.database.transaction() as connection:
            target = self.before(pack)
            now = self.active()[pack]
            note = f"instead of {now.version}"
            change = self._note(pack, target.hash, "rollback", who, at, note, activate=True, follows=follows)
            connection.execute("UPDATE history SET before = ? WHERE number = ?", [target.before, change.number])
            return self.change(change.number)

    def before(self, pack: str) -> Change:
        """Return the change that was in force before the present one.

        Raises:
            DictionaryError: there was none.
        """
        now = self.active().get(pack)
        if now is None or now.before is None:
            raise DictionaryError(
                "nothing was in force before",
                where=f"pack {pack}",
                remedy=f"`edge-agent dict versions --pack {pack}` lists every version; `dict activate` takes any",
            )
        return self.change(now.before)

    def _note(
        self, pack: str, digest: str, action: str, who: str, at: str, note: str, *, activate: bool, follows: bool
    ) -> Change:
        execute = self.database.conn.execute
        now = self.active().get(pack)
        number = execute(
            "INSERT INTO history (pack, hash, action, who, at, note, follows, before) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [pack, digest, action, who, at, note, int(follows), now.number if now else None],
        ).lastrowid
        assert number is not None
        if activate:
            execute(
                "INSERT INTO active (pack, number) VALUES (?, ?)"
                " ON CONFLICT (pack) DO UPDATE SET number = excluded.number",
                [pack, number],
            )
        return self.change(number)


def _change(row: tuple[Any, ...]) -> Change:
    number, pack, digest, action, who, at, note, follows, before, terms, decoys, active = row
    return Change(number, pack, digest, action, who, at, note, bool(follows), before, terms, decoys, bool(active))

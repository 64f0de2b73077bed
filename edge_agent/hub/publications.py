"""What head office publishes to its branches, and what each of them took: tables beside the ledger.

The newest publication of each kind and name counts. It is offered to a branch in answer to its REPORT until the branch
says that it took it, or why not; any hub on the same database offers it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent import wire
from edge_agent.hub.rows import Published, moment
from edge_agent.manifest import Manifest

if TYPE_CHECKING:
    from edge_agent.hub.base import Base

AGAIN_S = 60.0  # how often a report is written down that says nothing new
LOOK_S = 1.0  # how often the table is looked at for something new


@dataclass(frozen=True, slots=True)
class _Ready:
    manifest: Manifest
    raw: bytes
    signature: bytes


class Publications:
    """The publications in a hub's database; it belongs to the thread that opened the database."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._ready: list[_Ready] = []
        self._last = -1
        self._looked_at = 0.0
        self._content: tuple[str, bytes] = ("", b"")
        self._told: dict[str, tuple[wire.Report, float]] = {}

    # ---- for the wire, inside a transaction

    def answer(self, key: str, report: wire.Report, now_ms: int) -> wire.Message:
        """Write down what a branch reports, and offer what it has not got."""
        told, at = self._told.get(key, (None, 0.0))
        if told != report or time.monotonic() > at + AGAIN_S:
            self._write_down(key, report, now_ms)
            self._told[key] = report, time.monotonic()
        has = {(kind, name): serial for kind, name, serial, *_ in report.installed}
        for one in self._newest():
            manifest = one.manifest
            if manifest.branches and key not in manifest.branches:
                continue
            if has.get((manifest.kind, manifest.name), -1) < manifest.serial:
                return wire.Offer(one.raw, one.signature)
        return wire.Pong()

    def piece(self, fetch: wire.Fetch) -> wire.Piece:
        """Return the piece of a content that is asked for."""
        if self._content[0] != fetch.sha256:
            found = self._base.value("SELECT content FROM publications WHERE sha256 = ? LIMIT 1", [fetch.sha256])
            self._content = fetch.sha256, bytes(found or b"")
        return wire.Piece(fetch.sha256, fetch.offset, self._content[1][fetch.offset : fetch.offset + wire.MAX_PIECE])

    def _write_down(self, key: str, report: wire.Report, now_ms: int) -> None:
        self._base.run(
            "UPDATE branches SET waiting = ?, about = ? WHERE key = ?",
            [report.waiting, json.dumps(dict(report.about)), key],
        )
        now = moment(now_ms)
        branch = self._base.value("SELECT branch FROM branches WHERE key = ?", [key])
        if branch is None:
            return
        self._base.many(
            "INSERT INTO installed VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (branch, kind, name) DO UPDATE SET"
            " serial = excluded.serial, sha256 = excluded.sha256, error = excluded.error, at = excluded.at",
            [
                (branch, *(part.replace("\0", " ") if isinstance(part, str) else part for part in entry), now)
                for entry in report.installed
            ],
        )

    def _newest(self) -> list[_Ready]:
        """Return the publications that may be offered, the oldest first; those for all branches count for each name."""
        now = time.monotonic()
        if now >= self._looked_at + LOOK_S or self._last < 0:
            self._looked_at = now
            last = int(self._base.value("SELECT coalesce(max(serial), 0) FROM publications"))
            if last != self._last:
                self._last = last
                rows = self._base.rows("SELECT manifest, signature FROM publications ORDER BY serial DESC")
                self._ready = _that_count(
                    [_Ready(Manifest.from_bytes(bytes(row[0])), bytes(row[0]), bytes(row[1])) for row in rows]
                )
        return self._ready

    # ---- for people

    def publish(self, manifest: Manifest, signature: bytes, content: bytes, now_ms: int) -> None:
        """Write down a publication; branches are offered it from now on."""
        with self._base.transaction():
            self._base.run(
                "INSERT INTO publications VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    manifest.serial,
                    manifest.kind,
                    manifest.name,
                    manifest.version,
                    manifest.sha256,
                    moment(now_ms),
                    manifest.to_bytes(),
                    signature,
                    content,
                ],
            )

    def last(self, kind: str, name: str) -> Manifest | None:
        """Return the last publication of a name to all branches."""
        rows = self._base.rows(
            "SELECT manifest FROM publications WHERE kind = ? AND name = ? ORDER BY serial DESC", [kind, name]
        )
        manifests = [Manifest.from_bytes(bytes(row[0])) for row in rows]
        return next((one for one in manifests if not one.branches), None)

    def next_serial(self, now_ms: int) -> int:
        """Return a serial that no publication has had, even if the database was put back from a copy."""
        return max(now_ms, int(self._base.value("SELECT coalesce(max(serial), 0) FROM publications")) + 1)

    def published(self) -> list[Published]:
        """Return every publication that counts, and which branches took it or did not."""
        installed = self._base.rows(
            "SELECT branches.key, branches.name, installed.kind, installed.name, installed.serial, installed.error"
            " FROM installed JOIN branches ON branches.branch = installed.branch"
        )
        names: dict[str, str] = dict(self._base.rows("SELECT key, name FROM branches"))
        at: dict[int, str] = dict(self._base.rows("SELECT serial, at FROM publications"))
        self._last = -1
        made = []
        for one in self._newest():
            manifest = one.manifest
            meant = {key: name for key, name in names.items() if not manifest.branches or key in manifest.branches}
            took, failed = set(), {}
            for key, branch, kind, name, serial, error in installed:
                if (kind, name, serial) == (manifest.kind, manifest.name, manifest.serial) and key in meant:
                    if error:
                        failed[branch] = error
                    else:
                        took.add(branch)
            wait = sorted(name for name in meant.values() if name not in took and name not in failed)
            made.append(Published(
                manifest.kind, manifest.name, manifest.version, manifest.serial, manifest.sha256, manifest.force,
                at[manifest.serial], tuple(sorted(took)), failed, tuple(wait),
            ))  # fmt: skip
        return made

    def installed(self) -> dict[str, list[tuple[str, str, int, str, str]]]:
        """Return what each branch (by key) took: kind, name, serial, SHA-256, and an error where it did not."""
        made: dict[str, list[tuple[str, str, int, str, str]]] = {}
        for key, *entry in self._base.rows(
            "SELECT key, installed.kind, installed.name, serial, sha256, error FROM installed"
            " JOIN branches ON branches.branch = installed.branch ORDER BY installed.kind, installed.name"
        ):
            made.setdefault(key, []).append((entry[0], entry[1], entry[2], entry[3], entry[4]))
        return made


def _that_count(newest_first: list[_Ready]) -> list[_Ready]:
    """Leave out what a newer one for every branch replaces, and one for some by a newer for the same some."""
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    counts = []
    for one in newest_first:
        manifest = one.manifest
        name = (manifest.kind, manifest.name)
        if (*name, ()) in seen or (*name, manifest.branches) in seen:
            continue
        seen.add((*name, manifest.branches))
        counts.append(one)
    return counts[::-1]

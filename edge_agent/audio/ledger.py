"""What became of each recording of a folder: nothing is heard twice, and nothing is forgotten after a crash.

One JSON line is appended and brought to the disk for each step. A line that a crash cut short is passed over.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_agent.errors import AudioError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

# What has gone from the folder is remembered for this long, in case that it comes back.
REMEMBERED = timedelta(days=400)
_VERSION = 1


class Step(StrEnum):
    """How far a recording got: `begun` may be heard again after a crash, `done` and `refused` never."""

    BEGUN = "begun"
    GROWN = "grown"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording: `path` within the folder; `digest` of its content; `attempts` counts how often it was begun."""

    path: str
    digest: str
    size: int
    mtime_ns: int
    inode: int
    step: Step
    call_id: str = ""
    started_at: str = ""
    attempts: int = 0
    reason: str = ""
    at: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be done with it."""
        return self.step in (Step.DONE, Step.REFUSED)


class Ledger:
    """The entries of one folder; one thread writes at a time.

    Args:
        file: where they are kept; it is shortened on opening.

    Raises:
        AudioError: the file can't be read or written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_path: dict[str, Entry] = {}
        self._by_digest: dict[str, Entry] = {}
        self._call_ids: dict[str, str] = {}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._read()
            self._rewrite()
        except OSError as error:
            raise AudioError(
                f"the ledger of this folder can't be used: {error.strerror or error}",
                where=str(file),
                remedy="let the user that runs edge-agent write the state folder",
            ) from error

    def of_path(self, path: str) -> Entry | None:
        """Return what was last noted under a path."""
        return self._by_path.get(path)

    def of_content(self, digest: str) -> Entry | None:
        """Return what was last noted of a content, under whatever name."""
        return self._by_digest.get(digest)

    def owner(self, call_id: str) -> str | None:
        """Return the path that a call's id was given to."""
        return self._call_ids.get(call_id)

    def unsettled(self) -> list[Entry]:
        """Return what was begun and not finished."""
        return [entry for entry in self._by_path.values() if not entry.settled]

    def note(self, entry: Entry) -> Entry:
        """Write an entry down and return when it is on the disk.

        Raises:
            AudioError: it could not be written.
        """
        entry = replace(entry, at=datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AudioError(
                f"the ledger of this folder can't be written: {error.strerror or error}",
                where=str(self._file),
                remedy="make room on the disk; no recording is taken until then",
            ) from error
        self._remember(entry)
        return entry

    def _remember(self, entry: Entry) -> None:
        self._by_path[entry.path] = entry
        self._by_digest[entry.digest] = entry
        if entry.call_id:
            self._call_ids[entry.call_id] = entry.path

    def _read(self) -> None:
        if not self._file.exists():
            return
        oldest = (datetime.now(UTC) - REMEMBERED).isoformat(timespec="seconds")
        with self._file.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                try:
                    value = json.loads(line)
                    if value.pop("v") != _VERSION:
                        raise ValueError("another version")
                    entry = Entry(**{**value, "step": Step(value["step"])})
                except (ValueError, TypeError, KeyError, AttributeError):
                    log.warning("%s:%d is no entry and is passed over", self._file, number)
                    continue
                if not entry.settled or entry.at >= oldest:
                    self._remember(entry)

    def _rewrite(self) -> None:
        """Keep the last word on each recording alone, in place of its history."""
        fresh = self._file.with_name(self._file.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            for entry in self._by_path.values():
                file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)


def _line(entry: Entry) -> str:
    return json.dumps({"v": _VERSION, **asdict(entry)}) + "\n"

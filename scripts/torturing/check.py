"""The judge: what branches committed, held against what lies in the hub's database."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torturing.ends import journal

if TYPE_CHECKING:
    from pathlib import Path

    from torturing.ends import BranchEnd

_ROWS = """
    SELECT number, id, key FROM events JOIN streams USING (stream) JOIN branches USING (branch)
    WHERE number > ? ORDER BY number"""


@dataclass
class Verdict:
    """What is wrong; all zero is what is promised."""

    events: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    foreign: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost or self.doubled or self.disordered or self.foreign)

    def wrong(self, name: str, example: str) -> None:
        """Count something that is wrong."""
        setattr(self, name, getattr(self, name) + 1)
        if len(self.examples) < 20:
            self.examples.append(f"{name}: {example}")


class Judge:
    """Goes along the journals and the hub's database at once; where the database was put back, it begins again."""

    def __init__(self, database: Path, branches: list[BranchEnd]) -> None:
        self._database = database
        self._branches = branches
        self.verdict = Verdict()
        self.start_again()

    def start_again(self) -> None:
        """Forget what was read: the database was put back. What was found wrong before stays wrong."""
        self._number = 0
        self._found: dict[str, tuple[int, str]] = {}
        self._at = {branch.key: 0 for branch in self._branches}
        self._last = {branch.key: {True: 0, False: 0} for branch in self._branches}

    def look(self) -> int:
        """Read what came since the last time, go on along the journals as far as it is all there, return the count."""
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as database:
            for number, id_, key in database.execute(_ROWS, [self._number]):
                if id_ in self._found:
                    self.verdict.wrong("doubled", id_)
                self._found[id_] = number, key
                self._number = number
        for branch in self._branches:
            for id_, alarm in journal(branch.journal, self._at[branch.key]):
                if id_ not in self._found:
                    break
                self._at[branch.key] += 1
                number, key = self._found[id_]
                if key != branch.key:
                    self.verdict.wrong("foreign", f"{branch.folder.name} {id_}")
                if number < self._last[branch.key][alarm]:  # alarms may go ahead, in order among themselves
                    self.verdict.wrong("disordered", f"{branch.folder.name} {id_}")
                self._last[branch.key][alarm] = number
        self.verdict.events = len(self._found)
        return len(self._found)

    def progress(self) -> dict[str, int]:
        """Return, by key, how many lines of each branch's journal are at the hub without a gap."""
        self.look()
        return dict(self._at)

    def has(self, wanted: dict[str, int]) -> bool:
        """Say whether everything up to these lines of the journals (by key) is at the hub."""
        self.look()
        return all(self._at[key] >= count for key, count in wanted.items())

    def close(self) -> Verdict:
        """Judge the end: whatever a journal has and the hub has not is lost."""
        self.look()
        for branch in self._branches:
            for id_, _ in journal(branch.journal, self._at[branch.key]):
                if id_ not in self._found:
                    self.verdict.wrong("lost", f"{branch.folder.name} {id_}")
        return self.verdict

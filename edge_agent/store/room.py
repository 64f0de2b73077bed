"""Room on the disk: seen early, and a reserve for the moment when there is none."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_BYTES = 8_388_608  # given up on a full disk, so that something can be removed: even that needs log
_REPEAT_S = 600.0
_MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class Space:
    """How much is free where the database lies; `tight` below what the settings want, `full` when a write failed."""

    free_mib: int
    tight: bool
    full: bool


class Room:
    """Watches the disk of one database; it belongs to the thread that writes."""

    def __init__(self, path: Path, min_free_mib: int) -> None:
        self._folder = path.parent
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._min_free_mib = min_free_mib
        self._warned_at = float("-inf")
        self.full = False
        self.space = Space(0, tight=False, full=False)

    def look(self) -> Space:
        """Measure, say so if it is tight, and take the reserve while there is plenty."""
        free = shutil.disk_usage(self._folder).free
        tight = free < self._min_free_mib * _MIB
        if (tight or self.full) and time.monotonic() > self._warned_at + _REPEAT_S:
            self._warned_at = time.monotonic()
            log.error(
                "ONLY %s MiB ARE FREE in %s (%s are wanted): acknowledged events are removed early; make room",
                free // _MIB,
                self._folder,
                self._min_free_mib,
            )
        if free > 2 * RESERVE_BYTES and not self._reserve.exists():
            self._take_a_reserve()
        # Without a reserve the disk is full, however much the reserve's end has freed: who fills that up, too, can't
        # even note what head office acknowledged. A restart changes nothing of it.
        self.full = not self._reserve.exists()
        self.space = Space(free // _MIB, tight, self.full)
        return self.space

    def give_up_the_reserve(self) -> None:
        """Free what was kept for this moment; until there is a new one the disk counts as full."""
        self.full = True
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def _take_a_reserve(self) -> None:
        whole = self._reserve.with_suffix(".part")
        try:
            handle = os.open(whole, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, RESERVE_BYTES)
            finally:
                os.close(handle)
            whole.rename(self._reserve)
        except OSError:
            whole.unlink(missing_ok=True)

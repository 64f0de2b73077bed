"""Utterances that wait on disk because memory holds enough of them: readable by this user alone, deleted once read."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.types import Samples

log = logging.getLogger(__name__)

_SUFFIX = ".f32"


class Spool:
    """A folder of mode 0700 with a file of mode 0600 for each utterance; at most `most_mib` of them.

    What an appliance that was killed left behind is deleted: its calls are over. May be used from any thread.
    `waiting` is how many lie there now, `spooled` how many there ever were.
    """

    def __init__(self, folder: Path, most_mib: int = 512) -> None:
        self.folder = folder
        self.waiting = 0
        self.spooled = 0
        self._most = most_mib << 20
        self._held = 0
        self._sizes: dict[Path, int] = {}
        self._failed = False
        self._lock = threading.Lock()
        left = list(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
        for file in left:
            file.unlink(missing_ok=True)
        if left:
            log.warning("%d utterances that an earlier run had not recognized were deleted from the spool", len(left))

    @property
    def full(self) -> bool:
        """Whether there is no room for another long utterance, or the disk refused the last one."""
        return self._failed or self._held + (1 << 20) > self._most

    def put(self, samples: Samples) -> Path | None:
        """Write the samples of an utterance; None if there is no room, which is logged."""
        with self._lock:
            if self._held + samples.nbytes > self._most:
                return None
            self.spooled += 1
            file = self.folder / f"{os.getpid()}-{self.spooled:08}{_SUFFIX}"
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.folder.chmod(0o700)
                with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                    stream.write(np.ascontiguousarray(samples, np.float32).tobytes())
            except OSError as error:
                self._failed = True
                self.spooled -= 1
                with suppress(OSError):
                    file.unlink()
                log.error("an utterance can't be written to %s: %s", self.folder, error.strerror or error)
                return None
            self._failed = False
            self._held += samples.nbytes
            self._sizes[file] = samples.nbytes
            self.waiting += 1
            return file

    def take(self, file: Path) -> Samples:
        """Read what `put` wrote, and delete it; nothing, which is logged, if somebody else has."""
        size = self._sizes.pop(file)
        try:
            samples = np.fromfile(file, np.float32)
            file.unlink()
        except OSError as error:
            log.error("an utterance is lost, it can't be read from %s: %s", self.folder, error.strerror or error)
            samples = np.zeros(0, np.float32)
        with self._lock:
            self._held -= size
            self.waiting -= 1
            self._failed = False
        return samples

"""How loud it is on a sound device now."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from edge_agent.audio.track import OPENING_S, STALL_S, Child, words

FLOOR_DBFS = -99.0
_WINDOW_S = 0.3
_FULL = 32_700


@dataclass(frozen=True, slots=True)
class Level:
    """The last moment on one channel: mean and loudest sample below full scale, and whether that was reached."""

    rms_dbfs: float
    peak_dbfs: float
    clipped: bool


class Meter:
    """Captures one device and measures it; it is not tried again when it fails.

    Args:
        device: id or name.
        channels: how many to open.
    """

    def __init__(self, device: str, channels: int) -> None:
        self.device = device
        self.trouble = ""
        """Why nothing comes, in words."""
        self._child: Child | None = Child({"device": device, "channels": channels, "rate_hz": 0})
        self._deadline = time.monotonic() + OPENING_S
        self._channels = channels
        self._rate_hz = 48_000
        self._blocks: deque[np.ndarray[tuple[int, ...], np.dtype[np.int16]]] = deque()

    def step(self) -> None:
        """Take what has come."""
        if self._child is None:
            return
        for kind, _, body in self._child.records():
            if kind == b"F":
                told = json.loads(body)
                self._channels, self._rate_hz = told["channels"], told["rate_hz"]
            elif kind == b"A":
                whole = len(body) - len(body) % (2 * self._channels)
                self._blocks.append(np.frombuffer(body[:whole], np.int16).reshape(-1, self._channels))
                while sum(map(len, self._blocks)) > _WINDOW_S * self._rate_hz:
                    self._blocks.popleft()
                self._deadline = time.monotonic() + STALL_S
            elif kind == b"E":
                self._fail(words(json.loads(body)))
                return
        if self._child.ended:
            self._fail("the process that held the device died")
        elif time.monotonic() > self._deadline:
            self._fail("it delivers nothing")

    def levels(self) -> list[Level]:
        """Return the level of each channel."""
        if not self._blocks:
            return [Level(FLOOR_DBFS, FLOOR_DBFS, False)] * self._channels
        samples = np.concatenate(list(self._blocks)).astype(np.float64)
        rms, peak = np.sqrt((samples**2).mean(axis=0)), np.abs(samples).max(axis=0)
        return [Level(_dbfs(a), _dbfs(b), bool(b >= _FULL)) for a, b in zip(rms.tolist(), peak.tolist(), strict=True)]

    def close(self) -> None:
        """Let go of the device."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _fail(self, why: str) -> None:
        self.trouble = why
        self._blocks.clear()
        self.close()


def _dbfs(sample: float) -> float:
    return round(max(FLOOR_DBFS, 20 * float(np.log10(sample / 32_768))), 1) if sample else FLOOR_DBFS

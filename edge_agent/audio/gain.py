"""Automatic gain: a quiet party is brought to the level of a telephone, and a constant offset is taken away.

What is loud enough passes through untouched, sample for sample, and noise alone is never made louder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from edge_agent.types import Samples

# Speech below the first is brought to the second; between them nothing is done, so that the gain does not hunt.
QUIET_DBFS, TARGET_DBFS = -34.0, -24.0
MOST_DB = 30.0
# Sound this far above the noise is taken for speech, and nothing below this is.
_ABOVE_NOISE_DB, _LEAST_DBFS = 9.0, -66.0
_UP_DB_S, _DOWN_DB_S = 20.0, 10.0
_LEVEL_S, _OFFSET_S = 1.0, 1.0
_NOISE_UP_DB_S = 2.0
_LEAST_OFFSET = 0.004
_PEAK = 0.97
_SILENT_DBFS = -120.0


class Leveller:
    """Levels the channels of one call, each by itself; it remembers what it has heard of them."""

    def __init__(self, channels: int) -> None:
        self._channels = [_Channel() for _ in range(channels)]

    def feed(self, samples: Samples) -> Samples:
        """Return float32 of shape (channels, n), n > 0, at their level; the very same array if nothing changes."""
        levelled = [channel.feed(row) for channel, row in zip(self._channels, samples, strict=True)]
        if all(row is None for row in levelled):
            return samples
        return np.stack([old if new is None else new for new, old in zip(levelled, samples, strict=True)])


class _Channel:
    def __init__(self) -> None:
        self._offset = 0.0
        self._taken = 0.0  # of the offset, at the end of the last chunk
        self._noise_dbfs: float | None = None
        self._speech_dbfs: float | None = None
        self._gain_db = 0.0

    def feed(self, row: Samples) -> Samples | None:
        """Return the levelled row, or None to leave it as it is."""
        seconds = len(row) / SAMPLE_RATE_HZ
        mean = float(row.sum()) / len(row)
        self._offset += (mean - self._offset) * min(1.0, seconds / _OFFSET_S)
        before, taken = self._taken, self._offset if abs(self._offset) > _LEAST_OFFSET else 0.0
        self._taken = taken
        if before or taken:
            row = row - np.linspace(before, taken, len(row), dtype=np.float32)
        peak = float(np.abs(row).max())
        gain_before = self._gain_db
        self._follow(row, seconds)
        if self._gain_db > 0 and peak > 0:
            self._gain_db = max(0.0, min(self._gain_db, 20 * float(np.log10(_PEAK / peak))))
            gain_before = min(gain_before, self._gain_db) if peak * 10 ** (gain_before / 20) > _PEAK else gain_before
        if not gain_before and not self._gain_db:
            return row if before or taken else None
        ramp = np.linspace(gain_before, self._gain_db, len(row), dtype=np.float32)
        return np.clip(row * np.float32(10) ** (ramp / np.float32(20)), -1.0, 1.0).astype(np.float32)

    def _follow(self, row: Samples, seconds: float) -> None:
        """Learn the levels of noise and of speech, and move the gain."""
        power = float(row @ row) / len(row)
        dbfs = 10 * float(np.log10(power)) if power > 1e-12 else _SILENT_DBFS
        if self._noise_dbfs is None or dbfs < self._noise_dbfs:
            self._noise_dbfs = dbfs
        else:
            self._noise_dbfs = min(dbfs, self._noise_dbfs + _NOISE_UP_DB_S * seconds)
        if dbfs < max(_LEAST_DBFS, self._noise_dbfs + _ABOVE_NOISE_DB):
            return
        if self._speech_dbfs is None:
            self._speech_dbfs = dbfs
        self._speech_dbfs += (dbfs - self._speech_dbfs) * min(1.0, seconds / _LEVEL_S)
        wanted = min(MOST_DB, TARGET_DBFS - self._speech_dbfs) if self._speech_dbfs < QUIET_DBFS else 0.0
        if self._gain_db and self._speech_dbfs < TARGET_DBFS:
            wanted = min(MOST_DB, TARGET_DBFS - self._speech_dbfs)  # once it is raised, it is held at the target
        step = wanted - self._gain_db
        self._gain_db += min(max(step, -_DOWN_DB_S * seconds), _UP_DB_S * seconds)

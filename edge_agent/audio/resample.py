"""From any rate to 16 kHz, streaming, with a sample count that stays right over hours and holes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import soxr

from edge_agent.types import SAMPLE_RATE_HZ, SAMPLES_PER_MS

if TYPE_CHECKING:
    from edge_agent.types import Samples


class Resampler:
    """Turns blocks of (n, channels) at any rate into (channels, n) at 16 kHz within [-1, 1].

    The position is worked out from the exact length of what went in, so that neither rounding nor the filter's delay
    adds up.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.position = 0
        """Samples at 16 kHz that stand for what was delivered or skipped."""
        self._heard_s = Fraction(0)
        self._rate_hz = 0
        self._stream: soxr.ResampleStream | None = None

    @property
    def due(self) -> int:
        """Samples at 16 kHz that all that was fed comes to, the part that is still in the filter included."""
        return round(self._heard_s * SAMPLE_RATE_HZ)

    def feed(self, samples: Samples, rate_hz: int) -> Samples:
        """Resample one block; a little of it stays in the filter until more comes or `flush`."""
        flushed = self.flush() if self._stream is not None and rate_hz != self._rate_hz else None
        if self._stream is None:
            self._rate_hz = rate_hz
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, self.channels, dtype="float32", quality="HQ")
        self._heard_s += Fraction(len(samples), rate_hz)
        out = _rows(self._stream.resample_chunk(self._fit(samples)))
        self.position += out.shape[1]
        return out if flushed is None else np.concatenate([flushed, out], axis=1)

    def flush(self) -> Samples:
        """Return what the filter still holds, cut or filled to the exact count."""
        if self._stream is None:
            return np.zeros((self.channels, 0), np.float32)
        out = _rows(self._stream.resample_chunk(np.zeros((0, self.channels), np.float32), last=True))
        self._stream = None
        due = max(0, round(self._heard_s * SAMPLE_RATE_HZ) - self.position)
        out = np.pad(out[:, :due], ((0, 0), (0, max(0, due - out.shape[1]))))
        self.position += due
        return out

    def skip(self, length_s: Fraction) -> int:
        """Move past audio that is missing, to a whole millisecond; returns the new position. Flush before."""
        end = self._heard_s * SAMPLE_RATE_HZ + length_s * SAMPLE_RATE_HZ
        self.position = max(self.position, round(end / SAMPLES_PER_MS) * SAMPLES_PER_MS)
        self._heard_s = Fraction(self.position, SAMPLE_RATE_HZ)
        return self.position

    def _fit(self, samples: Samples) -> Samples:
        """Keep the announced number of channels where a file changes it midway."""
        here = samples.shape[1]
        if here == self.channels:
            return np.ascontiguousarray(samples)
        fitted = np.zeros((len(samples), self.channels), np.float32)
        fitted[:, : min(here, self.channels)] = samples[:, : self.channels]
        return fitted


def _rows(samples: Samples) -> Samples:
    return np.clip(np.ascontiguousarray(samples.T), -1.0, 1.0)

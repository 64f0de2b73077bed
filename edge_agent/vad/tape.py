"""The last seconds of a call's audio, from which utterances are cut."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_agent.types import Samples


class Tape:
    """Pieces of all channels in the order of time; what is missing between them reads as zeros."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Samples]] = deque()

    def add(self, start: int, samples: Samples) -> None:
        """Append a piece of shape (channels, n) that begins at `start`; it is kept, not copied."""
        self._pieces.append((start, samples))

    def forget(self, before: int) -> None:
        """Drop every piece that ends at or before this position."""
        while self._pieces and self._pieces[0][0] + self._pieces[0][1].shape[1] <= before:
            self._pieces.popleft()

    def cut(self, channel: int, start: int, end: int) -> Samples:
        """Copy [start, end) of one channel."""
        out = np.zeros(end - start, np.float32)
        for at, samples in self._pieces:
            low, high = max(start, at), min(end, at + samples.shape[1])
            if low < high:
                out[low - start : high - start] = samples[channel, low - at : high - at]
        return out

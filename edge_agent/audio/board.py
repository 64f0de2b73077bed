"""The mixing desk of a live call: legs write where they are, chunks with a row for each leg come out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.types import Chunk

if TYPE_CHECKING:
    from edge_agent.types import Samples


class Board:
    """Brings legs that come at their own pace onto one timeline, in samples at 16 kHz since the call began.

    What a leg has not written by the time that a stretch is taken is zeros there.
    """

    def __init__(self, channels: int) -> None:
        self.position = 0
        """Everything before it was taken."""
        self._pieces: list[deque[tuple[int, Samples]]] = [deque() for _ in range(channels)]
        self._ends = [0] * channels

    def end(self, channel: int) -> int:
        """Return where the leg's next sample goes at the earliest."""
        return max(self._ends[channel], self.position)

    @property
    def last(self) -> int:
        """Where the longest leg ends."""
        return max(self.position, *self._ends)

    def write(self, channel: int, start: int, samples: Samples) -> None:
        """Add samples of shape (n,); what lies before `end` of the leg is left out."""
        early = self.end(channel) - start
        if early > 0:
            start, samples = start + early, samples[early:]
        if len(samples):
            self._pieces[channel].append((start, samples))
            self._ends[channel] = start + len(samples)

    def take(self, until: int) -> Chunk | None:
        """Return what lies before `until` and was not taken yet; None if that is nothing."""
        start = self.position
        if until <= start:
            return None
        out = np.zeros((len(self._pieces), until - start), np.float32)
        for row, pieces in zip(out, self._pieces, strict=True):
            while pieces and pieces[0][0] < until:
                at, samples = pieces.popleft()
                count = min(len(samples), until - at)
                row[at - start : at - start + count] = samples[:count]
                if count < len(samples):
                    pieces.appendleft((until, samples[count:]))
        self.position = until
        return Chunk(start, out)

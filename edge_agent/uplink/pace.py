"""How many events may be under way: within the hub's credit, as many as the line carries in about a second.

On a slow line whatever is under way stands before an urgent event and before every sign of life, so no more is sent
than the line can take. Pure; the caller tells the time.
"""

from __future__ import annotations

from collections import deque

LEAST = 16  # events under way at least
MOST = 1_000_000  # beyond what any hub gives credit for
SLOW_S = 1.0  # an acknowledgement that takes longer than this, and three times the quickest, is the line's fault


class Pace:
    """Doubles what may be under way while answers come quickly, and halves it when they do not."""

    def __init__(self, start: int) -> None:
        self._window = max(LEAST, start)
        self._sent: deque[tuple[int, float, bool]] = deque()
        self._quickest = float("inf")

    def room(self, credit: int, in_flight: int) -> int:
        """Return how many more events may be sent."""
        return min(credit, self._window) - in_flight

    def sent(self, last: int, now: float, *, full: bool) -> None:
        """Note that events up to sequence `last` went out; `full`: no more could."""
        self._sent.append((last, now, full))

    def acknowledged(self, through: int, now: float) -> None:
        """Note that the hub has everything up to `through`."""
        while self._sent and self._sent[0][0] <= through:
            _, at, full = self._sent.popleft()
            took = now - at
            self._quickest = min(self._quickest, took)
            if took > max(SLOW_S, 3 * self._quickest):
                self._window = max(LEAST, self._window // 2)
                self._sent = deque((last, when, False) for last, when, _ in self._sent)
            elif full:
                self._window = min(2 * self._window, MOST)

    def broken(self, *, silent: bool) -> None:
        """Note that the connection ended; if it fell silent under a load, the load may have been too much."""
        if self._sent and silent:
            self._window = max(LEAST, self._window // 4)
        self._sent.clear()

"""What is given up when recognition falls behind, in which order, and when it is taken up again.

A state machine without clock or threads: it is told for how long the oldest final has waited for the model. A final is
never dropped on any step.
"""

from __future__ import annotations

from enum import IntEnum

CALM_S = 5.0
"""After so long without need the last step is taken back, and then the one before it."""


class Step(IntEnum):
    """The steps, each with those before it in force."""

    NONE = 0
    NO_GUESSES = 1
    BEAM_ONE = 2
    ONE_PASS = 3
    LARGE_BATCHES = 4
    SMALLER_MODEL = 5
    SPOOLING = 6
    REFUSING = 7


LARGER = 4
"""How many times as many utterances share a call from `LARGE_BATCHES` on."""


class Ladder:
    """Which step is in force.

    The first is taken when a final has waited `behind_s`, and each further one for half as much more: with the silence
    that ends an utterance and the work on it, no effort is spared while text comes well within 1.5 s. `SPOOLING` is in
    force while the queue in memory is full, `REFUSING` while the spool is full as well.
    """

    def __init__(self, behind_s: float = 0.4) -> None:
        self.step = Step.NONE
        self._behind_s = behind_s
        self._needed_at = 0.0

    def update(self, now: float, waited_s: float, *, full: bool = False, spool_full: bool = False) -> Step:
        """Return the step that is in force from now on."""
        needed = Step.NONE
        if waited_s >= self._behind_s:
            needed = Step(min(int(waited_s / self._behind_s * 2) - 1, Step.SMALLER_MODEL))
        if full:
            needed = Step.SPOOLING
        if spool_full:
            needed = Step.REFUSING
        if needed >= self.step:
            self.step, self._needed_at = needed, now
        elif now - self._needed_at >= CALM_S:
            self.step, self._needed_at = Step(self.step - 1), now
        return self.step

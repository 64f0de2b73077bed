"""Which utterances are recognized next, and which share a call: decided here, without threads and without a model.

Finals come before guesses (utterances that are probably over), then the earliest deadline first (Liu & Layland 1973). A
call that has several utterances waiting is held back by `FAIR_S` for each that came before, so that none takes the
model for itself. Utterances share a call if they are equal in the length of context (bucket) and in the prompt slot;
the most urgent one waits `gather_s` at most for others to share with. A guess is made alone, and only where no final
waits: the next final waits for one guess at most. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

FAIR_S = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """An utterance that waits to be recognized; `group` is equal for those that may share a call of the model.

    A recording isn't `live`: nobody waits for its text, and however long it waits says nothing about falling behind.
    """

    key: int
    call_id: str
    group: Hashable
    deadline: float
    arrived: float
    guess: bool = False
    live: bool = True


class Scheduler:
    """The jobs that wait. `batch` is how many share a call at most."""

    def __init__(self, batch: int = 4, gather_s: float = 0.04) -> None:
        self.batch = batch
        self._gather_s = gather_s
        self._jobs: dict[int, Job] = {}
        self._debts: dict[str, int] = defaultdict(int)  # what a call was given while more of it waited

    def __len__(self) -> int:
        """Return how many wait, guesses counted."""
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Take a job in."""
        self._jobs[job.key] = job

    def remove(self, key: int) -> bool:
        """Forget a job; False if it does not wait (any more)."""
        return self._jobs.pop(key, None) is not None

    def confirm(self, key: int, deadline: float, now: float) -> bool:
        """Turn a guess into a final; False if it does not wait any more."""
        job = self._jobs.get(key)
        if job is None:
            return False
        self._jobs[key] = replace(job, guess=False, deadline=deadline, arrived=now)
        return True

    def drop_guesses(self) -> list[int]:
        """Forget all guesses, and return their keys."""
        dropped = [key for key, job in self._jobs.items() if job.guess]
        for key in dropped:
            del self._jobs[key]
        return dropped

    def waited_s(self, now: float) -> float:
        """Return for how long the oldest final has waited that somebody waits for."""
        return max((now - job.arrived for job in self._jobs.values() if job.live and not job.guess), default=0.0)

    def take(self, now: float, batch: int | None = None) -> list[Job]:
        """Return the jobs that share the next call, the most urgent first, and forget them; none if it is too early."""
        mates, due_s = self._next(now, batch or self.batch)
        if due_s > 0:
            return []
        for job in mates:
            del self._jobs[job.key]
            self._debts[job.call_id] += 1
        waiting = {job.call_id for job in self._jobs.values()}
        self._debts = defaultdict(int, {call: debt for call, debt in self._debts.items() if call in waiting})
        return mates

    def due_in_s(self, now: float, batch: int | None = None) -> float | None:
        """Return in how many seconds `take` has something to give, if nothing comes; None if nothing waits."""
        return self._next(now, batch or self.batch)[1] if self._jobs else None

    def _next(self, now: float, batch: int) -> tuple[list[Job], float]:
        order = self._order()
        if not order:
            return [], self._gather_s
        if order[0].guess:
            return order[:1], 0.0
        mates = [job for job in order if job.group == order[0].group and not job.guess][:batch]
        if len(mates) == batch:
            return mates, 0.0
        return mates, max(0.0, min(job.arrived for job in mates) + self._gather_s - now)

    def _order(self) -> list[Job]:
        """Return what waits, the most urgent first."""
        of_call: dict[tuple[bool, str], int] = defaultdict(int)
        debts = self._debts
        ranked = []
        for job in sorted(self._jobs.values(), key=lambda job: (job.guess, job.deadline, job.key)):
            whose = job.guess, job.call_id
            ranked.append(
                (job.guess, job.deadline + FAIR_S * (of_call[whose] + debts.get(job.call_id, 0)), job.key, job)
            )
            of_call[whose] += 1
        return [job for *_, job in sorted(ranked, key=lambda entry: entry[:3])]

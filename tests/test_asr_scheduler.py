"""Which utterances come next, and what is given up when recognition falls behind: decided without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.asr.relief import CALM_S, Ladder, Step
from edge_agent.asr.scheduler import FAIR_S, Job, Scheduler


def job(
    key: int,
    call: str = "a",
    *,
    deadline: float = 1.0,
    group: tuple[int, bool] | int = 10,
    at: float = 0.0,
    guess: bool = False,
) -> Job:
    return Job(key, call, group, deadline, at, guess)


def keys(jobs: list[Job]) -> list[int]:
    return [one.key for one in jobs]


def test_the_earliest_deadline_is_first() -> None:
    scheduler = Scheduler(batch=1)
    for key, deadline in ((1, 3.0), (2, 1.0), (3, 2.0)):
        scheduler.add(job(key, str(key), deadline=deadline))
    assert [keys(scheduler.take(9.0)) for _ in range(4)] == [[2], [3], [1], []]


def test_finals_come_before_guesses_however_urgent() -> None:
    scheduler = Scheduler(batch=1)
    scheduler.add(job(1, "a", deadline=0.0, guess=True))
    scheduler.add(job(2, "b", deadline=9.0))
    assert [keys(scheduler.take(9.0)) for _ in range(2)] == [[2], [1]]


def test_a_guess_is_made_alone_and_only_where_no_final_waits() -> None:
    scheduler = Scheduler(batch=4, gather_s=0.04)
    for key, guess in ((1, True), (2, True), (3, False)):
        scheduler.add(job(key, str(key), guess=guess, at=5.0))
    assert scheduler.take(5.01) == [], "an idle worker waits for the final and those it shares a call with"
    assert [keys(scheduler.take(5.05)) for _ in range(4)] == [[3], [1], [2], []]
    scheduler.add(job(4, guess=True, at=6.0))
    assert keys(scheduler.take(6.0)) == [4], "nothing shares its call, so it need not wait"


def test_a_call_with_a_burst_does_not_keep_the_others_waiting() -> None:
    scheduler = Scheduler(batch=1)
    for key in range(1, 6):
        scheduler.add(job(key, "burst", deadline=0.1 * key))
    scheduler.add(job(9, "quiet", deadline=FAIR_S))
    assert [keys(scheduler.take(9.0))[0] for _ in range(6)][:2] == [1, 9]


def test_a_batch_is_of_one_length_and_one_prompt_slot() -> None:
    scheduler = Scheduler(batch=3)
    groups = [(6, False), (10, False), (6, False), (6, True), (6, False), (6, False)]
    for key, group in enumerate(groups, 1):
        scheduler.add(job(key, str(key), group=group, deadline=key))
    assert [keys(scheduler.take(9.0)) for _ in range(5)] == [[1, 3, 5], [2], [4], [6], []]


def test_an_utterance_waits_for_others_but_not_for_long() -> None:
    scheduler = Scheduler(batch=2, gather_s=0.04)
    scheduler.add(job(1, "a", at=5.0))
    assert scheduler.take(5.01) == []
    assert scheduler.due_in_s(5.01) == pytest.approx(0.03)
    assert scheduler.due_in_s(5.05) == 0
    assert keys(scheduler.take(5.05)) == [1]
    assert scheduler.due_in_s(5.05) is None
    scheduler.add(job(2, "a", at=6.0))
    scheduler.add(job(3, "b", at=6.0))
    assert keys(scheduler.take(6.0)) == [2, 3], "a full batch need not wait"


def test_a_guess_that_was_right_becomes_a_final() -> None:
    scheduler = Scheduler(batch=1)
    scheduler.add(job(1, "a", deadline=1.0, guess=True))
    scheduler.add(job(2, "b", deadline=2.0))
    assert scheduler.waited_s(4.0) == 4.0
    assert scheduler.confirm(1, 1.0, 3.0)
    assert keys(scheduler.take(9.0)) == [1]
    assert not scheduler.confirm(1, 1.0, 3.0)
    assert scheduler.remove(2)
    assert not scheduler.remove(2)


def test_guesses_are_dropped_and_finals_are_not() -> None:
    scheduler = Scheduler()
    scheduler.add(job(1, guess=True))
    scheduler.add(job(2))
    assert scheduler.drop_guesses() == [1]
    assert len(scheduler) == 1
    assert scheduler.waited_s(3.0) == 3.0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 50), st.sampled_from([6, 10]), st.booleans()), max_size=30)
)
def test_everything_is_taken_once_and_no_call_starves(rows: list[tuple[str, float, int, bool]]) -> None:
    scheduler = Scheduler(batch=4)
    jobs = [job(key, call, deadline=d, group=g, guess=guess) for key, (call, d, g, guess) in enumerate(rows)]
    for one in jobs:
        scheduler.add(one)
    taken: list[Job] = []
    while batch := scheduler.take(99.0):
        assert len(batch) <= 4
        assert len({one.group for one in batch}) == 1
        first = batch[0]
        waiting = [one for one in jobs if one not in taken]
        assert first.guess == all(one.guess for one in waiting)
        # Of its call the most urgent one comes first.
        same = [one for one in waiting if (one.call_id, one.guess) == (first.call_id, first.guess)]
        assert first.deadline == min(one.deadline for one in same)
        taken += batch
    assert sorted(keys(taken)) == [one.key for one in jobs]


def test_measures_are_taken_in_their_order_and_taken_back_in_reverse() -> None:
    ladder = Ladder(behind_s=0.3)
    assert ladder.update(0.0, 0.29) is Step.NONE
    taken = [ladder.update(1.0, waited) for waited in (0.3, 0.46, 0.61, 0.76, 0.91, 60.0)]
    assert taken == [Step.NO_GUESSES, Step.BEAM_ONE, Step.ONE_PASS, Step.LARGE_BATCHES, *[Step.SMALLER_MODEL] * 2]
    assert ladder.update(1.0, 60.0, full=True) is Step.SPOOLING
    assert ladder.update(1.0, 60.0, full=True, spool_full=True) is Step.REFUSING
    assert ladder.update(1.0 + CALM_S / 2, 0.0) is Step.REFUSING, "not before it was calm for a while"
    now, back = 1.0, []
    while ladder.step:
        now += CALM_S
        back.append(ladder.update(now, 0.0))
    assert back == list(reversed(Step))[1:]


def test_a_new_need_ends_the_calm() -> None:
    ladder = Ladder(behind_s=0.3)
    ladder.update(0.0, 0.5)
    ladder.update(CALM_S - 1, 0.5)
    assert ladder.update(CALM_S, 0.0) is Step.BEAM_ONE
    assert ladder.update(2 * CALM_S - 1, 0.0) is Step.NO_GUESSES

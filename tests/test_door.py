"""Door 1 with scripted recognizers: order within a call, guesses, the spool, and what is given up in which order."""

from __future__ import annotations

import os
import queue
import stat
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.asr.relief import Step
from edge_agent.asr.spool import Spool
from edge_agent.asr.workers import Desk, physical_cores
from edge_agent.door import Door
from edge_agent.hearing import Closed, Opened, Spoken
from edge_agent.types import Call, Hypothesis, Speaker, Utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge_agent.types import Samples


class Reader:
    """A recognizer that reads the number that an utterance consists of; it waits at its gate."""

    buckets = (10, 30)

    def __init__(self, name: str = "careful", *, shut: bool = False) -> None:
        self.name = name
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        if not shut:
            self.gate.set()

    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        self.batches.append([int(samples[0]) for samples in utterances])
        self.entered.release()
        assert self.gate.wait(30)
        return [Hypothesis(f"第{int(samples[0])}句", 0.9) for samples in utterances]


class Broken(Reader):
    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        raise ZeroDivisionError


Make = "Callable[..., Door]"


@pytest.fixture
def make() -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []
    readers: list[Reader] = []

    def make(*desks: Reader | Desk, **settings: object) -> Door:
        given = [desk if isinstance(desk, Desk) else Desk.of(desk) for desk in desks]
        readers.extend(desk.careful for desk in given if isinstance(desk.careful, Reader))
        door = Door(given, **{"gather_s": 0.0, **settings})  # type: ignore[arg-type]
        doors.append(door)
        door.workers.start()
        return door

    yield make
    for reader in readers:
        reader.gate.set()
    for door in doors:
        door.close()


def call(name: str = "a") -> Call:
    return Call(name, "test", datetime(2026, 1, 5, tzinfo=UTC), (Speaker.AGENT, Speaker.CUSTOMER))


def spoken(number: int, name: str = "a", *, seconds: float = 1.0, channel: int = 0, ago_s: float = 0.0) -> Spoken:
    samples = np.full(int(seconds * 16_000), number, np.float32)
    start = number * 10_000
    utterance = Utterance(name, channel, Speaker.AGENT, start, start + int(seconds * 1000), samples)
    return Spoken(call(name), utterance, time.monotonic() - ago_s)


def texts(door: Door, count: int) -> list[str]:
    found = []
    for _ in range(count):
        taken = door.take(30)
        assert taken is not None
        _, recognized = taken
        found.append(recognized.hypothesis.text if recognized else "")
    return found


def test_a_call_goes_on_in_order_whatever_is_recognized_first(make: Callable[..., Door]) -> None:
    slow = Reader(shut=True)
    door = make(slow, batch=1)
    door.put(Opened(call()))
    door.put(spoken(1))
    slow.entered.acquire(timeout=30)
    door.put(spoken(2, seconds=12))
    door.put(Closed(call(), 0, "end of source"))
    assert texts(door, 1) == [""]
    assert door.take(0.05) is None
    slow.gate.set()
    assert texts(door, 3) == ["第1句", "第2句", ""]
    assert door.waiting == 0


def test_a_call_that_stalls_keeps_no_other_waiting(make: Callable[..., Door]) -> None:
    stalled, other = Reader(shut=True), Reader(shut=True)
    door = make(stalled, other, batch=1)
    door.put(spoken(1, "a"))
    door.put(spoken(2, "b"))
    assert stalled.entered.acquire(timeout=30)
    assert other.entered.acquire(timeout=30)
    other.gate.set()
    (first,) = texts(door, 1)
    assert first == f"第{other.batches[0][0]}句"
    stalled.gate.set()
    assert {first, *texts(door, 1)} == {"第1句", "第2句"}


def test_a_guess_that_comes_true_is_recognized_once(make: Callable[..., Door]) -> None:
    reader = Reader()
    door = make(reader)
    door.guess(spoken(1), "a", 0)
    reader.entered.acquire(timeout=30)
    door.put_nowait(spoken(1))
    assert texts(door, 1) == ["第1句"]
    assert reader.batches == [[1]]
    assert door.workers.counts["guesses_right"] == 1
    door.guess(None, "a", 0)
    assert door.take(0.02) is None


def test_a_final_may_come_before_its_guess_is_ready(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader)
    door.guess(spoken(1), "a", 0)
    reader.entered.acquire(timeout=30)
    door.put_nowait(spoken(1))
    assert door.take(0.02) is None
    reader.gate.set()
    assert texts(door, 1) == ["第1句"]
    assert reader.batches == [[1]]


def test_a_guess_that_was_wrong_is_discarded(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader)
    door.put(spoken(9, "b"))
    reader.entered.acquire(timeout=30)  # so that the guess waits
    door.guess(spoken(1, seconds=1), "a", 0)
    door.guess(None, "a", 0)
    door.guess(spoken(1, seconds=2), "a", 0)
    door.put_nowait(spoken(1, seconds=3))
    reader.gate.set()
    assert sorted(texts(door, 2)) == ["第1句", "第9句"]
    assert door.take(0.05) is None


def test_guesses_are_given_up_first_and_their_finals_are_not_lost(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader, behind_s=0.05)
    door.guess(spoken(8, "z"), "z", 0)
    reader.entered.acquire(timeout=30)
    door.guess(spoken(1), "a", 0)
    door.put_nowait(spoken(2, "b"))
    until = time.monotonic() + 20
    while door.workers.watch(full=False) < Step.NO_GUESSES and time.monotonic() < until:
        time.sleep(0.01)
    assert door.workers.counts["guesses_dropped"] == 1
    door.guess(spoken(3, "c"), "c", 0)
    assert door.workers.counts["guesses_dropped"] == 2
    door.put_nowait(spoken(1))
    door.put_nowait(spoken(3, "c"))
    reader.gate.set()
    assert sorted(texts(door, 3)) == ["第1句", "第2句", "第3句"]


def test_effort_is_reduced_step_by_step(make: Callable[..., Door]) -> None:
    names = ("careful", "narrow", "quick", "smaller")
    readers = {name: Reader(name, shut=name == "careful") for name in names}
    desk = Desk(readers["careful"], readers["narrow"], readers["quick"], readers["smaller"])
    assert [desk.at(step).name for step in Step] == [
        *["careful"] * 2, "narrow", *["quick"] * 2, *["smaller"] * 3
    ]  # fmt: skip
    assert Desk(readers["careful"], readers["narrow"], readers["quick"]).at(Step.REFUSING).name == "quick"
    door = make(desk, behind_s=0.01, batch=1, gather_s=0.01)
    door.put_nowait(spoken(0))
    readers["careful"].entered.acquire(timeout=30)
    for number in range(1, 9):
        door.put_nowait(spoken(number))
    time.sleep(0.06)
    readers["careful"].gate.set()
    assert texts(door, 9) == [f"第{number}句" for number in range(9)]
    assert [len(batch) for batch in readers["smaller"].batches] == [4, 4], "batches are larger too"


def test_what_memory_does_not_hold_waits_on_disk(make: Callable[..., Door], tmp_path: Path) -> None:
    reader = Reader(shut=True)
    spool = Spool(tmp_path / "spool", 8)
    door = make(reader, width=2, spool=spool)
    door.put_nowait(spoken(1))
    reader.entered.acquire(timeout=30)
    for number in range(2, 7):
        door.put_nowait(spoken(number))
    assert spool.waiting == spool.spooled == 4
    assert door.workers.step is Step.SPOOLING
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in spool.folder.iterdir()} == {0o600}
    reader.gate.set()
    found = []
    for _ in range(6):
        taken = door.take(30)
        assert taken is not None
        item, recognized = taken
        assert isinstance(item, Spoken)
        assert recognized is not None
        assert (item.utterance.samples == int(recognized.hypothesis.text[1])).all()
        assert len(item.utterance.samples) == 16_000
        found.append(recognized.hypothesis.text)
    assert found == [f"第{number}句" for number in range(1, 7)]
    assert list(spool.folder.iterdir()) == []
    assert spool.waiting == 0


def test_a_full_spool_refuses_new_calls_and_says_when_an_utterance_is_lost(
    make: Callable[..., Door], tmp_path: Path
) -> None:
    reader = Reader(shut=True)
    door = make(reader, width=1, spool=Spool(tmp_path / "spool", 1))
    assert not door.refusing()
    door.put_nowait(spoken(1))
    reader.entered.acquire(timeout=30)
    door.put_nowait(spoken(2, seconds=8))  # 512 kB
    assert door.refusing()
    with pytest.raises(queue.Full):
        door.put_nowait(spoken(3, seconds=9))
    door.put_nowait(Closed(call(), 0, "the end of a call is never lost"))
    reader.gate.set()
    assert texts(door, 3) == ["第1句", "第2句", ""]


def test_a_disk_that_refuses_is_no_fault(make: Callable[..., Door], tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way", encoding="utf-8")
    door = make(Reader(shut=True), width=1, spool=Spool(tmp_path / "spool", 1))
    door.put_nowait(spoken(1))
    with pytest.raises(queue.Full):
        door.put_nowait(spoken(2))


def test_what_a_killed_run_left_in_the_spool_is_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    file = spool.put(np.ones(100, np.float32))
    assert file is not None
    (tmp_path / "keep.txt").write_text("not ours", encoding="utf-8")
    Spool(tmp_path, 1)
    assert os.listdir(tmp_path) == ["keep.txt"]


def test_a_recording_waits_outside_and_does_not_count_as_behind(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader, width=2, behind_s=0.01)
    for number in (1, 2):
        door.put(spoken(number))
    late = threading.Thread(target=door.put, args=(spoken(3),))
    late.start()
    late.join(0.1)
    assert late.is_alive()
    assert door.workers.watch(full=False) is Step.NONE
    reader.gate.set()
    assert texts(door, 3) == ["第1句", "第2句", "第3句"]
    late.join(10)


def test_a_live_utterance_goes_before_a_recording(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader, batch=1)
    door.put(spoken(1, "file"))
    reader.entered.acquire(timeout=30)
    door.put(spoken(2, "file"))
    door.put_nowait(spoken(3, "live"))
    reader.gate.set()
    texts(door, 3)
    assert reader.batches == [[1], [3], [2]]


def test_lag_is_told_for_each_channel(make: Callable[..., Door]) -> None:
    reader = Reader(shut=True)
    door = make(reader)
    door.put_nowait(spoken(1, channel=1, ago_s=5))
    door.put_nowait(spoken(2, channel=1, ago_s=1))
    agent, customer = door.lag_ms("a", 2)
    assert agent == 0
    assert 5000 <= customer < 20_000
    reader.gate.set()
    texts(door, 2)
    assert door.lag_ms("a", 2) == [0, 0]


def test_a_fault_of_the_model_is_told(make: Callable[..., Door]) -> None:
    door = make(Broken())
    door.put(spoken(1))
    with pytest.raises(ZeroDivisionError):
        door.take(30)


def test_there_is_a_core() -> None:
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))

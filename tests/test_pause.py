"""Pause: what must not be heard is dropped before anything listens, the timeline goes on, and it is on record."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent import rooms
from edge_agent.audio.live import MOST_WAITING_S, LiveSource
from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.hearing import Closed
from edge_agent.pausing import ALL, Pause, Pauses
from edge_agent.pipeline import Corridor, Knowledge, Outcome
from edge_agent.types import Chunk, Gap, Speaker
from tests.telephone import Heard
from tests.test_daemon import Start, status_of, stored, wait_for, write_config
from tests.test_pipeline import CONFIG, TUTORING, Played, Scripted, chunks, knowledge, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Cli

__all__ = ["knowledge"]


@cache
def spoken(seconds: int) -> list[Chunk | Gap]:
    """The first seconds of a call, in chunks of 100 ms."""
    return chunks(TUTORING)[: seconds * 10]


class Interrupted(Played):
    """Plays a call and does something when a moment of it comes."""

    def __init__(self, items: list[Chunk | Gap], moments: dict[int, Any], *, live: bool = True) -> None:
        super().__init__(items, live=live)
        self._moments = moments

    def __iter__(self) -> Iterator[Chunk | Gap]:
        for item in super().__iter__():
            if isinstance(item, Chunk) and item.start // 16 in self._moments:
                self._moments[item.start // 16]()
            yield item


def heard_with(pauses: Pauses, source: Played, knowledge: Knowledge) -> list[Outcome]:
    corridor = Corridor(Scripted(["话"] * 99), knowledge, rooms.corridor_settings(CONFIG), pauses)
    corridor.attach(source)
    return outcomes(corridor)


def said(came: list[Outcome]) -> list[tuple[int, int]]:
    return [(one.transcript.start_ms, one.transcript.end_ms) for one in came if one.transcript]


def kinds(came: list[Outcome], kind: str) -> list[dict[str, Any]]:
    return [event.data for one in came for event in one.events if event.type == f"edge.audio.{kind}"]


def test_what_is_paused_is_not_heard_and_the_time_goes_on(knowledge: Knowledge) -> None:
    pauses = Pauses()
    moments = {
        10_000: lambda: pauses.begin("played", Pause("anna")),
        20_000: lambda: pauses.end("played", "bert"),
    }
    came = heard_with(pauses, Interrupted(spoken(30), moments), knowledge)
    whole = heard_with(Pauses(), Played(spoken(30), live=True), knowledge)

    # What is said when the pause ends begins with silence, the pre-roll.
    assert not [one for one in said(came) if one[0] < 20_000 - CONFIG.vad.pre_roll_ms and one[1] > 10_000]
    assert [one for one in said(came) if one[1] <= 9000] == [one for one in said(whole) if one[1] <= 9000] != []
    assert set(said(came)) & {one for one in said(whole) if one[0] >= 20_000}
    (gap,) = kinds(came, "gap")
    assert (gap["start_ms"], gap["end_ms"], gap["reason"]) == (10_000, 20_000, "paused")
    (paused,) = kinds(came, "paused")
    assert (paused["at_ms"], paused["by"], paused["until"]) == (10_000, "anna", None)
    (resumed,) = kinds(came, "resumed")
    assert (resumed["paused_ms"], resumed["at_ms"], resumed["by"]) == (10_000, 20_000, "bert")
    ended, ended_whole = came[-1].item, whole[-1].item
    assert isinstance(ended, Closed)
    assert isinstance(ended_whole, Closed)
    assert ended.end_ms == ended_whole.end_ms


def test_a_call_that_ends_paused_says_what_was_not_heard(knowledge: Knowledge) -> None:
    pauses = Pauses()
    came = heard_with(pauses, Interrupted(spoken(12), {10_000: lambda: pauses.begin(ALL, Pause("anna"))}), knowledge)
    assert [(gap["start_ms"], gap["end_ms"]) for gap in kinds(came, "gap")] == [(10_000, 12_000)]
    assert not kinds(came, "resumed")


def test_a_pause_of_all_leaves_recordings_alone_and_meets_calls_that_begin_later(knowledge: Knowledge) -> None:
    pauses = Pauses()
    pauses.begin(ALL, Pause("anna"))
    assert said(heard_with(pauses, Played(spoken(12)), knowledge))
    assert not said(heard_with(pauses, Played(spoken(12), live=True), knowledge))


def test_a_pause_ends_by_itself(knowledge: Knowledge) -> None:
    pauses = Pauses()
    pauses.begin("c", Pause("anna", time.time() + 0.2))
    assert pauses.of("c", live=False)
    time.sleep(0.25)
    assert pauses.of("c", live=False) is None
    assert not pauses.now()


def test_a_pause_outlives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state" / "paused.json"
    Pauses(file).begin(ALL, Pause("anna", time.time() + 100))
    assert Pauses(file).now()[ALL].by == "anna"
    Pauses(file).end(ALL, "bert")
    assert not Pauses(file).now()
    file.write_text('{"all": 3', encoding="utf-8")
    assert Pauses(file).of("any", live=True), "where it is not known what was paused, nothing is heard"


def test_resuming_what_is_not_paused_is_an_error() -> None:
    pauses = Pauses()
    with pytest.raises(ControlError, match="not paused"):
        pauses.end("c", "bert")
    pauses.begin(ALL, Pause("anna"))
    with pytest.raises(ControlError, match="resume all"):
        pauses.end("c", "bert")


def test_pause_over_the_command_line(cli: Cli, started: Start, tmp_path: Path) -> None:
    config = write_config(tmp_path, realtime=True)
    started("run", "-c", config)
    call = wait_for(lambda: (status := status_of(cli, config)) and status["calls"])[0]["call_id"]
    socket = cli.state / "control.sock"
    with pytest.raises(ControlError, match="no such call") as refused:
        ask(socket, "pause", call="nobody", by="anna")
    assert call in refused.value.remedy
    cli.run("pause", call, "--for", "soon", "-c", config, code=2)
    assert call in cli.run("pause", call, "--for", "5m", "-c", config).stdout
    assert ask(socket, "status")["paused"][call]["until"]
    wait_for(lambda: [event for event in stored(cli) if event["type"] == "edge.audio.paused"])
    cli.run("resume", call, "-c", config)
    wait_for(lambda: [event for event in stored(cli) if event["type"] == "edge.audio.resumed"])
    assert ask(socket, "pause", call=ALL, by="anna")["paused"][ALL] == {"by": "anna", "until": None}
    assert json.loads((cli.state / "paused.json").read_text(encoding="utf-8"))[ALL]["by"] == "anna"


def test_a_listener_that_stalls_costs_no_memory_but_a_gap() -> None:
    import numpy as np

    source = LiveSource("line", (Speaker.AGENT,))
    for second in range(MOST_WAITING_S + 10):
        source.put(Chunk(second * 16_000, np.zeros((1, 16_000), np.float32)))
    source.end("hung up")
    source.put(Chunk(0, np.zeros((1, 16_000), np.float32)))
    heard = Heard(source)
    heard.join()
    assert heard.gaps == [Gap(MOST_WAITING_S * 1000, (MOST_WAITING_S + 10) * 1000, "listening was behind")]
    assert heard.samples.shape[1] == MOST_WAITING_S * 16_000
    assert heard.reason == "hung up"

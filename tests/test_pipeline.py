"""The corridor with real parts: decoder, VAD, model, dictionary and rules."""

from __future__ import annotations

import itertools
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent import rooms
from edge_agent.asr.spool import Spool
from edge_agent.audio.file import FileSource
from edge_agent.config import Config
from edge_agent.errors import AudioError
from edge_agent.event import node_event
from edge_agent.hearing import Closed, Missed, Opened, Spoken
from edge_agent.pipeline import Conversation, Corridor, Knowledge, Outcome
from edge_agent.terms import Hotwords
from edge_agent.types import SAMPLES_PER_MS, Call, Chunk, Gap, Hypothesis, Speaker, Utterance
from tests.conftest import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_agent.asr import Engine
    from edge_agent.types import Samples

CONFIG = Config()
DEMO = TOP / "edge_agent/data/demo.opus"
TUTORING = TOP / "tests/data/calls/tutoring.opus"


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return rooms.open_knowledge(CONFIG)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return rooms.open_engine(CONFIG)


class Scripted:
    """A recognizer that says the next line of a script, and waits at a gate if it is given one."""

    name = "scripted@1"
    buckets = (10, 30)

    def __init__(self, lines: Sequence[str], gate: threading.Event | None = None) -> None:
        self.batches: list[int] = []
        self._lines = iter(lines)
        self._gate = gate

    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        if self._gate is not None:
            self._gate.wait(30)
        self.batches.append(len(utterances))
        return [Hypothesis(next(self._lines, ""), 0.9) for _ in utterances]


class Played:
    """A source that plays a call from memory; live, if it is told to."""

    def __init__(
        self, items: Sequence[Chunk | Gap], *, live: bool = False, breaks: bool = False, call_id: str = "played"
    ) -> None:
        self.call = Call(call_id, "memory", datetime(2026, 1, 5, tzinfo=UTC), (Speaker.AGENT, Speaker.CUSTOMER))
        self.live = live
        self.closed = threading.Event()
        self._items = items
        self._breaks = breaks

    def __iter__(self) -> Iterator[Chunk | Gap]:
        yield from self._items
        if self._breaks:
            raise AudioError("the line broke", where="memory", remedy="plug it in")

    def close(self) -> None:
        self.closed.set()


def open_when_heard(source: Played, gate: threading.Event) -> None:
    """Let recognition go on only when the source has been heard to its end."""

    def wait() -> None:
        source.closed.wait(30)
        gate.set()

    threading.Thread(target=wait, daemon=True).start()


def outcomes(corridor: Corridor) -> list[Outcome]:
    corridor.close()
    return list(corridor.outcomes())


def chunks(path: Path) -> list[Chunk | Gap]:
    return list(FileSource(path, chunk_ms=100))


def test_every_node_of_the_demo_call_is_found_from_its_audio(engine: Engine, knowledge: Knowledge) -> None:
    written = json.loads(DEMO.with_suffix(".json").read_text(encoding="utf-8"))
    corridor = Corridor(engine, knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(FileSource(DEMO))
    came = outcomes(corridor)

    raised = [finding.node for outcome in came for finding in outcome.findings if finding.step == "raised"]
    expected = {node for turn in written["turns"] for node in turn["nodes"]}
    assert expected <= set(raised)
    assert {node for node in raised if node.startswith("compliance.")} == {"compliance.rebate"}
    price = [finding.step for outcome in came for finding in outcome.findings if finding.node == "objection.price"]
    assert price[0] == "raised"
    assert price[-1] == "closed"
    terms = {hit.term for outcome in came if outcome.transcript for hit in outcome.transcript.terms}
    assert {"GMP认证", "一致性评价", "集采目录编码"} <= terms
    assert sum(outcome.transcript is not None for outcome in came) >= len(written["turns"])


def test_a_call_is_opened_first_and_ended_last(engine: Engine, knowledge: Knowledge) -> None:
    corridor = Corridor(engine, knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(FileSource(TUTORING))
    came = outcomes(corridor)
    kinds = [event.type for outcome in came for event in outcome.events]
    assert kinds[0] == "edge.call.started"
    assert kinds[-1] == "edge.call.ended"
    assert kinds.count("edge.call.ended") == 1
    ended = came[-1].events[-1]
    assert ended.data["end_ms"] == pytest.approx(31_700, abs=200)
    assert ended.data["utterances"] == sum(outcome.transcript is not None for outcome in came)
    versions = {json.dumps(event.data["versions"]) for outcome in came for event in outcome.events}
    assert len(versions) == 1
    assert all(json.loads(versions.pop()).values())


def test_turns_grow_when_the_other_party_speaks(knowledge: Knowledge) -> None:
    corridor = Corridor(Scripted(["话"] * 50), knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(Played(chunks(TUTORING)))
    spoken = [outcome.transcript for outcome in outcomes(corridor) if outcome.transcript]
    turns = [(transcript.speaker, transcript.turn) for transcript in spoken]
    assert turns[0][1] == 0
    for (speaker, turn), (next_speaker, next_turn) in itertools.pairwise(turns):
        assert next_turn == turn + (speaker != next_speaker)


def test_utterances_share_batches_where_recognition_is_behind(knowledge: Knowledge) -> None:
    gate = threading.Event()
    engine = Scripted(["话"] * 50, gate)
    corridor = Corridor(engine, knowledge, rooms.corridor_settings(CONFIG))
    source = Played(chunks(DEMO))
    corridor.attach(source)
    open_when_heard(source, gate)
    outcomes(corridor)
    assert max(engine.batches) == CONFIG.model.batch


def test_a_live_source_that_finds_the_door_full_loses_speech_but_says_so(knowledge: Knowledge) -> None:
    gate = threading.Event()
    narrow = replace(rooms.corridor_settings(CONFIG), queue_utterances=2, batch=1)
    corridor = Corridor(Scripted(["话"] * 50, gate), knowledge, narrow)
    source = Played(chunks(DEMO), live=True)
    corridor.attach(source)
    open_when_heard(source, gate)
    came = outcomes(corridor)
    gaps = [event for outcome in came for event in outcome.events if event.type == "edge.audio.gap"]
    heard = sum(isinstance(outcome.item, Spoken) for outcome in came)
    assert gaps
    assert {gap.data["reason"] for gap in gaps} == {"recognition was behind"}
    whole = Corridor(Scripted([]), knowledge, rooms.corridor_settings(CONFIG))
    whole.attach(Played(chunks(DEMO)))
    assert heard + len(gaps) == sum(isinstance(outcome.item, Spoken) for outcome in outcomes(whole))
    assert isinstance(came[-1].item, Closed)


def test_a_file_waits_at_a_full_door_and_loses_nothing(knowledge: Knowledge) -> None:
    narrow = replace(rooms.corridor_settings(CONFIG), queue_utterances=1, batch=1)
    corridor = Corridor(Scripted(["话"] * 50), knowledge, narrow)
    corridor.attach(Played(chunks(TUTORING)))
    came = outcomes(corridor)
    assert not [outcome for outcome in came if isinstance(outcome.item, Missed)]
    assert sum(outcome.transcript is not None for outcome in came) >= 6


def test_calls_are_heard_before_the_model_is_read_and_nothing_is_lost(knowledge: Knowledge) -> None:
    late = Corridor(rooms.model_card(CONFIG), None, rooms.corridor_settings(CONFIG))
    source = Played(chunks(TUTORING), live=True)
    late.attach(source)
    assert [call.id for call in late.calls] == ["played"]
    assert source.closed.wait(60), "it is heard to its end"
    late.equip(Scripted(["话"] * 50), knowledge)
    came = outcomes(late)
    prompt = Corridor(Scripted(["话"] * 50), knowledge, rooms.corridor_settings(CONFIG))
    prompt.attach(Played(chunks(TUTORING), live=True))
    wanted = outcomes(prompt)
    assert [type(one.item) for one in came] == [type(one.item) for one in wanted]
    assert sum(one.transcript is not None for one in came) >= 6


def test_waiting_for_the_model_to_be_read_is_no_reason_for_less_care(knowledge: Knowledge) -> None:
    corridor = Corridor(rooms.model_card(CONFIG), None, replace(rooms.corridor_settings(CONFIG), behind_ms=50))
    source = Played(chunks(TUTORING), live=True)
    corridor.attach(source)
    assert source.closed.wait(60)
    time.sleep(0.1)
    corridor.attach(Played(chunks(TUTORING)[:5], live=True, call_id="another"))
    assert corridor.load()["step"] == "none"
    corridor.stop()
    corridor.equip(Scripted(["话"] * 50), knowledge)
    outcomes(corridor)


def test_a_source_that_breaks_ends_its_call_and_no_other(knowledge: Knowledge) -> None:
    corridor = Corridor(Scripted(["话"] * 50), knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(Played(chunks(TUTORING)[:120], breaks=True))
    corridor.attach(FileSource(TUTORING))
    came = outcomes(corridor)
    closed = {outcome.item.call.id: outcome.item for outcome in came if isinstance(outcome.item, Closed)}
    assert len(closed) == 2
    broken = closed.pop("played")
    assert isinstance(broken.error, AudioError)
    assert broken.reason == "error"
    (other,) = closed.values()
    assert other.reason == "end of source"
    assert broken.end_ms == pytest.approx(12_000, abs=100)


def test_stop_judges_what_was_heard(knowledge: Knowledge) -> None:
    corridor = Corridor(Scripted(["太贵了，能不能便宜一点"] * 50), knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(FileSource(DEMO, realtime=True))
    seen: list[Outcome] = []
    for outcome in corridor.outcomes():
        seen.append(outcome)
        if outcome.transcript is not None:
            corridor.stop()
    assert isinstance(seen[0].item, Opened)
    assert isinstance(seen[-1].item, Closed)
    assert seen[-1].item.reason == "stopped"
    assert seen[-1].item.end_ms < 30_000


def test_gaps_of_the_source_are_recorded_and_keep_the_time(knowledge: Knowledge) -> None:
    silence = np.zeros((2, 16_000), np.float32)
    items: list[Chunk | Gap] = [Chunk(0, silence), Gap(1000, 4000, "device was unplugged"), Chunk(64_000, silence)]
    corridor = Corridor(Scripted([]), knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(Played(items))
    came = outcomes(corridor)
    (gap,) = [event for outcome in came for event in outcome.events if event.type == "edge.audio.gap"]
    assert (gap.data["start_ms"], gap.data["end_ms"], gap.data["reason"]) == (1000, 4000, "device was unplugged")
    assert came[-1].events[-1].data["end_ms"] == 80_000 // SAMPLES_PER_MS


def test_a_new_dictionary_serves_the_running_call(knowledge: Knowledge) -> None:
    from edge_agent.terms import Dictionary

    corridor = Corridor(Scripted(["GMP认证"] * 50), knowledge, rooms.corridor_settings(CONFIG))
    corridor.attach(Played(chunks(TUTORING)))
    corridor.close()
    found = []
    for outcome in corridor.outcomes():
        if outcome.transcript is not None:
            found.append(len(outcome.transcript.terms))
            corridor.knowledge = replace(knowledge, dictionary=Dictionary.compile([]))
    assert found[0] == 1
    assert set(found[1:]) == {0}


def test_a_new_call_is_refused_last_and_visibly(knowledge: Knowledge, tmp_path: Path) -> None:
    gate = threading.Event()
    narrow = replace(rooms.corridor_settings(CONFIG), queue_utterances=1, batch=1)
    spool = Spool(tmp_path / "spool", 1)
    corridor = Corridor(Scripted(["话"] * 50, gate), knowledge, narrow, spool=spool)
    first = Played(chunks(TUTORING), live=True)
    corridor.attach(first)
    assert first.closed.wait(60), "a live source is never kept waiting"
    assert spool.spooled > 0
    late = Played(chunks(TUTORING)[:5], live=True, call_id="late")
    corridor.attach(late)
    assert late.closed.is_set()
    recording = Played(chunks(TUTORING)[:5], call_id="recording")
    corridor.attach(recording)
    assert corridor.load()["refused_calls"] == 1
    gate.set()
    ended = {one.item.call.id: one for one in outcomes(corridor) if isinstance(one.item, Closed)}
    assert {name: one.item.reason for name, one in ended.items() if isinstance(one.item, Closed)} == {
        "played": "end of source",
        "late": "refused",
        "recording": "end of source",
    }
    assert ended["late"].events[-1].data["reason"] == "refused"
    assert not list(spool.folder.iterdir())


def test_the_words_at_a_forced_cut_are_written_once(knowledge: Knowledge) -> None:
    call = Call("long", "memory", datetime(2026, 1, 5, tzinfo=UTC), (Speaker.AGENT,))
    conversation = Conversation(call, knowledge)
    nothing = np.zeros(0, np.float32)
    first = Utterance("long", 0, Speaker.AGENT, 0, 6000, nothing, forced=True)
    second = Utterance("long", 0, Speaker.AGENT, 6000, 9000, nothing, lead_ms=400)
    third = Utterance("long", 0, Speaker.AGENT, 9500, 11_000, nothing)
    said = [
        conversation.hear(one, Hypothesis(text, 0.9), knowledge.dictionary)[0]
        for one, text in ((first, "我们今年的预算"), (second, "预算只有三十万。"), (third, "三十万。"))
    ]
    assert [(one.start_ms, one.heard) for one in said] == [
        (0, "我们今年的预算"),
        (6000, "只有三十万。"),
        (9500, "三十万。"),
    ]


def test_a_smaller_model_stands_beside_if_it_is_configured() -> None:
    folder = str(TOP / "models/zh-starter")
    model = CONFIG.model.model_copy(update={"workers": 2, "smaller": folder})
    first, second = rooms.open_desks(CONFIG.model_copy(update={"model": model}))
    assert first.smaller is not None
    assert first.smaller is not second.smaller
    assert first.careful is not second.careful, "no two threads share an engine"
    assert rooms.open_desks(CONFIG)[0].smaller is None


class Prompted(Scripted):
    """A recognizer that may be told hotwords, and notes which it was told."""

    takes_prompts = True

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.told: list[tuple[str, ...]] = []

    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        self.told += [tuple(terms or ()) for terms in hotwords or [None] * len(utterances)]
        return super().transcribe(utterances, hotwords)


def test_hotwords_follow_the_call(knowledge: Knowledge) -> None:
    engine = Prompted(["我们说集采目录编码"] * 50)
    settings = replace(rooms.corridor_settings(CONFIG), batch=1, queue_utterances=1, about={"memory": ("education",)})
    corridor = Corridor(engine, knowledge, settings)
    corridor.attach(Played(chunks(DEMO)))
    outcomes(corridor)
    assert engine.told[-1][0] == "集采目录编码"  # it was said before
    first = Conversation(Played([]).call, knowledge, (), Hotwords(("education",))).told
    assert first[0] in {entry.term.term for entry in knowledge.dictionary.entries if entry.pack == "education"}
    assert Conversation(Played([]).call, knowledge).told == ()  # a recognizer that can't be told is told nothing


def test_an_event_names_the_terms_of_its_quote_and_when_they_were_said(knowledge: Knowledge) -> None:
    call = Played([]).call
    heard = "你们的GMP认证价格太贵了"
    times = tuple((100 * at, 100 * at + 90) for at in range(len(heard)))
    utterance = Utterance(call.id, 1, Speaker.CUSTOMER, 5_000, 7_000, np.zeros(1, np.float32))
    transcript, findings = Conversation(call, knowledge).hear(
        utterance, Hypothesis(heard, 0.9, times_ms=times), knowledge.dictionary
    )
    (price,) = (finding for finding in findings if finding.node == "objection.price")
    (term,) = price.terms
    assert (term.term, price.quote[slice(*term.at)], term.span_ms) == ("GMP认证", "GMP认证", (5_300, 5_790))
    assert transcript.terms[0].span_ms == term.span_ms
    data = node_event("branch", call, price, knowledge.versions()).data
    assert data["terms"] == [
        {"term": "GMP认证", "at": list(term.at), "via": "exact", "heard": "GMP认证", "score": 1.0}
        | {"start_ms": 5_300, "end_ms": 5_790}
    ]

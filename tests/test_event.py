"""The event: what goes out comes back the same, is valid CloudEvents 1.0, and tells no numbers."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from edge_agent.event import (
    SCHEMA,
    Event,
    audio_gap,
    audio_paused,
    audio_resumed,
    call_ended,
    call_started,
    new_id,
    node_event,
    redact,
)
from edge_agent.types import Alternative, Call, Finding, Gap, Speaker, Step, TermHit, Versions

FILE = Path(__file__).parent.parent / "docs" / "event.schema.json"
PUBLISHED: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(PUBLISHED)

# Text without lone surrogates: those are no Unicode and can be written to no file.
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.text("abcdefgh0123456789-", min_size=1, max_size=20)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ms = st.integers(0, 10**8)
versions = st.builds(Versions, words, words, words)
speakers = st.sampled_from(Speaker)
calls = st.builds(
    Call,
    id=names,
    source=words,
    started_at=instants,
    speakers=st.lists(speakers, min_size=1, max_size=8).map(tuple),
    file=st.none() | words,
    customer_id=st.none() | words,
)
hits = st.builds(
    TermHit,
    term=words,
    at=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    via=st.sampled_from(["exact", "alias", "phonetic", "audio"]),
    heard=words,
    score=st.floats(0, 1),
    span_ms=st.none() | st.tuples(ms, ms),
)
findings = st.builds(
    Finding,
    step=st.sampled_from(Step),
    node=st.sampled_from(["objection.price", "compliance.off_book", "process.next_step_missing"]),
    speaker=speakers,
    quote=words,
    start_ms=ms,
    end_ms=ms,
    confidence=st.floats(0, 1),
    by=words,
    turn=st.none() | st.integers(0, 10_000),
    case=st.none() | names,
    severity=st.sampled_from(["info", "warning", "alarm"]),
    terms=st.lists(hits, max_size=2).map(tuple),
)
events = st.one_of(
    st.builds(node_event, names, calls, findings, versions),
    st.builds(call_started, names, calls, versions),
    st.builds(call_ended, names, calls, ms, st.integers(0, 10_000), words, versions),
    st.builds(audio_gap, names, calls, st.builds(Gap, ms, ms, words, st.none() | st.integers(0, 7)), versions),
    st.builds(audio_paused, names, calls, ms, words, st.none() | st.floats(0, 4e9), versions),
    st.builds(audio_resumed, names, calls, ms, ms, st.none() | words, versions),
)


def _event(**data: Any) -> Event:
    call = Call("c1", "line 1", datetime(2026, 3, 1, 9, tzinfo=UTC), (Speaker.AGENT,))
    event = call_ended("branch", call, 61_000, 7, "hung up", Versions())
    return Event(event.id, event.source, event.type, event.time, event.subject, {**event.data, **data})


@given(events)
def test_an_event_is_valid_and_its_line_gives_it_back(event: Event) -> None:
    VALIDATOR.validate(event.to_dict())
    line = event.to_json()
    assert "\n" not in line
    back = Event.from_json(line)
    assert back.to_json() == line
    assert (back.id, back.source, back.type, back.subject, back.data) == (
        event.id,
        event.source,
        event.type,
        event.subject,
        event.data,
    )
    assert timedelta(0) <= event.time - back.time < timedelta(milliseconds=1)


@given(events)
def test_the_envelope_has_what_cloudevents_requires(event: Event) -> None:
    # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#required-attributes
    envelope = event.to_dict()
    assert envelope["specversion"] == "1.0"
    for name in ("id", "source", "type"):
        assert isinstance(envelope[name], str)
        assert envelope[name]
    assert all(name.isascii() and name.isalnum() and name.islower() for name in envelope)
    assert envelope["dataschema"] == SCHEMA == PUBLISHED["$id"]


def test_the_schema_is_itself_valid_and_names_every_step() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    kinds = set(PUBLISHED["properties"]["type"]["enum"])
    assert {f"edge.node.{step.value}" for step in Step} | {
        "edge.call.started",
        "edge.call.ended",
        "edge.audio.gap",
        "edge.audio.paused",
        "edge.audio.resumed",
    } == kinds


@pytest.mark.parametrize("name", PUBLISHED["required"])
def test_the_schema_refuses_an_envelope_that_lacks(name: str) -> None:
    envelope = _event().to_dict()
    VALIDATOR.validate(envelope)
    del envelope[name]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(envelope)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("id", ""),
        ("id", str(uuid.UUID(int=0))),
        ("source", "branch"),
        ("type", "edge.node.invented"),
        ("time", "2026-03-01 09:00"),
        ("data", []),
        ("extra", 1),
    ],
)
def test_the_schema_refuses(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**_event().to_dict(), name: value})


@pytest.mark.parametrize("data", [{"end_ms": -1}, {"utterances": 1.5}, {"reason": None}, {"heard": "…"}])
def test_the_schema_refuses_data(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate(_event(**data).to_dict())


@pytest.mark.parametrize("line", ["[]", "{}", "7", "not json", '{"specversion":"1.0"}'])
def test_what_is_no_envelope_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        Event.from_json(line)


def test_another_specversion_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.3"):
        Event.from_dict({**_event().to_dict(), "specversion": "0.3"})


def test_times_are_utc_whatever_the_zone() -> None:
    event = _event()
    there = event.time.astimezone(timezone(timedelta(hours=8)))
    moved = Event(event.id, event.source, event.type, there, event.subject, event.data)
    assert moved.to_dict()["time"] == "2026-03-01T09:01:01.000Z"


def test_ids_are_new_and_sort_by_when_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert {uuid.UUID(one).version for one in ids} == {7}


def test_a_recording_is_named_without_its_folder() -> None:
    call = Call("c1", "files", datetime(2026, 3, 1, tzinfo=UTC), (Speaker.AGENT,), file="/home/someone/secret/a.wav")
    assert call_started("b", call, Versions()).data["file"] == "a.wav"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("我的电话是13812345678请记一下", "我的电话是***********请记一下"),
        ("幺三八零零幺三八零零零", "*" * 11),
        ("138 1234-5678", "*" * 13),
        ("身份证11010519491231002X", "身份证*****************X"),
        ("一共三百二十万，便宜15%", "一共三百二十万，便宜15%"),
        ("2026年3月1日", "2026年3月1日"),
        ("订单123456", "订单123456"),
        ("", ""),
    ],
)
def test_long_numbers_are_masked(said: str, kept: str) -> None:
    assert redact(said) == kept


@given(words)
def test_redaction_keeps_the_length_and_is_done_at_once(text: str) -> None:
    assert len(redact(text)) == len(text)
    assert redact(redact(text)) == redact(text)


@given(words, st.from_regex(r"1[0-9]{10}", fullmatch=True), words)
def test_no_quote_carries_a_telephone_number(before: str, number: str, after: str) -> None:
    call = Call("c1", "s", datetime(2026, 3, 1, tzinfo=UTC), (Speaker.CUSTOMER,))
    quote = before + number + after
    finding = Finding(Step.RAISED, "objection.price", Speaker.CUSTOMER, quote, 0, 10, 1.0, "rule:x")
    assert number not in node_event("b", call, finding, Versions()).data["quote"]


def test_a_recording_heard_twice_has_the_same_ids_and_a_live_call_never() -> None:
    """What a crash cut short is heard again, maybe with another dictionary; the store must know it again."""
    finding = Finding(Step.RAISED, "objection.price", Speaker.CUSTOMER, "太贵了", 1000, 2000, 0.9, "rule:a", 3, "c1/1")
    lost = Alternative("none", "classifier:x", 0.3)
    again = dataclasses.replace(finding, quote="太贵啦", confidence=0.8, by="rule:b", alternative=lost)
    other = dataclasses.replace(finding, start_ms=1001)
    recorded = Call("c1", "pbx", datetime(2026, 3, 1, 9, tzinfo=UTC), (Speaker.AGENT,), file="a.wav")
    live = dataclasses.replace(recorded, file=None)

    def made(call: Call, what: Finding) -> str:
        return node_event("branch", call, what, Versions()).id

    assert made(recorded, finding) == made(recorded, again) != made(recorded, other)
    assert made(dataclasses.replace(recorded, id="c2"), finding) != made(recorded, finding)
    assert made(live, finding) != made(live, finding)
    assert uuid.UUID(made(recorded, finding)).version == 7
    assert uuid.UUID(made(recorded, finding)).int >> 80 == int(recorded.started_at.timestamp() * 1000) + 2000

"""The protocol's frames: what goes out comes back the same, and no bytes whatever raise anything but FrameError."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import fields, replace
from typing import get_args

import msgpack
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent import wire

LIMIT = 1_000_000
KINDS = {kind.__name__.upper(): kind for kind in get_args(wire.Message)}
counts = st.integers(0, wire.MAX_SEQUENCE)
texts = st.text(max_size=40)
names = st.text(min_size=1, max_size=40)
reasons = st.lists(st.tuples(st.integers(1, wire.MAX_SEQUENCE), texts), max_size=5).map(tuple)
lines = st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b" ")), min_size=1, max_size=8)
batches = st.builds(wire.Events.of, names, st.integers(1, wire.MAX_SEQUENCE - 10), lines)
messages: st.SearchStrategy[wire.Message] = st.one_of(
    st.builds(
        wire.Hello,
        names,
        counts,
        counts,
        st.lists(texts, max_size=3).map(tuple),
        counts,
        begins=counts,
        about=st.dictionaries(names, texts, max_size=3),
    ),
    st.builds(
        wire.Welcome,
        counts,
        texts,
        reasons,
        st.integers(1, wire.MAX_SEQUENCE),
        st.integers(wire.MIN_FRAME, wire.MAX_SEQUENCE),
        counts,
    ),
    batches,
    st.builds(wire.Ack, counts, reasons, st.integers(1, wire.MAX_SEQUENCE)),
    st.builds(wire.Urgent.of, names, st.dictionaries(st.integers(1, wire.MAX_SEQUENCE), st.just(b"{}"), min_size=1)),
    st.builds(wire.Noted, st.lists(st.integers(1, wire.MAX_SEQUENCE), min_size=1, max_size=5).map(tuple)),
    st.builds(wire.Ping, counts),
    st.just(wire.Pong()),
    st.builds(wire.Refused, names, texts),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=12,
)


@given(messages)
def test_what_goes_out_comes_back_the_same(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message), limit=LIMIT) == message


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xdd\xff\xff\xff\xff")  # an array of four thousand million elements, it says
@example(b"\xc1")
@example(b"\x91" * 5000)
@example(msgpack.packb([1, "PING", {}]) + b"\x00")
def test_any_bytes_are_a_message_or_refused(frame: bytes) -> None:
    with contextlib.suppress(wire.FrameError):
        wire.decode(frame, limit=LIMIT)


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(
        st.sampled_from(sorted({field.name for kind in KINDS.values() for field in fields(kind)})),
        values,
    ),
)
def test_any_values_in_a_frame_are_a_message_or_refused(kind: str, content: dict[str, object]) -> None:
    try:
        message = wire.decode(msgpack.packb([wire.VERSION, kind, content]), limit=LIMIT)
    except wire.FrameError:
        return
    assert wire.decode(wire.encode(message), limit=LIMIT) == message


@given(batches)
def test_a_compressed_body_comes_back_the_same(batch: wire.Events) -> None:
    batch = wire.Events.of(batch.epoch, batch.first, [*batch.lines(), b"x" * 2000])
    frame = wire.encode(batch, compress=True)
    assert len(frame) < len(wire.encode(batch)) - 1000
    assert wire.decode(frame, limit=LIMIT) == batch
    with pytest.raises(wire.FrameError) as raised:
        wire.decode(frame, limit=len(batch.body) - 1)
    assert raised.value.code == wire.Code.TOO_LARGE


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    batch = wire.Events.of("e", 1, [os.urandom(2000).replace(b"\n", b" ")])
    assert wire.encode(batch, compress=True) == wire.encode(batch)


@given(st.sampled_from(["zstd", "lzma", "", 7]), st.binary(max_size=80))
@example("zstd", zstandard.compress(b"x" * 50_000_000))  # a small frame that would become a large one
def test_any_coded_body_is_refused_or_right(coding: object, body: bytes) -> None:
    content = {"epoch": "e", "first": 1, "n": 1, "sha256": b"", "body": body, "coding": coding}
    with pytest.raises(wire.FrameError):
        wire.decode(msgpack.packb([wire.VERSION, "EVENTS", content]), limit=LIMIT)


def test_messages_of_the_first_release_are_understood() -> None:
    old = {"epoch": "e", "acked": 1, "pruned": 0, "schemas": [], "clock_ms": 5}
    assert wire.decode(msgpack.packb([1, "HELLO", old]), limit=LIMIT) == wire.Hello("e", 1, 0, (), 5)
    assert wire.decode(msgpack.packb([1, "PING", {}]), limit=LIMIT) == wire.Ping()


@given(messages, st.data())
def test_a_damaged_frame_is_a_message_or_refused(message: wire.Message, data: st.DataObject) -> None:
    frame = bytearray(wire.encode(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(wire.FrameError):
        wire.decode(bytes(frame), limit=LIMIT)


@given(batches, st.data())
def test_a_damaged_body_is_never_taken(batch: wire.Events, data: st.DataObject) -> None:
    if not batch.body:
        return
    body = bytearray(batch.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(wire.FrameError) as raised:
        wire.decode(wire.encode(replace(batch, body=bytes(body))), limit=LIMIT)
    assert raised.value.code == wire.Code.HASH


def refusal(frame: bytes, limit: int = LIMIT) -> wire.FrameError:
    with pytest.raises(wire.FrameError) as raised:
        wire.decode(frame, limit=limit)
    return raised.value


def test_another_version_is_refused_as_such_whatever_it_holds() -> None:
    assert refusal(msgpack.packb([2, "SOMETHING", 7, "new"])).code == wire.Code.VERSION


def test_a_longer_frame_is_refused_before_it_is_read() -> None:
    assert refusal(b"x" * 101, limit=100).code == wire.Code.TOO_LARGE


def test_a_batch_must_have_as_many_lines_as_it_says() -> None:
    batch = wire.Events.of("e", 1, [b"{}", b"{}"])
    assert "3 lines" in refusal(wire.encode(replace(batch, n=3))).what


def test_a_batch_may_not_count_beyond_the_last_number() -> None:
    batch = wire.Events.of("e", wire.MAX_SEQUENCE, [b"{}", b"{}"])
    assert "beyond" in refusal(wire.encode(batch)).what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"through": 1, "rejected": []}, "without `credit`"),
        ({"through": -1, "rejected": [], "credit": 1}, "`through`: not a whole number"),
        ({"through": True, "rejected": [], "credit": 1}, "`through`: not a whole number"),
        ({"through": 1.0, "rejected": [], "credit": 1}, "`through`: not a whole number"),
        ({"through": 1, "rejected": [[1]], "credit": 1}, "`rejected`: not a list of pairs"),
        ({"through": 1, "rejected": [], "credit": 0}, "`credit`: not a whole number"),
    ],
)
def test_a_wrong_field_is_named(content: dict[str, object], said: str) -> None:
    assert said in refusal(msgpack.packb([1, "ACK", content])).what


def test_a_field_of_a_later_release_is_passed_over() -> None:
    frame = msgpack.packb([1, "PING", {"battery": 3}])
    assert wire.decode(frame, limit=LIMIT) == wire.Ping()


def test_an_event_is_one_line_however_it_was_written() -> None:
    body = json.dumps({"id": "1", "data": {"quote": "第一行\n第二行"}}, ensure_ascii=False, indent=1)
    line = wire.to_line(body)
    assert b"\n" not in line
    assert json.loads(line) == json.loads(body)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("tcp://127.0.0.1:7420", True),
        ("tcp://127.8.9.1:*", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://*:1", False),
        ("tcp://hub.example:1", False),
        ("tcp://localhost.example:1", False),
        ("tcp://127.0.0.1.example:1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert wire.is_loopback(address) is loopback

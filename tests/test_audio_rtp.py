"""RTP: what is sent arrives exactly, and what is lost, late, doubled or foreign costs nothing but itself."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import time
import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.audio.packets import STATIC, Codec, g711, goodbyes, is_rtcp, parse, payload_type
from edge_agent.audio.resample import Resampler
from edge_agent.audio.rtp import RtpIntake, _Line
from edge_agent.errors import AudioError
from edge_agent.types import Gap, Speaker
from tests.telephone import Desk, Heard, Stream, free_ports, needs, needs_gstreamer, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.types import Samples

BOTH = (Speaker.AGENT, Speaker.CUSTOMER)
L16 = {**STATIC, 96: Codec("L16", 16_000)}


def speech(seconds: float, seed: int = 1) -> bytes:
    """µ-law bytes that look like anything but silence."""
    return bytes(random.Random(seed).randbytes(int(8000 * seconds)))


def at_16k(codes: bytes, law: str = "PCMU") -> Samples:
    """What the bytes sound like at 16 kHz, by the same filter in one piece."""
    resampler = Resampler(1)
    decoded = g711(law)[np.frombuffer(codes, np.uint8)]
    out: Samples = np.concatenate([resampler.feed(decoded[:, None], 8000), resampler.flush()], axis=1)[0]
    return out


def line(speakers: tuple[Speaker, ...] = BOTH, *, reorder_s: float = 0.08, hangup_s: float = 5.0) -> _Line:
    return _Line("pbx", speakers, L16, reorder_s, hangup_s, None)


def play(
    room: _Line,
    arrivals: list[tuple[float, bytes]],
    *,
    legs: tuple[int, ...] = (0,),
    until: float | None = None,
) -> Heard:
    """Have packets arrive at given seconds, with ticks between; returns the call after its end."""
    heard: Heard | None = None
    now = 0.0
    for at, datagram in sorted(arrivals, key=lambda one: one[0]):
        while now + 0.04 <= at:
            now += 0.04
            room.tick(now)
        packet = parse(datagram)
        assert packet is not None
        if source := room.packet(packet, legs, at):
            assert heard is None
            heard = Heard(source)
    while room.source is not None and (until is None or now < until):
        now += 0.04
        room.tick(now)
    room.end("stopped")
    assert heard is not None
    heard.join()
    return heard


def paced(packets: list[bytes], start: float = 0.0) -> list[tuple[float, bytes]]:
    return [(start + 0.02 * number, packet) for number, packet in enumerate(packets)]


def test_g711_is_what_the_standard_says() -> None:
    """The laws' ends, their smallest steps, and the silence that a telephone system sends."""
    ulaw, alaw = (g711(name) * 32768 for name in ("PCMU", "PCMA"))
    assert (ulaw[0xFF], ulaw[0x7F], ulaw[0x80], ulaw[0x00], ulaw[0xFE]) == (0, 0, 32124, -32124, 8)
    assert (alaw[0xD5], alaw[0x55], alaw[0xAA], alaw[0x2A]) == (8, -8, 32256, -32256)
    assert len(set(alaw.tolist())) == 256
    assert len(set(ulaw.tolist())) == 255


@needs("ffmpeg")
@pytest.mark.parametrize(("name", "codec"), [("PCMU", "mulaw"), ("PCMA", "alaw")])
def test_g711_decodes_as_ffmpeg_does(name: str, codec: str) -> None:
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-f", codec, "-ar", "8000", "-i", "-", "-f", "s16le", "-"],
        input=bytes(range(256)),
        capture_output=True,
        check=True,
    )
    assert np.array_equal(g711(name) * 32768, np.frombuffer(done.stdout, "<i2"))


def test_packets_are_read_with_extensions_padding_and_contributors() -> None:
    plain = Stream(7, 8).packet(b"abcd")
    assert parse(plain) == parse(plain[:1] + plain[1:])
    contributors = bytes([0x82]) + plain[1:12] + b"\0" * 8 + plain[12:]
    extended = bytes([0x90]) + plain[1:12] + b"\xbe\xde\0\1" + b"\0" * 4 + plain[12:]
    padded = bytes([0xA0]) + plain[1:] + b"\0\0\3"
    for datagram in (plain, contributors, extended, padded):
        packet = parse(datagram)
        assert packet is not None
        assert (packet.payload_type, packet.ssrc, packet.payload) == (8, 7, b"abcd")
    assert payload_type("97 L16/44100/2") == (97, Codec("L16", 44_100, 2))
    assert payload_type("98 PCMA/8000") == (98, Codec("PCMA"))


def test_no_datagram_breaks_the_reader() -> None:
    rng = random.Random(3)
    for _ in range(20_000):
        datagram = rng.randbytes(rng.randrange(0, 40))
        if rng.random() < 0.5 and datagram:
            datagram = bytes([0x80 | datagram[0] & 0x3F]) + datagram[1:]
        parse(datagram)
        goodbyes(datagram)
        is_rtcp(datagram)


def test_packets_out_of_order_are_put_in_order() -> None:
    codes = speech(2)
    arrivals = paced(Stream(1).packets(codes))
    for number in range(0, len(arrivals) - 3, 7):  # also the very first
        at, packet = arrivals[number]
        arrivals[number] = at + 0.05, packet
    heard = play(line(), arrivals)
    assert not heard.gaps
    assert heard.reason == "no packets for 5 s"
    expected = at_16k(codes)
    assert np.array_equal(heard.samples[0][: len(expected)], expected)
    assert not heard.samples[1].any()


def test_a_loss_is_silence_of_the_exact_length_and_a_gap() -> None:
    codes = speech(3)
    packets = Stream(1).packets(codes)
    lost = (50, 51, 52)
    heard = play(line(), [one for number, one in enumerate(paced(packets)) if number not in lost])
    expected = at_16k(b"".join(b"\xff" * 160 if n in lost else codes[n * 160 : n * 160 + 160] for n in range(150)))
    assert np.array_equal(heard.samples[0][: len(expected)], expected)
    assert heard.gaps == [Gap(1000, 1060, "packets lost (60 ms)", 0)]


def test_a_loss_at_the_wrap_of_both_counters() -> None:
    """Sequence numbers and timestamps begin anew in the middle; a packet is missing exactly there."""
    codes = speech(1)
    stream = Stream(1, sequence=0xFFFF - 10, stamp=0xFFFFFFFF - 160 * 11 + 1)
    packets = stream.packets(codes)
    heard = play(line(), [one for number, one in enumerate(paced(packets)) if number != 11])
    assert heard.gaps == [Gap(220, 240, "packets lost (20 ms)", 0)]
    assert len(heard.samples[0]) >= 16_000


def test_a_bad_line_does_not_flood_the_store() -> None:
    rng = random.Random(5)
    packets = Stream(1).packets(speech(30))
    heard = play(line(), [one for one in paced(packets) if rng.random() > 0.1])
    assert 1 <= len(heard.gaps) <= 5
    assert heard.samples.shape[1] >= 29.8 * 16_000


def test_late_and_double_packets_are_dropped_and_counted() -> None:
    codes = speech(2)
    arrivals = paced(Stream(1).packets(codes))
    at, late = arrivals[40]
    arrivals[40] = at + 0.5, late
    arrivals += [(at + 0.001, packet) for at, packet in arrivals[10:20]]
    room = line()
    heard = play(room, arrivals)
    assert heard.gaps == [Gap(800, 820, "packets lost (20 ms)", 0)]
    counts = room._total
    assert (counts.late, counts.duplicate, counts.lost) == (1, 10, 1)
    silent = at_16k(codes[: 160 * 40] + b"\xff" * 160 + codes[160 * 41 :])
    assert np.array_equal(heard.samples[0][: len(silent)], silent)


def test_a_pause_of_the_sender_is_silence_but_no_gap() -> None:
    stream = Stream(1)
    first = stream.packets(speech(1))
    stream.stamp += 8000 * 3
    second = stream.packets(speech(1, seed=2))
    heard = play(line(), paced(first) + paced(second, 4.0))
    assert not heard.gaps
    level = np.abs(heard.samples[0])
    assert level[17_000:63_000].max() < 1e-4
    assert level[64_000:].max() > 0.1
    expected = at_16k(speech(1, seed=2))
    assert np.allclose(heard.samples[0][64_400 : 64_000 + 15_000], expected[400:15_000], atol=1e-4)


def test_comfort_noise_holds_nothing_up() -> None:
    """A leg that only sends comfort noise, or digits, must not keep the other from being heard in time."""
    agent, customer = Stream(1), Stream(2)
    room = line()
    began: list[Any] = []
    now = 0.0
    for number, (one, other) in enumerate(zip(agent.packets(speech(2)), customer.packets(speech(2, 9)), strict=True)):
        now = number * 0.02
        for leg, datagram in ((0, one), (1, other)):
            packet = parse(datagram)
            assert packet is not None
            if leg == 1 and number >= 20:
                packet = parse(bytes([0x80, 13]) + datagram[2:12] + b"\x40")
                assert packet is not None
            began += [room.packet(packet, (leg,), now)]
        room.tick(now)
    behind_ms = now * 1000 - room._board.position / 16
    assert behind_ms < 150
    source = next(each for each in began if each)
    room.end("stopped")
    heard = Heard(source)
    heard.join()
    assert not heard.gaps


def test_two_parties_stay_together_and_apart() -> None:
    agent, customer = speech(2, 1), speech(2, 2)
    arrivals = paced(Stream(1).packets(agent)) + paced(Stream(2).packets(customer), 0.5)
    room = line()
    heard = play(room, arrivals, legs=(0, 1))  # one port, told apart by SSRC
    assert np.array_equal(heard.samples[0][:32_000], at_16k(agent))
    assert np.array_equal(heard.samples[1][8000:40_000], at_16k(customer))
    assert heard.call.speakers == BOTH


def test_a_stream_that_changes_its_ssrc_goes_on() -> None:
    before, after = speech(1, 1), speech(1, 2)
    arrivals = paced(Stream(1).packets(before)) + paced(Stream(99, stamp=5, sequence=9).packets(after), 1.0)
    heard = play(line(), arrivals)
    assert not heard.gaps
    assert np.array_equal(heard.samples[0][:16_000], at_16k(before))
    assert np.array_equal(heard.samples[0][16_000:32_000], at_16k(after))


def test_a_stranger_on_the_port_is_not_mixed_in() -> None:
    codes = speech(2)
    arrivals = paced(Stream(1).packets(codes)) + paced(Stream(66).packets(speech(1, 3)), 0.505)
    heard = play(line(), arrivals)
    assert np.array_equal(heard.samples[0][:32_000], at_16k(codes))


def test_a_sender_that_begins_anew_goes_on() -> None:
    """The same SSRC with other counters: a telephone system that was restarted."""
    one, other = speech(1, 1), speech(1, 2)
    arrivals = paced(Stream(1, sequence=100).packets(one))
    arrivals += paced(Stream(1, sequence=30_000, stamp=77).packets(other), 2.0)
    heard = play(line(), arrivals)
    assert np.array_equal(heard.samples[0][:16_000], at_16k(one))
    assert np.array_equal(heard.samples[0][32_000:48_000], at_16k(other))


def test_another_payload_type_within_a_call_is_told_as_a_gap() -> None:
    stream = Stream(1)
    first = stream.packets(speech(1))
    stream.kind = 18
    foreign = stream.packets(bytes(20 * 25), size=20)
    stream.kind = 0
    heard = play(line(), paced([*first, *foreign, *stream.packets(speech(1))]))
    assert heard.gaps == [Gap(1000, 1500, "payload type 18 is not understood (500 ms)", 0)]
    assert len(heard.samples[0]) >= 40_000


def test_codecs_may_change_within_a_call() -> None:
    stream = Stream(1)
    first = stream.packets(speech(1))
    stream.kind = 8
    alaw = speech(1, 4)
    heard = play(line(), paced([*first, *stream.packets(alaw)]))
    expected = at_16k(alaw, "PCMA")
    assert np.allclose(heard.samples[0][16_400:31_000], expected[400:15_000], atol=1e-4)


# ---- over real sockets


@contextmanager
def listening(**settings: Any) -> Iterator[tuple[Desk, int]]:
    ports = settings.get("lines", 1) * len(settings.get("speakers", BOTH))
    port = free_ports(ports)
    settings = {"speakers": BOTH, "payloads": {96: Codec("L16", 16_000)}, "hangup_s": 0.6, **settings}
    desk = Desk(RtpIntake("pbx", bind="127.0.0.1", port=port, **settings))
    try:
        yield desk, port
    finally:
        desk.close()


def write_wav(path: Path, samples: Any, rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return path


@needs("ffmpeg")
@needs_gstreamer
def test_ffmpeg_and_gstreamer_are_heard_exactly(tmp_path: Path) -> None:
    """One call: FFmpeg sends the agent as G.711 µ-law, GStreamer the customer as L16 at 16 kHz, both in real time."""
    codes = speech(2)
    raw = tmp_path / "agent.ulaw"
    raw.write_bytes(codes)
    customer = np.random.default_rng(2).integers(-20_000, 20_000, 32_000)
    wav = write_wav(tmp_path / "customer.wav", customer, 16_000)
    with listening(hangup_s=2.0, reorder_ms=500) as (desk, port):
        gst = (
            f"filesrc location={wav} ! wavparse ! audioconvert ! audio/x-raw,format=S16BE ! rtpL16pay pt=96"
            f" max-ptime=20000000 ! udpsink host=127.0.0.1 port={port + 2}"
        )
        with subprocess.Popen(["gst-launch-1.0", "-q", *gst.split()]) as streamer:
            ffmpeg = "ffmpeg -v error -re -f mulaw -ar 8000 -ac 1 -i"
            out = f"-c:a copy -f rtp rtp://127.0.0.1:{port}?pkt_size=172"
            subprocess.run([*ffmpeg.split(), str(raw), *out.split()], check=True, stdout=subprocess.DEVNULL)
            assert streamer.wait(20) == 0
        (call,) = desk.wait(1)
        call.join()
    assert not [gap for gap in call.gaps if "lost" in gap.reason]
    agent = at_16k(codes)
    expected = (customer / 32768).astype(np.float32)
    sents: tuple[Samples, Samples] = agent, expected
    for row, sent in zip(call.samples, sents, strict=True):
        assert sent[0]
        start = int(np.argmax(row != 0))  # each leg stands where its first packet came
        assert np.array_equal(row[start : start + len(sent)], sent)


@needs_gstreamer
def test_gstreamers_a_law_is_heard(tmp_path: Path) -> None:
    tone = 8000 * np.sin(2 * np.pi * 300 * np.arange(8000) / 8000)
    wav = write_wav(tmp_path / "tone.wav", tone, 8000)
    with listening(speakers=(Speaker.UNKNOWN,)) as (desk, port):
        gst = f"filesrc location={wav} ! wavparse ! alawenc ! rtppcmapay ! udpsink host=127.0.0.1 port={port}"
        subprocess.run(["gst-launch-1.0", "-q", *gst.split()], check=True)
        (call,) = desk.wait(1)
        call.join()
    heard = call.samples[0]
    spectrum = np.abs(np.fft.rfft(heard[2000:14_000]))
    assert np.argmax(spectrum) * 16_000 / 12_000 == pytest.approx(300, abs=2)
    assert np.abs(heard[2000:14_000]).max() == pytest.approx(8000 / 32768, rel=0.05)


def test_garbage_begins_no_call_and_hurts_none() -> None:
    rng = random.Random(8)
    codes = speech(1)
    with listening() as (desk, port):
        send(port, [rng.randbytes(rng.randrange(0, 1400)) for _ in range(300)] + [b"", b"GET / HTTP/1.1\r\n\r\n"])
        time.sleep(0.3)
        assert not desk.calls
        packets = Stream(1).packets(codes)
        for number in range(0, 50, 5):
            send(port, [*packets[number : number + 5], rng.randbytes(172)])
        (call,) = desk.wait(1)
        call.join()
        assert desk.intake.status()["packets"]["garbage"] > 250
    assert np.array_equal(call.samples[0][:16_000], at_16k(codes))


def test_a_stream_of_another_payload_type_begins_no_call_and_is_told() -> None:
    with listening() as (desk, port):
        send(port, Stream(1, kind=18).packets(bytes(200), size=20))
        until = time.monotonic() + 10
        while desk.intake.status()["ok"] and time.monotonic() < until:
            time.sleep(0.02)
        status = desk.intake.status()
        assert "payload type 18 is not understood" in status["state"]
        assert not desk.calls


def test_goodbye_ends_a_call_at_once_and_the_line_is_free_again() -> None:
    with listening(hangup_s=60.0) as (desk, port):
        for ssrc in (5, 6):
            send(port, Stream(ssrc).packets(speech(0.4)))
            call = desk.wait(ssrc - 4)[-1]
            time.sleep(0.2)
            send(port + 1, [struct.pack("!BBHI", 0x81, 203, 1, ssrc)])
            call.join()
            assert call.reason == "hung up"
    assert len({heard.call.id for heard in desk.calls}) == 2


def test_many_lines_are_many_calls() -> None:
    with listening(lines=3, speakers=(Speaker.AGENT,)) as (desk, port):
        for number in range(3):
            send(port + 2 * number, Stream(1).packets(speech(0.5, number)))
        calls = desk.wait(3)
        for call in calls:
            call.join()
    found = sorted(call.samples[0][100:200].tolist() for call in calls)
    assert found == sorted(at_16k(speech(0.5, number))[100:200].tolist() for number in range(3))


def test_only_named_senders_are_heard() -> None:
    with listening(senders=("192.0.2.1",)) as (desk, port):
        send(port, Stream(1).packets(speech(0.5)))
        until = time.monotonic() + 10
        while desk.intake.status()["packets"]["garbage"] < 25 and time.monotonic() < until:
            time.sleep(0.02)
        assert not desk.calls


def test_a_port_that_is_taken_is_an_error_in_words() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        port = free_ports()
        other.bind(("127.0.0.1", port))
        with pytest.raises(AudioError, match="another program") as refused:
            RtpIntake("pbx", bind="127.0.0.1", port=port, speakers=BOTH)
        assert str(port) in refused.value.where
    with pytest.raises(AudioError, match="can't listen"):
        RtpIntake("pbx", bind="no such address", port=port, speakers=BOTH)

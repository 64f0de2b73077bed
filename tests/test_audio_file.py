"""Recordings of every usual kind become 16 kHz chunks with the right pitch, level, channel and time."""

from __future__ import annotations

import os
import struct
import threading
import time
import wave
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.audio import FileSource, Source
from edge_agent.audio.resample import Resampler
from edge_agent.errors import AudioError
from edge_agent.types import Chunk, Gap, Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable

SPEECH = Path(__file__).parent / "data" / "speech.flac"
Floats = NDArray[np.float32]


def tones(rate_hz: int, seconds: float, channels: int) -> Floats:
    """Channel c is a sine of 300 + 100·c Hz at level 0.1·(c + 1); shape (n, channels)."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    rows = [0.1 * (c + 1) * np.sin(2 * np.pi * (300 + 100 * c) * t) for c in range(channels)]
    return np.stack(rows, axis=1).astype(np.float32)


def write(path: Path, codec: str, rate_hz: int, layout: str, samples: Floats) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        for at in range(0, len(samples), 960):
            block = np.ascontiguousarray(samples[at : at + 960].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_pcm16(path: Path, rate_hz: int, channels: int, samples: NDArray[np.int16]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def hear(source: Iterable[Chunk | Gap]) -> Floats:
    """Join what a whole recording delivers, checking that nothing lies between or overlaps."""
    rows, position = [], 0
    for item in source:
        assert isinstance(item, Chunk)
        assert item.start == position
        assert item.samples.dtype == np.float32
        position += item.samples.shape[1]
        rows.append(item.samples)
    return np.concatenate(rows, axis=1)


def level(signal: Floats, hz: float) -> float:
    """Amplitude of one frequency in 16 kHz audio."""
    turn = np.exp(-2j * np.pi * hz * np.arange(len(signal)) / 16_000)
    return float(2 * abs(np.mean(signal * turn)))


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "layout", "tolerance"),
    [
        ("a.wav", "pcm_mulaw", 8_000, "mono", 0.01),
        ("a.wav", "pcm_alaw", 8_000, "stereo", 0.01),
        ("a.wav", "pcm_u8", 11_025, "mono", 0.01),
        ("a.wav", "pcm_s16le", 16_000, "stereo", 0.001),
        ("a.wav", "pcm_s24le", 96_000, "7.1", 0.001),
        ("a.wav", "pcm_f32le", 22_050, "stereo", 0.001),
        ("a.wav", "pcm_f64le", 48_000, "mono", 0.001),
        ("a.flac", "flac", 44_100, "stereo", 0.001),
        ("a.mp3", "libmp3lame", 44_100, "stereo", 0.02),
        ("a.m4a", "aac", 44_100, "stereo", 0.02),
        ("a.opus", "libopus", 48_000, "stereo", 0.02),
        ("a.opus", "libopus", 48_000, "7.1", 0.02),
        ("a.mka", "libopus", 48_000, "mono", 0.02),
    ],
)
def test_pitch_level_and_channel_order(
    tmp_path: Path, name: str, codec: str, rate_hz: int, layout: str, tolerance: float
) -> None:
    channels = {"mono": 1, "stereo": 2, "7.1": 8}[layout]
    path = write(tmp_path / name, codec, rate_hz, layout, tones(rate_hz, 2.0, channels))
    source = FileSource(path)
    heard = hear(source)
    assert heard.shape[0] == channels == len(source.call.speakers)
    # Lossy codecs pad the last frame; none may lose or shift anything.
    assert 32_000 - 16 <= heard.shape[1] <= 32_000 + (400 if codec == "aac" else 16)
    for c, row in enumerate(heard[:, 8_000:24_000]):
        assert level(row, 300 + 100 * c) == pytest.approx(0.1 * (c + 1), abs=tolerance)
        others = [level(row, 300 + 100 * other) for other in range(channels) if other != c]
        assert max(others, default=0) < tolerance


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_click_stays_where_it_was(tmp_path: Path, rate_hz: int) -> None:
    samples = np.zeros(rate_hz * 3, np.int16)
    samples[rate_hz * 2] = 30_000
    heard = hear(FileSource(write_pcm16(tmp_path / "click.wav", rate_hz, 1, samples)))
    assert heard.shape[1] == 48_000
    assert abs(int(np.argmax(np.abs(heard[0]))) - 32_000) <= 1


def test_16_khz_passes_unchanged(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(-20_000, 20_000, 16_123).astype(np.int16)
    heard = hear(FileSource(write_pcm16(tmp_path / "a.wav", 16_000, 1, samples)))
    np.testing.assert_array_equal(heard[0], samples.astype(np.float32) / 32_768)


def test_hot_and_broken_floats_stay_within_one(tmp_path: Path) -> None:
    samples = 3 * tones(48_000, 0.5, 1)
    samples[1000:1010, 0] = [np.nan, np.inf, -np.inf, 9, -9, 1e30, np.nan, np.nan, -1e30, 5]
    samples[3000:, 0] *= 10
    heard = hear(FileSource(write(tmp_path / "hot.wav", "pcm_f32le", 48_000, "mono", samples)))
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() == 1.0


@pytest.mark.parametrize("chunk_ms", [10, 20, 37, 500])
def test_chunks_have_the_length_asked_for(chunk_ms: int) -> None:
    source = FileSource(SPEECH, chunk_ms=chunk_ms)
    sizes = [item.samples.shape[1] for item in source if isinstance(item, Chunk)]
    assert set(sizes[:-1]) == {chunk_ms * 16}
    assert 0 < sizes[-1] <= chunk_ms * 16
    assert source.duration_ms is not None
    assert abs(source.position_ms - source.duration_ms) <= 1
    assert sum(sizes) // 16 == source.position_ms


def test_one_second_of_silence_is_just_chunks(tmp_path: Path) -> None:
    heard = hear(FileSource(write_pcm16(tmp_path / "s.wav", 8_000, 2, np.zeros(16_000, np.int16))))
    assert heard.shape == (2, 16_000)
    assert not heard.any()


A, C, U = Speaker.AGENT, Speaker.CUSTOMER, Speaker.UNKNOWN


@pytest.mark.parametrize(
    ("channels", "configured", "expected"),
    [
        (1, (A, C), (U,)),
        (1, (C,), (C,)),
        (2, (A, C), (A, C)),
        (2, (C, A), (C, A)),
        (2, (A, C, U), (A, C)),
        (2, (A,), (A, U)),
        (8, (A, C), (A, C, U, U, U, U, U, U)),
    ],
)
def test_speakers_of_the_channels(
    tmp_path: Path, channels: int, configured: tuple[Speaker, ...], expected: tuple[Speaker, ...]
) -> None:
    path = write_pcm16(tmp_path / "a.wav", 8_000, channels, np.zeros(800 * channels, np.int16))
    source = FileSource(path, speakers=configured)
    assert source.call.speakers == expected
    assert hear(source).shape == (channels, 1600)


def test_nine_channels_are_refused_with_both_numbers(tmp_path: Path) -> None:
    path = write_pcm16(tmp_path / "many.wav", 8_000, 9, np.zeros(900, np.int16))
    with pytest.raises(AudioError, match=r"9 channels.*2 are configured") as caught:
        FileSource(path)
    assert "ffmpeg" in caught.value.remedy
    assert caught.value.where == str(path)


def test_the_call_is_announced(tmp_path: Path) -> None:
    path = write_pcm16(tmp_path / "客户 电话:1.wav", 8_000, 1, np.zeros(800, np.int16))
    began = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    given: Source = FileSource(path, name="pbx", call_id="c-1", customer_id="4711", started_at=began)
    assert (given.call.id, given.call.source, given.call.customer_id) == ("c-1", "pbx", "4711")
    assert given.call.started_at == began
    assert given.call.file == str(path)
    assert not given.live
    first, second = FileSource(path), FileSource(path)
    assert first.call.id.startswith("客户-电话-1-")
    assert first.call.id != second.call.id
    assert abs(datetime.now(UTC) - first.call.started_at) < timedelta(minutes=1)


def test_a_name_that_is_no_utf8_is_heard_and_can_be_written_down(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    source = FileSource(write_pcm16(path, 8_000, 1, np.zeros(800, np.int16)))
    assert f"{source.call.id} {source.call.file}".encode()
    assert hear(source).shape == (1, 1600)


def test_a_recording_is_played_once() -> None:
    source = FileSource(SPEECH)
    assert len(list(source)) > 100
    assert list(source) == []
    source.close()
    source.close()


def test_realtime_never_runs_ahead_of_the_clock(tmp_path: Path) -> None:
    source = FileSource(write_pcm16(tmp_path / "a.wav", 8_000, 1, np.zeros(2_400, np.int16)), realtime=True)
    began = time.monotonic()
    for item in source:
        assert isinstance(item, Chunk)
        assert time.monotonic() - began >= (item.start + item.samples.shape[1]) / 16_000 - 0.005
    assert source.position_ms == 300


def test_close_ends_a_realtime_source_from_another_thread(tmp_path: Path) -> None:
    path = write_pcm16(tmp_path / "a.wav", 8_000, 1, np.zeros(8_000 * 600, np.int16))
    source = FileSource(path, realtime=True, chunk_ms=500)
    items: list[Chunk | Gap] = []
    thread = threading.Thread(target=lambda: items.extend(source))
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(items) < 600


def test_close_before_the_first_chunk_delivers_nothing() -> None:
    source = FileSource(SPEECH)
    source.close()
    assert list(source) == []


def test_three_hours_stream_with_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    size = 3 * 3600 * 8_000 * 2
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", size
    )
    with path.open("wb") as file:  # sparse: takes no room
        file.write(header)
        file.truncate(len(header) + size)
    source = FileSource(path, chunk_ms=200)
    assert source.duration_ms == 3 * 3600 * 1000
    before = 0
    for count, _ in enumerate(source):
        if count == 500:
            before = resident_kib()
        if count == 5_500:  # 1000 s on, which would be 64 MB at 16 kHz
            break
    assert source.position_ms == 5_501 * 200
    assert resident_kib() - before < 8_192


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024


def test_the_resampler_counts_exactly_over_stretches_and_rates() -> None:
    resampler = Resampler(1)
    rng = np.random.default_rng(7)
    out, seconds = 0, Fraction(0)
    for rate_hz in (8_000, 44_100, 22_050, 44_100, 16_000):
        for _ in range(40):
            block = rng.uniform(-0.5, 0.5, (int(rng.integers(1, 2_000)), 1)).astype(np.float32)
            seconds += Fraction(len(block), rate_hz)
            out += resampler.feed(block, rate_hz).shape[1]
    out += resampler.flush().shape[1]
    assert out == resampler.position == round(seconds * 16_000)
    assert resampler.skip(Fraction(1, 3)) % 16 == 0
    assert abs(resampler.position / 16_000 - float(seconds + Fraction(1, 3))) < 0.001
    after = resampler.position
    out = resampler.feed(np.zeros((44_100, 1), np.float32), 44_100).shape[1] + resampler.flush().shape[1]
    assert out == resampler.position - after == 16_000


def test_what_16_khz_cant_hold_is_filtered_out() -> None:
    resampler = Resampler(1)
    t = np.arange(48_000) / 48_000
    high = np.sin(2 * np.pi * 11_000 * t)[:, None].astype(np.float32)
    heard = np.concatenate([resampler.feed(high, 48_000), resampler.flush()], axis=1)[0]
    assert np.abs(heard[2_000:14_000]).max() < 0.0005  # it would alias to 5 kHz


def test_a_change_of_channels_midway_keeps_the_announced_rows() -> None:
    resampler = Resampler(2)
    out = [resampler.feed(np.full((800, n), 0.5, np.float32), 16_000) for n in (2, 1, 3)]
    whole = np.concatenate([*out, resampler.flush()], axis=1)
    assert whole.shape == (2, 2400)
    assert whole[0, 400] == whole[0, 1200] == whole[1, 2000] == 0.5
    assert whole[1, 1200] == 0.0

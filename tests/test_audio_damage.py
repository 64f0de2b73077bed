"""What can't be heard is said in plain words; what is damaged is heard as far as it goes, and the rest is a gap."""

from __future__ import annotations

import os
import random
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import numpy as np
import pytest

from edge_agent.audio import FileSource
from edge_agent.errors import AudioError
from edge_agent.types import Chunk, Gap

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 10


def recording(path: Path, codec: str, rate_hz: int, *, level: float = 0.3) -> Path:
    """Ten seconds of noise with a loud click at 8 s, so that no codec can shrink it to nothing."""
    samples = (level * np.random.default_rng(3).uniform(-1, 1, rate_hz * SECONDS)).astype(np.float32)
    samples[rate_hz * 8 : rate_hz * 8 + rate_hz // 100] = 0.99
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        for at in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + 960], format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def spoil(path: Path, start: float, end: float) -> None:
    """Overwrite a part of the file, given as shares of its size, with noise."""
    data = bytearray(path.read_bytes())
    low, high = int(len(data) * start), int(len(data) * end)
    data[low:high] = random.Random(5).randbytes(high - low)
    path.write_bytes(data)


def hear(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], list[Gap], int]:
    """Lay out the whole timeline with zeros for the gaps; every item must begin where the last one ended."""
    rows, gaps, position = [], [], 0
    for item in FileSource(path):
        if isinstance(item, Gap):
            assert item.start_ms == position // 16
            assert item.end_ms > item.start_ms
            rows.append(np.zeros(item.end_ms * 16 - position, np.float32))
            gaps.append(item)
            position = item.end_ms * 16
        else:
            assert isinstance(item, Chunk)
            assert item.start == position
            rows.append(item.samples[0])
            position += item.samples.shape[1]
    return np.concatenate(rows), gaps, position


FORMATS = [
    ("a.flac", "flac", 16_000),
    ("a.opus", "libopus", 48_000),
    ("a.mp3", "libmp3lame", 44_100),
    ("a.m4a", "aac", 44_100),
]


@pytest.mark.parametrize(("name", "codec", "rate_hz"), FORMATS)
def test_damage_in_the_middle_is_a_gap_and_the_rest_keeps_its_time(
    tmp_path: Path, name: str, codec: str, rate_hz: int
) -> None:
    path = recording(tmp_path / name, codec, rate_hz)
    spoil(path, 0.4, 0.5)
    heard, gaps, end = hear(path)
    assert gaps
    assert all("damaged" in gap.reason for gap in gaps)
    # Ten per cent of the bytes are gone; a codec may lose a page around them (Ogg: a second), and variable bit rate
    # moves the place.
    assert all(2_500 < gap.start_ms < gap.end_ms < 7_500 for gap in gaps)
    assert 700 < sum(gap.end_ms - gap.start_ms for gap in gaps) < 3_200
    assert abs(end / 16_000 - SECONDS) < 0.1
    loud = np.convolve(heard[6 * 16_000 :], np.ones(160), "valid")
    assert abs(6 + int(np.argmax(loud)) / 16_000 - 8) < 0.1


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"), [("a.wav", "pcm_s16le", 8_000), ("b.wav", "pcm_mulaw", 8_000), FORMATS[0], FORMATS[2]]
)
def test_a_truncated_file_is_heard_as_far_as_it_goes(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    path = recording(tmp_path / name, codec, rate_hz)
    os.truncate(path, path.stat().st_size // 2)
    heard, gaps, end = hear(path)
    assert len(gaps) == 1
    assert gaps[0].reason == "file is damaged: it ends before the length it declares"
    assert abs(gaps[0].start_ms - 5_000) < 250
    assert abs(gaps[0].end_ms - SECONDS * 1000) <= 1
    assert abs(end / 16_000 - SECONDS) < 0.01
    assert np.abs(heard[: 4 * 16_000]).max() > 0.2


def test_a_truncated_ogg_ends_early_without_an_error(tmp_path: Path) -> None:
    """Ogg declares no length, so nobody can know that something is missing."""
    path = recording(tmp_path / "a.opus", "libopus", 48_000)
    os.truncate(path, path.stat().st_size // 2)
    _, gaps, end = hear(path)
    assert gaps == []
    assert 3 < end / 16_000 < 7


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
def test_a_streamed_wav_without_a_length_is_heard_to_its_end(tmp_path: Path, size: int) -> None:
    path = recording(tmp_path / "a.wav", "pcm_s16le", 8_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    _, gaps, end = hear(path)
    assert gaps == []
    assert end == SECONDS * 16_000


def test_two_recordings_in_one_file_go_on_without_a_gap(tmp_path: Path) -> None:
    """The timestamps of the second begin at nought again."""
    path = recording(tmp_path / "a.opus", "libopus", 48_000)
    path.write_bytes(path.read_bytes() * 2)
    _, gaps, end = hear(path)
    assert gaps == []
    assert abs(end / 16_000 - 2 * SECONDS) < 0.05
    spoil(path, 0.75, 0.8)
    _, gaps, end = hear(path)
    assert 14_000 < gaps[0].start_ms < gaps[0].end_ms < 17_000
    assert abs(end / 16_000 - 2 * SECONDS) < 0.05


def leaping(path: Path, target: Any) -> Path:
    """Three seconds of audio, stamped as the first, the 101st and the 5001st."""
    with av.open(target, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8_000)
        stream.layout = "mono"
        for start in (0, 8_000 * 100, 8_000 * 5_000):
            for at in range(0, 8_000, 800):
                frame = av.AudioFrame.from_ndarray(np.full((1, 800), 900, np.int16), format="s16", layout="mono")
                frame.sample_rate = 8_000
                for packet in stream.encode(frame):
                    packet.time_base, packet.pts = Fraction(1, 8_000), start + at
                    packet.dts = packet.pts
                    container.mux(packet)
    return path


def test_silence_left_out_of_a_stream_without_length_is_a_gap_but_not_a_mad_timestamp(tmp_path: Path) -> None:
    with (tmp_path / "a.mka").open("wb") as raw:
        path = leaping(tmp_path / "a.mka", _Pipe(raw))
    _, gaps, end = hear(path)
    assert gaps == [Gap(1_000, 100_000, "file holds no audio here")]
    assert end == 102 * 16_000


def test_timestamps_beyond_the_declared_length_are_not_believed(tmp_path: Path) -> None:
    path = leaping(tmp_path / "a.mka", str(tmp_path / "a.mka"))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration: eight bytes of float, in ms
    assert struct.unpack_from(">d", data, at)[0] == 5_001_000
    struct.pack_into(">d", data, at, 3_000)
    path.write_bytes(data)
    _, gaps, end = hear(path)
    assert gaps == []
    assert end == 3 * 16_000


class _Pipe:
    """A file that can't seek, so that the writer can't go back and note the length."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def test_an_mp3_without_a_header_does_not_promise_a_length(tmp_path: Path) -> None:
    """Variable bit rate without a Xing header: the length is guessed from the first frames, and far too long."""
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 1_152 * 200)).astype(np.float32)
    noise[:, : 1_152 * 50] = 0
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        stream: Any = container.add_stream("libmp3lame", rate=44_100, options={"q": "2", "flags": "+qscale"})
        stream.layout = "mono"
        stream.codec_context.flags |= 2  # AV_CODEC_FLAG_QSCALE
        for at in range(0, noise.shape[1], 1_152):
            frame = av.AudioFrame.from_ndarray(noise[:, at : at + 1_152], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = FileSource(path)
    assert source.duration_ms is not None
    assert source.duration_ms > 7_000
    assert not [item for item in source if isinstance(item, Gap)]
    assert abs(source.position_ms - 200 * 1_152 / 44.1) < 60


def test_a_truncated_wav_with_an_odd_chunk_before_its_samples(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", "pcm_s16le", 8_000)
    data = path.read_bytes()
    at = data.index(b"data")
    path.write_bytes(data[:at] + b"note\x03\0\0\0odd\0" + data[at : len(data) // 2])
    _, gaps, _ = hear(path)
    assert [gap.end_ms for gap in gaps] == [SECONDS * 1000]


def refused(path: Path) -> AudioError:
    with pytest.raises(AudioError) as caught:
        FileSource(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    assert caught.value.exit_code == 3
    return caught.value


def test_no_such_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.wav").what == "no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert "folder" in refused(tmp_path).what


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a regular file" in refused(tmp_path / "pipe.wav").what


def test_a_path_that_leads_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert "can't be read" in refused(tmp_path / "a" / "b.wav").what


def test_a_link_in_a_circle(tmp_path: Path) -> None:
    link = tmp_path / "a.wav"
    link.symlink_to(link)
    assert "can't be read" in refused(link).what


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", "pcm_s16le", 8_000)
    path.chmod(0)
    owner = os.geteuid()
    try:
        if owner == 0:  # root reads everything, so be nobody for a moment
            os.seteuid(65_534)
        assert "may not be read" in refused(path).what
    finally:
        os.seteuid(owner)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert "0 bytes" in refused(tmp_path / "a.wav").what


@pytest.mark.parametrize("name", ["notes.wav", "notes.mp3", "notes.txt", "notes.flac"])
def test_text_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is no recording.\n" * 500)
    assert "audio" in refused(tmp_path / name).what


@pytest.mark.parametrize("name", ["noise.wav", "noise.mp3", "noise.opus"])
def test_random_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(random.Random(2).randbytes(200_000))
    assert "audio" in refused(tmp_path / name).what


def test_a_header_without_samples(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", "pcm_s16le", 8_000)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"data") + 8])
    assert "holds no audio" in refused(path).what


def test_a_film_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no audio stream" in refused(path).what


def test_an_m4a_cut_off_before_its_index(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.m4a", "aac", 44_100)
    os.truncate(path, path.stat().st_size // 2)
    assert "damaged" in refused(path).what


def test_a_file_that_is_not_wanted_after_all_is_let_go(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", "pcm_s16le", 8_000)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        FileSource(path).close()
    os.truncate(path, 60)
    for _ in range(20):
        refused(path)
    assert len(os.listdir("/proc/self/fd")) <= before

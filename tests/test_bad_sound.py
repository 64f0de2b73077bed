"""Sound that is not as it should be: too quiet, too loud, askew, or no speech at all; silence and calls for hours."""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.audio import FileSource
from edge_agent.audio.gain import Leveller
from edge_agent.types import Call, Chunk, Speaker
from edge_agent.vad import Segmenter
from tests.conftest import TOP

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.types import Samples, Utterance

RATE = 16_000
CALL = Call("c", "line", datetime(2026, 1, 5, tzinfo=UTC), (Speaker.UNKNOWN,))


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Some seconds of one party of a call, as loud as a call should be."""
    source = FileSource(TOP / "tests/data/calls/tutoring.opus", chunk_ms=500)
    pieces = [one.samples[:1] for one in source if isinstance(one, Chunk)][:24]
    return np.concatenate(pieces, axis=1)


def resident_kib() -> int:
    """Memory that this process holds now; its peak would hide growth after a test that needed more."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def levelled(samples: Samples, block: int = 320) -> Samples:
    leveller = Leveller(len(samples))
    return np.concatenate(
        [leveller.feed(samples[:, at : at + block]) for at in range(0, samples.shape[1], block)], axis=1
    )


def utterances(samples: Samples, *, gain: bool = True) -> list[Utterance]:
    segmenter = Segmenter(CALL)
    found = segmenter.feed(Chunk(0, levelled(samples) if gain else samples))
    return found + segmenter.flush()


def dbfs(samples: Samples) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples.astype(np.float64))) + 1e-20))


def test_what_is_as_it_should_be_is_not_touched(speech: Samples) -> None:
    leveller = Leveller(1)
    for at in range(0, speech.shape[1] - 320, 320):
        chunk = speech[:, at : at + 320]
        assert leveller.feed(chunk) is chunk


def test_a_quiet_party_is_heard_as_well_as_a_loud_one(speech: Samples) -> None:
    """45 dB below; the judge of speech bears much by itself, the recognizer wants the level."""
    quiet = (speech * 10 ** (-45 / 20)).astype(np.float32)
    found, missed, whole = (
        sum(u.end_ms - u.start_ms for u in utterances(each, gain=gain))
        for each, gain in ((quiet, True), (quiet, False), (speech, False))
    )
    assert found > 0.9 * whole
    assert found > missed
    assert dbfs(levelled(quiet)[:, RATE * 3 :]) > dbfs(quiet[:, RATE * 3 :]) + 20


def test_a_shout_after_a_whisper_is_not_clipped(speech: Samples) -> None:
    both = np.concatenate([speech * np.float32(0.005), speech], axis=1)
    out = levelled(both)
    assert np.abs(out).max() <= 1.0
    assert np.mean(np.abs(out) > 0.99) < 1e-4


def test_noise_is_never_made_louder() -> None:
    noise = (np.random.default_rng(1).standard_normal((1, RATE * 10)) * 10 ** (-50 / 20)).astype(np.float32)
    assert dbfs(levelled(noise)) == pytest.approx(-50, abs=0.5)


def test_a_constant_offset_is_taken_away_and_hides_nothing(speech: Samples) -> None:
    askew = np.clip(speech + np.float32(0.3), -1, 1)
    out = levelled(askew)
    assert abs(float(out[:, RATE * 6 :].mean())) < 0.02
    assert len(utterances(askew)) == len(utterances(speech))


def test_clipped_speech_is_still_speech(speech: Samples) -> None:
    clipped = np.clip(speech * 40, -0.9, 0.9)
    assert sum(u.end_ms - u.start_ms for u in utterances(clipped)) > 0.7 * sum(
        u.end_ms - u.start_ms for u in utterances(speech)
    )


def _tone(*frequencies: float, seconds: float = 6.0) -> Samples:
    at = np.arange(int(RATE * seconds)) / RATE
    out: Samples = np.sum([0.2 * np.sin(2 * np.pi * each * at) for each in frequencies], axis=0).astype(np.float32)
    return out


def _on_off(tone: Samples, on_s: float, off_s: float) -> Samples:
    at = np.arange(len(tone)) / RATE % (on_s + off_s)
    out: Samples = (tone * (at < on_s)).astype(np.float32)
    return out


def _dtmf() -> Samples:
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)
    keys = [_on_off(_tone(row, column, seconds=0.2), 0.1, 0.1) for row in rows for column in columns]
    return np.concatenate(keys * 2)


def _fax() -> Samples:
    """CNG, CED, and the 300 bit/s of V.21 that follow."""
    bits = np.random.default_rng(2).integers(0, 2, 1200)[np.arange(RATE * 4) * 300 // RATE]
    carrier = 0.2 * np.sin(2 * np.pi * np.cumsum(np.where(bits, 1650, 1850)) / RATE)
    return np.concatenate([_tone(1100, seconds=0.5), _tone(2100, seconds=3), carrier.astype(np.float32)])


def _music() -> Samples:
    """Plucked notes over chords with a beat, as it is played to those who wait."""
    rng = np.random.default_rng(3)
    out = np.zeros(RATE * 10)
    at = np.arange(RATE) / RATE

    def pluck(frequency: float, level: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        note = np.sum([np.sin(2 * np.pi * frequency * k * at) / k for k in range(1, 7)], axis=0)
        return np.asarray(level * note * np.exp(-3 * at))

    for beat in range(27):
        here = slice(beat * RATE // 3, beat * RATE // 3 + RATE)
        out[here] += pluck(220 * 2 ** (rng.choice([0, 2, 4, 7, 9, 12, 14]) / 12), 0.1)
        if beat % 3 == 0:
            out[here] += pluck(110, 0.08) + pluck(138.6, 0.08) + pluck(165, 0.08)
        out[here][:800] += 0.1 * rng.standard_normal(800) * np.exp(-np.arange(800) / 200)
    return out.astype(np.float32)


def _white(level: float) -> Samples:
    return np.clip(np.random.default_rng(4).standard_normal(RATE * 8) * level, -1, 1).astype(np.float32)


NO_SPEECH: dict[str, Callable[[], Samples]] = {
    "ringback": lambda: _on_off(_tone(450, seconds=12), 1, 4),
    "busy tone": lambda: _on_off(_tone(450), 0.35, 0.35),
    "keys (DTMF)": _dtmf,
    "fax": _fax,
    "hold music": _music,
    "noise": lambda: _white(0.05),
    "loud noise": lambda: _white(0.6),
    "hum and its offset": lambda: _tone(50) + np.float32(0.3),
    "silence": lambda: np.zeros(RATE * 8, np.float32),
}


@pytest.mark.parametrize("name", NO_SPEECH)
@pytest.mark.parametrize("level_db", [0, -40])
def test_what_is_no_speech_gives_no_utterance(name: str, level_db: float) -> None:
    sound = NO_SPEECH[name]() * np.float32(10 ** (level_db / 20))
    assert not utterances(sound[None, :])


def test_silence_for_hours_holds_no_memory() -> None:
    segmenter, leveller = Segmenter(CALL), Leveller(1)
    silence = np.zeros((1, RATE), np.float32)
    before = 0
    for second in range(2 * 3600):
        if second == 900:
            before = resident_kib()
        if second % 30 == 0:  # an hour of silence is mostly skipped, as a gap is, to spare the tests' time
            assert not segmenter.feed(Chunk(second * RATE, leveller.feed(silence)))
    assert resident_kib() - before < 8 * 1024
    assert segmenter.position_ms == (2 * 3600 - 30 + 1) * 1000


def test_a_recording_of_twelve_hours_is_read_piece_by_piece(tmp_path: Path) -> None:
    """Its file is sparse; what is read of it holds no more memory than what is read of a short one."""
    path, size = tmp_path / "long.wav", 12 * 3600 * 8000
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", size
    )
    with path.open("wb") as file:
        file.write(head + b"\x80" * 8000)
        file.truncate(len(head) + size)
    source = FileSource(path, chunk_ms=500)
    assert source.duration_ms == 12 * 3600 * 1000
    before = 0
    for item in source:
        assert isinstance(item, Chunk)
        if item.start == 40 * RATE:
            before = resident_kib()
        if item.start >= 240 * RATE:
            break
    source.close()
    assert before
    assert resident_kib() - before < 8 * 1024

"""Silero carried along a stream gives what it gives for the whole file."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.audio import FileSource
from edge_agent.errors import SetupError
from edge_agent.types import Chunk
from edge_agent.vad import silero
from edge_agent.vad.silero import WINDOW, Silero

SPEECH = Path(__file__).parent / "data" / "speech.flac"
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Floats:
    rows = [item.samples for item in FileSource(SPEECH) if isinstance(item, Chunk)]
    audio: Floats = np.concatenate(rows, axis=1)[0]
    return audio


@pytest.fixture(scope="module")
def whole(speech: Floats) -> Floats:
    """The reference: faster-whisper's own run over the whole file (it overwrites the end of what it is given)."""
    from faster_whisper.vad import SileroVADModel

    padded = np.pad(speech, (0, -len(speech) % WINDOW + WINDOW))
    model = SileroVADModel(str(silero.asset()))
    return np.asarray(model(padded)[:-1], np.float32)


def test_the_recording_holds_speech_and_silence(whole: Floats) -> None:
    assert (whole > 0.9).mean() > 0.4
    assert (whole < 0.1).mean() > 0.1


@given(st.lists(st.integers(0, 5000), max_size=40))
@settings(max_examples=12, deadline=None)
def test_any_division_equals_the_whole(speech: Floats, whole: Floats, sizes: list[int]) -> None:
    judge = Silero()
    pieces = np.split(speech, [cut for cut in np.cumsum([0, *sizes]) if cut < len(speech)])
    heard = [judge.feed(piece) for piece in pieces]
    np.testing.assert_allclose(np.concatenate([*heard, judge.finish()]), whole, atol=1e-4)


def test_windows_come_as_soon_as_they_are_complete(speech: Floats) -> None:
    judge = Silero()
    counts = [len(judge.feed(speech[at : at + 320])) for at in range(0, 3200, 320)]
    assert counts == [0, 1, 0, 1, 1, 0, 1, 1, 0, 1]


def test_channels_share_the_network_and_nothing_else(speech: Floats, whole: Floats) -> None:
    one, other = Silero(), Silero()
    heard = []
    for at in range(0, len(speech), 1600):
        heard.append(one.feed(speech[at : at + 1600]))
        other.feed(-0.5 * speech[at : at + 1600][::-1])
    np.testing.assert_allclose(np.concatenate([*heard, one.finish()]), whole, atol=1e-4)
    assert one._session is other._session


def test_finish_forgets_everything(speech: Floats, whole: Floats) -> None:
    judge = Silero()
    judge.feed(speech[5_000:40_001])
    assert len(judge.finish()) == 1
    assert len(judge.finish()) == 0
    np.testing.assert_allclose(judge.feed(speech), whole[: len(speech) // WINDOW], atol=1e-4)


def test_the_callers_samples_are_left_alone(speech: Floats) -> None:
    mine = speech[:20_000].copy()
    mine.flags.writeable = False
    judge = Silero()
    judge.feed(mine)
    reused = speech[20_000:20_300].copy()
    judge.feed(reused)
    reused[:] = 9.0  # a device that fills the same buffer again must not change what was heard
    other = Silero()
    other.feed(speech[:20_300])
    np.testing.assert_array_equal(judge.feed(speech[20_300:30_000]), other.feed(speech[20_300:30_000]))


def test_a_missing_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="missing") as caught:
        silero.asset()
    assert "faster-whisper" in caught.value.remedy
    spec = importlib.machinery.ModuleSpec("faster_whisper", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(silero, "find_spec", lambda name: spec)
    with pytest.raises(SetupError) as caught:
        silero.asset()
    assert str(tmp_path) in caught.value.where


def test_a_damaged_network_is_said(tmp_path: Path) -> None:
    path = tmp_path / "silero_vad_v6.onnx"
    path.write_bytes(silero.asset().read_bytes()[:50_000])
    with pytest.raises(SetupError, match="can't be loaded") as caught:
        Silero(path)
    assert caught.value.where == str(path)

"""What no sound server can be made to do: a device that is busy, and one that loses samples without a word."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.audio.device import DeviceIntake
from edge_agent.audio.track import Shortfall
from edge_agent.types import Speaker
from tests.telephone import Desk

if TYPE_CHECKING:
    from pathlib import Path

# Stands for PortAudio in the capturing process, which is the real one: the first opening finds the device busy, and
# the stream that comes of the second leaves out 0.6 s of a ramp that counts 320 samples every 20 ms.
DEVICE = """
import pathlib, struct, threading, time
TURN = pathlib.Path(__file__).with_name("turn")
class PortAudioError(Exception): pass
class default: device = (0, 0)
def query_devices(number=None):
    one = {"index": 0, "name": "Card (hw:9,0)", "max_input_channels": 1, "default_samplerate": 16000.0}
    return [one] if number is None else one
class RawInputStream:
    def __init__(self, *, callback, channels, samplerate, **_):
        turn = int(TURN.read_text()) if TURN.exists() else 0
        TURN.write_text(str(turn + 1))
        if turn == 0:
            raise PortAudioError("Error opening RawInputStream: Device unavailable", -9985)
        self.active, self.callback = True, callback
    def start(self):
        threading.Thread(target=self.run, daemon=True).start()
    def run(self):
        class Stamps: pass
        began = time.monotonic()
        for block in range(100000):
            time.sleep(max(0.0, began + 0.02 * (block + 1) - time.monotonic()))
            if 150 <= block < 180:
                continue
            stamps = Stamps()
            stamps.currentTime = began + 0.02 * (block + 1)
            stamps.inputBufferAdcTime = began + 0.02 * block
            self.callback(struct.pack("<320h", *[block % 30000 + 1] * 320), 320, stamps, None)
"""


def test_a_busy_device_is_told_and_what_it_loses_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text(DEVICE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    intake = DeviceIntake("phone", ["Card"], speakers=(Speaker.AGENT,))
    desk = Desk(intake)
    seen: set[str] = set()
    until = time.monotonic() + 60
    while intake.status()["devices"][0]["missing_ms"] == 0 and time.monotonic() < until:
        seen.add(intake.status()["state"])
        time.sleep(0.02)
    time.sleep(0.5)
    desk.close()
    assert any("busy" in state for state in seen)
    (call,) = desk.calls
    call.join()
    (gap,) = call.gaps
    assert gap.reason == "samples were lost"
    assert gap.end_ms - gap.start_ms == pytest.approx(600, abs=60)
    # Samples after the loss stand where the clock says, to within what a busy machine delays.
    heard = call.samples[0]
    first = float(heard[heard > 0][0] * 32_768)
    begin = int(np.argmax(heard > 0))
    value = float(heard[-1] * 32_768)
    last = begin + (value - first) * 320
    assert abs(len(heard) - last) < 16 * 100


def ahead(seconds: float, *, drift: float = 0.0, jitter: float = 0.0, lost: tuple[float, int] = (0, 0)) -> list[int]:
    """Feed a counter blocks of 20 ms; returns what it found missing."""
    rng = np.random.default_rng(1)
    counter, found, given = Shortfall(), [], 0
    for block in range(int(seconds * 50)):
        at = block * 0.02
        late = float(rng.exponential(jitter)) if jitter else 0.0
        clock = at * 16_000 * drift + (lost[1] if lost[0] and at >= lost[0] else 0) - given
        if missing := counter.missing(at, clock + late):
            given += missing
            found.append(missing)
    return found


def test_jitter_and_drift_are_no_loss() -> None:
    assert ahead(60, drift=400e-6, jitter=400) == []
    assert ahead(60, drift=-400e-6, jitter=400) == []


def test_a_loss_is_counted_once() -> None:
    (missing,) = ahead(20, lost=(8, 8000), jitter=100)
    assert missing == pytest.approx(8000, abs=400)


def test_a_burst_after_a_delay_is_no_loss() -> None:
    """A second in which nothing comes, and then all of it at once, as after a stall of the machine."""
    counter = Shortfall()
    assert not any(counter.missing(block * 0.02, 0) for block in range(300))
    assert not any(counter.missing(7 + block * 0.0001, 16_000 - block * 320) for block in range(50))
    assert not any(counter.missing(7.02 + block * 0.02, 0) for block in range(300))

"""Sound devices for real: a PulseAudio server with null sinks, PortAudio, and what can happen to both."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.audio.device import DeviceIntake, list_devices
from edge_agent.types import Chunk, Speaker
from edge_agent.vad.silero import Silero
from tests.conftest import TOP
from tests.sound import Pulse, needs_pulse
from tests.telephone import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from edge_agent.types import Samples
    from tests.conftest import Cli

pytestmark = needs_pulse

BOTH = (Speaker.AGENT, Speaker.CUSTOMER)


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    server = Pulse()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


@contextmanager
def capturing(*devices: str, **settings: Any) -> Iterator[Desk]:
    desk = Desk(DeviceIntake("phone", devices, **{"speakers": BOTH, **settings}))
    try:
        yield desk
    finally:
        desk.close()


def wait_for(what: Callable[[], Any], patience_s: float = 30) -> Any:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if value := what():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come")


def noise(seconds: float, channels: int = 2, rate_hz: int = 16_000, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-20_000, 20_000, (int(seconds * rate_hz), channels)).astype(np.int16)


def hears(desk: Desk) -> bool:
    return bool(desk.intake.status()["ok"])


def place(heard: Samples, played: NDArray[np.int16]) -> int:
    """Return where on the timeline what was played begins."""
    (first,) = np.nonzero(heard == np.float32(played[0] / 32768))[0][:1]
    return int(first)


def test_what_is_played_arrives_bit_for_bit(pulse: Pulse) -> None:
    device = pulse.plug("line")
    played = noise(3)
    with capturing(device) as desk:
        wait_for(lambda: hears(desk))
        assert "16000 Hz" in desk.intake.status()["state"]
        assert pulse.play("line", played).wait(30) == 0
        time.sleep(0.5)
    (call,) = desk.calls
    call.join()
    assert call.reason == "stopped"
    assert not call.gaps
    heard = call.samples
    start = place(heard[0], played[:, 0])
    expected = played.T.astype(np.float32) / np.float32(32768)
    assert np.array_equal(heard[:, start : start + len(played)], expected)


def test_a_device_of_96_khz_with_8_channels(pulse: Pulse) -> None:
    """Channels 3 and 7 of it are heard, brought to 16 kHz."""
    device = pulse.plug("desk", rate_hz=96_000, channels=8)
    at = np.arange(96_000 * 2) / 96_000
    played = np.stack([8000 * np.sin(2 * np.pi * 200 * (n + 1) * at) for n in range(8)], axis=1).astype(np.int16)
    with capturing(device, channels=(3, 7)) as desk:
        wait_for(lambda: hears(desk))
        assert "8 channels, 96000 Hz" in desk.intake.status()["state"]
        assert pulse.play("desk", played, 96_000).wait(30) == 0
        time.sleep(0.5)
    (call,) = desk.calls
    call.join()
    for row, tone in zip(call.samples, (600, 1400), strict=True):
        begin = int(np.argmax(np.abs(row) > 0.1)) + 1600
        spectrum = np.abs(np.fft.rfft(row[begin : begin + 16_000]))
        assert int(np.argmax(spectrum)) == pytest.approx(tone, abs=2)
        others = [spectrum[other - 2 : other + 3].max() for other in range(200, 1601, 200) if other != tone]
        assert spectrum.max() > 10 * max(others)


def test_two_devices_are_aligned(pulse: Pulse) -> None:
    """The same sound on both, as a loopback between them would give it, arrives at the same time."""
    microphone, line = pulse.plug("mic", channels=1), pulse.plug("line", channels=1)
    assert pulse.control("load-module", "module-combine-sink", "sink_name=both", "slaves=mic,line").returncode == 0
    click = np.zeros((32_000, 1), np.int16)
    click[16_000:16_800] = 20_000
    with capturing(microphone, line) as desk:
        wait_for(lambda: hears(desk))
        assert pulse.play("both", click).wait(30) == 0
        time.sleep(1)
    (call,) = desk.calls
    call.join()
    first, second = (int(np.argmax(np.abs(row) > 0.2)) for row in call.samples)
    assert first
    assert abs(first - second) < 16 * 100, "within 100 ms, which is what the sound server itself promises"


@pytest.mark.parametrize("how", ["kill", "stop", "unplug"])
def test_a_server_that_dies_or_stalls_and_a_device_that_goes_and_comes_back(pulse: Pulse, how: str) -> None:
    device = pulse.plug("line")
    with capturing(device) as desk:
        wait_for(lambda: hears(desk))
        pulse.play("line", noise(0.5)).wait(30)
        if how == "kill":
            pulse.kill()
        elif how == "stop":
            pulse.signal(signal.SIGSTOP)
        else:
            pulse.unplug("line")
        wait_for(lambda: not hears(desk))
        trouble = desk.intake.status()["state"]
        time.sleep(0.5)
        if how == "stop":
            pulse.signal(signal.SIGCONT)
        else:
            if how == "kill":
                pulse.start()
            pulse.plug("line", rate_hz=48_000 if how == "unplug" else 16_000)  # it comes back with another format
        wait_for(lambda: hears(desk))
        played = noise(1, seed=2) if how != "unplug" else noise(1, rate_hz=48_000, seed=2)
        pulse.play("line", played, 48_000 if how == "unplug" else 16_000).wait(30)
        time.sleep(0.5)
        if how == "unplug":
            assert "48000 Hz" in desk.intake.status()["state"]
    (call,) = desk.calls
    call.join()
    (gap,) = [one for one in call.gaps if one.reason != "samples were lost"]
    assert gap.channel is None
    assert gap.end_ms - gap.start_ms > 500
    assert gap.reason
    assert trouble
    level = np.abs(call.samples[0])
    assert level[: gap.start_ms * 16].max() > 0.4
    assert not level[gap.start_ms * 16 + 16 : gap.end_ms * 16 - 16].any()
    assert level[gap.end_ms * 16 :].max() > 0.4
    if how != "unplug":
        start = gap.end_ms * 16 + place(call.samples[0][gap.end_ms * 16 :], played[:, 0])
        expected = played[:, 0].astype(np.float32) / np.float32(32768)
        assert np.array_equal(call.samples[0][start : start + len(played)], expected)


def test_a_call_begins_with_speech_and_ends_with_quiet(pulse: Pulse) -> None:
    """Two conversations with a pause: two calls, and nothing of the beginning is missing; hold music begins none."""
    from edge_agent.audio import FileSource

    device = pulse.plug("line", channels=1)
    pieces = [one.samples[0] for one in FileSource(TOP / "tests/data/speech.flac") if isinstance(one, Chunk)]
    speech = np.clip(np.concatenate(pieces)[:48_000] * 32_768, -32_768, 32_767).astype(np.int16)[:, None]
    at = np.arange(32_000) / 16_000
    tones = (6000 * np.sin(2 * np.pi * 450 * at) * (at % 1 < 0.5)).astype(np.int16)[:, None]
    with capturing(device, speakers=(Speaker.UNKNOWN,), judge=Silero, quiet_s=1.5) as desk:
        wait_for(lambda: hears(desk))
        pulse.play("line", tones).wait(30)
        time.sleep(0.5)
        assert not desk.calls
        for count in (1, 2):
            pulse.play("line", speech).wait(30)
            (*_, call) = desk.wait(count)
            call.join()
            assert call.reason == "quiet for 1.5 s"
    for heard in desk.calls:
        level = np.abs(heard.samples[0])
        assert level.max() == pytest.approx(np.abs(speech).max() / 32_768, abs=1e-4)
        assert heard.samples.shape[1] < 16_000 * 10


def test_no_such_device_is_told_and_waited_for(pulse: Pulse) -> None:
    with capturing("pulse:line.monitor") as desk:
        wait_for(lambda: "no source line.monitor" in desk.intake.status()["state"])
        assert not desk.calls
        pulse.plug("line")
        wait_for(lambda: hears(desk))
        desk.wait(1)
    with capturing("Studio 68") as desk:
        wait_for(lambda: "there is no device Studio 68" in desk.intake.status()["state"])
        assert not desk.calls


def test_devices_are_listed(pulse: Pulse, cli: Cli) -> None:
    pulse.plug("line", rate_hz=48_000, channels=4)
    listed = {each["id"]: each for each in list_devices()}
    assert listed["pulse:line.monitor"]["channels"] == 4
    assert listed["pulse:line.monitor"]["rate_hz"] == 48_000
    assert any(each["default"] for each in listed.values())


def test_the_command_lists_and_meters(pulse: Pulse, cli: Cli) -> None:
    device = pulse.plug("line", channels=1)
    assert device in {each["id"] for each in cli.lines("devices", "--json")}
    assert "line.monitor" in cli.run("devices").stdout
    assert "there are" in cli.run("devices", "none", code=3).stderr
    playing = pulse.play("line", (noise(20, 1) // 4).astype(np.int16))
    levels = cli.lines("devices", device, "--seconds", "3", "--json")
    playing.kill()
    playing.wait()
    assert {one["type"] for one in levels} == {"level"}
    loudest = max(one["channels"][0]["rms_dbfs"] for one in levels if one["channels"])
    expected = 20 * np.log10(np.sqrt(np.mean((noise(20, 1) // 4).astype(float) ** 2)) / 32_768)
    assert loudest == pytest.approx(expected, abs=1)
    assert not any(one["channels"][0]["clipped"] for one in levels)

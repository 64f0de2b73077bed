"""A private PulseAudio server for the tests: its own folders, a null sink for each line, and it may be hurt."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    import signal

    from numpy.typing import NDArray

_SURROUND = "front-left,front-right,rear-left,rear-right,front-center,lfe,side-left,side-right"
_NEEDED = ("pulseaudio", "paplay", "pactl")


def _missing() -> str:
    import ctypes.util

    for command in _NEEDED:
        if shutil.which(command) is None:
            return command
    if ctypes.util.find_library("portaudio") is None:
        return "libportaudio2"
    if not any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        return "libasound2-plugins"
    return ""


needs_pulse = pytest.mark.skipif(bool(_missing()), reason=f"{_missing()} is not installed")


class Pulse:
    """One server; `environment` makes programs find it, and this process too while `monkeypatch` holds it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pulse-")  # a short path: a socket's has 107 bytes
        top = Path(self._folder.name)
        (top / "run").mkdir(mode=0o700)
        self._socket = top / "run" / "native"
        self.environment = {
            "HOME": str(top),
            "XDG_RUNTIME_DIR": str(top / "run"),
            "PULSE_RUNTIME_PATH": str(top / "run" / "pulse"),
            "PULSE_STATE_PATH": str(top / "state"),
            "PULSE_SERVER": f"unix:{self._socket}",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._modules: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "-n", "--system=false", "--disable-shm=yes"),
                *("-L", f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"),
            ],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while self.control("info").returncode:
            assert time.monotonic() < until, "pulseaudio did not come up"
            time.sleep(0.1)

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    def plug(self, name: str, *, rate_hz: int = 16_000, channels: int = 2) -> str:
        """Make a null sink; returns the device whose sound is what is played into it."""
        done = self.control(
            "load-module",
            "module-null-sink",
            f"sink_name={name}",
            "norewinds=1",
            f"rate={rate_hz}",
            f"channels={channels}",
            *([f"channel_map={_SURROUND}"] if channels == 8 else []),
            "format=s16le",
        )
        assert done.returncode == 0, done.stderr
        self._modules[name] = done.stdout.strip()
        return f"pulse:{name}.monitor"

    def unplug(self, name: str) -> None:
        assert self.control("unload-module", self._modules.pop(name)).returncode == 0

    def play(self, name: str, samples: NDArray[np.int16], rate_hz: int = 16_000) -> subprocess.Popen[bytes]:
        """Play int16 samples of shape (n, channels) into a sink."""
        path = Path(self._folder.name) / f"{name}-{time.monotonic_ns()}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(np.ascontiguousarray(samples, "<i2").tobytes())
        return subprocess.Popen(
            [
                *("paplay", f"--device={name}", "--latency-msec=200"),
                *([f"--channel-map={_SURROUND}"] if samples.shape[1] == 8 else []),
                str(path),
            ],
            env={**os.environ, **self.environment},
        )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._modules.clear()

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()

"""The child process that holds a sound device: it may hang or die, and the appliance ends it and starts another.

A stalled sound server hangs even the closing of a stream, so nothing is ever closed here: the process just ends. It is
run by its path, imports nothing of the appliance, and writes records to standard output: a kind of one byte, a time in
seconds of the monotonic clock (float64), a length (uint32), and that many bytes.

* `F`: JSON with `rate_hz`, `channels` and `name` of what was opened;
* `A`: int16 samples, interleaved; the time is when the first of them was at the converter (ADC time);
* `H`: a sign of life;
* `E`: JSON with `what` went wrong and the `code` of PortAudio, if it is one; the process ends then;
* `L`: JSON, the list of devices.

Usage: capture.py '{"device": "…", "channels": 2, "rate_hz": 0}' or capture.py '{"list": true}'
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from threading import Event
from typing import Any

HEADER = struct.Struct("!cdI")
PULSE = "pulse:"
BLOCK_S = 0.02
INVALID_CHANNELS = -9998
# More than this is not kept for a reader that is stuck; what is dropped shows as a shortfall of samples.
MOST_WAITING_S = 20
_PATIENCE_S = 3.0
_PR_SET_PDEATHSIG = 1
_SOUND_CLASS = Path("/sys/class/sound")


def main(arguments: list[str]) -> None:
    """Do what the parent asks; never returns."""
    wanted = json.loads(arguments[0])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a hung child must not outlive its parent
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    # ALSA's libraries complain on standard error about everything they don't find.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = 1
    try:
        if wanted.get("list"):
            write(out, b"L", json.dumps(devices()).encode())
        else:
            capture(out, wanted["device"], wanted["channels"], wanted["rate_hz"])
        code = 0
    except BrokenPipeError:
        pass
    except Exception as error:
        what, number = str(error), None
        if type(error).__name__ == "PortAudioError" and len(error.args) > 1:
            what, number = str(error.args[0]), error.args[1]
        told = {"what": what or type(error).__name__, "code": number}
        with contextlib.suppress(OSError):
            write(out, b"E", json.dumps(told).encode())
    os._exit(code)  # the libraries' own farewell hangs where the server is stalled


def write(out: Any, kind: bytes, body: bytes, at: float | None = None) -> None:
    """Write one record."""
    out.write(HEADER.pack(kind, time.monotonic() if at is None else at, len(body)) + body)


def capture(out: Any, device: str, channels: int, rate_hz: int) -> None:
    """Deliver a device until it fails.

    Raises:
        LookupError: there is no such device.
        Exception: PortAudio can't open it.
    """
    counts: list[int] = []
    if device.startswith(PULSE):
        os.environ["PULSE_SOURCE"] = device.removeprefix(PULSE)
        native = {each["id"]: each for each in pulse_sources()}.get(device)
        if native is None and pulse_answers():
            raise LookupError(f"the sound server has no source {device.removeprefix(PULSE)}")
        if native is not None:
            # As many as it has, for the server would mix them otherwise.
            rate_hz, counts = rate_hz or native["rate_hz"], [native["channels"]]
        device, name = "pulse", device
    else:
        name = ""
    import sounddevice

    number, info = find(sounddevice, device)
    rate_hz = rate_hz or int(info["default_samplerate"])
    # Some devices have only one number of channels, all of them.
    counts = [count for count in counts or [channels, info["max_input_channels"]] if count >= channels]
    if not counts:
        raise LookupError(f"it has fewer than {channels} channels; see `channels` and `speakers`")
    most = MOST_WAITING_S * rate_hz * counts[-1] * 2
    waiting: deque[tuple[float, bytes]] = deque()
    held = 0
    fresh, over = Event(), Event()

    def take(data: Any, frames: int, stamps: Any, status: Any) -> None:
        nonlocal held
        now = time.monotonic()
        ago = stamps.currentTime - stamps.inputBufferAdcTime
        if not 0 <= ago < 5:  # some drivers tell no time
            ago = frames / rate_hz
        if held < most:
            held += len(data)
            waiting.append((now - ago, bytes(data)))
            fresh.set()

    def finished() -> None:
        over.set()
        fresh.set()

    for channels in counts:
        try:
            stream = sounddevice.RawInputStream(
                device=number,
                channels=channels,
                samplerate=rate_hz,
                dtype="int16",
                blocksize=round(rate_hz * BLOCK_S),
                latency="high",
                callback=take,
                finished_callback=finished,
            )
            break
        except sounddevice.PortAudioError as error:
            if channels == counts[-1] or error.args[1:2] != (INVALID_CHANNELS,):
                raise
    write(out, b"F", json.dumps({"rate_hz": rate_hz, "channels": channels, "name": name or info["name"]}).encode())
    stream.start()
    while True:
        if not fresh.wait(0.5):
            write(out, b"H", b"")
        fresh.clear()
        while waiting:
            at, data = waiting.popleft()
            held -= len(data)
            write(out, b"A", data, at)
        if over.is_set() or not stream.active:
            raise LookupError("the device is gone")


def find(sounddevice: Any, wanted: str) -> tuple[int, dict[str, Any]]:
    """Return PortAudio's number and description of a device.

    Raises:
        LookupError: no device is meant, or several are.
    """
    every = [each for each in sounddevice.query_devices() if each["max_input_channels"] > 0]
    if not every:
        raise LookupError("this machine has no sound device that records")
    if not wanted:
        number = sounddevice.default.device[0]
        return number, sounddevice.query_devices(number if number >= 0 else every[0]["index"])
    ids = dict(zip(identify([each["name"] for each in every]), every, strict=True))
    for match in (
        [each for id_, each in ids.items() if id_ == wanted],
        [each for each in every if each["name"] == wanted],
        [each for each in every if wanted.lower() in each["name"].lower()],
    ):
        if len(match) == 1:
            return match[0]["index"], match[0]
        if match:
            named = ", ".join(id_ for id_, each in ids.items() if each in match)
            raise LookupError(f"several devices are named {wanted}: use one of the ids {named}")
    raise LookupError(f"there is no device {wanted}; there are " + ", ".join(ids))


def identify(names: list[str], sound_class: Path = _SOUND_CLASS) -> list[str]:
    """Give each device an id that stays when others come and go, and that tells two of the same make apart.

    A card is known by the socket it is plugged into: `usb:1-2,0` is device 0 of the card at port 2 of bus 1. What is no
    card keeps its name. What still has the same id is numbered in order.
    """
    ids: list[str] = []
    for name in names:
        card = re.search(r"\(hw:(\d+),(\d+)\)$", name)
        socket = _socket(sound_class / f"card{card[1]}" / "device") if card else None
        base = f"{socket},{card[2]}" if card and socket else re.sub(r"\s*\(hw:\d+,\d+\)$", "", name)
        seen = sum(id_ == base or id_.startswith(f"{base}#") for id_ in ids)
        ids.append(f"{base}#{seen + 1}" if seen else base)
    return ids


def _socket(device: Path) -> str | None:
    """Return where a card is plugged in, from the path of its device in sysfs."""
    try:
        parts = device.resolve(strict=True).parts
    except OSError:
        return None
    for part in reversed(parts):
        if usb := re.fullmatch(r"(\d+-[\d.]+)(?::[\d.]+)?", part):
            return f"usb:{usb[1]}"
        if re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d", part):
            return f"pci:{part}"
    return f"card:{parts[-1]}"


def devices() -> list[dict[str, Any]]:
    """List what can be recorded from: the sources of a sound server, then PortAudio's devices."""
    import sounddevice

    every = [each for each in sounddevice.query_devices() if each["max_input_channels"] > 0]
    default = sounddevice.default.device[0]
    return pulse_sources() + [
        {
            "id": id_,
            "name": each["name"],
            "channels": each["max_input_channels"],
            "rate_hz": int(each["default_samplerate"]),
            "default": each["index"] == default,
        }
        for id_, each in zip(identify([one["name"] for one in every]), every, strict=True)
    ]


def pulse_answers() -> bool:
    """Say whether a PulseAudio (or PipeWire) server answers."""
    return _pactl("info") is not None


def pulse_sources() -> list[dict[str, Any]]:
    """List the sources of a PulseAudio (or PipeWire) server, with the format they really have; [] without one."""
    found = []
    for line in (_pactl("list", "sources", "short") or "").splitlines():
        columns = line.split("\t")
        shape = re.search(r"(\d+)ch (\d+)Hz", line)
        if len(columns) >= 4 and shape:
            source = {"id": PULSE + columns[1], "name": columns[1]}
            found.append({**source, "channels": int(shape[1]), "rate_hz": int(shape[2]), "default": False})
    return found


def _pactl(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ["pactl", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    main(sys.argv[1:])

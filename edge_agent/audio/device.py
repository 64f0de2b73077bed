"""Sound devices as calls: one device with a party on each channel, or a microphone and a line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.audio.board import Board
from edge_agent.audio.capture import HEADER
from edge_agent.audio.live import LiveSource
from edge_agent.audio.track import STALL_S, Track
from edge_agent.errors import AudioError
from edge_agent.types import SAMPLE_RATE_HZ, SAMPLES_PER_MS, Chunk, Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_agent.errors import EdgeError
    from edge_agent.types import Call, Samples, Speaker

log = logging.getLogger(__name__)

_TICK_S = 0.04
# What was heard before a call is noticed belongs to it.
_BEFORE_S = 2
# Speech for this many windows of 32 ms begins a call: a cough or a click does not.
_VOICED_WINDOWS = 6
_VOICE, _NO_VOICE = 0.5, 0.35
_LISTING_S = 15.0


class VoiceJudge(Protocol):
    """Tells speech from other sound, carried along one channel."""

    def feed(self, samples: Samples) -> Samples:
        """Take float32 samples of shape (n,) at 16 kHz; return a probability of speech for each window completed."""


class DeviceIntake:
    """Captures one or two sound devices and announces calls; an `Intake`.

    A device may be missing, busy, unplugged or stalled: it is tried again for ever, and what was not heard meanwhile
    is a gap of the call. With `voice` a call begins with speech and ends when nobody has spoken for `quiet_s`; without,
    there is always one, and after `longest_call_s` the next.

    Args:
        name: of the source.
        devices: id or name of one or two devices, as `edge-agent devices` lists them; empty: the system's default.
        speakers: who speaks on each channel; of two devices, on the first channel of each.
        channels: which channels of one device are heard, from 1; empty: the first ones.
        rate_hz: sampling rate; 0: the device's own.
        judge: makes a judge of speech; None: there is always a call.
    """

    def __init__(
        self,
        name: str,
        devices: Sequence[str],
        *,
        speakers: Sequence[Speaker],
        channels: Sequence[int] = (),
        rate_hz: int = 0,
        judge: Callable[[], VoiceJudge] | None = None,
        quiet_s: float = 30.0,
        longest_call_s: float = 14_400.0,
        customer_id: str | None = None,
    ) -> None:
        self.name = name
        count = len(speakers)
        self._began_at = time.monotonic()
        self._board = Board(count)
        if len(devices) == 1:
            plan = [(devices[0], [channel - 1 for channel in channels] or list(range(count)), list(range(count)))]
        else:
            plan = [(device, [0], [row]) for row, device in enumerate(devices)]
        self.tracks = [
            Track(device, picks, rows, rate_hz, self._board, self._began_at, steady=len(devices) > 1)
            for device, picks, rows in plan
        ]
        self._calls = _Calls(name, speakers, customer_id, judge, quiet_s, longest_call_s)
        self._stopping = threading.Event()

    def __iter__(self) -> Iterator[LiveSource]:
        """Announce calls until `close`."""
        try:
            while not self._stopping.is_set():
                now = time.monotonic()
                for track in self.tracks:
                    track.step(now)
                until = self._until(now)
                if chunk := self._board.take(until - until % SAMPLES_PER_MS):
                    if source := self._calls.feed(chunk, here=any(track.end is not None for track in self.tracks)):
                        log.info("source %s: call %s begins", self.name, source.call.id)
                        yield source
                    self._tell()
                self._stopping.wait(_TICK_S)
        finally:
            for track in self.tracks:
                track.close()
            if chunk := self._board.take(self._board.last):
                self._calls.feed(chunk)
            self._tell(last=True)
            self._calls.end("stopped")

    def settled(self, call: Call, reason: str, error: EdgeError | None) -> None:
        """Nothing is remembered of a call."""

    def status(self) -> dict[str, Any]:
        """Say how it goes, and for each device its format, its loudest sample of the last moment, and its trouble."""
        troubles = [track.trouble for track in self.tracks if track.trouble]
        return {
            "name": self.name,
            "kind": "device",
            "ok": not troubles,
            "state": "; ".join(troubles) or "; ".join(track.format for track in self.tracks),
            "calls": int(self._calls.running),
            "devices": [
                {
                    "device": track.device,
                    "format": track.format,
                    "trouble": track.trouble,
                    "peak_dbfs": track.peak_dbfs,
                    "missing_ms": track.missing_ms,
                }
                for track in self.tracks
            ],
        }

    def close(self) -> None:
        """Let go of the devices and end the call."""
        self._stopping.set()

    def _until(self, now: float) -> int:
        """Return up to where all devices that are there have delivered; without any, the clock goes on."""
        ends = [track.end for track in self.tracks]
        here = [end for end in ends if end is not None]
        if here:
            return min(here)
        return round((now - self._began_at - STALL_S) * SAMPLE_RATE_HZ)

    def _tell(self, *, last: bool = False) -> None:
        """Pass on the gaps that lie in what was delivered; at the end also that of a device that did not come back."""
        for row, track in enumerate(self.tracks):
            channel = row if len(self.tracks) > 1 else None
            while track.gaps and track.gaps[0][1] <= self._board.position:
                self._calls.gap(*track.gaps.popleft(), channel)
            if (last or self._calls.ending) and (lost := track.lost(self._board.position)):
                self._calls.gap(*lost, channel)
        if self._calls.ending:
            self._calls.end(self._calls.ending)


class _Calls:
    """Divides what a device delivers for days into calls."""

    def __init__(
        self,
        name: str,
        speakers: Sequence[Speaker],
        customer_id: str | None,
        judge: Callable[[], VoiceJudge] | None,
        quiet_s: float,
        longest_s: float,
    ) -> None:
        self._name, self._speakers, self._customer_id = name, speakers, customer_id
        self._judges = [judge() for _ in speakers] if judge else []
        self._voiced = [0] * len(speakers)
        self._quiet_s, self._longest_s = quiet_s, longest_s
        self._before: deque[Chunk] = deque()
        self._source: LiveSource | None = None
        self._start = 0
        self._voice_at = 0
        self.ending = ""
        """Why the call is to be ended, once its gaps are told."""

    @property
    def running(self) -> bool:
        """Whether a call is heard now."""
        return self._source is not None

    def feed(self, chunk: Chunk, *, here: bool = True) -> LiveSource | None:
        """Take what comes next; returns the source of a call that begins, which it only does if a device is here."""
        end = chunk.start + chunk.samples.shape[1]
        begins = self._judge(chunk, end) and here
        if self._source is not None:
            self._source.put(Chunk(chunk.start - self._start, chunk.samples))
            if self._judges and end - self._voice_at > self._quiet_s * SAMPLE_RATE_HZ:
                self.ending = f"quiet for {self._quiet_s:g} s"
            elif end - self._start > self._longest_s * SAMPLE_RATE_HZ:
                self.ending = "the longest time for a call"
            return None
        self._before.append(chunk)
        while self._before[0].start + self._before[0].samples.shape[1] < end - _BEFORE_S * SAMPLE_RATE_HZ:
            self._before.popleft()
        if not begins:
            if not self._judges:
                self._before.clear()
            return None
        self._source = LiveSource(self._name, self._speakers, customer_id=self._customer_id)
        self._start = self._before[0].start
        self._voice_at = end
        while self._before:
            piece = self._before.popleft()
            self._source.put(Chunk(piece.start - self._start, piece.samples))
        return self._source

    def gap(self, start: int, end: int, reason: str, channel: int | None) -> None:
        """Tell the call of audio that was not heard; positions are those of `feed`."""
        if self._source is not None and end > max(start, self._start):
            start_ms, end_ms = max(0, start - self._start) // SAMPLES_PER_MS, (end - self._start) // SAMPLES_PER_MS
            self._source.put(Gap(start_ms, max(end_ms, start_ms + 1), reason, channel))

    def end(self, reason: str) -> None:
        """End the call, if one runs."""
        if self._source is not None:
            log.info("source %s: call %s ends: %s", self._name, self._source.call.id, reason)
            self._source.end(reason)
        self._source = None
        self.ending = ""

    def _judge(self, chunk: Chunk, end: int) -> bool:
        """Note where somebody spoke; returns whether that begins a call."""
        if not self._judges:
            return True
        for row, judge in enumerate(self._judges):
            for probability in judge.feed(chunk.samples[row]).tolist():
                if probability >= _VOICE:
                    self._voiced[row] += 1
                    self._voice_at = end
                elif probability < _NO_VOICE:
                    self._voiced[row] = 0
        return max(self._voiced) >= _VOICED_WINDOWS


def list_devices() -> list[dict[str, Any]]:
    """List what can be recorded from: `id`, `name`, `channels`, `rate_hz`, `default`.

    Raises:
        AudioError: the sound system fails or does not answer.
    """
    command = [sys.executable, "-P", str(Path(__file__).with_name("capture.py")), json.dumps({"list": True})]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LISTING_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AudioError(
            "the sound server does not answer", where="sound", remedy="restart it, or the machine; see its own log"
        ) from error
    if len(done.stdout) >= HEADER.size:
        kind, _, length = HEADER.unpack_from(done.stdout)
        body = json.loads(done.stdout[HEADER.size : HEADER.size + length])
        if kind == b"L":
            found: list[dict[str, Any]] = body
            return found
        raise AudioError(
            f"sound devices can't be listed: {body['what']}",
            where="sound",
            remedy="install PortAudio: `apt install libportaudio2`, and libasound2-plugins where a sound server runs",
        )
    raise AudioError(f"listing sound devices failed with exit code {done.returncode}", where="sound")

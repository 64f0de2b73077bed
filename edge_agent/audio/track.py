"""One sound device on the mixing desk, through all its comings and goings."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.audio.capture import HEADER
from edge_agent.audio.resample import Resampler
from edge_agent.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.audio.board import Board
    from edge_agent.types import Samples

log = logging.getLogger(__name__)

# A device that delivers nothing for this long is stalled: its process is ended, and another one tries.
STALL_S = 2.0
OPENING_S = 15.0
_PAUSES_S = (0.5, 1.0, 2.0, 5.0)
# Samples that fall behind the clock by more than this are lost, not late; and how long late ones may take to come.
_SHORTFALL = SAMPLE_RATE_HZ // 10
_WINDOW_S = 2.0
_LEAST_STAMPS = 20
_LOOK_S = 0.1
# Two devices drift apart by their clocks; beyond this the second is moved.
_APART = SAMPLE_RATE_HZ * 3 // 100
# No crystal is further off than this; what is slower than it is drift.
_FASTEST_DRIFT = 1e-3
_SILENCE_DBFS = -99.0

_WORDS = {
    -9985: "it is busy: another program holds it",
    -9996: "there is no such device any more",
    -9997: "it does not offer this sampling rate; see `rate_hz`",
    -9998: "it has fewer channels than are asked for; see `channels` and `speakers`",
    -9999: "the sound system failed",
}


def words(told: dict[str, Any]) -> str:
    """Say in words what a capturing process told of its failure."""
    return str(_WORDS.get(told["code"], told["what"]))


class Child:
    """The process that holds a device: started, read without blocking, and ended by force."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", str(Path(__file__).with_name("capture.py")), json.dumps(wanted)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._rest = bytearray()
        self.ended = False
        """Whether its output is at an end."""

    @property
    def pid(self) -> int:
        """The process, for tests and logs."""
        return self._process.pid

    def records(self) -> Iterator[tuple[bytes, float, bytes]]:
        """Yield the records (see `edge_agent.audio.capture`) that have come."""
        while True:
            try:
                piece = os.read(self._pipe.fileno(), 1 << 18)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            if not piece:
                self.ended = True
                break
            self._rest += piece
        at = 0
        while at + HEADER.size <= len(self._rest):
            kind, stamp, length = HEADER.unpack_from(self._rest, at)
            if at + HEADER.size + length > len(self._rest):
                break
            yield kind, stamp, bytes(self._rest[at + HEADER.size : at + HEADER.size + length])
            at += HEADER.size + length
        del self._rest[:at]

    def kill(self) -> None:
        """End it, whatever it hangs in."""
        self._process.kill()
        self._pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:  # it hangs in the kernel; init reaps it in the end
            log.warning("process %d, which held a sound device, can't be ended", self._process.pid)


class Shortfall:
    """Counts samples against the clock: what a slow reader or a full buffer lost shows in no flag.

    For each block it is told by how much the clock is ahead of the samples. That is steady but for jitter, for bursts
    after a delay, and for the slow drift of the device's crystal; a step that stays is audio that was lost.
    """

    def __init__(self) -> None:
        self._stamps: deque[tuple[float, float]] = deque()
        self._base: float | None = None
        self._looked_at = 0.0
        self.drift = 0.0
        """How far the samples have moved against the clock by drift, in samples at 16 kHz."""

    def missing(self, at: float, ahead: float) -> int:
        """Take a block's time in seconds and by how much the clock is ahead; return what was lost, in samples."""
        self._stamps.append((at, ahead))
        while self._stamps[0][0] < at - _WINDOW_S:
            self._stamps.popleft()
        since = at - self._looked_at
        if since < _LOOK_S or len(self._stamps) < _LEAST_STAMPS or at - self._stamps[0][0] < _WINDOW_S * 0.9:
            return 0
        self._looked_at = at
        # Bursts only ever make the clock seem further ahead, so a low quantile tells where it really is.
        low = float(np.quantile([ahead for _, ahead in self._stamps], 0.25, method="lower"))
        if self._base is None:
            self._base = low
            return 0
        if low - self._base > _SHORTFALL:
            self._stamps.clear()
            return round(low - self._base)
        step = _FASTEST_DRIFT * SAMPLE_RATE_HZ * min(since, _WINDOW_S)
        moved = min(max(low - self._base, -step), step)
        self._base += moved
        self.drift += moved
        return 0

    def moved(self, samples: float) -> None:
        """Hear that the samples were moved by as many on purpose."""
        if self._base is not None:
            self._base -= samples
        self._stamps = deque((at, ahead - samples) for at, ahead in self._stamps)
        self.drift -= samples


class Track:
    """Writes channels of one device to rows of the board, placed by the time at which they were at the converter.

    Args:
        device: id or name, as `capture.find` understands it.
        picks: which of the device's channels are heard, from 0.
        rows: where they go on the board.
        rate_hz: sampling rate to ask for; 0 is the device's own.
        began_at: monotonic time of the board's first sample, in seconds.
        steady: move the samples where the clocks of two devices drift apart.
    """

    def __init__(
        self,
        device: str,
        picks: Sequence[int],
        rows: Sequence[int],
        rate_hz: int,
        board: Board,
        began_at: float,
        *,
        steady: bool,
    ) -> None:
        self.device = device
        self.gaps: deque[tuple[int, int, str]] = deque()
        """What was not heard: start and end in samples at 16 kHz, and why."""
        self.trouble = "it is being opened"
        self.format = ""
        self.peak_dbfs = _SILENCE_DBFS
        self.missing_ms = 0
        self._picks, self._rows, self._rate_hz = list(picks), list(rows), rate_hz
        self._board, self._began_at, self._steady = board, began_at, steady
        self._child: Child | None = None
        self._retry_at = 0.0
        self._failures = 0
        self._deadline = 0.0
        self._here_hz = 0
        self._channels = 0
        self._resampler: Resampler | None = None
        self._shortfall = Shortfall()
        self._origin = 0
        self._lost: tuple[int, str] | None = None

    @property
    def child(self) -> Child | None:
        """The process that holds the device now."""
        return self._child

    @property
    def end(self) -> int | None:
        """Where the next sample goes; None while the device is away."""
        return self._board.end(self._rows[0]) if self._resampler is not None else None

    def step(self, now: float) -> None:
        """Start, read, or give up the process, as it is due."""
        if self._child is None:
            if now >= self._retry_at:
                self._start(now)
            return
        for kind, at, body in self._child.records():
            if kind == b"A" and self._channels:
                self._hear(at, body)
                self._deadline = now + STALL_S
                self._failures = 0
                self.trouble = ""
            elif kind == b"F":
                told = json.loads(body)
                self._here_hz, self._channels = told["rate_hz"], told["channels"]
                self.format = f"{told['name']}, {self._channels} channels, {self._here_hz} Hz"
                self._deadline = now + STALL_S
            elif kind == b"E":
                self._fail(words(json.loads(body)), now)
                return
        if self._child.ended:
            self._fail("the process that holds the device died", now)
        elif now > self._deadline:
            self._fail("the sound server or the device stands still", now)

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def lost(self, until: int) -> tuple[int, int, str] | None:
        """Return what has not been heard up to here because the device is away."""
        return (self._lost[0], until, self._lost[1]) if self._lost is not None else None

    def _start(self, now: float) -> None:
        self._channels = 0
        self._deadline = now + OPENING_S
        try:
            self._child = Child({"device": self.device, "channels": max(self._picks) + 1, "rate_hz": self._rate_hz})
        except OSError as error:  # no memory, or no processes left
            self._fail(f"no process can be started for it: {error.strerror or error}", now)

    def _fail(self, why: str, now: float) -> None:
        if why != self.trouble:
            log.warning("sound device %s: %s; it is tried again", self.device or "(default)", why)
        self.trouble = why
        self.close()
        self._retry_at = now + _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        self._failures += 1
        if self._resampler is not None:
            self._write(self._resampler.flush(), self._resampler)
            self._lost = self._board.end(self._rows[0]), why
            self._resampler = None
            self.peak_dbfs = _SILENCE_DBFS

    def _hear(self, at: float, body: bytes) -> None:
        whole = len(body) - len(body) % (2 * self._channels)
        samples = np.frombuffer(body[:whole], np.int16).reshape(-1, self._channels)[:, self._picks]
        block = samples.astype(np.float32) / np.float32(32768)
        peak = float(np.abs(block).max(initial=0.0))
        self.peak_dbfs = round(20 * float(np.log10(peak)), 1) if peak > 1e-5 else _SILENCE_DBFS
        where = (at - self._began_at) * SAMPLE_RATE_HZ
        resampler = self._resampler
        if resampler is None:
            resampler = self._resampler = Resampler(len(self._rows))
            self._shortfall = Shortfall()
            self._origin = max(self._board.end(self._rows[0]), round(where))
            if self._lost is not None:
                self.gaps.append((self._lost[0], self._origin, self._lost[1]))
                self._lost = None
        missing = self._shortfall.missing(at, where - self._origin - resampler.due)
        if missing:
            start = self._origin + resampler.due
            self._silence(missing, resampler)
            self.gaps.append((start, self._origin + resampler.due, "samples were lost"))
            self.missing_ms += missing * 1000 // SAMPLE_RATE_HZ
        elif self._steady and abs(self._shortfall.drift) > _APART:
            moved = round(self._shortfall.drift)
            self._origin += moved
            self._shortfall.moved(moved)
        self._write(resampler.feed(block, self._here_hz), resampler)

    def _silence(self, missing: int, resampler: Resampler) -> None:
        count = round(missing * self._here_hz / SAMPLE_RATE_HZ)
        self._write(resampler.feed(np.zeros((count, len(self._rows)), np.float32), self._here_hz), resampler)

    def _write(self, out: Samples, resampler: Resampler) -> None:
        start = self._origin + resampler.position - out.shape[1]
        for row, samples in zip(self._rows, out, strict=True):
            self._board.write(row, start, samples)

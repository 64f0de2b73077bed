"""What the tests use as a telephone system: streams of RTP packets, and a listener that notes what a call delivers."""

from __future__ import annotations

import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.types import Chunk, End, Gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.audio import Intake, Source
    from edge_agent.types import Call, Samples


def needs(command: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where a program of Debian's is not installed."""
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"{command} is not installed")


needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None or not any(Path("/usr").glob("lib/*/gstreamer-1.0/libgstrtp.so")),
    reason="GStreamer with its RTP plugins is not installed",
)


class Stream:
    """One party's stream: `packets` cuts a payload, one byte or two a sample, into packets of 20 ms."""

    def __init__(self, ssrc: int, kind: int = 0, *, sequence: int = 65_530, stamp: int = 4_294_967_000) -> None:
        self.ssrc, self.kind, self.sequence, self.stamp = ssrc, kind, sequence, stamp

    def packets(self, payload: bytes, *, size: int = 160, count: int = 160) -> list[bytes]:
        """Cut a payload into packets of `size` bytes that stand for `count` samples."""
        return [self.packet(payload[at : at + size], count) for at in range(0, len(payload), size)]

    def packet(self, payload: bytes, count: int = 160) -> bytes:
        head = struct.pack("!BBHII", 0x80, self.kind, self.sequence & 0xFFFF, self.stamp & 0xFFFFFFFF, self.ssrc)
        self.sequence += 1
        self.stamp += count
        return head + payload


class Heard:
    """All that one source delivers, taken in a thread of its own."""

    def __init__(self, source: Source) -> None:
        self.call: Call = source.call
        self.items: list[Chunk | Gap | End] = []
        self._thread = threading.Thread(target=self._run, args=(source,), daemon=True)
        self._thread.start()

    def _run(self, source: Source) -> None:
        self.items.extend(source)

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the call did not end"

    @property
    def samples(self) -> Samples:
        """The call's audio on its timeline, zeros where nothing was heard; what does not follow fails."""
        pieces: list[Samples] = []
        at = 0
        for item in self.items:
            if isinstance(item, Chunk):
                rows, count = item.samples.shape
                assert item.start >= at
                pieces += [np.zeros((rows, item.start - at), np.float32), item.samples]
                at = item.start + count
        return np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def reason(self) -> str:
        last = self.items[-1]
        assert isinstance(last, End)
        return last.reason


class Desk:
    """Takes every call that an intake announces."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.calls: list[Heard] = []
        self._new = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for source in self.intake:
            with self._new:
                self.calls.append(Heard(source))
                self._new.notify_all()

    def wait(self, count: int, patience_s: float = 20) -> list[Heard]:
        """Return the first calls once so many have begun."""
        with self._new:
            assert self._new.wait_for(lambda: len(self.calls) >= count, patience_s), "no call began"
        return self.calls[:count]

    def close(self) -> None:
        self.intake.close()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the intake did not end"


def free_ports(count: int = 1) -> int:
    """Return an even UDP port above which, with its neighbours for RTCP, so many even ones are free."""
    for port in range(20_000, 40_000, 2 * count):
        probes: list[socket.socket] = []
        try:
            for at in range(port, port + 2 * count):
                probes.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probes[-1].bind(("127.0.0.1", at))
            return port
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


def send(port: int, datagrams: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", port))


def closing(intake: Intake) -> Iterator[Desk]:
    desk = Desk(intake)
    try:
        yield desk
    finally:
        desk.close()

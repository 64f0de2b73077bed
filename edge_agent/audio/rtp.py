"""A telephone system's fork as calls: RTP streams in, one or two for each call, told apart by port or by SSRC."""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_agent.audio.board import Board
from edge_agent.audio.leg import Counts, Leg
from edge_agent.audio.live import LiveSource
from edge_agent.audio.packets import QUIET, STATIC, Codec, Packet, goodbyes, is_rtcp, parse, payload_type
from edge_agent.errors import AudioError
from edge_agent.types import SAMPLE_RATE_HZ, SAMPLES_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge_agent.errors import EdgeError
    from edge_agent.types import Call, Speaker

__all__ = ["RtpIntake", "payload_type"]

log = logging.getLogger(__name__)

_TICK_S = 0.06
# A leg that has been silent for this long no longer holds up the other.
_PATIENCE_S = 0.25
# A stream counts once two packets in sequence have come (RFC 3550, A.1): what looks like RTP by chance does not.
_PROBATION_S = 1.0
_MOST_CANDIDATES = 16
_RECEIVE_BUFFER = 1 << 20
_LARGEST = 65_536
_BURST = 256


class RtpIntake:
    """Listens on even UDP ports from `port` on and announces a call when packets come; an `Intake`.

    With `own_ports` line k (from 0) of n speakers hears leg i on port + 2 · (n · k + i); otherwise all legs of line k
    come to port + 2 · k and are told apart by their SSRC: the first that is heard is the first speaker. The odd port
    above each takes RTCP, of which only a goodbye is heeded. A call ends with a goodbye of all its streams, or
    `hangup_s` after the last packet.

    Raises:
        AudioError: an address or a port can't be used.
    """

    def __init__(
        self,
        name: str,
        *,
        bind: str,
        port: int,
        speakers: Sequence[Speaker],
        lines: int = 1,
        own_ports: bool = True,
        payloads: Mapping[int, Codec] | None = None,
        reorder_ms: int = 80,
        hangup_s: float = 5.0,
        senders: Sequence[str] = (),
        customer_id: str | None = None,
    ) -> None:
        self.name = name
        self._codecs = {**STATIC, **(payloads or {})}
        self._senders = frozenset(senders)
        self._garbage = 0
        self._unknown: dict[int, int] = {}
        self._stopping = threading.Event()
        self._lines = [
            _Line(name, speakers, self._codecs, reorder_ms / 1000, hangup_s, customer_id) for _ in range(lines)
        ]
        self._selector = selectors.DefaultSelector()
        ports = len(speakers) if own_ports else 1
        try:
            for number, line in enumerate(self._lines):
                for leg in range(ports):
                    at = port + 2 * (number * ports + leg)
                    legs = (leg,) if own_ports else tuple(range(len(speakers)))
                    for offset in (0, 1):
                        self._selector.register(_listen(bind, at + offset), selectors.EVENT_READ, (line, legs))
        except AudioError:
            self._release()
            raise
        self._state = f"listens on UDP {bind}:{port}" + (f" to {at}" if at > port else "")

    def __iter__(self) -> Iterator[LiveSource]:
        """Announce calls until `close`."""
        ticked = 0.0
        try:
            while not self._stopping.is_set():
                for key, _ in self._selector.select(_TICK_S):
                    line, legs = key.data
                    for source in self._read(key.fileobj, line, legs):  # type: ignore[arg-type]
                        log.info("source %s: call %s begins", self.name, source.call.id)
                        yield source
                now = time.monotonic()
                if now - ticked >= _TICK_S:
                    ticked = now
                    for line in self._lines:
                        line.tick(now)
        finally:
            for line in self._lines:
                line.end("stopped")
            self._release()

    def settled(self, call: Call, reason: str, error: EdgeError | None) -> None:
        """Nothing is remembered of a call."""

    def status(self) -> dict[str, Any]:
        """Say how it goes: calls, packets since the start, and what was no RTP."""
        total = Counts()
        for line in self._lines:
            line.add_to(total)
        return {
            "name": self.name,
            "kind": "rtp",
            "ok": not self._unknown,
            "state": self._state
            + "".join(f"; payload type {kind} is not understood" for kind in sorted(self._unknown)),
            "calls": sum(line.source is not None for line in self._lines),
            "packets": {**asdict(total), "garbage": self._garbage},
        }

    def close(self) -> None:
        """Stop listening and end the calls."""
        self._stopping.set()

    def _read(self, port: socket.socket, line: _Line, legs: tuple[int, ...]) -> Iterator[LiveSource]:
        """Take what has come to a port; yields the source of a call that this begins."""
        for _ in range(_BURST):
            try:
                datagram, sender = port.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP answer to nothing that we sent
            now = time.monotonic()
            packet = None if self._senders and sender[0] not in self._senders else parse(datagram)
            if packet is None:
                if is_rtcp(datagram):
                    line.goodbye(goodbyes(datagram))
                else:
                    self._garbage += 1
            elif packet.payload_type not in self._codecs and not line.knows(packet.ssrc):
                # Nothing of such a stream could be heard, so it begins no call.
                if packet.payload_type not in QUIET:
                    self._refuse(packet)
            elif source := line.packet(packet, legs, now):
                yield source

    def _refuse(self, packet: Packet) -> None:
        kind = packet.payload_type
        if kind not in self._unknown:
            if len(self._unknown) >= _MOST_CANDIDATES:
                self._garbage += 1
                return
            log.warning(
                "source %s: payload type %d is not understood; have the telephone system send G.711, or name it in"
                " `payloads`",
                self.name,
                kind,
            )
        self._unknown[kind] = self._unknown.get(kind, 0) + 1

    def _release(self) -> None:
        for key in list((self._selector.get_map() or {}).values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


class _Line:
    """Room for one call at a time."""

    def __init__(
        self,
        name: str,
        speakers: Sequence[Speaker],
        codecs: Mapping[int, Codec],
        reorder_s: float,
        hangup_s: float,
        customer_id: str | None,
    ) -> None:
        self.source: LiveSource | None = None
        self._name, self._speakers, self._customer_id = name, speakers, customer_id
        self._codecs, self._reorder_s, self._hangup_s = codecs, reorder_s, hangup_s
        self._board = Board(len(speakers))
        self._legs: list[Leg] = []
        self._candidates: dict[int, deque[tuple[float, Packet]]] = {}
        self._left: set[int] = set()
        self._began_at = 0.0
        self._total = Counts()

    def knows(self, ssrc: int) -> bool:
        """Say whether this stream is heard."""
        return any(leg.ssrc == ssrc for leg in self._legs)

    def packet(self, packet: Packet, legs: tuple[int, ...], now: float) -> LiveSource | None:
        """Give a packet to its leg, one of `legs`; returns the source of a call that this begins."""
        for known in self._legs:
            if known.ssrc == packet.ssrc:
                known.packet(packet, now)
                return None
        held = self._hold(packet, now)
        if not held:
            return None
        begins = self.source is None
        if begins:
            self._begin(held[0][0])
        leg = self._place(legs, held[0][0])
        if leg is None:
            return None  # every leg is being heard: a stranger
        del self._candidates[packet.ssrc]
        leg.switch(packet.ssrc, held[0][0])
        self._left.discard(packet.ssrc)
        for arrival, each in held:
            leg.packet(each, arrival)
        return self.source if begins else None

    def _hold(self, packet: Packet, now: float) -> deque[tuple[float, Packet]] | None:
        """Put a stream that is new on probation; returns its packets once two in sequence have come."""
        self._candidates = {ssrc: held for ssrc, held in self._candidates.items() if now - held[-1][0] < _PROBATION_S}
        if packet.ssrc not in self._candidates and len(self._candidates) >= _MOST_CANDIDATES:
            return None
        held = self._candidates.setdefault(packet.ssrc, deque(maxlen=8))
        held.append((now, packet))
        numbers = {each.sequence for _, each in held}
        return held if any(number + 1 & 0xFFFF in numbers for number in numbers) else None

    def _place(self, legs: tuple[int, ...], since: float) -> Leg | None:
        """Choose the leg for a new stream: a free one, else the one that fell silent when it began."""
        for number in legs:
            if self._legs[number].ssrc is None:
                return self._legs[number]
        silent = [self._legs[number] for number in legs if self._legs[number].last_arrival <= since]
        return min(silent, key=lambda leg: leg.last_arrival, default=None)

    def _begin(self, now: float) -> None:
        self.source = LiveSource(self._name, self._speakers, customer_id=self._customer_id)
        self._began_at = now
        self._left = set()
        self._board = Board(len(self._speakers))
        self._legs = [
            Leg(channel, self._board, self._codecs, self._reorder_s, now) for channel in range(len(self._speakers))
        ]

    def goodbye(self, leaving: Sequence[int]) -> None:
        """End the call when all its streams have said goodbye."""
        if self.source is None or not leaving:
            return
        self._left.update(leaving)
        heard = {leg.ssrc for leg in self._legs if leg.ssrc is not None}
        if heard and heard <= self._left:
            self.end("hung up")

    def tick(self, now: float) -> None:
        """Pass on what is due."""
        if self.source is None:
            return
        for leg in self._legs:
            leg.advance(now)
            leg.write()
        heard = [leg for leg in self._legs if leg.ssrc is not None]
        if now - max(leg.last_arrival for leg in heard) >= self._hangup_s:
            self.end(f"no packets for {self._hangup_s:g} s")
            return
        behind_s = self._reorder_s + _PATIENCE_S
        sending: list[int] = []
        for channel, leg in enumerate(self._legs):
            if leg.ssrc is not None and now - leg.last_audio < behind_s:
                sending.append(self._board.end(channel))
            else:
                leg.rest()
        until = min(sending) if sending else round((now - self._began_at - behind_s) * SAMPLE_RATE_HZ)
        self._pass(until - until % SAMPLES_PER_MS)

    def end(self, reason: str) -> None:
        """End the call, if one runs, with all that was heard."""
        if self.source is None:
            return
        for leg in self._legs:
            leg.finish()
        self._pass(self._board.last, last=True)
        log.info("source %s: call %s ends: %s", self._name, self.source.call.id, reason)
        self.source.end(reason)
        self.source = None
        for leg in self._legs:
            _add(self._total, leg.counts)
        self._legs = []

    def add_to(self, total: Counts) -> None:
        """Add what came in since the start."""
        for counts in (self._total, *(leg.counts for leg in list(self._legs))):
            _add(total, counts)

    def _pass(self, until: int, *, last: bool = False) -> None:
        assert self.source is not None
        if chunk := self._board.take(until):
            self.source.put(chunk)
        for leg in self._legs:
            for gap in leg.gaps(last=last):
                self.source.put(gap)


def _add(total: Counts, more: Counts) -> None:
    for name, value in asdict(more).items():
        setattr(total, name, getattr(total, name) + value)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_DGRAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listening.setblocking(False)
        listening.bind((address, port))
    except (OSError, OverflowError) as error:
        listening.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise AudioError(
            "another program listens on this port" if taken else f"can't listen: {error}",
            where=f"udp {address}:{port}",
            remedy="choose another `port` for this source" if taken else "see `bind` and `port` of this source",
        ) from error
    return listening

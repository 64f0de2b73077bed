"""One leg of an RTP call: packets in any order become audio in order, and what was lost becomes silence."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.audio.packets import QUIET
from edge_agent.audio.resample import Resampler
from edge_agent.types import SAMPLE_RATE_HZ, SAMPLES_PER_MS, Gap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.audio.board import Board
    from edge_agent.audio.packets import Codec, Packet
    from edge_agent.types import Samples

# A jump of sequence numbers beyond these is a sender that began anew (RFC 3550, appendix A.1).
_MOST_DROPOUT, _MOST_MISORDER = 3000, 100
# A timestamp further ahead than this is no pause in talk but another count.
_LONGEST_PAUSE_S = 60
# Losses this close together are one gap event, up to this length: a bad line must not flood the store.
_TOGETHER = SAMPLE_RATE_HZ
_LONGEST_GAP = 10 * SAMPLE_RATE_HZ
_REMEMBERED = 512


@dataclass(slots=True)
class Counts:
    """What came in on a leg or a port, in packets."""

    received: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    other_payload: int = 0


@dataclass(slots=True)
class _Loss:
    start: int
    end: int
    lost: int
    reason: str


class Leg:
    """Reorders the packets of one party and writes its audio to a row of the board.

    A packet that is missing is waited for until the one after it has waited `reorder_s`; then its time, as the
    timestamps tell it, is silence, and `gaps` tells of it. Packets that come later than that are dropped. Where a
    sender stops sending while nobody talks, that is silence too, but no gap.

    Args:
        channel: the row of the board.
        board: the call's.
        codecs: what payload types stand for.
        reorder_s: patience for a packet.
        began_at: when the call began, in seconds of the monotonic clock, like every `now` here.
    """

    def __init__(
        self, channel: int, board: Board, codecs: Mapping[int, Codec], reorder_s: float, began_at: float
    ) -> None:
        self.ssrc: int | None = None
        self.last_arrival = self.last_audio = began_at
        self.counts = Counts()
        self._channel = channel
        self._board = board
        self._codecs = codecs
        self._reorder_s = reorder_s
        self._began_at = began_at
        self._losses: deque[_Loss] = deque()
        self._begin(began_at)

    def switch(self, ssrc: int, now: float) -> None:
        """Begin to hear a stream whose first packet came `now`; the one before is over."""
        self.finish()
        self.ssrc = ssrc
        self._begin(now)

    def _begin(self, now: float) -> None:
        # A stream stands where its first packet came; from there on its own timestamps count.
        self._origin = max(self._board.end(self._channel), round((now - self._began_at) * SAMPLE_RATE_HZ))
        self._stream_began_at = now
        self._resampler = Resampler(1)
        self._waiting: dict[int, tuple[float, Packet]] = {}
        self._delivered: deque[int] = deque(maxlen=_REMEMBERED)
        self._highest: int | None = None  # sequence numbers are counted on beyond 16 bits
        self._next: int | None = None
        self._next_stamp: int | None = None
        self._rate_hz = 0
        self._held: list[Samples] = []
        self._lost = 0
        self._foreign: int | None = None

    def packet(self, packet: Packet, now: float) -> None:
        """Take a packet of this leg's stream as it arrives."""
        self.last_arrival = now
        if packet.payload_type in self._codecs:
            self.last_audio = now
        self.counts.received += 1
        number = packet.sequence
        if self._highest is not None:
            step = (packet.sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
            if -_MOST_MISORDER <= step <= _MOST_DROPOUT:
                number = self._highest + step
            else:
                self.switch(packet.ssrc, now)
        self._highest = max(number, self._highest or number)
        if number in self._waiting:
            self.counts.duplicate += 1
        elif self._next is None or number >= self._next:
            self._waiting[number] = now, packet
        elif number in self._delivered:
            self.counts.duplicate += 1
        else:
            self.counts.late += 1
        self.advance(now)

    def advance(self, now: float) -> None:
        """Take what is due out of the waiting packets; `write` brings it to the board."""
        if self._next is None:
            # The first to arrive need not be the first that was sent.
            if not self._waiting or now - self._stream_began_at < self._reorder_s:
                return
            self._next = min(self._waiting)
        while self._waiting:
            if self._next not in self._waiting:
                if now - min(arrival for arrival, _ in self._waiting.values()) < self._reorder_s:
                    return
                self._lose()
            self._deliver()

    def finish(self) -> None:
        """Write all that waits: the stream is over."""
        while self._waiting:
            self._lose()
            self._deliver()
        self.rest()

    def rest(self) -> None:
        """Write what the filter still holds, because nothing comes for a while."""
        self.write()
        tail = self._resampler.flush()[0]
        self._board.write(self._channel, self._origin + self._resampler.position - len(tail), tail)

    def write(self) -> None:
        """Write what was delivered since the last time: a filter run over several packets costs as much as over one."""
        if self._held:
            held, self._held = np.concatenate(self._held), []
            self._write(held)

    def gaps(self, *, last: bool = False) -> list[Gap]:
        """Return the losses that lie within what was taken from the board; with `last` the call is over."""
        found: list[Gap] = []
        while self._losses and (loss := self._losses[0]).end <= self._board.position:
            may_grow = len(self._losses) == 1 and self._board.position - loss.end < _TOGETHER
            if may_grow and loss.end - loss.start < _LONGEST_GAP and not last:
                break
            self._losses.popleft()
            start_ms, end_ms = loss.start // SAMPLES_PER_MS, -(-loss.end // SAMPLES_PER_MS)
            found.append(Gap(start_ms, end_ms, f"{loss.reason} ({loss.lost // SAMPLES_PER_MS} ms)", self._channel))
        return found

    def _lose(self) -> None:
        """Give up what is missing before the next packet that waits."""
        first = min(self._waiting)
        self._lost = first - (first if self._next is None else self._next)
        self.counts.lost += self._lost
        self._next = first

    def _deliver(self) -> None:
        """Write the packet that is next."""
        assert self._next is not None
        _, packet = self._waiting.pop(self._next)
        self._delivered.append(self._next)
        self._next += 1
        codec = self._codecs.get(packet.payload_type)
        try:
            samples = codec.decode(packet.payload) if codec else None
        except ValueError:
            samples = None
        if codec is None or samples is None:
            if packet.payload_type not in QUIET:
                self.counts.other_payload += 1
                self._foreign = packet.payload_type
            return
        count, rate_hz = len(samples), codec.rate_hz
        if self._next_stamp is None or rate_hz != self._rate_hz:
            self.write()
            self._rate_hz, self._next_stamp = rate_hz, packet.timestamp
        ahead = (packet.timestamp - self._next_stamp + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        if 0 < ahead <= _LONGEST_PAUSE_S * rate_hz:
            self._silence(ahead)
        elif -count < ahead < 0:
            samples = samples[-ahead:]
        # Any other leap is the sender's clock: what comes now is heard after what came before.
        self._lost, self._foreign = 0, None
        self._next_stamp = packet.timestamp + count & 0xFFFF_FFFF
        self._held.append(samples)

    def _silence(self, count: int) -> None:
        """Write silence for `count` samples that did not come; a loss is told, a pause of the sender is not."""
        self.write()
        start = self._origin + self._resampler.due
        self._write(np.zeros(count, np.float32), silent=True)
        end = self._origin + self._resampler.due
        if self._foreign is not None:
            self._note(start, end, f"payload type {self._foreign} is not understood")
        elif self._lost:
            self._note(start, end, "packets lost")

    def _note(self, start: int, end: int, reason: str) -> None:
        last = self._losses[-1] if self._losses else None
        if last and last.reason == reason and start - last.end < _TOGETHER and end - last.start <= _LONGEST_GAP:
            last.end, last.lost = end, last.lost + end - start
        else:
            self._losses.append(_Loss(start, end, end - start, reason))

    def _write(self, samples: Samples, *, silent: bool = False) -> None:
        out = self._resampler.feed(samples[:, None], self._rate_hz)[0]
        start = self._origin + self._resampler.position - len(out)
        if start < (taken := self._board.position) and not silent:
            # It comes after its time was passed on; later is better than never.
            self._origin += taken - start
            start = taken
        self._board.write(self._channel, start, out)

"""RTP and RTCP packets (RFC 3550), and the codecs a telephone system forks: G.711 and L16 (RFC 3551)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_agent.types import Samples

_HEADER = struct.Struct("!BBHII")
_RTCP = range(192, 224)  # packet types of RTCP, which may share the port (RFC 5761)
_BYE = 203


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet: sequence number (16 bits), timestamp (32 bits), and the audio as it was sent."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Codec:
    """What a payload type stands for: `PCMU`, `PCMA` or `L16`, its rate, and its interleaved channels."""

    name: str
    rate_hz: int = 8000
    channels: int = 1

    def decode(self, payload: bytes) -> Samples:
        """Return float32 of shape (n,); the channels of L16 are averaged.

        Raises:
            ValueError: the payload is no whole number of samples.
        """
        if self.name == "L16":
            samples = np.frombuffer(payload, ">i2").astype(np.float32) / np.float32(32768)
            return samples if self.channels == 1 else samples.reshape(-1, self.channels).mean(axis=1)
        return g711(self.name)[np.frombuffer(payload, np.uint8)]


STATIC = {0: Codec("PCMU"), 8: Codec("PCMA"), 10: Codec("L16", 44_100, 2), 11: Codec("L16", 44_100)}
"""Payload types that need no agreement (RFC 3551, table 4)."""

QUIET = frozenset({13, 19, 101})
"""Comfort noise and, by custom, telephone events: they carry no speech, and their absence is no loss."""


def payload_type(text: str) -> tuple[int, Codec]:
    """Read a payload type as the configuration writes it: `96 L16/16000`, `97 L16/44100/2`, `98 PCMU`."""
    number, _, coding = text.partition(" ")
    name, *figures = coding.split("/")
    return int(number), Codec(name, *map(int, figures))


def parse(datagram: bytes) -> Packet | None:
    """Read an RTP packet; None if the datagram is none."""
    if len(datagram) < _HEADER.size:
        return None
    flags, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if flags >> 6 != 2 or kind in _RTCP:
        return None
    start = _HEADER.size + 4 * (flags & 0x0F)
    if flags & 0x10:  # a header extension follows, its length in words at its third byte
        if len(datagram) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    end = len(datagram)
    if flags & 0x20:  # the last byte counts the padding, itself included
        padding = datagram[-1]
        if not padding:
            return None
        end -= padding
    if end < start:
        return None
    return Packet(kind & 0x7F, sequence, timestamp, ssrc, datagram[start:end])


def goodbyes(datagram: bytes) -> list[int]:
    """Return the streams that a compound RTCP packet says goodbye for (RFC 3550, 6.6); none if it is no RTCP."""
    leaving: list[int] = []
    at = 0
    while at + 4 <= len(datagram):
        flags, kind, words = struct.unpack_from("!BBH", datagram, at)
        if flags >> 6 != 2 or kind not in _RTCP:
            return []
        if kind == _BYE:
            count = min(flags & 0x1F, words, (len(datagram) - at - 4) // 4)
            leaving += struct.unpack_from(f"!{count}I", datagram, at + 4)
        at += 4 + 4 * words
    return leaving


def is_rtcp(datagram: bytes) -> bool:
    """Say whether it is RTCP rather than RTP or garbage."""
    return len(datagram) >= 8 and datagram[0] >> 6 == 2 and datagram[1] in _RTCP


@cache
def g711(name: str) -> Samples:
    """Return the 256 values of a G.711 law within [-1, 1), float32 (ITU-T G.711; 14 and 13 bits brought to 16)."""
    code = np.arange(256, dtype=np.int32)
    if name == "PCMU":
        code = ~code & 0xFF
        magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 7)) - 0x84
        signed = np.where(code & 0x80, -magnitude, magnitude)
    else:
        code ^= 0x55
        step = code >> 4 & 7
        mantissa = ((code & 0x0F) << 4) + 8
        magnitude = np.where(step == 0, mantissa, (mantissa + 0x100) << np.maximum(step - 1, 0))
        signed = np.where(code & 0x80, magnitude, -magnitude)
    return (signed / 32768).astype(np.float32)

"""From a file to blocks of float samples at the file's own rate, with its holes measured.

FFmpeg (through PyAV) does the decoding. Where a part can't be decoded, the timestamps of what follows tell how much is
missing, so that the rest of the call keeps its time.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from edge_agent.audio.length import declared_s, estimated_s
from edge_agent.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.types import Samples

# Containers round timestamps to a millisecond or a frame; only more than this is audio that is missing.
SLACK_S = Fraction(40, 1000)
# Encoders pad the end, and headers count or leave out that padding; more than this is missing at the end.
SHORTFALL_S = Fraction(250, 1000)
# Where no length is declared, a timestamp further ahead than this is itself the damage.
FURTHEST_JUMP_S = 600
# A container that can't be read on is tried again this often before it is given up.
READ_ATTEMPTS = 16

DAMAGED = "file is damaged here"
SHORT = "file is damaged: it ends before the length it declares"
ABSENT = "file holds no audio here"


@dataclass(frozen=True, slots=True)
class Block:
    """Decoded audio: float32 of shape (n, channels) at `rate_hz`."""

    rate_hz: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Hole:
    """Audio that is missing from the file."""

    length_s: Fraction
    reason: str


class Decoder:
    """The first audio stream of a file.

    The first block is decoded on opening, because the header of some codecs (HE-AAC) names another rate and other
    channels than what comes out.

    Args:
        path: any file FFmpeg decodes.

    Raises:
        AudioError: the file is missing, no regular file, unreadable, empty, or no audio comes out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_readable(path)
        try:
            # With the protocol spelt out, a name such as `http:x.wav` stays a name.
            self._container: Any = av.open(f"file:{path.absolute()}", metadata_errors="ignore")
        except (av.error.FFmpegError, ValueError) as error:
            raise AudioError(
                "not an audio file, or damaged from its beginning",
                where=str(path),
                remedy="play it in any player to see whether it is whole; WAV, FLAC, MP3, Opus and M4A are understood",
            ) from error
        if not self._container.streams.audio:
            self.close()
            raise AudioError(
                "the file has no audio stream",
                where=str(path),
                remedy="give the recording itself, not a text or picture",
            )
        self._stream: Any = self._container.streams.audio[0]
        self._declared_s = declared_s(path, self._container, self._stream)
        self.length_s = self._declared_s or estimated_s(self._container, self._stream)
        self._end_s = Fraction(0)
        self._kind: tuple[str, str, int] | None = None
        self._items = self._run()
        self._first: list[Block | Hole] = []
        try:
            self.channels = self._peek()
        except AudioError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Block | Hole]:
        """Deliver the file from its beginning; once."""
        while self._first:
            yield self._first.pop(0)
        yield from self._items

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _peek(self) -> int:
        """Decode up to the first block and return its number of channels."""
        for item in self._items:
            self._first.append(item)
            if isinstance(item, Block):
                return int(item.samples.shape[1])
        raise AudioError(
            "the file holds no audio that can be decoded",
            where=str(self.path),
            remedy="it is empty, damaged or still being written; record or copy it again",
        )

    def _run(self) -> Iterator[Block | Hole]:
        origin_s = self._seconds(self._stream.start_time)
        lost_s = Fraction(0)
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                lost_s += self._length_s(packet)
                continue
            for frame in frames:
                at_s = None if self._unstamped else self._seconds(frame.pts)
                if at_s is not None and origin_s is None:
                    origin_s = at_s
                hole_s = lost_s if at_s is None or origin_s is None else at_s - origin_s - self._end_s
                if hole_s > SLACK_S and self._plausible(hole_s):
                    yield Hole(hole_s, ABSENT if self._sparse and not lost_s else DAMAGED)
                    self._end_s += hole_s
                lost_s = Fraction(0)
                if at_s is not None and origin_s is not None and abs(at_s - origin_s - self._end_s) > SLACK_S:
                    # Timestamps that step back or leap beyond the end begin a new count.
                    origin_s = at_s - self._end_s
                for samples in self._floats(frame):
                    yield Block(frame.sample_rate, samples)
                    self._end_s += Fraction(len(samples), frame.sample_rate)
        if self._declared_s is not None and self._end_s and (short_s := self._declared_s - self._end_s) > SHORTFALL_S:
            yield Hole(short_s, SHORT)

    def _seconds(self, stamp: int | None) -> Fraction | None:
        return None if stamp is None else Fraction(stamp * self._stream.time_base)

    @property
    def _unstamped(self) -> bool:
        """Whether the timestamps are only counted by the reader, so that they don't show what is missing."""
        return self._container.format.name in ("mp3", "aac")

    @property
    def _sparse(self) -> bool:
        """Whether the container may leave out silence on purpose."""
        return not {"matroska", "mov", "rtp"}.isdisjoint(self._container.format.name.split(","))

    def _plausible(self, hole_s: Fraction) -> bool:
        if self._declared_s is None:
            return hole_s < FURTHEST_JUMP_S
        return self._end_s + hole_s <= self._declared_s + SLACK_S

    def _length_s(self, packet: Any) -> Fraction:
        """Return how much audio an undecodable packet stood for.

        A reader that looks for the next frame puts all it skipped into one packet, so its size says more than its
        duration where the bit rate is constant.
        """
        length_s = Fraction((packet.duration or 0) * self._stream.time_base)
        if self._unstamped and self._stream.bit_rate:
            length_s = max(length_s, Fraction(packet.size * 8, self._stream.bit_rate))
        return length_s

    def _packets(self) -> Iterator[Any]:
        attempts = 0
        while attempts < READ_ATTEMPTS:
            try:
                for packet in self._container.demux(self._stream):
                    attempts = 0
                    yield packet
                return
            except av.error.FFmpegError:
                attempts += 1

    def _floats(self, frame: Any) -> Iterator[Samples]:
        """Return a frame as float32 of shape (n, channels).

        FFmpeg interleaves it first: PyAV 18 reads past the end of a planar frame of eight channels.
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            self._kind = kind
            self._packer = av.AudioResampler(format="flt")
        for packed in self._packer.resample(frame):
            samples = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)
            yield np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)


def _check_readable(path: Path) -> None:
    """Refuse what can't be opened as a file, in plain words."""
    where = str(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError("this is a folder, not a recording", where=where, remedy="name the file inside it")
        if not stat.S_ISREG(mode):
            raise AudioError("this is not a regular file", where=where, remedy="name a recording")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise AudioError("no such file", where=where, remedy="check the name and the folder") from error
    except PermissionError as error:
        raise AudioError(
            "this file may not be read", where=where, remedy="let the user that runs edge-agent read it and its folder"
        ) from error
    except OSError as error:
        raise AudioError(
            f"the file can't be read: {error.strerror}", where=where, remedy="check the path and the disk or share"
        ) from error
    if empty:
        raise AudioError("the file is empty (0 bytes)", where=where, remedy="record or copy it again")

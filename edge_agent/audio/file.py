"""A recording as a source: any file, any rate, up to eight channels; at once or at the speed of speech."""

from __future__ import annotations

import re
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.audio.decode import Decoder, Hole
from edge_agent.audio.resample import Resampler
from edge_agent.errors import AudioError
from edge_agent.types import SAMPLES_PER_MS, Call, Chunk, Gap, Speaker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_agent.types import Samples

MOST_CHANNELS = 8


class FileSource:
    """One recording as one call; a `Source`.

    Memory does not grow with the length of the file. A mono recording holds both parties, so if several speakers are
    configured its one channel is `unknown`; channels beyond the configured speakers are heard as `unknown` too, because
    leaving one out unasked could hide a party.

    Args:
        path: any file FFmpeg decodes; its first audio stream is heard.
        speakers: who speaks on each channel, in channel order.
        chunk_ms: length of the chunks (the last one before a gap or the end may be shorter).
        realtime: deliver each chunk only once it would have been spoken, by the monotonic clock.
        name: name of the source, for `Call.source`.
        call_id: id of the call; without one the file's name and a random part.
        customer_id: the customer's number in the CRM, if known.
        started_at: when the call began; without it, now. A file's modification time says when it was last copied.

    Raises:
        AudioError: the file can't be heard (`Decoder` says when), or has more than eight channels.
    """

    def __init__(
        self,
        path: Path,
        *,
        speakers: Sequence[Speaker] = (Speaker.AGENT, Speaker.CUSTOMER),
        chunk_ms: int = 20,
        realtime: bool = False,
        name: str = "file",
        call_id: str | None = None,
        customer_id: str | None = None,
        started_at: datetime | None = None,
    ) -> None:
        self._decoder = Decoder(path)
        channels = self._decoder.channels
        if channels > MOST_CHANNELS:
            self._decoder.close()
            raise AudioError(
                f"the recording has {channels} channels; at most {MOST_CHANNELS} can be heard, {len(speakers)} are"
                " configured",
                where=str(path),
                remedy="keep the channels that are needed: ffmpeg -i FILE -af 'pan=stereo|c0=c0|c1=c1' NEW.flac",
            )
        self.call = Call(
            id=call_id or f"{slug(path.stem)}-{secrets.token_hex(4)}",
            source=name,
            started_at=started_at or datetime.now(UTC),
            speakers=_assign(channels, speakers),
            file=str(path).encode(errors="replace").decode(),  # a name that is no UTF-8 must not spoil the JSON
            customer_id=customer_id,
        )
        length_s = self._decoder.length_s
        self.live = realtime
        """Whether it is treated as a call that is being spoken: heard early, and never kept waiting."""
        self.duration_ms: int | None = None if length_s is None else round(length_s * 1000)
        """Length of the recording for a progress bar: declared by the file or estimated from its size."""
        self.position_ms = 0
        """End of the last item that was delivered."""
        self._chunk = chunk_ms * SAMPLES_PER_MS
        self._realtime = realtime
        self._resampler = Resampler(channels)
        self._rest: Samples = np.zeros((channels, 0), np.float32)
        self._taken = False
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Chunk | Gap]:
        """Deliver the recording; once, and nothing after `close`."""
        with self._lock:
            if self._taken:
                return
            self._taken = True
        began = time.monotonic()
        try:
            for item in self._items():
                end_ms = (
                    (item.start + item.samples.shape[1]) / SAMPLES_PER_MS if isinstance(item, Chunk) else item.end_ms
                )
                if self._realtime:
                    self._stop.wait(began + end_ms / 1000 - time.monotonic())
                if self._stop.is_set():
                    return
                self.position_ms = int(end_ms)
                yield item
        finally:
            self._decoder.close()

    def close(self) -> None:
        """Stop at once, also in the middle of a pause; whoever iterates closes the file, or this if nobody does."""
        with self._lock:
            self._stop.set()
            if not self._taken:
                self._taken = True
                self._decoder.close()

    def _items(self) -> Iterator[Chunk | Gap]:
        for item in self._decoder:
            if isinstance(item, Hole):
                yield from self._cut(self._resampler.flush(), last=True)
                start = self._resampler.position
                end = self._resampler.skip(item.length_s)
                yield Gap(start // SAMPLES_PER_MS, end // SAMPLES_PER_MS, item.reason)
            else:
                yield from self._cut(self._resampler.feed(item.samples, item.rate_hz))
        yield from self._cut(self._resampler.flush(), last=True)

    def _cut(self, samples: Samples, *, last: bool = False) -> Iterator[Chunk]:
        """Cut what was resampled so far into chunks; the last one may be short."""
        samples = np.concatenate([self._rest, samples], axis=1)
        count = samples.shape[1]
        start = self._resampler.position - count
        whole = count if last else count - count % self._chunk
        for at in range(0, whole, self._chunk):
            yield Chunk(start + at, samples[:, at : min(at + self._chunk, whole)])
        self._rest = samples[:, whole:]


def _assign(channels: int, speakers: Sequence[Speaker]) -> tuple[Speaker, ...]:
    if channels == 1 and len(speakers) > 1:
        return (Speaker.UNKNOWN,)
    named = tuple(speakers[:channels])
    return named + (Speaker.UNKNOWN,) * (channels - len(named))


def slug(name: str) -> str:
    """Return a name fit for an id: letters of any script, digits, dot, dash and underscore, 48 at most."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:48] or "call"

"""Hear: where audio comes from.

A `Source` is one call as it is heard; `FileSource` reads a recording, `LiveSource` is filled while people talk. An
`Intake` announces calls: sound devices, a folder of recordings, RTP ports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.audio.file import FileSource
from edge_agent.audio.live import LiveSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.errors import EdgeError
    from edge_agent.types import Call, Chunk, End, Gap

__all__ = ["FileSource", "Intake", "LiveSource", "Source"]


class Source(Protocol):
    """One call as it is heard: announced first, then delivered piece by piece.

    Iterate once, in one thread. Chunks come in the order of time and never overlap, and a `Gap` tells of every stretch
    that was not heard: it lies between two chunks, or over zeros that were delivered in its place. Every chunk has one
    row for each of `call.speakers`.

    Legs that come and go within a call keep their row: `call.speakers` names every leg the call may have, and a leg
    that is not there is a row of zeros. If it should have been there, a `Gap` with its channel tells so, and lies
    within time that was delivered already. A source that knows why its call ended says so with a last item, `End`.
    """

    @property
    def call(self) -> Call:
        """The call that is heard, known before its first sample."""

    @property
    def live(self) -> bool:
        """Whether the audio comes as it is spoken and is lost if nobody takes it; a file waits."""

    def __iter__(self) -> Iterator[Chunk | Gap | End]:
        """Deliver the call until it ends, the source is closed, or nothing more can be heard.

        Raises:
            AudioError: the source broke in a way that a gap can't tell.
        """

    def close(self) -> None:
        """Stop: the iteration ends with what it has. May be called from any thread, and again."""


class Intake(Protocol):
    """What announces calls: sound devices, a folder of recordings, RTP ports; a SIPREC server would be one too.

    Iterating it, once and in one thread, yields a `Source` whenever a call begins, and goes on until `close`. Each
    source is read in a thread of its own. The other methods may be called from any thread.
    """

    @property
    def name(self) -> str:
        """The source's name in the configuration."""

    def __iter__(self) -> Iterator[Source]:
        """Announce calls as they begin."""

    def settled(self, call: Call, reason: str, error: EdgeError | None) -> None:
        """Hear that a call was judged to its end and that all of it is stored; calls of others are passed over."""

    def status(self) -> dict[str, Any]:
        """Say how it goes, as JSON values: `name`, `kind`, `ok`, `state` in words, and figures of its own."""

    def close(self) -> None:
        """Announce no more calls and end those that are heard live. Again does nothing."""

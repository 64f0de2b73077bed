"""Hear: where audio comes from. A `Source` is one call as it is heard; `FileSource` reads a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_agent.audio.file import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.types import Call, Chunk, Gap

__all__ = ["FileSource", "Source"]


class Source(Protocol):
    """One call as it is heard: announced first, then delivered piece by piece.

    Iterate once, in one thread. Items come in the order of time and never overlap: a `Chunk` begins where the item
    before it ended, and a `Gap` stands for every stretch that was not heard, so that the timeline of the call is whole.
    Every chunk has one row for each of `call.speakers`.

    What hears many calls (a folder of recordings, an RTP port, a SIPREC server) is no `Source` but an iterable of them:
    it yields a new `Source` when a call begins and goes on listening, and each is read in a thread of its own. Legs
    that come and go within a call keep their row: `call.speakers` names every leg the call may have, a leg that is not
    there is a row of zeros, and only time in which no leg at all was heard is a `Gap`.
    """

    @property
    def call(self) -> Call:
        """The call that is heard, known before its first sample."""

    @property
    def live(self) -> bool:
        """Whether the audio comes as it is spoken and is lost if nobody takes it; a file waits."""

    def __iter__(self) -> Iterator[Chunk | Gap]:
        """Deliver the call until it ends, the source is closed, or nothing more can be heard.

        Raises:
            AudioError: the source broke in a way that a gap can't tell.
        """

    def close(self) -> None:
        """Stop: the iteration ends with what it has. May be called from any thread, and again."""

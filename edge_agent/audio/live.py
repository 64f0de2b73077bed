"""A call that is filled while people talk: captured audio goes in at one end, a listener takes it out at the other."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge_agent.types import SAMPLE_RATE_HZ, SAMPLES_PER_MS, Call, Chunk, End, Gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.types import Speaker

# A listener that is this far behind has stalled, and audio beyond it would only fill the memory.
MOST_WAITING_S = 30


class LiveSource:
    """One call as it is spoken; a `Source`.

    `put` never blocks. What a stalled listener does not take within `MOST_WAITING_S` of audio is dropped and becomes a
    gap, so that the memory of a call is bounded.

    Args:
        name: of what captures, for `Call.source` and the call's id.
        speakers: who speaks on each row of the chunks.
        customer_id: the customer's number in the CRM, if known.
        call_id: id of the call; without one the name and a random part.
    """

    live = True

    def __init__(
        self,
        name: str,
        speakers: Sequence[Speaker],
        *,
        customer_id: str | None = None,
        call_id: str | None = None,
    ) -> None:
        self.call = Call(
            id=call_id or f"{name}-{secrets.token_hex(4)}",
            source=name,
            started_at=datetime.now(UTC),
            speakers=tuple(speakers),
            customer_id=customer_id,
        )
        self._items: deque[Chunk | Gap] = deque()
        self._waiting = 0
        self._dropped: tuple[int, int] | None = None
        self._reason: str | None = None
        self._change = threading.Condition()

    @property
    def ended(self) -> bool:
        """Whether nothing more can be put in."""
        return self._reason is not None

    def put(self, item: Chunk | Gap) -> None:
        """Add the next item; after `end` nothing is added."""
        with self._change:
            if self._reason is not None:
                return
            count = item.samples.shape[1] if isinstance(item, Chunk) else 0
            if isinstance(item, Chunk) and self._waiting + count > MOST_WAITING_S * SAMPLE_RATE_HZ:
                begun = self._dropped[0] if self._dropped else item.start
                self._dropped = begun, item.start + count
                return
            self._settle_dropped()
            self._items.append(item)
            self._waiting += count
            self._change.notify()

    def end(self, reason: str) -> None:
        """End the call; what was put in before is still delivered. The first reason counts."""
        with self._change:
            if self._reason is None:
                self._settle_dropped()
                self._reason = reason
                self._change.notify()

    def close(self) -> None:
        """End the call because nobody listens any more."""
        self.end("stopped")

    def __iter__(self) -> Iterator[Chunk | Gap | End]:
        """Deliver what is put in until the call ends."""
        while True:
            with self._change:
                while not self._items and self._reason is None:
                    self._change.wait()
                if not self._items:
                    break
                item = self._items.popleft()
                if isinstance(item, Chunk):
                    self._waiting -= item.samples.shape[1]
            yield item
        yield End(self._reason or "")

    def _settle_dropped(self) -> None:
        if self._dropped is not None:
            start, end = self._dropped
            self._items.append(Gap(start // SAMPLES_PER_MS, end // SAMPLES_PER_MS, "listening was behind"))
            self._dropped = None

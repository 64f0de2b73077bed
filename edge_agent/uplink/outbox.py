"""What the uplink needs of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence


class Row(Protocol):
    """An event that waits; `body` is its envelope as JSON."""

    @property
    def sequence(self) -> int:
        """Its place; sequences of one epoch have no holes, but for what was pruned."""

    @property
    def id(self) -> str:
        """The event's id."""

    @property
    def body(self) -> str:
        """The envelope."""


class Outbox(Protocol):
    """Events that wait for head office, in order; any thread may call it."""

    changed: threading.Event
    """Set whenever new events have been committed."""

    @property
    def epoch(self) -> str:
        """The present life of the database."""

    @property
    def begins(self) -> int:
        """The sequence up to which everything belongs to earlier epochs."""

    def acknowledged(self) -> int:
        """Return the watermark: every sequence up to it is settled."""

    def pending(self, after: int, limit: int) -> Sequence[Row]:
        """Return up to `limit` waiting events with a sequence above `after`, in order."""

    def urgent(self, after: int, limit: int) -> Sequence[Row]:
        """Return up to `limit` waiting events above `after` that must not wait for their turn, in order."""

    def at(self, sequence: int) -> Row | None:
        """Return the event with a sequence, whatever became of it; None where it isn't kept any more."""

    def acknowledge(self, through: int, rejected: Mapping[int, str] | None = None) -> None:
        """Settle every waiting event up to `through`; `rejected` maps some of them to the hub's reasons."""

    def rewind(self, through: int) -> None:
        """Let every event above `through` wait again."""

    def renew(self) -> None:
        """Begin a new epoch, in which every event that is kept waits again."""

"""What the store hands out: frozen rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_agent.event import Event

if TYPE_CHECKING:
    from datetime import datetime


class State(StrEnum):
    """How far an event has come on its way to head office."""

    WAITING = "waiting"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a call: its length, and why it ended."""

    call_id: str
    end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An event that waits for head office; `body` is its envelope as JSON, byte for byte as it was stored."""

    sequence: int
    id: str
    body: str


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and how far it has come; `reason` is head office's, if it was rejected."""

    sequence: int
    body: str
    state: State
    acknowledged_at: datetime | None = None
    reason: str | None = None

    @property
    def event(self) -> Event:
        """The envelope, read from `body`."""
        return Event.from_json(self.body)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events are stored, and how many of them are in each state."""

    events: int
    waiting: int
    acknowledged: int
    rejected: int

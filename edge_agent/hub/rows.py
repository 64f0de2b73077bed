"""What the ledger hands out: frozen rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as the hub knows it.

    `epoch` is the present life of its database and `through` its watermark there; `events`, `dead_letters` and
    `missing` (sequences that were pruned at the branch before this hub had them) count every epoch. `skew_ms` is the
    branch's clock minus the hub's when it was last heard of; `boot_id` changes whenever its machine starts anew;
    `about` are the versions that it said it runs, by name; `waiting` events lay there when it last reported.
    """

    key: str
    name: str
    epoch: str
    through: int
    events: int
    dead_letters: int
    missing: int
    first_seen: str
    last_seen: str
    skew_ms: int
    boot_id: str
    about: dict[str, str]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class HubEvent:
    """An event in the order of receipt; `body` is its envelope as JSON, as the branch sent it."""

    number: int
    key: str
    branch: str
    epoch: str
    sequence: int
    received_at: str
    body: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was put aside because it is no event, and why."""

    number: int
    key: str
    branch: str
    epoch: str
    sequence: int
    received_at: str
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits for the CRM.

    `lane` is what it keeps its order in: the customer, or the call where no customer is known. `blamed` counts failures
    while other events got through; `first_ms` and `last_ms` are when it was first and last tried (0: never).
    """

    number: int
    lane: str
    customer: str
    tries: int
    blamed: int
    first_ms: int
    last_ms: int
    branch: str
    received_at: str
    body: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that the CRM did not take, and why."""

    number: int
    branch: str
    lane: str
    id: str
    type: str
    received_at: str
    at: str
    tries: int
    reason: str


@dataclass(frozen=True, slots=True)
class Published:
    """A publication that counts, and who took it.

    `took` names branches where it is in force, `failed` those that could not take it, with the reason, and `waits`
    those that have not answered yet.
    """

    kind: str
    name: str
    version: str
    serial: int
    sha256: str
    forced: bool
    at: str
    took: tuple[str, ...]
    failed: dict[str, str]
    waits: tuple[str, ...]


def moment(milliseconds: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC; such texts sort by time."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")

"""How the line to head office does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from edge_agent.errors import UplinkError


class Trouble(StrEnum):
    """Why the line is down."""

    NONE = ""
    UNREACHABLE = "unreachable"
    OTHER_KEY = "other-key"
    NOT_ALLOWED = "not-allowed"
    OTHER_PROTOCOL = "other-protocol"
    SILENT = "silent"
    REFUSED = "refused"
    FORKED = "forked"
    HELD = "held"
    STORE = "store"
    FAULT = "fault"


class LineError(UplinkError):
    """The line is down; the uplink makes it anew after a pause."""

    def __init__(self, trouble: Trouble, what: str, *, remedy: str = "") -> None:
        super().__init__(what, remedy=remedy)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the uplink.

    The hub has everything through sequence `through`; `in_flight` events are under way beyond it. `last_ack` is when
    the hub last acknowledged something (RFC 3339, UTC). `trouble`, `last_error` and `remedy` say why the line is down
    and stay empty while it is up, but for `held`: the hub must be updated before it can take what waits next. `urgent`
    counts the events that went ahead of their turn. `hub_key` is the public key that the hub had when it last
    answered, `hub_key_from` where the branch has that from: `hub_key`, `hub_key_next` or `published`; the last two
    say that `hub_key` may be replaced.
    """

    hub: str
    connected: bool = False
    through: int = 0
    in_flight: int = 0
    urgent: int = 0
    last_ack: str | None = None
    trouble: Trouble = Trouble.NONE
    last_error: str = ""
    remedy: str = ""
    hub_key: str = ""
    hub_key_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "trouble": self.trouble.value}

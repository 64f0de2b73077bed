"""One conversation with the hub over one connection: HELLO, then events within the credit, until the line fails."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from edge_agent import wire
from edge_agent.event import SCHEMA
from edge_agent.uplink.batch import pack
from edge_agent.uplink.status import LineError, Trouble

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence

    from edge_agent.config import Uplink as Settings
    from edge_agent.uplink.link import Link
    from edge_agent.uplink.outbox import Outbox, Row

log = logging.getLogger(__name__)

STALLED = 10  # this many times `dead_after_s` without progress, and the connection is made anew


class Say(Protocol):
    """Takes news for the snapshot of the uplink's status."""

    def __call__(self, *, acked: bool = False, **news: object) -> None:
        """Change what is given."""


class Session:
    """What is known of the hub while one connection lasts: its watermark, what is under way, its limits.

    `lived` says that the hub let us work, so that the next pause is the shortest again.
    """

    def __init__(self, outbox: Outbox, settings: Settings, say: Say) -> None:
        self._outbox = outbox
        self._settings = settings
        self._say = say
        self._through = 0
        self._sent = 0
        self._credit = 0
        self._max_frame_bytes = 0
        self._progress_at = time.monotonic()
        self._welcome = False
        self.lived = False

    def run(self, link: Link, stop: threading.Event) -> None:
        """Talk until `stop`.

        Raises:
            LineError: the line failed, or the hub refused.
            StoreError: the outbox can't be read or written.
        """
        link.send(self._hello(pruned=0))
        ping_at = time.monotonic() + self._settings.heartbeat_s
        while not stop.is_set():
            if self._welcome:
                self._send_what_waits(link)
            now = time.monotonic()
            if now >= ping_at:
                ping_at = now + self._settings.heartbeat_s
                link.send(wire.Ping())
            if self._sent > self._through and now > self._progress_at + STALLED * self._settings.dead_after_s:
                raise LineError(Trouble.SILENT, "the hub acknowledges nothing of what was sent")
            self._hear(link.receive(ping_at))

    def _hello(self, pruned: int) -> wire.Hello:
        clock_ms = time.time_ns() // 1_000_000
        return wire.Hello(self._outbox.epoch, self._outbox.acknowledged(), pruned, (SCHEMA,), clock_ms)

    def _send_what_waits(self, link: Link) -> None:
        """Send as much as the credit allows; rows that are gone for good are told of once all before is settled."""
        while (room := self._credit - (self._sent - self._through)) > 0:
            rows = self._outbox.pending(self._sent, min(room, self._settings.batch, wire.MAX_BATCH))
            if not rows:
                return
            if rows[0].sequence > self._sent + 1:
                if self._sent == self._through:
                    self._skip(link, rows)
                return
            batch = pack(self._outbox.epoch, rows, self._max_frame_bytes)
            if self._sent == self._through:
                self._progress_at = time.monotonic()
            link.send(batch)
            self._sent = batch.last
            self._say(in_flight=self._sent - self._through)

    def _skip(self, link: Link, rows: Sequence[Row]) -> None:
        first = rows[0].sequence
        log.warning("events %s to %s are not kept here any more and never reached the hub", self._sent + 1, first - 1)
        self._welcome = False
        link.send(self._hello(pruned=first - 1))

    def _hear(self, messages: Iterable[wire.Message]) -> None:
        through, rejected = self._through, dict[int, str]()
        for message in messages:
            match message:
                case wire.Welcome():
                    self._begin(message)
                    through = self._through
                case wire.Ack():
                    self._credit = message.credit
                    through = max(through, message.through)
                    rejected.update(message.rejected)
                case wire.Pong():
                    self.lived = True
                case wire.Refused():
                    raise _refusal(message)
                case _:
                    raise LineError(Trouble.OTHER_PROTOCOL, "the hub says what only a branch says")
        if through > self._through:  # several acknowledgements that came together cost one commit
            self._settle(through, rejected)

    def _begin(self, welcome: wire.Welcome) -> None:
        """Take up where the hub is: behind it, settle what it has; ahead of it, rewind."""
        acknowledged = self._outbox.acknowledged()
        if welcome.through > acknowledged:
            self._same_past(welcome)
            self._settle(welcome.through, dict(welcome.rejected))
        elif welcome.through < acknowledged:
            log.warning(
                "the hub goes back from %s to %s: it was restored; sending again", acknowledged, welcome.through
            )
            self._outbox.rewind(welcome.through)
        self._through = self._sent = welcome.through
        self._credit, self._max_frame_bytes = welcome.credit, welcome.max_frame_bytes
        if not self._welcome:
            log.info("connected to %s, which has all through %s", self._settings.hub, self._through)
        self._welcome = True
        self._say(connected=True, through=self._through, in_flight=0, trouble=Trouble.NONE, last_error="", remedy="")

    def _same_past(self, welcome: wire.Welcome) -> None:
        """Refuse to settle what is not the hub's: a database put back from a copy gives out sequences twice.

        Raises:
            LineError: the hub's last event of this epoch is none of ours.
        """
        rows = self._outbox.pending(welcome.through - 1, 1)
        if rows and rows[0].sequence == welcome.through and welcome.last_id in ("", rows[0].id):
            return
        raise LineError(
            Trouble.FORKED,
            f"the hub has an event {welcome.through} of this database that is not in it: an older copy was put back",
            remedy="move this database aside and use the newer one, or none; nothing is sent from this one",
        )

    def _settle(self, through: int, rejected: dict[int, str]) -> None:
        self._outbox.acknowledge(through, rejected)
        for sequence, reason in rejected.items():
            log.warning("the hub put event %s to its dead letters: %s", sequence, reason)
        self._through, self._sent = through, max(through, self._sent)
        self._progress_at = time.monotonic()
        self.lived = True
        self._say(acked=True, through=through, in_flight=self._sent - through)


def _refusal(message: wire.Refused) -> LineError:
    if message.code == wire.Code.NOT_ALLOWED:
        return LineError(
            Trouble.NOT_ALLOWED, f"the hub refuses: {message.reason}", remedy="at the hub: `edge-agent hub list`"
        )
    return LineError(
        Trouble.REFUSED, f"the hub refuses ({message.code}): {message.reason}", remedy="the hub's log says more"
    )

"""One conversation with the hub over one connection: HELLO, then events within the credit, until the line fails."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge_agent import wire
from edge_agent.event import SCHEMA
from edge_agent.uplink.batch import is_same, known, pack, pack_urgent
from edge_agent.uplink.receiver import Fetching
from edge_agent.uplink.status import LineError, Trouble

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edge_agent.config import Uplink as Settings
    from edge_agent.uplink.link import Link
    from edge_agent.uplink.outbox import Outbox, Row
    from edge_agent.uplink.pace import Pace
    from edge_agent.uplink.receiver import Receiver

log = logging.getLogger(__name__)

REPORT_BEATS = 10  # heartbeats between two reports
URGENT_AT_ONCE = 100  # events in one URGENT message
STALLED = 10  # this many times `dead_after_s` without progress, and the connection is made anew


class Say(Protocol):
    """Takes news for the snapshot of the uplink's status."""

    def __call__(self, *, acked: bool = False, **news: object) -> None:
        """Change what is given."""


class Session:
    """What is known of the hub while one connection lasts: its watermark, what is under way, its limits.

    `pace` outlives connections. `about` tells the versions that run here. `lived` says that the hub let us work, so
    that the next pause is the shortest again.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        say: Say,
        pace: Pace,
        about: Callable[[], Mapping[str, str]] = dict,
        receiver: Receiver | None = None,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._say = say
        self._pace = pace
        self._about = about
        self._receiver = receiver
        self._fetching: Fetching | None = None
        self._report_at = 0.0
        self._epoch = outbox.epoch
        self._through = 0
        self._sent = 0
        self._last_id = ""
        self._credit = 0
        self._max_frame_bytes = 0
        self._schemas: tuple[str, ...] = ()
        self._takes: tuple[str, ...] = ()
        self._noted = 0
        self._urgent = False
        self._urgent_count = 0
        self._held = False
        self._renewed = False
        self._progress_at = time.monotonic()
        self._welcome = False
        self.lived = False

    def run(self, link: Link, stop: threading.Event) -> None:
        """Talk until `stop`.

        Raises:
            LineError: the line failed, or the hub refused.
            StoreError: the outbox can't be read or written.
        """
        link.send(self._hello())
        ping_at = time.monotonic() + self._settings.heartbeat_s
        while not stop.is_set():
            if self._welcome:
                self._send_what_waits(link)
                self._send_what_is_urgent(link)
            now = time.monotonic()
            if now >= ping_at:
                ping_at = now + self._settings.heartbeat_s
                link.send(wire.Ping(_wall_ms()))
            self._report(link, now)
            if self._sent > self._through and now > self._progress_at + STALLED * self._settings.dead_after_s:
                raise LineError(Trouble.SILENT, "the hub acknowledges nothing of what was sent")
            self._hear(link, link.receive(ping_at))

    def _report(self, link: Link, now: float) -> None:
        """Say how the branch does: now and then, and at once where something has changed."""
        if self._receiver is None or not self._welcome or wire.PUBLISH not in self._takes:
            return
        if now >= self._report_at or self._receiver.changed.is_set():
            self._report_at = now + REPORT_BEATS * self._settings.heartbeat_s
            link.send(self._receiver.report())

    def _offered(self, link: Link, offer: wire.Offer) -> None:
        manifest = self._receiver.wants(offer.manifest, offer.signature) if self._receiver is not None else None
        if manifest is not None:
            self._fetching = Fetching(manifest)
            link.send(self._fetching.ask())

    def _piece(self, link: Link, piece: wire.Piece) -> None:
        if self._fetching is None or self._receiver is None:
            return
        if self._fetching.add(piece):
            link.send(self._fetching.ask())
            return
        done, self._fetching = self._fetching, None
        if done.content is not None:
            self._receiver.take(done.manifest, done.content)
        else:
            self._receiver.give_up()

    def _hello(self, pruned: int = 0) -> wire.Hello:
        self._welcome = False
        return wire.Hello(
            self._epoch,
            self._outbox.acknowledged(),
            pruned,
            (SCHEMA,),
            _wall_ms(),
            begins=self._outbox.begins,
            mono_ms=time.monotonic_ns() // 1_000_000,
            boot_id=boot_id(),
            about=self._about(),
        )

    def _send_what_waits(self, link: Link) -> None:
        """Send as much as credit and line allow; rows that are gone for good are told of once all before is settled."""
        while (room := self._pace.room(self._credit, self._sent - self._through)) > 0:
            waiting = self._outbox.pending(self._sent, min(room, self._settings.batch, wire.MAX_BATCH))
            if not waiting:
                return
            if waiting[0].sequence > self._sent + 1:
                if self._sent == self._through:
                    self._skip(link, waiting)
                return
            rows = known(waiting, self._schemas)
            self._hold(waiting if not rows else ())
            if not rows:
                return
            batch = pack(self._epoch, rows, self._max_frame_bytes, self._last_id)
            now = time.monotonic()
            if self._sent == self._through:
                self._progress_at = now
            link.send(batch)
            self._sent, self._last_id = batch.last, rows[batch.n - 1].id
            self._pace.sent(batch.last, now, full=room <= batch.n)
            self._say(in_flight=self._sent - self._through)

    def _send_what_is_urgent(self, link: Link) -> None:
        """Let a copy of what must not wait go ahead of the backlog; one message at a time, so that order holds."""
        if self._urgent or wire.URGENT not in self._takes or not self._welcome:
            return
        rows = known(self._outbox.urgent(max(self._noted, self._sent), URGENT_AT_ONCE), self._schemas)
        message = pack_urgent(self._epoch, rows, self._max_frame_bytes) if rows else None
        if message is not None:
            link.send(message)
            self._urgent = True
        elif rows:
            self._noted = rows[0].sequence  # no frame holds it

    def _hold(self, rows: Sequence[Row]) -> None:
        """Say so when the next event must wait for a hub that knows its schema, and when no more."""
        if bool(rows) == self._held:
            return
        self._held = bool(rows)
        if not rows:
            self._say(trouble=Trouble.NONE, last_error="", remedy="")
            return
        what = f"event {rows[0].sequence} and those behind it are held: the hub does not know its schema"
        log.warning("%s", what)
        self._say(trouble=Trouble.HELD, last_error=what, remedy="update the hub; nothing is lost meanwhile")

    def _skip(self, link: Link, rows: Sequence[Row]) -> None:
        first = rows[0].sequence
        log.warning("events %s to %s are not kept here any more and never reached the hub", self._sent + 1, first - 1)
        link.send(self._hello(pruned=first - 1))

    def _hear(self, link: Link, messages: Iterable[wire.Message]) -> None:
        through, rejected = self._through, dict[int, str]()
        for message in messages:
            match message:
                case wire.Welcome():
                    self._begin(link, message)
                    through = self._through
                case wire.Ack():
                    self._credit = message.credit
                    through = max(through, message.through)
                    rejected.update(message.rejected)
                case wire.Noted():
                    self._note(message)
                case wire.Offer():
                    self._offered(link, message)
                case wire.Piece():
                    self._piece(link, message)
                case wire.Pong():
                    self.lived = True
                case wire.Refused(code=wire.Code.FORKED):
                    if self._welcome:  # of several under way the first says it all
                        self._fork(link, message.reason)
                case wire.Refused():
                    raise _refusal(message)
                case _:
                    raise LineError(Trouble.OTHER_PROTOCOL, "the hub says what only a branch says")
        if through > self._through and self._welcome:  # several acknowledgements that came together cost one commit
            self._settle(through, rejected)

    def _begin(self, link: Link, welcome: wire.Welcome) -> None:
        """Take up where the hub is: behind it, settle what it has; ahead of it, rewind."""
        self._max_frame_bytes = welcome.max_frame_bytes
        if not self._same_past(welcome):
            self._fork(link, f"the hub has another event {welcome.through} of this database than it has itself")
            return
        acknowledged = self._outbox.acknowledged()
        if welcome.through > acknowledged:
            self._settle(welcome.through, dict(welcome.rejected))
        elif welcome.through < acknowledged:
            log.warning("the hub has all through %s, not %s: sending again", welcome.through, acknowledged)
            self._outbox.rewind(welcome.through)
        self._through = self._sent = welcome.through
        self._last_id, self._credit = welcome.last_id, welcome.credit
        self._schemas, self._takes = welcome.schemas, welcome.takes
        self._noted, self._urgent = 0, False
        link.compress = wire.ZSTD in welcome.takes
        if not self._welcome:
            log.info("connected to %s, which has all through %s", self._settings.hub, self._through)
        self._welcome = True
        self._held = False
        self._say(connected=True, through=self._through, in_flight=0, trouble=Trouble.NONE, last_error="", remedy="")

    def _same_past(self, welcome: wire.Welcome) -> bool:
        """Say whether the hub's last event of this epoch is ours.

        A database put back from a copy gives out sequences twice, and what the hub has not got must not be settled.
        """
        if welcome.through <= self._outbox.acknowledged() and not welcome.last_id:
            return True
        row = self._outbox.at(welcome.through)
        if row is None:  # pruned long ago, or never there
            return welcome.through <= self._outbox.acknowledged()
        return is_same(row, welcome.last_id, self._max_frame_bytes)

    def _fork(self, link: Link, why: str) -> None:
        """Begin a new epoch and greet the hub with it: nothing is lost, and what the hub has it knows by its id.

        Raises:
            LineError: this happened a moment ago already.
        """
        if self._renewed:
            raise LineError(Trouble.FORKED, why, remedy="the hub's log says more; events wait here meanwhile")
        self._renewed = True
        self._outbox.renew()
        self._epoch = self._outbox.epoch
        log.warning(
            "%s: an older copy of one of the two was put back, or a copy of this one runs elsewhere; a new epoch"
            " begins, and all that is kept here is sent again",
            why,
        )
        link.send(self._hello())

    def _note(self, noted: wire.Noted) -> None:
        self._urgent = False
        self._noted = max(self._noted, *noted.sequences)
        self._urgent_count += len(noted.sequences)
        self._say(urgent=self._urgent_count)

    def _settle(self, through: int, rejected: dict[int, str]) -> None:
        self._outbox.acknowledge(through, rejected)
        for sequence, reason in rejected.items():
            log.warning("the hub put event %s to its dead letters: %s", sequence, reason)
        self._through, self._sent = through, max(through, self._sent)
        self._progress_at = time.monotonic()
        self._pace.acknowledged(through, self._progress_at)
        self.lived = True
        self._say(acked=True, through=through, in_flight=self._sent - through)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@functools.cache
def boot_id() -> str:
    """Return what names this boot of the machine; empty where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _refusal(message: wire.Refused) -> LineError:
    if message.code == wire.Code.NOT_ALLOWED:
        return LineError(
            Trouble.NOT_ALLOWED, f"the hub refuses: {message.reason}", remedy="at the hub: `edge-agent hub list`"
        )
    return LineError(
        Trouble.REFUSED, f"the hub refuses ({message.code}): {message.reason}", remedy="the hub's log says more"
    )

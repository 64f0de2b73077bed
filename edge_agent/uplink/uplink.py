"""The thread that tells head office."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import zmq

from edge_agent import keys, paths, wire
from edge_agent.errors import ConfigError, EdgeError
from edge_agent.uplink.hubkeys import PRESENT, HubKeys
from edge_agent.uplink.link import Bell, Link
from edge_agent.uplink.pace import Pace
from edge_agent.uplink.scout import Scout
from edge_agent.uplink.session import Session
from edge_agent.uplink.status import LineError, Status, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.config import Uplink as Settings
    from edge_agent.uplink.outbox import Outbox
    from edge_agent.uplink.receiver import Receiver

log = logging.getLogger(__name__)

# Nobody was there, or what was there ended the handshake, as a balancer does that has no hub behind it.
_AWAY = (Trouble.UNREACHABLE, Trouble.OTHER_KEY)


class Uplink:
    """Takes events from the outbox to the hub, for as long as it runs and whatever the line does.

    The thread owns the socket. When the line fails it makes a new one after a pause with full jitter
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), which ends early when a hub that could
    not be reached is back; nothing but `stop` ends it.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        *,
        about: Callable[[], Mapping[str, str]] = dict,
        receiver: Receiver | None = None,
    ) -> None:
        """Read the keys; nothing is connected before `start`.

        `about` tells the hub at each connection which versions run here, by name. `receiver` takes in what head office
        publishes; without one, nothing of it is asked for.

        Raises:
            ConfigError: the hub's key is missing, or plain text was asked for on an address that is not loopback.
            KeyFileError: this branch's key is missing, damaged or open to others.
        """
        if settings.insecure and not wire.is_loopback(settings.hub):
            raise ConfigError(
                "`uplink.insecure` is for loopback addresses only",
                where=settings.hub,
                remedy="remove `insecure` and set `hub_key`",
            )
        if not settings.insecure and not keys.is_public_key(settings.hub_key):
            raise ConfigError(
                "`uplink.hub_key` is missing, or is no key",
                where=settings.hub,
                remedy="`edge-agent keys show --for hub` at the hub prints it",
            )
        if settings.hub_key_next and not keys.is_public_key(settings.hub_key_next):
            raise ConfigError(
                "`uplink.hub_key_next` is no key",
                where=settings.hub,
                remedy="`edge-agent keys show --for hub --next` at the hub prints it",
            )
        self._outbox = outbox
        self._about = about
        self._receiver = receiver
        self._settings = settings
        self._key = None if settings.insecure else keys.load(paths.under_state(settings.key_file))
        self._hub_keys = HubKeys(settings, receiver.hub_keys if receiver is not None else tuple)
        self._status = Status(settings.hub, through=outbox.acknowledged())
        self._told = threading.Condition()
        self._stop = threading.Event()
        self._bell = Bell()
        self._threads = [
            threading.Thread(target=self._run, name="uplink", daemon=True),
            threading.Thread(target=self._listen, name="uplink-bell", daemon=True),
        ]

    def start(self) -> None:
        """Begin to connect and to send."""
        for thread in self._threads:
            thread.start()

    def status(self) -> Status:
        """Return how it goes at this moment."""
        return self._status

    def drain(self, timeout_s: float) -> bool:
        """Wait until the hub has acknowledged every event that waits; False when it has not in time.

        Raises:
            StoreError: the outbox can't be read.
        """
        with self._told:
            return self._told.wait_for(lambda: not self._outbox.pending(0, 1), timeout_s)

    def stop(self) -> None:
        """Close the connection and end the threads; what is not acknowledged is sent again another time."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._bell.ring()
        self._outbox.changed.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._bell.close()

    def _listen(self) -> None:
        """Ring when the outbox has changed: a poll can't wait for a `threading.Event`."""
        while not self._stop.is_set():
            self._outbox.changed.wait()
            self._outbox.changed.clear()
            self._bell.ring()

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        attempt = 0
        pace = Pace(self._settings.batch)
        while not self._stop.is_set():
            session, shaken = None, True
            try:
                if self._receiver is not None:
                    self._receiver.give_up()
                session = Session(self._outbox, self._settings, self._say, pace, self._about, self._receiver)
                with Link(context, self._settings, self._key, self._hub_keys.now, self._bell) as link:
                    try:
                        session.run(link, self._stop)
                    finally:
                        shaken = link.shaken
            except EdgeError as error:
                self._down(error)
            except Exception:
                log.exception("a fault of the program; the uplink goes on")
                self._down(LineError(Trouble.FAULT, "a fault of the program; the log says more"))
            if not shaken and self._status.trouble is Trouble.OTHER_KEY and self._hub_keys.another():
                log.info("trying the hub's other key %s", keys.fingerprint(self._hub_keys.now))
                continue
            pace.broken(silent=self._status.trouble is Trouble.SILENT)
            attempt = 1 if session is not None and session.lived else attempt + 1
            ceiling = min(self._settings.retry_max_s, self._settings.retry_min_s * 2.0 ** min(attempt - 1, 32))
            self._pause(context, ceiling, away=not shaken and self._status.trouble in _AWAY)
        self._say(connected=False, in_flight=0)
        context.term()

    def _pause(self, context: zmq.Context[Any], ceiling: float, *, away: bool) -> None:
        """Let some time pass, up to `ceiling` seconds; where nobody answered, no longer than until somebody does.

        Once a hub has answered, only the pause counts: one that lets branches in and then fails is not hurried.
        """
        now = time.monotonic()
        until = now + random.uniform(0, ceiling)  # noqa: S311
        at_least = now + random.uniform(0, min(ceiling, 1.0)) if away else until  # noqa: S311
        self._stop.wait(min(at_least, until) - now)
        if away and time.monotonic() < until and not self._stop.is_set():
            with Scout(context, self._settings, self._key, self._hub_keys.all, self._bell) as scout:
                answered = scout.wait(until, self._stop)
                if answered is not None:
                    self._hub_keys.use(answered)
                    log.info("%s answers again", self._settings.hub)
                    return
            self._stop.wait(max(0.0, until - time.monotonic()))

    def _down(self, error: EdgeError) -> None:
        trouble = error.trouble if isinstance(error, LineError) else Trouble.STORE
        before = self._status
        level = logging.DEBUG if (before.trouble, before.last_error) == (trouble, str(error)) else logging.WARNING
        log.log(level, "%s: %s%s", self._settings.hub, error, f"; {error.remedy}" if error.remedy else "")
        self._say(connected=False, in_flight=0, trouble=trouble, last_error=str(error), remedy=error.remedy)

    def _say(self, *, acked: bool = False, **news: Any) -> None:
        """Change the snapshot; wake those who wait for the outbox to empty."""
        if acked:
            news["last_ack"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if news.get("connected"):
            news.update(self._known_by())
        self._status = replace(self._status, **news)
        with self._told:
            self._told.notify_all()

    def _known_by(self) -> dict[str, str]:
        """Note by which key the hub was known; say once that the one in the configuration is of yesterday."""
        key, source = self._hub_keys.now, self._hub_keys.source()
        self._hub_keys.use(key)
        if source not in ("", PRESENT) and key != self._status.hub_key:
            log.warning(
                "the hub has changed its key to %s (%s), as told; put it into [uplink]: hub_key = '%s'",
                keys.fingerprint(key),
                source,
                key,
            )
        return {"hub_key": key, "hub_key_from": source}

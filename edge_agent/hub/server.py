"""The hub's loop: handshakes, messages, one commit for all that wait, and only then the answers."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from edge_agent import keys, paths, wire
from edge_agent.errors import ConfigError, EdgeError, StoreError, UplinkError
from edge_agent.event import SCHEMA
from edge_agent.hub.connections import BEAT_S, Connections
from edge_agent.hub.door import DOMAIN, Door
from edge_agent.hub.ledger import ForkError, GapError, UnknownSchemaError
from edge_agent.hub.publications import Publications
from edge_agent.hub.rescue import open_whole
from edge_agent.sqlite import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_agent.config import Hub
    from edge_agent.hub.ledger import Ledger

log = logging.getLogger(__name__)

GROUP_MESSAGES = 256  # taken into one commit at most,
GROUP_BYTES = 33_554_432  # and no more once they are as long as this
_TICK_MS = 250
_NOTE_S = 5.0  # how often what is no event is written down: who was seen, what was refused
ANSWERS = 50  # refusals that one connection is told in a second
TAKES = (wire.ZSTD, wire.URGENT, wire.PUBLISH)
_INSECURE = "insecure"  # key and name of whoever comes without one


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A message, the connection it came on, and the branch that ZeroMQ knows at its other end."""

    route: bytes
    key: str
    name: str
    message: wire.Message


def serve(
    settings: Hub,
    *,
    ready: Callable[[str], None] | None = None,
    alive: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve branches until `stop` is set.

    `ready` is told the endpoint once the hub listens; `alive` is called several times a second while its loop turns.

    Raises:
        ConfigError: plain text was asked for on an address that others can reach.
        KeyFileError: the hub's key is missing, damaged or open to others.
        StoreError: the database can't be opened, or damage shows in it: the next start replaces it.
        UplinkError: the address can't be listened on.
    """
    if settings.insecure and not wire.is_loopback(settings.bind):
        raise ConfigError(
            "`hub.insecure` is for loopback addresses only",
            where=settings.bind,
            remedy="remove `insecure`, or bind to tcp://127.0.0.1:7420",
        )
    pair = None if settings.insecure else keys.load(paths.under_state(settings.key_file))
    with ExitStack() as stack:
        ledger = stack.enter_context(open_whole(settings.database))
        context = zmq.Context()
        stack.callback(context.term)
        door = None
        if pair is not None:
            # Before the socket is bound: CURVE without an authenticator lets every key in.
            door = stack.enter_context(closing(Door(context, paths.under_state(settings.allow_file))))
        socket = context.socket(zmq.ROUTER)
        stack.callback(socket.close, linger=500)
        endpoint = _listen(socket, settings, pair)
        log.info("listening on %s%s", endpoint, "" if pair else ", in plain text")
        if ready is not None:
            ready(endpoint)
        _Hub(settings, ledger, door, socket).run(stop or threading.Event(), alive or (lambda: None))
        log.info("stopped")


def _listen(socket: zmq.Socket[bytes], settings: Hub, pair: keys.KeyPair | None) -> str:
    if pair is not None:
        socket.curve_server = True
        socket.curve_secretkey = pair.secret.encode()
        socket.zap_domain = DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    # Above the limit a message is refused with a reason; far above it, it is not even received.
    socket.maxmsgsize = 2 * settings.max_frame_bytes
    socket.rcvhwm = 100  # messages per branch; beyond it TCP holds the branch back
    socket.handshake_ivl = 10_000
    socket.router_mandatory = True  # what is sent to a connection that has ended says so
    socket.heartbeat_ivl, socket.heartbeat_timeout = 5_000, 15_000  # frees connections whose other end is gone
    socket.ipv6 = "[" in settings.bind
    try:
        socket.bind(settings.bind)
    except zmq.ZMQError as error:
        raise UplinkError(
            f"the hub can't listen here: {error.strerror}",
            where=settings.bind,
            remedy="see with `ss -ltnp` who has the port, or set another address as `bind` in [hub]",
        ) from error
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


class _Hub:
    def __init__(self, settings: Hub, ledger: Ledger, door: Door | None, socket: zmq.Socket[bytes]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._publications = Publications(ledger.base)
        self._door = door
        self._socket = socket
        self._connections = Connections(int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]))
        self._seen: dict[str, tuple[int, int | None]] = {}
        self._noted_at = time.monotonic()
        self._refused = 0
        self._answered: dict[bytes, int] = {}
        self._refused_why = ""

    def run(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        if self._door is not None:
            poller.register(self._door.socket, zmq.POLLIN)
        refresh_at = beat_at = 0.0
        while not stop.is_set():
            poller.poll(_TICK_MS)
            now = time.monotonic()
            if now >= refresh_at:
                refresh_at = now + _TICK_MS / 1000
                alive()
                if now >= self._noted_at + _NOTE_S:
                    self._note()
                self._watch_the_door()
            if now >= beat_at:
                beat_at = now + BEAT_S
                self._answered.clear()
                for route in self._connections.audience():
                    self._send(route, wire.Pong())
            if self._door is not None:
                self._door.answer()
            arrivals = self._gather()
            if arrivals:
                self._handle(arrivals)
        self._note()

    def _watch_the_door(self) -> None:
        """Take up a change of the allow-list: whoever is not on it any more is cut off."""
        if self._door is None:
            return
        self._door.refresh()
        allowed = self._door.shut_out()
        if allowed is not None:
            log.warning("the list allows less than before: %s connections ended", self._connections.cut(allowed))

    def _gather(self) -> list[_Arrival]:
        """Receive what waits; what is no message, or from nobody allowed, is refused at once."""
        arrivals: list[_Arrival] = []
        received = size = 0
        while received < GROUP_MESSAGES and size < GROUP_BYTES:
            try:
                route, *parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            received += 1
            size += sum(len(part) for part in parts)
            origin = route.bytes
            try:
                key, name = self._who(parts)
                self._connections.heard(origin, key, _descriptor(parts))
                if len(parts) != 1:
                    raise wire.FrameError(f"{len(parts)} frames instead of one")
                message = wire.decode(parts[0].bytes, limit=self._settings.max_frame_bytes)
            except wire.FrameError as error:
                self._refuse(origin, error.code, str(error))
            else:
                arrivals.append(_Arrival(origin, key, name, message))
        return arrivals

    def _who(self, parts: list[zmq.Frame]) -> tuple[str, str]:
        """Return key and name of the branch that sent a message; the list may have changed since its handshake."""
        if self._door is None:
            return _INSECURE, _INSECURE
        key = parts[-1].get("User-Id") if parts else ""
        name = self._door.name(str(key))
        if name is None:
            self._door.expel()  # the reason goes out first
            raise wire.FrameError("this branch is not allowed any more", wire.Code.NOT_ALLOWED)
        return str(key), name

    def _handle(self, arrivals: list[_Arrival]) -> None:
        """Do what the messages ask in one transaction, and answer after its commit."""
        now_ms = time.time_ns() // 1_000_000
        for arrival in arrivals:
            told = arrival.message.clock_ms if isinstance(arrival.message, wire.Ping) else 0
            before = self._seen.get(arrival.key, (0, None))[1]
            self._seen[arrival.key] = now_ms, told - now_ms if told else before
        try:
            if all(isinstance(arrival.message, wire.Ping) for arrival in arrivals):
                answers = [self._answer(arrival, now_ms) for arrival in arrivals]
            else:
                with self._ledger.transaction(arrival.key for arrival in arrivals):
                    answers = [self._answer(arrival, now_ms) for arrival in arrivals]
        except DamagedError as error:
            self._refuse_all(arrivals, error.what)
            raise StoreError(
                error.what,
                where=error.where,
                remedy="start the hub again: it moves the file aside and saves what can be read",
            ) from error
        except EdgeError as error:
            log.error("nothing is taken in: %s; %s", error, error.remedy)
            self._refuse_all(arrivals, error.what)
        except Exception:
            if len(arrivals) > 1:  # what is wrong with one branch's message must not hold up the others
                for arrival in arrivals:
                    self._handle([arrival])
                return
            log.exception("a fault of the program: a message of %s was not taken in", arrivals[0].name)
            self._refuse_all(arrivals, "a fault of the hub")
        else:
            for arrival, answer in zip(arrivals, answers, strict=True):
                self._send(arrival.route, answer)

    def _answer(self, arrival: _Arrival, now_ms: int) -> wire.Message:
        credit = self._settings.credit
        match arrival.message:
            case wire.Hello() as hello:
                unknown = sorted(set(hello.schemas) - {SCHEMA})
                if unknown and SCHEMA not in hello.schemas:
                    return wire.Refused(wire.Code.SCHEMA, f"this hub does not know {', '.join(unknown)}"[:500])
                told = self._ledger.greet(arrival.key, arrival.name, hello, now_ms)
                self._connections.greeted(arrival.route)
                log.info("%s says hello, epoch %s, through %s", arrival.name, hello.epoch, told[0])
                return wire.Welcome(*told, credit, self._settings.max_frame_bytes, now_ms, (SCHEMA,), TAKES)
            case wire.Events() as batch:
                try:
                    through, rejected = self._ledger.take(arrival.key, arrival.name, batch, now_ms)
                except GapError as error:
                    return wire.Refused(wire.Code.GAP, str(error))
                except ForkError as error:
                    return wire.Refused(wire.Code.FORKED, str(error))
                except UnknownSchemaError as error:
                    return wire.Refused(wire.Code.SCHEMA, str(error))
                if rejected:
                    log.warning("%s of %s went to the dead letters: %s", len(rejected), arrival.name, rejected[0])
                return wire.Ack(through, rejected, credit)
            case wire.Urgent() as urgent:
                self._ledger.urgent(arrival.key, arrival.name, urgent, now_ms)
                return wire.Noted(urgent.sequences)
            case wire.Report() as report:
                return self._publications.answer(arrival.key, report, now_ms)
            case wire.Fetch() as fetch:
                return self._publications.piece(fetch)
            case wire.Ping():
                return wire.Pong()
        return wire.Refused(wire.Code.MALFORMED, "only a hub says this")

    def _send(self, route: bytes, message: wire.Message) -> None:
        """Send without ever waiting: to a branch that is gone or does not listen, nothing is sent."""
        try:
            self._socket.send_multipart([route, wire.encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                self._connections.gone(route)
            log.debug("not sent: %s", error)

    def _refuse(self, route: bytes, code: wire.Code, reason: str) -> None:
        self._refused += 1
        self._refused_why = f"{code}: {reason}"
        answered = self._answered.get(route, 0)
        if answered < ANSWERS:  # whoever sends garbage by the thousand has been told
            self._answered[route] = answered + 1
            self._send(route, wire.Refused(code, reason))

    def _refuse_all(self, arrivals: Iterable[_Arrival], reason: str) -> None:
        for arrival in arrivals:
            self._refuse(arrival.route, wire.Code.STORAGE, reason)

    def _note(self) -> None:
        """Write down who was seen and how much was refused since the last time."""
        self._noted_at = time.monotonic()
        if self._refused:
            log.warning("%s messages were refused, the last: %s", self._refused, self._refused_why)
            self._refused = 0
        if self._seen:
            seen, self._seen = self._seen, {}
            try:
                with self._ledger.transaction():
                    self._ledger.seen(seen)
            except EdgeError as error:
                log.error("who was seen is not noted: %s", error)


def _descriptor(parts: list[zmq.Frame]) -> int:
    return int(parts[-1].get(zmq.SRCFD)) if parts else -1

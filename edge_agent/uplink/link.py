"""One connection to the hub: a DEALER socket, the monitor that tells what becomes of it, and a bell to wake it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from edge_agent import wire
from edge_agent.keys import fingerprint
from edge_agent.uplink.status import LineError, Trouble

if TYPE_CHECKING:
    from edge_agent.config import Uplink as Settings
    from edge_agent.keys import KeyPair

_KEYS_REMEDY = "compare [uplink].hub_key with what `edge-agent keys show --for hub` prints at the hub"


class Bell:
    """Wakes a poll from any thread (eventfd(2)); it may ring before anyone listens."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Wake whoever waits, or will."""
        os.eventfd_write(self.fd, 1)

    def hush(self) -> None:
        """Be ready to ring again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def dealer(context: zmq.Context[Any], settings: Settings, key: KeyPair | None, hub_key: str) -> zmq.Socket[bytes]:
    """Make a socket for this branch's key and a hub that has `hub_key`; it is not connected yet."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.maxmsgsize = wire.MAX_REPLY
    socket.ipv6 = "[" in settings.hub
    if key is not None:
        socket.curve_serverkey = hub_key.encode()
        socket.curve_publickey = key.public.encode()
        socket.curve_secretkey = key.secret.encode()
    return socket


class Link:
    """A connection that lives until something is wrong with it; then it raises a `LineError` and is thrown away.

    ZeroMQ's own reconnecting is switched off: every connection begins with HELLO, after a pause of our choosing. Bodies
    are compressed once `compress` is set: the other end has said that it takes them. `shaken` says that a hub was there
    and let us in, whatever came after.
    """

    def __init__(
        self, context: zmq.Context[Any], settings: Settings, key: KeyPair | None, hub_key: str, bell: Bell
    ) -> None:
        self._settings = settings
        self._key = key
        self.compress = False
        self._bell = bell
        self.shaken = False
        self._heard_at = time.monotonic()
        self._socket = dealer(context, settings, key, hub_key)
        self._socket.sndhwm = 0  # the hub's credit bounds what is under way
        self._socket.reconnect_ivl = -1
        self._monitor = self._socket.get_monitor_socket()
        self._poller = zmq.Poller()
        for ear in (self._socket, self._monitor, bell.fd):
            self._poller.register(ear, zmq.POLLIN)

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            LineError: the address is no good.
        """
        try:
            self._socket.connect(self._settings.hub)
        except zmq.ZMQError as error:
            self.__exit__()
            raise LineError(
                Trouble.UNREACHABLE, f"no such address: {error.strerror}", remedy="see `hub` in [uplink]"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Close, without waiting for what is unsent."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def send(self, message: wire.Message) -> None:
        """Hand a message to ZeroMQ.

        Raises:
            LineError: there is no connection any more.
        """
        try:
            self._socket.send(wire.encode(message, compress=self.compress), zmq.NOBLOCK)
        except zmq.Again as error:
            self._watch()
            raise LineError(Trouble.UNREACHABLE, "the connection is gone") from error

    def receive(self, until: float) -> list[wire.Message]:
        """Return what has come, by a moment of the monotonic clock at the latest; empty also when the bell rang.

        Raises:
            LineError: the connection failed or fell silent, or what came is not this protocol.
        """
        dead_at = self._heard_at + self._settings.dead_after_s
        # Rounded up: a poll that ends a fraction of a millisecond early would be repeated at once, over and over.
        self._poller.poll(max(0, int((min(until, dead_at) - time.monotonic()) * 1000) + 1))
        self._bell.hush()
        messages = self._messages()
        if not messages:  # what the hub said before it went is heard first
            self._watch()
            if time.monotonic() >= dead_at:
                raise self._silence()
        return messages

    def _messages(self) -> list[wire.Message]:
        messages = []
        while self._socket.poll(0):
            try:
                messages.append(wire.decode(self._socket.recv(), limit=wire.MAX_REPLY))
            except wire.FrameError as error:
                raise LineError(
                    Trouble.OTHER_PROTOCOL, f"what the hub says is not understood: {error}", remedy="update both ends"
                ) from error
        if messages:
            self._heard_at = time.monotonic()
        return messages

    def _watch(self) -> None:
        """Raise what the monitor knows of; https://libzmq.readthedocs.io/en/latest/zmq_socket_monitor.html."""
        while self._monitor.poll(0):
            match parse_monitor_message(self._monitor.recv_multipart()):
                case {"event": zmq.EVENT_HANDSHAKE_SUCCEEDED}:
                    self.shaken = True
                case {"event": zmq.EVENT_HANDSHAKE_FAILED_AUTH}:
                    raise self._not_allowed()
                case {"event": zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL}:
                    raise LineError(
                        Trouble.OTHER_PROTOCOL,
                        "the hub does not speak as we do: one end is encrypted, the other is not",
                        remedy="`insecure` must be the same at both ends, and false outside of tests",
                    )
                case {"event": zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}:
                    raise LineError(
                        Trouble.OTHER_KEY,
                        "something answers but ends the handshake: the hub has another key, or it is no hub",
                        remedy=_KEYS_REMEDY,
                    )
                case {"event": zmq.EVENT_DISCONNECTED}:
                    raise LineError(Trouble.UNREACHABLE, "the hub closed the connection", remedy="see the hub's log")
                case {"event": zmq.EVENT_CLOSED}:
                    raise LineError(
                        Trouble.UNREACHABLE,
                        "nothing listens at this address",
                        remedy="start the hub, or see that no firewall stands between; events wait here meanwhile",
                    )

    def _not_allowed(self) -> LineError:
        if self._key is None:
            return LineError(Trouble.NOT_ALLOWED, "the hub lets no one in without a key", remedy=_KEYS_REMEDY)
        return LineError(
            Trouble.NOT_ALLOWED,
            f"the hub does not allow this branch's key {fingerprint(self._key.public)}",
            remedy=f"at the hub: edge-agent hub allow '{self._key.public}' NAME",
        )

    def _silence(self) -> LineError:
        what = "the hub fell silent" if self.shaken else "no answer from this address"
        return LineError(
            Trouble.SILENT if self.shaken else Trouble.UNREACHABLE,
            f"{what} for {self._settings.dead_after_s:g} s",
            remedy="see that the hub runs and can be reached; events wait here meanwhile",
        )

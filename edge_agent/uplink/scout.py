"""Knocks at the hub's address while the uplink pauses because nobody answered, so that a long pause ends early."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from edge_agent.uplink.link import dealer

if TYPE_CHECKING:
    import threading

    from edge_agent.config import Uplink as Settings
    from edge_agent.keys import KeyPair
    from edge_agent.uplink.link import Bell

KNOCK_MS = 1000  # from one knock to the next; ZeroMQ adds up to as much again, drawn anew each time
GIVE_UP_MS = 2000  # how long one may go unanswered: a host that has just come up never saw the first packet
_UNINVITED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Scout:
    """A connection that says nothing: it only finds out whether a handshake with the hub succeeds again.

    A hub that is away is not burdened by it, and one that comes back meets its branches over two seconds, each at a
    moment drawn by lot. A hub that answers and will not have this branch is left alone for the rest of the pause. Where
    the hub may have one of several keys, each knocks.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        settings: Settings,
        key: KeyPair | None,
        hub_keys: tuple[str, ...],
        bell: Bell,
    ) -> None:
        self._bell = bell
        self._address = settings.hub
        self._poller = zmq.Poller()
        self._poller.register(bell.fd, zmq.POLLIN)
        self._ears: list[tuple[str, zmq.Socket[bytes], zmq.Socket[bytes]]] = []
        for hub_key in hub_keys:
            socket = dealer(context, settings, key, hub_key)
            socket.reconnect_ivl = KNOCK_MS
            socket.connect_timeout = socket.handshake_ivl = GIVE_UP_MS
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _UNINVITED)
            self._poller.register(monitor, zmq.POLLIN)
            self._ears.append((hub_key, socket, monitor))

    def __enter__(self) -> Self:
        """Knock until the end of the block."""
        for _, socket, _ in self._ears:
            with suppress(zmq.ZMQError):  # an address that is none: whoever connects next says so
                socket.connect(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        """Go away."""
        for _key, socket, monitor in self._ears:
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=0)

    def wait(self, until: float, stop: threading.Event) -> str | None:
        """Wait for a handshake, by a moment of the monotonic clock at the latest.

        Returns the key by which the hub was known; None if there was no handshake.
        """
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            self._poller.poll(int(left * 1000) + 1)
            self._bell.hush()
            for hub_key, _, monitor in self._ears:
                if monitor.poll(0):
                    happened = parse_monitor_message(monitor.recv_multipart())["event"]
                    return hub_key if happened == zmq.EVENT_HANDSHAKE_SUCCEEDED else None
        return None

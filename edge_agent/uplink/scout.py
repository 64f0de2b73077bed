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
    moment drawn by lot. A hub that answers and will not have this branch is left alone for the rest of the pause.
    """

    def __init__(self, context: zmq.Context[Any], settings: Settings, key: KeyPair | None, bell: Bell) -> None:
        self._bell = bell
        self._socket = dealer(context, settings, key)
        self._socket.reconnect_ivl = KNOCK_MS
        self._socket.connect_timeout = self._socket.handshake_ivl = GIVE_UP_MS
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _UNINVITED)
        self._poller = zmq.Poller()
        for ear in (self._monitor, bell.fd):
            self._poller.register(ear, zmq.POLLIN)
        self._address = settings.hub

    def __enter__(self) -> Self:
        """Knock until the end of the block."""
        with suppress(zmq.ZMQError):  # an address that is none: whoever connects next says so
            self._socket.connect(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        """Go away."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def wait(self, until: float, stop: threading.Event) -> bool:
        """Wait for a handshake, by a moment of the monotonic clock at the latest; False if there was none."""
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            self._poller.poll(int(left * 1000) + 1)
            self._bell.hush()
            if self._monitor.poll(0):
                happened = parse_monitor_message(self._monitor.recv_multipart())["event"]
                return happened == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return False

"""The hub's live connections: who is at the other end of each, word to them every second, and how one is cut.

ZeroMQ offers no way to close one peer of a ROUTER, so the connection itself is shut down under it; ZeroMQ then sees it
end like any other.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass

BEAT_S = 1.0  # how often a branch hears that the hub lives, whatever its own messages are stuck behind


@dataclass(slots=True)
class _Peer:
    route: bytes
    key: str
    descriptor: int
    greeted: bool = False


class Connections:
    """What is known of the connections to one listening socket; `port` is the socket's own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._peers: dict[bytes, _Peer] = {}
        self._routes: dict[int, bytes] = {}

    def heard(self, route: bytes, key: str, descriptor: int) -> None:
        """Note who speaks on a connection; `descriptor` is the one that the message was read from."""
        if route in self._peers:
            return
        former = self._routes.get(descriptor)
        if former is not None:  # a descriptor is given out again once its connection has ended
            self.gone(former)
        self._peers[route] = _Peer(route, key, descriptor)
        self._routes[descriptor] = route

    def greeted(self, route: bytes) -> None:
        """Note that a branch said HELLO here: from now on it is told that the hub lives."""
        if route in self._peers:
            self._peers[route].greeted = True

    def gone(self, route: bytes) -> None:
        """Forget a connection that has ended."""
        peer = self._peers.pop(route, None)
        if peer is not None:
            self._routes.pop(peer.descriptor, None)

    def audience(self) -> list[bytes]:
        """Return the routes of those who said HELLO."""
        return [peer.route for peer in self._peers.values() if peer.greeted]

    def cut(self, allowed: set[str]) -> int:
        """End every connection but those of whom is allowed and has spoken; returns how many.

        A connection that has said nothing yet may be anybody's: it is ended too, and whoever is allowed comes again.
        """
        keep = {peer.descriptor for peer in self._peers.values() if peer.key in allowed}
        ended = 0
        for descriptor in self._open():
            if descriptor not in keep:
                ended += _shut(descriptor)
        for route in [peer.route for peer in self._peers.values() if peer.key not in allowed]:
            self.gone(route)
        return ended

    def _open(self) -> list[int]:
        """Return the descriptors of this process that are connections to the port."""
        found = []
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError, ValueError), socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    connection.getpeername()  # fails for what only listens
                    if connection.getsockname()[1] == self._port:
                        found.append(int(name))
        return found


def _shut(descriptor: int) -> bool:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
        return True
    return False

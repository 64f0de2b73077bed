"""Who may come in: the authenticator of CurveZMQ handshakes and the allow-list behind it.

ZeroMQ asks it over ZAP (https://rfc.zeromq.org/spec/27/). Its answer carries the client's public key as User-Id, which
ZeroMQ then attaches to every message of that connection: a branch is its key, never a name it claims. The door lives in
the hub's own loop; if that stands still nobody is let in, rather than everybody.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import zmq
from zmq.utils import z85

from edge_agent import keys
from edge_agent.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

DOMAIN = b"edge-agent"
_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class Door:
    """Answers ZAP requests for one context by the allow-list, which it reads anew whenever the file changes."""

    def __init__(self, context: zmq.Context[Any], allow_file: Path) -> None:
        self._path = allow_file
        self._allowed: dict[str, str] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._shut_out = False
        self.refresh()
        self.socket = context.socket(zmq.REP)
        self.socket.bind(_ADDRESS)

    def close(self) -> None:
        """Let nobody in any more."""
        self.socket.close(linger=0)

    def name(self, key: str) -> str | None:
        """Return the name of an allowed branch by its public key, or None."""
        return self._allowed.get(key)

    def refresh(self) -> None:
        """Read the allow-list if it has changed; one that can't be taken leaves the old one in force, and is told."""
        try:
            found = self._path.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        before = set(self._allowed)
        try:
            self._allowed = keys.read_allowed(self._path)
        except KeyFileError as error:
            log.error("the allow-list is not taken: %s; %s stay allowed; %s", error, len(self._allowed), error.remedy)
        else:
            self._shut_out |= bool(before - set(self._allowed))
            log.info("%s branches are allowed", len(self._allowed))

    def expel(self) -> None:
        """Have the connections looked through: somebody spoke who is not allowed."""
        self._shut_out = True

    def shut_out(self) -> set[str] | None:
        """Return the keys that are allowed if one of them no longer is since the last time; otherwise None."""
        if not self._shut_out:
            return None
        self._shut_out = False
        return set(self._allowed)

    def answer(self) -> None:
        """Answer every handshake that waits."""
        while self.socket.poll(0):
            request = self.socket.recv_multipart()
            reply = self._judge(request)
            self.socket.send_multipart([_VERSION, request[1] if len(request) > 1 else b"", *reply, b""])

    def _judge(self, request: list[bytes]) -> tuple[bytes, bytes, bytes]:
        """Return status code, status text and User-Id."""
        match request:
            case [version, _, domain, address, _, b"CURVE", key] if version == _VERSION and domain == DOMAIN:
                public = z85.encode(key).decode()
                if self.name(public) is None:
                    self.refresh()  # it may have been allowed a moment ago
                if self.name(public) is not None:
                    return b"200", b"OK", public.encode()
                log.warning("refused %s: key %s is not allowed", address.decode("ascii", "replace"), public)
        return b"400", b"not allowed", b""

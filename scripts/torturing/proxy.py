"""A bad line: a TCP proxy that can be cut, fall silent in one direction or both, or carry but little."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import StrEnum


class Mood(StrEnum):
    """How the line is."""

    GOOD = "good"
    CUT = "cut"  # connections are reset, new ones refused at once
    SILENT = "silent"  # half open: everything stays connected and nothing arrives
    DEAF = "deaf"  # what the branch says never arrives; what the hub says does
    SLOW = "slow"  # 16 KB a second upwards


_PIECE = 65_536
_SLOW_BYTES_S = 16_384


class Proxy:
    """Listens on a port of its own and carries to another; `mood` may change at any time."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._target: tuple[str, int] | None = None
        self._mood = Mood.GOOD
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, address: str) -> None:
        """Say where connections go."""
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._target = host, int(port)

    @property
    def mood(self) -> Mood:
        """How the line is at the moment."""
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        self._mood = mood
        if mood is Mood.CUT:
            with self._lock:
                for each in self._open:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self.mood = Mood.CUT
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._mood is Mood.CUT or self._target is None:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1024 if self._mood is Mood.SLOW else _PIECE):
                while self._mood is Mood.SILENT or (self._mood is Mood.DEAF and up):
                    time.sleep(0.05)
                if self._mood is Mood.SLOW and up:
                    time.sleep(len(piece) / _SLOW_BYTES_S)
                target.sendall(piece)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._open -= {source, target}

"""A CRM for the tests: a real HTTP server on loopback that takes events, or does what CRMs do on a bad day."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes
    said: int | str

    @property
    def event(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


class Crm:
    """`answer` is asked what to do with each request: a status, `hang`, `cut`, `drip`, or a status with headers."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], int | str | tuple[int, dict[str, str]]] = lambda request: 204
        self.requests: list[Request] = []
        self.free = threading.Event()
        self._lock = threading.Lock()
        crm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                crm.serve(self, {name.lower(): value for name, value in self.headers.items()}, body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/events"

    def close(self) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes) -> None:
        with self._lock:
            does = self.answer(Request(headers, body, 0))
            status, extra = does if isinstance(does, tuple) else (does, dict[str, str]())
            self.requests.append(Request(headers, body, status))
        if status == "hang":
            self.free.wait(30)
            handler.close_connection = True
            return
        said = b'{"message": "as you see"}'
        if status in ("cut", "drip"):
            handler.send_response(200)
            handler.send_header("content-length", "100000")
            handler.end_headers()
            handler.close_connection = True
            if status == "cut":
                handler.wfile.write(said)
                return
            while not self.free.wait(0.05):
                try:
                    handler.wfile.write(b"x")
                    handler.wfile.flush()
                except OSError:
                    return
            return
        handler.send_response(int(status))
        for name, value in extra.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("content-length", str(len(said)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(said)

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The events that were answered with success, in order."""
        return [request.event for request in self.requests if request.said in (200, 202, 204)]

"""The local door for the people on the box: a Unix socket that answers one JSON line with one JSON line.

Only the user the appliance runs as (and root) may ask: the socket has mode 0600.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ControlError, EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

Answer = dict[str, Any]
_MAX_LINE = 65_536
_PATIENCE_S = 5.0
_WORK_S = 900.0
SLOW = frozenset({"reload", "dictionary"})
"""Questions whose answer may take minutes; each is answered on a thread of its own."""


class Control:
    """Answers questions on a Unix socket, on a thread of its own; `answers` maps each question to its function.

    What a question carries besides its name is handed to the function as keyword arguments.
    """

    def __init__(self, path: Path, answers: Mapping[str, Callable[..., Answer]]) -> None:
        self._path = path
        self._answers = answers
        self._socket = self._bind(path)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        # shutdown wakes the thread out of accept(); close alone would not.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=_PATIENCE_S)
        self._path.unlink(missing_ok=True)

    @staticmethod
    def _bind(path: Path) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_socket():
                try:
                    ask(path, "status")
                except ControlError:
                    path.unlink(missing_ok=True)  # left behind by an appliance that was killed
                else:
                    raise ControlError(
                        "an appliance is running already", where=str(path), remedy="`edge-agent status` shows it"
                    )
            server.bind(str(path))
            path.chmod(0o600)
            server.listen(8)
        except OSError as error:
            server.close()
            raise ControlError(
                f"can't listen: {error.strerror or error}",
                where=str(path),
                remedy="its folder must be writable and its path at most 107 bytes; see [control].socket",
            ) from error
        return server

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.settimeout(_PATIENCE_S)
            try:
                request = json.loads(_read_line(connection))
                question = request.pop("ask")
                work = self._answers[question]
            except OSError:
                connection.close()
                continue
            except (AttributeError, KeyError, TypeError, ValueError):
                self._reply(connection, {"error": "unknown question", "known": sorted(self._answers)})
                continue
            if question in SLOW:
                # `status` is answered, and a call paused, while a reload is under way.
                name = f"answer-{question}"
                threading.Thread(target=self._answer, args=(connection, work, request), name=name, daemon=True).start()
            else:
                self._answer(connection, work, request)

    def _answer(self, connection: socket.socket, work: Callable[..., Answer], details: dict[str, Any]) -> None:
        try:
            answer = work(**details)
        except EdgeError as error:
            answer = {"error": str(error), "remedy": error.remedy}
        except TypeError:
            log.exception("a question over the control socket had wrong details")
            answer = {"error": "unknown question", "known": sorted(self._answers)}
        except Exception as error:
            log.exception("a question over the control socket failed")
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._reply(connection, answer)

    @staticmethod
    def _reply(connection: socket.socket, answer: Answer) -> None:
        with connection, suppress(OSError):  # the asker may have gone
            connection.sendall(json.dumps(answer, ensure_ascii=False).encode() + b"\n")


def ask(path: Path, question: str, **details: str | float | None) -> Answer:
    """Ask the running appliance; `details` are the arguments of the question.

    Raises:
        ControlError: nobody answers, or the answer is an error.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE_S)
        try:
            client.connect(str(path))
            client.sendall(json.dumps({"ask": question, **details}).encode() + b"\n")
            client.settimeout(_WORK_S if question in SLOW else _PATIENCE_S)
            answer: Answer = json.loads(_read_line(client))
        except (OSError, ValueError) as error:
            raise ControlError(
                "no appliance answers here",
                where=str(path),
                remedy="start it with `edge-agent run`, or give its configuration with -c",
            ) from error
    if "error" in answer:
        raise ControlError(str(answer["error"]), where=str(path), remedy=str(answer.get("remedy", "")))
    return answer


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < _MAX_LINE:
        piece = connection.recv(4096)
        if not piece:
            break
        line += piece
    return bytes(line)

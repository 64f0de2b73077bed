"""Which calls must not be heard for a while: a card number is read out, a private word is spoken.

A pause outlives a restart: it is kept in a small file, with the wall clock, because the monotonic one begins anew when
the machine does.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edge_agent.errors import ControlError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_MOST_REMEMBERED = 1000
ALL = "all"
"""In place of a call's id: every live call, also those that begin during the pause."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Audio is dropped until the wall clock says `until` (seconds since 1970), or for as long as nobody resumes it.

    `by` names who asked for it.
    """

    by: str
    until: float | None = None

    @property
    def over(self) -> bool:
        """Whether its time has passed."""
        return self.until is not None and time.time() >= self.until


class Pauses:
    """The pauses in force, for all threads.

    Args:
        file: where they are kept; None keeps them in memory alone.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._resumed_by: dict[str, str] = {}
        self._pauses: dict[str, Pause] = _read(file) if file is not None else {}

    def of(self, call_id: str, *, live: bool) -> Pause | None:
        """Return the pause of a call; a pause of all leaves recordings alone, for they were made at another time."""
        if not self._pauses:
            return None
        with self._lock:
            found = [self._pauses.get(call_id), self._pauses.get(ALL) if live else None]
        return next((pause for pause in found if pause is not None and not pause.over), None)

    def begin(self, call_id: str, pause: Pause) -> None:
        """Pause a call, or all of them; a second pause takes the place of the first.

        Raises:
            ControlError: the pause can't be written down; it holds all the same, until a restart.
        """
        with self._lock:
            self._pauses[call_id] = pause
            self._resumed_by.pop(call_id, None)
            self._write()

    def resumed_by(self, call_id: str) -> str | None:
        """Return who asked that this call be heard again; None where the pause ended by itself."""
        with self._lock:
            return self._resumed_by.get(call_id) or self._resumed_by.get(ALL)

    def end(self, call_id: str, by: str) -> None:
        """Resume a call; `all` resumes every one. `by` names who asks.

        Raises:
            ControlError: nothing is paused under this name, or the change can't be written down.
        """
        with self._lock:
            self._pauses = {name: pause for name, pause in self._pauses.items() if not pause.over}
            if call_id != ALL and call_id not in self._pauses:
                every = " (all calls are: `edge-agent resume all`)" if ALL in self._pauses else ""
                raise ControlError(f"this call is not paused{every}", where=call_id)
            if len(self._resumed_by) >= _MOST_REMEMBERED:
                self._resumed_by.clear()
            self._resumed_by[call_id] = by
            if call_id == ALL:
                self._pauses.clear()
            else:
                del self._pauses[call_id]
            self._write()

    def now(self) -> dict[str, Pause]:
        """Return what is in force, by call."""
        with self._lock:
            return {name: pause for name, pause in self._pauses.items() if not pause.over}

    def _write(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_name(self._file.name + ".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump({name: asdict(pause) for name, pause in self._pauses.items()}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        except OSError as error:
            raise ControlError(
                f"the pause holds, but would not outlive a restart: {error.strerror or error}",
                where=str(self._file),
                remedy="make the state folder writable, then ask again",
            ) from error


def _read(file: Path) -> dict[str, Pause]:
    try:
        return {name: Pause(**value) for name, value in json.loads(file.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # Better to hear nothing, and to say so, than to hear what was asked not to be heard.
        log.error("%s can't be read (%s): every live call is paused until `edge-agent resume all`", file, error)
        return {ALL: Pause("a damaged file of pauses")}

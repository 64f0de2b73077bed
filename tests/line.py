"""Both ends of a line, for tests: a hub in a thread, a branch with its keys, events to send."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from edge_agent import keys, wire
from edge_agent.config import Hub, Uplink
from edge_agent.event import SCHEMA, Event, new_id
from edge_agent.hub import HubEvent, Ledger, serve
from edge_agent.store import Keeper
from edge_agent.uplink import Outbox
from edge_agent.uplink import Uplink as Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ANY_PORT = "tcp://127.0.0.1:*"
NOW_MS = 1_767_600_000_000


def event(number: int) -> Event:
    time_of_it = datetime(2026, 1, 5, 9, 12, tzinfo=UTC)
    return Event(new_id(), "/sites/test", "edge.node.raised", time_of_it, "call-1", {"node": "价格", "number": number})


def alarm(number: int) -> Event:
    made = event(number)
    made.data.update(node="compliance.rebate", severity="alarm")
    return made


def lines(count: int) -> list[bytes]:
    return [wire.to_line(event(number).to_json()) for number in range(count)]


def hello(epoch: str = "e1", *, acked: int = 0, pruned: int = 0) -> wire.Hello:
    return wire.Hello(epoch, acked, pruned, (SCHEMA,), NOW_MS - 250)


def until(true: Callable[[], object], patience_s: float = 20) -> None:
    """Wait until something is so; that it becomes so at all is the test, not how soon."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def spoil(path: Path, start: float, end: float) -> None:
    """Overwrite some of a file, in shares of its length."""
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * start), int(len(content) * end)
    content[first:last] = b"\xa5" * (last - first)
    path.write_bytes(content)


class Head:
    """A hub and its folder; it can be stopped and started again on the same port."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.pair = keys.new(folder / "hub.key")
        self.bind = ANY_PORT
        self.given = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def settings(self) -> Hub:
        files = {name: str(self.folder / file) for name, file in FILES.items()}
        return Hub.model_validate({"bind": self.bind, **files, **self.given})

    @property
    def allow_file(self) -> Path:
        return self.folder / FILES["allow_file"]

    @property
    def database(self) -> Path:
        return self.folder / FILES["database"]

    def start(self) -> str:
        listening = threading.Event()

        def ready(endpoint: str) -> None:
            self.bind = endpoint
            listening.set()

        self._stop.clear()
        self._thread = threading.Thread(target=lambda: serve(self.settings, ready=ready, stop=self._stop))
        self._thread.start()
        assert listening.wait(20)
        return self.bind

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def events(self) -> list[HubEvent]:
        with Ledger.open(self.settings.database, readonly=True) as ledger:
            return list(ledger.events())

    def branch(self, name: str, **settings: object) -> Uplink:
        """Make a key, allow it, and return the settings of an uplink with it, quick to try again."""
        path = self.folder / f"{name}.key"
        keys.allow(self.allow_file, keys.new(path).public, name)
        return Uplink.model_validate(
            {"hub": self.bind, "hub_key": self.pair.public, "key_file": str(path), **QUICK, **settings}
        )


class running:  # noqa: N801 - reads as a word of the test
    """An uplink for the length of a block."""

    def __init__(self, outbox: Outbox, settings: Uplink) -> None:
        self.line = Line(outbox, settings)

    def __enter__(self) -> Line:
        self.line.start()
        return self.line

    def __exit__(self, *_: object) -> None:
        self.line.stop()


FILES = {"database": "hub.db", "key_file": "hub.key", "allow_file": "allowed-branches"}
QUICK = {"heartbeat_s": 0.1, "dead_after_s": 3.0, "retry_min_s": 0.05, "retry_max_s": 0.2}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """Give a head office that serves."""
    (tmp_path / "head").mkdir()
    head = Head(tmp_path / "head")
    head.start()
    yield head
    head.stop()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """Give a branch's store."""
    with Keeper(tmp_path / "branch.db") as keeper:
        yield keeper

"""Hub and branch as real processes, made to be killed.

They are forked from a server that has the modules loaded already (multiprocessing's forkserver), so that a cycle takes
a second and not ten; what runs in them is `edge_agent.hub.serve`, and the keeper and the uplink of a branch.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import keys
from edge_agent.config import Hub, Uplink
from edge_agent.errors import EdgeError
from edge_agent.event import Event, new_id
from edge_agent.hub import serve
from edge_agent.sqlite import open_database
from edge_agent.store import Keeper, put_back
from edge_agent.uplink import Uplink as Line

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

HERE = multiprocessing.get_context("forkserver")
PATIENCE_S = 120.0
CLAIMED = "/sites/branch"  # every branch claims this one name


@dataclass(frozen=True)
class Pace:
    """How a branch writes: events in a commit at most, the pause between two on average, how many may wait (0: any)."""

    most: int
    pause_s: float
    backlog: int = 2000


# ---- in the processes


def _begin(log: Path, offset: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(filename=log, level=logging.INFO, force=True, format="%(asctime)s %(levelname)s %(message)s")
    wall_ns = time.time_ns
    # The machine's clock is not ours to set: its readers are told another time. Seconds, changed at any moment.
    time.time_ns = lambda: wall_ns() + int(offset.value * 1e9)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=offset.value)

    from edge_agent.store import database

    vars(database)["datetime"] = Jumping


def hub_main(settings: Hub, log: Path, offset: Any, ready: Connection) -> None:
    """Serve until killed; the endpoint is told once it listens."""
    _begin(log, offset)
    serve(settings, ready=ready.send)


def branch_main(
    files: tuple[Path, Path],
    settings: Uplink,
    seed: int,
    pace: Pace,
    log: Path,
    offset: Any,
    ready: Connection,
) -> None:
    """Commit events without end; ids go into a journal once they are committed, and only then."""
    _begin(log, offset)
    chance = random.Random(seed)
    journal = os.open(files[1], os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.ftruncate(journal, os.fstat(journal).st_size // LINE * LINE)
    number = 0
    with Keeper(files[0]) as keeper:
        line = Line(keeper, settings, about={"agent": "torture"}.copy)
        line.start()
        ready.send("up")
        while True:
            count = chance.randint(1, pace.most)
            made = [_event(number + each, chance) for each in range(count)]
            number += count
            while True:  # as the appliance does: it waits rather than lose
                try:
                    last = keeper.keep(events=made).result()
                    break
                except EdgeError as error:
                    logging.error("not stored: %s", error)
                    time.sleep(0.2)
            text = "".join(f"{one.id} {'!' if one.data['severity'] == 'alarm' else '.'}\n" for one in made)
            os.write(journal, text.encode())
            while pace.backlog and last - keeper.acknowledged() > pace.backlog:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 2 * pace.pause_s))


def _event(number: int, chance: random.Random) -> Event:
    alarm = chance.random() < 0.02
    data = {
        "node": "compliance.rebate" if alarm else "objection.price",
        "severity": "alarm" if alarm else "info",
        "quote": "你们的价格太高了，能不能再便宜一点" * chance.randint(1, 4),
        "number": number,
    }
    return Event(new_id(), CLAIMED, "edge.node.raised", datetime.now(UTC), f"call-{number // 20}", data)


# ---- what holds them


class _Process:
    """A process that is started, killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.offset = HERE.Value("d", 0.0)
        self._process: BaseProcess | None = None

    def _start(self, target: Any, *arguments: Any) -> Any:
        ready, told = HERE.Pipe(duplex=False)
        self._process = HERE.Process(
            target=target, args=(*arguments, self.folder / "log", self.offset, told), daemon=True
        )
        self._process.start()
        told.close()
        try:
            if not ready.poll(PATIENCE_S):
                raise SystemExit(f"{self.folder.name} did not start within {PATIENCE_S:g} s: see {self.folder / 'log'}")
            return ready.recv()
        except EOFError:
            raise SystemExit(f"{self.folder.name} ended at its start: see {self.folder / 'log'}") from None

    def kill(self) -> None:
        """Send SIGKILL and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    @property
    def alive(self) -> bool:
        """Whether it runs; a process that ended by itself is a fault of the program."""
        return self._process is not None and self._process.is_alive()

    @property
    def memory_mib(self) -> float:
        """Resident memory of the process."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0


class HubEnd(_Process):
    """The hub; always on the same port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pair = keys.new(folder / "hub.key")
        self.address = "tcp://127.0.0.1:*"
        self.allow_file = folder / "allowed"
        self.database = folder / "hub.db"
        self.ready_at = 0.0

    def start(self) -> None:
        """Start it and wait until it listens."""
        settings = Hub(
            bind=self.address,
            database=str(self.database),
            key_file=str(self.folder / "hub.key"),
            allow_file=str(self.allow_file),
        )
        self.address = self._start(hub_main, settings)
        self.ready_at = time.monotonic()

    def copy(self, to: Path) -> None:
        """Take a copy of the database as a nightly backup would, while it is in use."""
        _copy(self.database, to)

    def roll_back(self, copy: Path) -> None:
        """Put an older copy in the place of the database, as an administrator would; it must not run."""
        for path in self.folder.glob("hub.db*"):
            path.unlink()
        shutil.copy(copy, self.database)


class BranchEnd(_Process):
    """A branch with a key of its own; `through` is where its uplink goes: the hub, or what stands before it."""

    def __init__(
        self, folder: Path, hub: HubEnd, through: str, seed: int, pace: Pace, disk: Path | None = None
    ) -> None:
        super().__init__(folder)
        self.database = (disk or folder) / "branch.db"
        self.journal = folder / "journal"
        self.key = keys.new(folder / "branch.key").public
        self._hub = hub
        self._through = through
        self._seed = seed
        self._pace = pace
        self.ready_at = 0.0
        self.allow()

    def allow(self) -> None:
        """Let it in; every branch goes by the same name."""
        keys.allow(self._hub.allow_file, self.key, "branch")

    def revoke(self) -> None:
        """Shut it out."""
        keys.revoke(self._hub.allow_file, self.key)

    def start(self) -> None:
        """Start it and wait until its database is open."""
        self._seed += 1
        settings = Uplink(hub=self._through, hub_key=self._hub.pair.public, key_file=str(self.folder / "branch.key"))
        self._start(branch_main, (self.database, self.journal), settings, self._seed, self._pace)
        self.ready_at = time.monotonic()

    def drain(self, patience_s: float = PATIENCE_S) -> None:
        """Without the writer: send what waits until the hub has it all; it must not run."""
        settings = Uplink(hub=self._through, hub_key=self._hub.pair.public, key_file=str(self.folder / "branch.key"))
        with Keeper(self.database) as keeper:
            line = Line(keeper, settings.model_copy(update={"retry_max_s": 1.0}))
            line.start()
            try:
                if not line.drain(patience_s):
                    raise AssertionError(f"{self.folder.name} is not drained after {patience_s:g} s: {line.status()}")
            finally:
                line.stop()

    def committed(self) -> int:
        """Return how many events were committed for certain."""
        return self.journal.stat().st_size // LINE if self.journal.exists() else 0

    def copy(self, to: Path) -> None:
        """Take a copy of the database while it is in use."""
        _copy(self.database, to)

    def put_back(self, copy: Path, *, by_command: bool) -> None:
        """Put an older copy in place, as `store restore` does or as somebody does who only copies files."""
        if by_command:
            put_back(copy, self.database)
            return
        for path in self.folder.glob("branch.db*"):
            path.unlink()
        shutil.copy(copy, self.database)

    def spoil(self, chance: random.Random) -> None:
        """Overwrite a page of the database's second half, as a dying disk does."""
        size = self.database.stat().st_size
        with self.database.open("r+b") as file:
            file.seek(4096 * chance.randrange(size // 8192, max(size // 4096, size // 8192 + 1)))
            file.write(os.urandom(4096))


def _copy(database: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    with contextlib.closing(open_database(database, readonly=True)) as ours:
        ours.copy_to(to)


LINE = len(f"{new_id()} .\n")


def journal(path: Path, skip: int = 0) -> list[tuple[str, bool]]:
    """Read what a branch committed, from a line on: ids in order, and whether each was an alarm.

    A last line that was cut off by a kill is left out: nobody was told of it.
    """
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(skip * LINE)
        content = file.read()
    lines = content[: len(content) // LINE * LINE].decode("ascii").split("\n")[:-1]
    return [(line[:-2], line.endswith("!")) for line in lines]


def preload() -> None:
    """Have what the processes need loaded once; the server looks for it where PYTHONPATH says."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    HERE.set_forkserver_preload(["torturing.ends", "edge_agent.hub.lite", "edge_agent.store", "msgpack", "zstandard"])


def wait_for(what: str, true: Any, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it did not come about.
    """
    end = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {patience_s:g} s")
        time.sleep(0.05)

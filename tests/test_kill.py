"""Either side is killed at any moment, over and over: nothing is lost, nothing doubled, everything in order.

Real processes, real sockets, kill -9. The seed is printed; EDGE_AGENT_SEED repeats a run and EDGE_AGENT_CYCLES makes it
longer.
"""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from edge_agent import keys
from edge_agent.config import Uplink
from edge_agent.hub import Ledger
from edge_agent.store import Keeper, Store

from .conftest import TOP, Cli
from .line import ANY_PORT, QUICK, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CYCLES = int(os.environ.get("EDGE_AGENT_CYCLES", "22"))


class Hub:
    """`edge-agent hub run` in a process of its own, on the same port each time."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._settings = cli.state / "hub.toml"
        self.address = ANY_PORT
        self.pair = keys.new(cli.state / "hub.key")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._settings.write_text(f'[hub]\nbind = "{self.address}"\n[log]\nlevel = "error"\n')
        self._process = subprocess.Popen(
            self._cli.command("hub", "run", "--json", "-c", self._settings),
            stdout=subprocess.PIPE,
            text=True,
            env=self._cli.environment,
            cwd=TOP,
        )
        assert self._process.stdout is not None
        self.address = json.loads(self._process.stdout.readline())["endpoint"]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def through(self) -> int:
        with Ledger.open(self._cli.state / "hub.db", readonly=True) as ledger:
            return sum(branch.through for branch in ledger.branches())

    def reached(self, sequence: int) -> bool:
        return self.through() >= sequence


class Branch:
    """The writer in a process of its own; `promised` is the last sequence it said was committed."""

    def __init__(self, cli: Cli, seed: int) -> None:
        self._environment = cli.environment
        self._seed = seed
        self.database = cli.state / "branch.db"
        self.key_file = cli.state / "branch.key"
        self.promised = 0
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, settings: Uplink) -> None:
        self._seed += 1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.writer", str(self.database), settings.model_dump_json(), str(self._seed)],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=TOP,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # not what was cut off by the kill
                self.promised = int(line)

    def kill(self) -> None:
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._reader.join()
            self._process.wait()
            self._process = None


@pytest.fixture
def hub(cli: Cli) -> Iterator[Hub]:
    hub = Hub(cli)
    yield hub
    hub.kill()


@pytest.fixture
def branch(cli: Cli, seed: int) -> Iterator[Branch]:
    branch = Branch(cli, seed)
    yield branch
    branch.kill()


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("EDGE_AGENT_SEED") or random.SystemRandom().randrange(10**6))


def test_nothing_is_lost_or_doubled_whoever_is_killed(hub: Hub, branch: Branch, seed: int, cli: Cli) -> None:
    print(f"EDGE_AGENT_SEED={seed}")
    chance = random.Random(seed)
    keys.allow(cli.state / "allowed-branches", keys.new(branch.key_file).public, "b1")
    hub.start()
    settings = Uplink.model_validate(
        {"hub": hub.address, "hub_key": hub.pair.public, "key_file": str(branch.key_file), **QUICK}
    )
    branch.start(settings)
    for _ in range(CYCLES):
        goal = hub.through() + 1
        until(functools.partial(hub.reached, goal), patience_s=60)  # both live, and events flow
        time.sleep(chance.uniform(0, 0.2))
        victims = chance.choice(["hub", "branch", "both"])
        if victims != "hub":
            branch.kill()
        if victims != "branch":
            hub.kill()
            time.sleep(chance.uniform(0, 0.2))
            hub.start()
        if victims != "hub":
            branch.start(settings)
    branch.kill()

    with Keeper(branch.database) as keeper, running(keeper, settings) as uplink:
        assert uplink.drain(60)
    with Store.open(branch.database, readonly=True) as store:
        kept = [(row.sequence, row.body) for row in store.events()]
        counts = store.counts()
    with Ledger.open(cli.state / "hub.db", readonly=True) as ledger:
        got = [(row.sequence, row.body) for row in ledger.events()]
        (known,) = ledger.branches()
    print(f"{CYCLES} cycles, {len(kept)} events, {branch.promised} promised")
    assert got == kept
    assert [sequence for sequence, _ in kept] == list(range(1, len(kept) + 1))
    assert len({json.loads(body)["id"] for _, body in got}) == len(got)
    assert len(kept) >= branch.promised > CYCLES
    assert (counts.acknowledged, counts.waiting, counts.rejected) == (len(kept), 0, 0)
    assert (known.through, known.dead_letters, known.missing) == (len(kept), 0, 0)

"""What can happen to a line between a branch and its hub, one function each."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq

from edge_agent import keys
from torturing.proxy import Mood

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from torturing.check import Judge
    from torturing.ends import BranchEnd, HubEnd
    from torturing.proxy import Proxy


@dataclass
class World:
    """Everything there is; `main` goes through the proxy, `twin` straight to the hub."""

    folder: Path
    chance: random.Random
    hub: HubEnd
    main: BranchEnd
    twin: BranchEnd
    proxy: Proxy
    judge: Judge
    kills: int = 0
    hub_copy: Path | None = None
    branch_copy: Path | None = None
    recoveries_s: list[float] = field(default_factory=list)

    @property
    def branches(self) -> list[BranchEnd]:
        """Both."""
        return [self.main, self.twin]

    def kill(self, *ends: HubEnd | BranchEnd) -> None:
        """Kill -9, all at once."""
        for end in ends:
            end.kill()
            self.kills += 1

    def drained(self, branch: BranchEnd) -> None:
        """Have everything that was committed brought to the hub, and the branch's writer stopped."""
        branch.kill()
        branch.drain()


def kill_hub(world: World) -> None:
    """The hub loses power."""
    world.kill(world.hub)
    time.sleep(world.chance.uniform(0, 0.3))
    world.hub.start()


def kill_hub_for_long(world: World) -> None:
    """The hub loses power and stays away until the branches have long pauses between their tries."""
    world.kill(world.hub)
    time.sleep(world.chance.uniform(5, 12))
    world.hub.start()


def kill_branch(world: World) -> None:
    """A branch loses power."""
    branch = world.chance.choice([world.main, world.main, world.twin])
    world.kill(branch)
    branch.start()


def kill_both(world: World) -> None:
    """Both ends lose power."""
    world.kill(world.hub, world.main)
    world.hub.start()
    world.main.start()


def partition(world: World) -> None:
    """The line is down."""
    _mood(world, Mood.CUT, 1.0)


def half_open(world: World) -> None:
    """Connections stay, and nothing arrives."""
    _mood(world, Mood.SILENT, 4.0)


def one_way(world: World) -> None:
    """What the hub says arrives; what the branch says does not."""
    _mood(world, Mood.DEAF, 4.0)


def slow(world: World) -> None:
    """16 KB a second."""
    _mood(world, Mood.SLOW, 4.0)


def _mood(world: World, mood: Mood, most_s: float) -> None:
    world.proxy.mood = mood
    time.sleep(world.chance.uniform(0.2, most_s))
    world.proxy.mood = Mood.GOOD


def roll_the_hub_back(world: World) -> None:
    """The hub's database is put back from an older copy; the branches have kept what it lost."""
    if world.hub_copy is None:
        world.hub_copy = world.folder / "hub-copy.db"
        world.hub.copy(world.hub_copy)
        return
    world.kill(world.hub)
    world.hub.roll_back(world.hub_copy)
    world.hub_copy = None
    world.judge.start_again()
    world.hub.start()


def put_the_branch_back(world: World) -> None:
    """The branch's database is put back from an older copy, by the command or by copying the file."""
    if world.branch_copy is None:
        world.branch_copy = world.folder / "branch-copy.db"
        world.main.copy(world.branch_copy)
        return
    world.drained(world.main)  # what never left the branch is lost with its disk, whoever made the copy
    world.main.put_back(world.branch_copy, by_command=world.chance.random() < 0.5)
    world.branch_copy = world.hub_copy = None  # what the branch no longer has, no older copy of the hub could get again
    world.main.start()


def spoil_the_branch(world: World) -> None:
    """A page of the branch's database is overwritten."""
    world.drained(world.main)
    world.main.spoil(world.chance)
    world.branch_copy = world.hub_copy = None
    world.main.start()


def clocks_jump(world: World) -> None:
    """Both ends' clocks jump, by up to a year, forwards or back."""
    for end in (world.hub, world.main):
        end.offset.value = world.chance.choice([-1, 1]) * world.chance.uniform(1, 3e7)


def revoke(world: World) -> None:
    """The branch is revoked in mid-stream, and let in again."""
    world.main.revoke()
    time.sleep(world.chance.uniform(0.5, 2.0))
    world.main.allow()


def half_written_list(world: World) -> None:
    """Somebody saves half of the allow-list; the old one stays in force."""
    whole = world.hub.allow_file.read_text()
    world.hub.allow_file.write_text(whole[: world.chance.randrange(len(whole) - 1)].rstrip("\n"))
    time.sleep(0.6)
    world.hub.allow_file.write_text(whole)


def garbage(world: World) -> None:
    """Raw bytes at the port, and frames that are none from somebody who is allowed."""
    host, port = world.hub.address.removeprefix("tcp://").split(":")
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + bytes(15) + bytes(32)
    for number in range(30):
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall((greeting if number % 2 else b"") + os.urandom(world.chance.randrange(1, 400)))
    with fool(world.hub, world.folder) as send:
        for _ in range(300):
            send(world.chance.randbytes(world.chance.randrange(200)))


class fool:  # noqa: N801 - reads as a word of the text
    """A branch that is allowed and sends what is no message."""

    def __init__(self, hub: HubEnd, folder: Path) -> None:
        path = folder / "fool.key"
        pair = keys.load(path) if path.exists() else keys.new(path)
        keys.allow(hub.allow_file, pair.public, "fool")
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.sndtimeo = 20_000
        self.socket.curve_serverkey = hub.pair.public.encode()
        self.socket.curve_publickey, self.socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
        self.socket.connect(hub.address)

    def __enter__(self) -> Callable[[bytes], object]:
        return self.socket.send

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._context.term()


KILLS: dict[Callable[[World], None], int] = {kill_hub: 10, kill_hub_for_long: 1, kill_branch: 5, kill_both: 5}
OTHERS: dict[Callable[[World], None], int] = {
    partition: 4,
    half_open: 2,
    one_way: 2,
    slow: 2,
    roll_the_hub_back: 3,
    put_the_branch_back: 3,
    spoil_the_branch: 1,
    clocks_jump: 2,
    revoke: 2,
    half_written_list: 1,
    garbage: 2,
}

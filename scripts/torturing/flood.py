"""Frames that are none, by the million, from somebody who is allowed; meanwhile a good branch is served."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

from torturing.faults import World, fool

if TYPE_CHECKING:
    from collections.abc import Callable

    from torturing.ends import HubEnd

BLOCK = 1000


def _send(hub: HubEnd, folder: object, frames: int) -> None:
    import os
    from pathlib import Path

    noise = [os.urandom(number % 64) for number in range(BLOCK)]
    with fool(hub, Path(str(folder))) as send:
        for _ in range(frames // BLOCK):
            for one in noise:
                send(one)


def run(world: World, frames: int, say: Callable[[str], None]) -> dict[str, object]:
    """Send them and return what became of the hub's memory and of the good branch.

    Raises:
        AssertionError: the hub ended, or the branch was not served.
    """
    hub = world.hub
    branch = world.twin
    branch.start()
    time.sleep(2)
    before, events = hub.memory_mib, world.judge.look()
    sender = multiprocessing.get_context("fork").Process(target=_send, args=(_address(hub), world.folder, frames))
    sender.start()
    began, most, served, longest = time.monotonic(), before, events, 0.0
    last = began
    while sender.is_alive():
        time.sleep(0.5)
        if not hub.alive:
            raise AssertionError("the hub ended under garbage")
        most = max(most, hub.memory_mib)
        now = world.judge.look()
        if now > served:
            longest = max(longest, time.monotonic() - last)
            served, last = now, time.monotonic()
        if time.monotonic() - last > 60:
            raise AssertionError("a good branch was not served for 60 s under garbage")
    sender.join()
    took = time.monotonic() - began
    if sender.exitcode:
        raise AssertionError("the garbage could not be sent")
    world.drained(branch)
    result: dict[str, object] = {
        "frames": frames,
        "frames_per_s": round(frames / took),
        "memory_before_mib": round(before, 1),
        "memory_most_mib": round(most, 1),
        "memory_after_mib": round(hub.memory_mib, 1),
        "events_meanwhile": served - events,
        "longest_wait_s": round(longest, 2),
    }
    say(f"garbage: {result}")
    if most > before + 64:
        raise AssertionError(f"the hub's memory grew from {before:.0f} to {most:.0f} MiB under garbage")
    return result


def _address(hub: HubEnd) -> HubEnd:
    """Return what the sender needs of the hub: no process handle can go along."""
    from types import SimpleNamespace

    return SimpleNamespace(address=hub.address, pair=hub.pair, allow_file=hub.allow_file)  # type: ignore[return-value]

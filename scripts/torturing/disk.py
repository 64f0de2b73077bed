"""A small disk runs full under a branch: what is stored stays whole, and work goes on by itself once there is room."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from edge_agent.store import Store
from torturing.check import Judge
from torturing.ends import BranchEnd, Pace, wait_for
from torturing.proxy import Mood

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torturing.faults import World

SIZE = "40m"


def run(world: World, say: Callable[[str], None]) -> dict[str, object]:
    """Let the branch write until nothing more fits, then let the line come back.

    Raises:
        AssertionError: something was lost, or work did not go on.
    """
    folder = world.folder / "full"
    small = folder / "disk"
    small.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(small)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        say(f"disk: left out, for no disk can be mounted here ({mounted.stderr.strip()})")
        return {"done": False}
    branch = BranchEnd(folder, world.hub, world.proxy.address, 1, Pace(100, 0.001, backlog=0), small)
    judge = Judge(world.hub.database, [branch])
    try:
        branch.start()
        wait_for("that events flow", lambda: judge.has({branch.key: 500}))
        world.proxy.mood = Mood.CUT  # from now on nothing is acknowledged, and nothing may go
        wait_for("that the disk is full", lambda: "not stored" in _log(branch))
        time.sleep(2)
        branch.kill()  # and the power goes, too
        branch.start()
        full_at = branch.committed()
        world.proxy.mood = Mood.GOOD
        wait_for("that all is at the hub", lambda: judge.has({branch.key: full_at}))
        wait_for("that work goes on by itself", lambda: judge.has({branch.key: full_at + 2000}))
        branch.kill()
        branch.drain()
        verdict = judge.close()
        if not verdict.clean:
            raise AssertionError(f"after a full disk: {verdict.examples}")
        with Store.open(branch.database, readonly=True) as store:
            if found := store.damage():
                raise AssertionError(f"after a full disk: {found}")
        result: dict[str, object] = {
            "done": True,
            "stored_when_full": full_at,
            "events": branch.committed(),
            "lost": verdict.lost,
        }
        say(f"disk: {result}")
        return result
    finally:
        world.proxy.mood = Mood.GOOD
        branch.kill()
        subprocess.run(["umount", str(small)], check=False)


def _log(branch: BranchEnd) -> str:
    log: Path = branch.folder / "log"
    return log.read_text(errors="replace") if log.exists() else ""

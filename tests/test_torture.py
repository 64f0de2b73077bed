"""A short version of `scripts/torture`: everything that can happen; and it would notice if something were lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from .conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

CYCLES = int(os.environ.get("EDGE_AGENT_CYCLES", "26"))


def test_nothing_is_lost_or_doubled_whatever_happens(tmp_path: Path) -> None:
    arguments = ["--cycles", str(CYCLES), "--garbage", "3000", "--folder", str(tmp_path / "work"), "--json"]
    if seed := os.environ.get("EDGE_AGENT_SEED"):
        arguments += ["--seed", seed]
    done = subprocess.run(
        [sys.executable, TOP / "scripts" / "torture", *arguments], capture_output=True, text=True, cwd=TOP, check=False
    )
    print(done.stdout, done.stderr)
    report = json.loads(done.stdout)
    wrong = {name: report[name] for name in ("lost", "doubled", "disordered", "foreign", "error") if report[name]}
    assert (done.returncode, wrong) == (0, {})
    assert report["cycles"] >= CYCLES
    assert report["kills"] > 0
    assert report["events"] > 10 * CYCLES
    assert all(report["faults"].values()), report["faults"]


def test_it_would_notice(tmp_path: Path) -> None:
    """The judge is no rubber stamp: a row taken out of the hub's database, doubled or put elsewhere is seen."""
    sys.path.insert(0, str(TOP / "scripts"))
    from torturing.check import Judge

    from edge_agent import wire
    from edge_agent.hub import Ledger

    from .line import NOW_MS, event

    sent = [event(number) for number in range(6)]
    lines = [wire.to_line(one.to_json()) for one in sent]

    class Branch:
        key, folder, journal = "k1", tmp_path, tmp_path / "journal"

    Branch.journal.write_text("".join(f"{one.id} .\n" for one in sent))
    with Ledger.open(tmp_path / "hub.db") as ledger, ledger.transaction():
        ledger.take("k1", "b1", wire.Events.of("e1", 1, [lines[0], lines[2], lines[1], lines[3]]), NOW_MS)
        ledger.take("k2", "b2", wire.Events.of("e1", 1, [lines[4]]), NOW_MS)
    verdict = Judge(tmp_path / "hub.db", [Branch()]).close()  # type: ignore[list-item]
    assert (verdict.events, verdict.lost, verdict.disordered, verdict.foreign) == (5, 1, 1, 1)

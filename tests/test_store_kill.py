"""Power cut: a process is killed in the middle of writing, and everything it had reported is there."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

from edge_agent.store import Store

if TYPE_CHECKING:
    from pathlib import Path

CYCLES = 6

# Four threads queue batches of up to five events; the ids of a batch are printed once it is reported as stored, one
# line and one write(2) for each batch, so that a line is there whole or not at all.
_WRITER = """
import os, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from edge_agent.event import Event, new_id
from edge_agent.store import Keeper

keeper = Keeper(Path(sys.argv[1]))
start = datetime.now(UTC)

def work(lane):
    n = 0
    while True:
        n += 1
        batch = [Event(new_id(), "/sites/b", "edge.call.started", start, lane, {}) for _ in range(n % 5 + 1)]
        keeper.keep(events=batch).result()
        os.write(1, (" ".join(event.id for event in batch) + "\\n").encode())
        if n % 7 == 0:
            keeper.acknowledge(keeper.pending(0, 3)[-1].sequence)

for lane in range(4):
    threading.Thread(target=work, args=(str(lane),)).start()
"""


def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    dice = random.Random(5)
    reported: list[str] = []
    epochs = set()
    for _ in range(CYCLES):
        enough = 20 + dice.randrange(200)
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(enough)]
            writer.kill()
            lines += writer.stdout.readlines()
        assert writer.returncode == -9
        reported += " ".join(line for line in lines if line.endswith("\n")).split()

        with Store.open(path) as store:
            epochs.add(store.epoch)
            assert store.database.value("PRAGMA integrity_check") == "ok"
            kept = [row[0] for row in store.database.rows("SELECT id FROM events ORDER BY sequence")]
            assert set(reported) <= set(kept)
            sequences = store.database.rows("SELECT sequence FROM events ORDER BY sequence")
            assert sequences == store.database.rows("SELECT sequence FROM outbox ORDER BY sequence")
            assert [row[0] for row in sequences] == list(range(1, len(sequences) + 1))
            waiting = store.pending(0, len(kept) + 1)
            assert [row.id for row in waiting] == kept[store.acknowledged() :]
    assert len(reported) == len(set(reported)) > CYCLES * 20
    assert len(epochs) == 1

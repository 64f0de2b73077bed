"""Memory that is freed goes back to the system, and numpy takes no core from the recognizers."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from typing import TYPE_CHECKING

import pytest

from edge_agent import heap
from edge_agent.audio.file import FileSource
from edge_agent.config import Config, Hear, Model, Site, Store
from edge_agent.daemon import Appliance
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

# A thread frees a hundred megabytes, but keeps a piece that lies above them: the heap can't shrink by itself.
CREEP = """
import ctypes, os, sys, threading
sys.path.insert(0, sys.argv[1])
from edge_agent import heap
def held(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
heap.share()
held_before, kept = held(), []
def call():
    pieces = [library.malloc(20_000) for _ in range(5_000)]
    for piece in pieces: ctypes.memset(piece, 1, 20_000)
    kept.append(library.malloc(20_000))
    for piece in pieces: library.free(piece)
thread = threading.Thread(target=call); thread.start(); thread.join()
held_freed = held()
heap.give_back()
print(held_before, held_freed, held())
"""


def test_what_a_thread_freed_goes_back_to_the_system() -> None:
    if heap._library() is None:
        pytest.skip("another C library than glibc: nothing is given back by hand")
    done = subprocess.run([sys.executable, "-c", CREEP, TOP], capture_output=True, text=True, timeout=60, check=True)
    before, freed, given_back = map(int, done.stdout.split())
    assert freed > before + 80
    assert given_back < before + 20


def test_memory_is_given_back_when_the_last_call_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    with wave.open(str(tmp_path / "nobody.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    appliance = Appliance(
        Config(
            site=Site(id="branch-1"),
            store=Store(database=str(tmp_path / "branch.db")),
            hear=Hear(spool=str(tmp_path / "spool")),
            model=Model(workers=1),
        )
    )
    give_back = heap.give_back

    def spied() -> None:
        given.append(appliance._corridor.idle)
        give_back()

    monkeypatch.setattr(heap, "give_back", spied)
    appliance.start()
    for _ in range(2):
        appliance.attach(FileSource(tmp_path / "nobody.wav"))
    appliance.finish()
    appliance.close()
    assert given[-1:] == [True]


def test_numpy_works_on_one_thread() -> None:
    asked = (
        "import sys; sys.path.insert(0, sys.argv[1]); import edge_agent, os, numpy as np;"
        "many = np.ones((512, 512), np.float32); many @ many; print(len(os.listdir('/proc/self/task')))"
    )
    bare = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}  # it is set here too
    command: list[str | Path] = [sys.executable, "-c", asked, TOP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=bare)
    assert int(done.stdout) == 1

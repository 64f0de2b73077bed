"""A pack of 100,000 terms that is put in force: how long it is compiled, how fast it is read, who waits for whom."""

from __future__ import annotations

import csv
import random
import tempfile
import threading
import time
from pathlib import Path

from edge_agent import paths
from edge_agent.config import Dictionary as Settings
from edge_agent.packs import Packs
from edge_agent.terms import Pack
from edge_agent.terms.normalise import normalise
from edge_agent.terms.table import COLUMNS

TERMS = 100_000
_TICK_S = 0.001


class Waiter:
    """A thread that wants to run every millisecond, as one that hears a sound card does; it says how long it waited."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Waiter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._over.is_set():
            time.sleep(_TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - _TICK_S)
            last = now


def measure(rounds: int, count: int = TERMS) -> dict[str, list[float]]:
    """Return seconds (and MB) of each round, of everything that happens to a pack of so many terms."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pack(folder / "big", count)
        packs = Packs(
            Settings(folder=name, packs=("big",), cache=str(folder / "cache"), database=str(folder / "dictionary.db"))
        )
        began = time.process_time()
        packs.dictionary()
        found["compile"] = [time.process_time() - began]
        cached = packs.cached()
        assert cached is not None
        found["size"] = [cached.stat().st_size / 1e6]
        dictionary = packs.dictionary()
        for _ in range(rounds):
            began, worked = time.perf_counter(), time.thread_time()
            with Waiter() as waiter:
                dictionary = packs.dictionary_apart()  # what a running appliance does; the old one goes here
            found.setdefault("load", []).append(time.perf_counter() - began)
            found.setdefault("work", []).append(time.thread_time() - worked)
            found.setdefault("stall", []).append(waiter.longest_s * 1000)
            with Waiter() as waiter:
                time.sleep(found["load"][-1])
            found.setdefault("idle", []).append(waiter.longest_s * 1000)
        assert len(dictionary.entries) == count
    return found


def write_pack(folder: Path, count: int) -> None:
    """Write a pack of names as trades make them: two shipped terms in one."""
    chance = random.Random(4)
    shipped = paths.shipped() / "dictionaries"
    words = [term.term for name in ("pharma", "manufacturing", "retail") for term in Pack.load(shipped / name).terms]
    names: dict[str, str] = {}
    while len(names) < count:
        name = "".join(chance.sample(words, 2))
        if len(name) <= 20:
            names[normalise(name).text] = name
    folder.mkdir()
    (folder / "pack.toml").write_text(
        'id = "big"\nname = "big"\nindustry = "any"\nversion = "1"\nlanguage = "zh-CN"\nlicence = "none"\n', "utf-8"
    )
    with (folder / "terms.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name in names.values():
            table.writerow([name, "product", "", "", chance.choice(["", "1", "2"]), "", ""])

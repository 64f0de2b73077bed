"""The dictionary at 100,000 terms: speed beside bare daachorse, memory, cache, noise, false alarms (for `bench`)."""

from __future__ import annotations

import csv
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import daachorse
from vocabulary import vocabulary

from edge_agent.terms import Dictionary, Pack, boundary, compiled, exporting, segment
from edge_agent.terms.noise import HOMOPHONES, KINDS, NEAR, Noise, draw, held_out
from edge_agent.terms.normalise import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = tuple[str, list[float], str, str]

TOP = Path(__file__).resolve().parent.parent


SEGMENTER = partial(segment.shared, TOP / "models" / "zh-segmenter")


def turns(count: int, *works: Callable[[], object]) -> list[list[float]]:
    """Time works in turn by the processor's clock, after one warm-up each; a list of seconds for each of them."""
    seconds: list[list[float]] = [[] for _ in works]
    for number in range(count + 1):
        for times, work in zip(seconds, works, strict=True):
            began = time.process_time()
            work()
            if number:
                times.append(time.process_time() - began)
    return seconds


def measure(count: int) -> list[Row]:
    """Return what was measured: what it is, the values of repeated runs, their unit, and what is to be reached."""
    talk = sorted((TOP / "scripts/train_recognizer/text").glob("*.txt"))
    lines = [line for file in talk for line in file.read_text("utf-8").splitlines() if line and "{" not in line]
    random.Random(1).shuffle(lines)
    lines = lines[:6000]
    size = sum(len(line.encode()) for line in lines) / 1e6
    packs = vocabulary(100_000)
    names = [term.term for pack in packs for term in pack.terms]
    began = time.process_time()
    built = Dictionary.compile(packs)
    compile_s = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many"
        compiled.write(file, built.parts())
        bytes_mb = file.stat().st_size / 1e6
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        dictionary = replace(Dictionary.from_parts(compiled.read(file)), segmenter=SEGMENTER)
        memory_mb = max(bytes_mb, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
        (loads,) = turns(count, lambda: Dictionary.from_parts(compiled.read(file)))

    bare = daachorse.CharwiseDoubleArrayAhoCorasick(
        [normal for normal in dict.fromkeys(map(plain, names)) if normal], daachorse.MATCH_KIND_STANDARD
    )
    text = "\n".join(lines)

    def whole() -> None:
        for start in range(0, len(lines), 256):
            dictionary.recognise_all(lines[start : start + 256])

    naked, exact, stage = turns(count, lambda: bare.find_overlapping(text), lambda: dictionary.occurrences(text), whole)
    kept = [name for name in names if held_out(name) and len(name) >= 3]
    kept = random.Random(3).sample(kept, 6000)
    found = {}
    for kind in KINDS:
        drawn = list(
            draw(kept, ("麻烦介绍一下{}", "采购那边点名要{}", "{}多少钱一套", "我听说{}最近改了"), [kind], 150, 4711)
        )
        hits = dictionary.recognise_all([one.heard for one in drawn])
        right = sum(one.terms[0] in {hit.term for hit in got.terms} for one, got in zip(drawn, hits, strict=True))
        found[kind] = right / len(drawn)
    alarms = []
    for share in (0.0, 0.1):
        noise = Noise(99)
        got = dictionary.recognise_all([noise.spoil(line, share) for line in lines])
        false = sum(
            hit.via == "phonetic" and hit.term not in line and one.text[slice(*hit.at)] not in line
            for line, one in zip(lines, got, strict=True)
            for hit in one.terms
        )
        alarms.append(false / (sum(map(len, lines)) / 15_000))
    held = "held-out draw, 150 lines a kind"
    straddling, words = straddles()

    def mean(kinds: tuple[str, ...]) -> float:
        return statistics.mean(found[kind] for kind in kinds)

    return [
        ("bare daachorse, 100,000 terms", [size / took for took in naked], "MB/s", ""),
        ("exact and alias, 100,000 terms", [size / took for took in exact], "MB/s", ""),
        (
            "exact against bare daachorse",
            [one / other for one, other in zip(naked, exact, strict=True)],
            "times",
            "to reach: ≥ 0.9",
        ),
        (
            "whole stage, 100,000 terms, 256 lines at once",
            [size / took for took in stage],
            "MB/s",
            "to reach: ≥ 0.4",
        ),
        ("lines", [len(lines) / took for took in stage], "lines/s", "to reach: ≥ 10,000"),
        (
            "lines, `dict test --json` as a process, start and all",
            [through_the_front_door(packs, lines)],
            "lines/s",
            "100,000 lines by standard input; to reach: ≥ 10,000",
        ),
        ("two-character terms across two words that are refused", [straddling], "", "hits told by hand"),
        ("two-character terms that are words, and refused", [words], "", "the same, every doubtful one among them"),
        ("compiled dictionary in memory", [memory_mb], "MB", "to reach: ≤ 100"),
        ("compile, processor time", [compile_s], "s", ""),
        ("load of the cache", loads, "s", "to reach: ≤ 0.5"),
        ("recall of homophones", [mean(HOMOPHONES)], "", f"{held}; to reach: ≥ .99"),
        ("recall of near homophones", [mean(NEAR)], "", f"{held}; to reach: ≥ .97"),
        ("recall of all 16 kinds of noise", [mean(KINDS)], "", f"{held}; to reach: ≥ .94"),
        *(
            (f"recall, {kind}", [found[kind]], "", "to reach: ≥ .80" if kind == "dropped" else "")
            for kind in KINDS
            if kind not in HOMOPHONES + NEAR
        ),
        ("false alarms on clean talk", [alarms[0]], "an hour", "to reach: ≤ 2"),
        ("false alarms, a tenth of the characters wrong", [alarms[1]], "an hour", "to reach: ≤ 8"),
    ]


def through_the_front_door(packs: list[Pack], lines: list[str]) -> float:
    """Return how many lines a second of processor time a whole `dict test` reads, with all terms in one pack."""
    terms = tuple({term.term: term for pack in packs for term in pack.terms}.values())
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "packs").mkdir()
        exporting.write(Pack("many", "many", "all", "1", "zh", "MIT", terms), top / "packs" / "many", folder=True)
        (top / "config.toml").write_text(f"[dictionary]\nfolder = '{top / 'packs'}'\npacks = ['many']\n")
        command = [sys.executable, "-m", "edge_agent", "dict", "test", "-c", str(top / "config.toml"), "--json"]
        environment = os.environ | {"EDGE_AGENT_STATE": str(top / "state")}
        subprocess.run([*command, "你好"], check=True, env=environment, stdout=subprocess.DEVNULL)  # compiles
        said = "\n".join((lines * (100_000 // len(lines) + 1))[:100_000]) + "\n"
        before = os.times()
        subprocess.run(command, input=said.encode(), check=True, env=environment, stdout=subprocess.DEVNULL)
        after = os.times()
        return 100_000 / (after.children_user + after.children_system - before.children_user - before.children_system)


def straddles() -> tuple[float, float]:
    """Return which share of hits across two words is refused, and which of those that are words."""
    counts = {"straddles": [0, 0], "word": [0, 0]}
    with (TOP / "tests/data/straddling.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            start = row["text"].index("[")
            text = row["text"].replace("[", "").replace("]", "")
            counts[row["is"]][0] += boundary.straddles(text, start, start + 2, SEGMENTER)
            counts[row["is"]][1] += 1
    (refused, across), (lost, whole) = counts["straddles"], counts["word"]
    return refused / across, lost / whole


def plain(text: str) -> str:
    """Return a spelling as the dictionary matches it."""
    return normalise(text).text

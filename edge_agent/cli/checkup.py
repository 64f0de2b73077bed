"""What `doctor` looks at: the machine, what was shipped, and what the site keeps."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import paths, rooms
from edge_agent.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.config import Config

PYTHON = ((3, 11), (3, 13))
MEMORY_MIB = 1024
"""What the shipped model, the dictionary and a call need, with room to spare."""
DISK_TIGHT_MIB, DISK_FULL_MIB = 2048, 100
PATIENCE_S = 3.0


class State(StrEnum):
    """How a check ended: `warn` is worth knowing, `fail` must be mended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found and, if it is not as it should be, what to try."""

    name: str
    state: State
    found: str
    remedy: str = ""


def examine(config: Config) -> Iterator[Check]:
    """Yield every check as it is done; none of them raises."""
    for name, look in _CHECKS.items():
        try:
            state, found, remedy = look(config)
        except EdgeError as error:
            state, found, remedy = State.FAIL, str(error), error.remedy
        except Exception as error:
            state, found = State.FAIL, f"{type(error).__name__}: {error}"
            remedy = "the installation is damaged: remove .venv and run scripts/quickstart again"
        yield Check(name, state, found, remedy)


Outcome = tuple[State, str, str]


def _ok(found: str) -> Outcome:
    return State.OK, found, ""


def _python(config: Config) -> Outcome:
    found = platform.python_version()
    if PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        return _ok(found)
    return State.FAIL, found, "install Python 3.11, 3.12 or 3.13 and run scripts/quickstart again"


def _sqlite(config: Config) -> Outcome:
    from edge_agent.sqlite import SAFE_VERSION, sqlite_version

    found = ".".join(map(str, sqlite_version()))
    if sqlite_version() >= SAFE_VERSION:
        return _ok(found)
    safe = ".".join(map(str, SAFE_VERSION))
    return State.WARN, f"{found}: below {safe} a power cut can damage the database", f"use SQLite {safe} or later"


def _processor(config: Config) -> Outcome:
    cores = len(os.sched_getaffinity(0))
    flags = _cpu_flags()
    wide = next((name for name in ("avx512f", "avx2", "avx", "asimd") if name in flags), "no vector unit that is known")
    found = f"{cores} {'core' if cores == 1 else 'cores'}, {platform.machine()}, {wide}"
    if platform.machine() == "x86_64" and flags and "avx2" not in flags:
        return State.WARN, found, "recognition is slow here: choose a processor with AVX2 (any since about 2015)"
    if config.model.threads > cores:
        return State.WARN, f"{found}; [model].threads is {config.model.threads}", f"set it to {cores} or less"
    return _ok(found)


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def _memory(config: Config) -> Outcome:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free, total = (int(fields[name].split()[0]) // 1024 for name in ("MemAvailable", "MemTotal"))
    found = f"{free} of {total} MiB free"
    if free < MEMORY_MIB:
        return State.WARN, found, f"end other programs: {MEMORY_MIB} MiB should be free"
    return _ok(found)


def _model(config: Config) -> Outcome:
    from edge_agent.asr import verify

    folder = rooms.model_folder(config)
    card = verify(folder)
    rooms.open_engine(config)  # a foreign or damaged one says so here
    if config.model.smaller:
        verify(Path(config.model.smaller))
    if not card.sha256:
        return (
            State.WARN,
            f"{card.title} in {folder}, without a card",
            "a card.toml with hashes tells damage from change",
        )
    return _ok(f"{card.title} in {folder}")


def _endpointing(config: Config) -> Outcome:
    from edge_agent.vad.silero import asset, session

    session(asset())
    return _ok(f"{asset().stem} is loaded")


def _dictionary(config: Config) -> Outcome:
    dictionary = rooms.open_dictionary(config, keep=False)
    return _ok(f"{', '.join(config.dictionary.packs)}; version {dictionary.version}")


def _segmenter(config: Config) -> Outcome:
    from edge_agent.errors import ModelError
    from edge_agent.packs import Packs
    from edge_agent.terms.segment import Segmenter

    folder = Packs(config.dictionary).segmenter()
    if folder is None:
        return _ok("off: a word list tells words alone")
    try:
        found = Segmenter.open(folder)
    except ModelError as error:
        return State.WARN, f"{error}; a word list tells words alone", error.remedy
    if not found.checked:
        return State.WARN, f"version {found.version}, {folder}, without a card", "a card.toml with hashes tells damage"
    return _ok(f"version {found.version}, {folder}")


def _rules(config: Config) -> Outcome:
    from edge_agent.nodes import Rules

    rules = Rules.load(rooms.rule_files(config))
    return _ok(f"version {rules.version}")


def _classifier(config: Config) -> Outcome:
    from edge_agent.errors import DictionaryError
    from edge_agent.nodes import Classifier

    path = rooms.classifier_file(config)
    if path is None:
        return _ok("off: the rules judge alone")
    try:
        return _ok(f"version {Classifier.load(path).version}, {path}")
    except DictionaryError as error:
        return State.WARN, f"{error}: the rules judge alone", error.remedy


def _state_folder(config: Config) -> Outcome:
    folder = paths.state()
    there = folder
    while not there.exists():
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return State.FAIL, f"{there} can't be written", "set EDGE_AGENT_STATE, or let this user own the folder"
    free = shutil.disk_usage(there).free >> 20
    found = f"{folder}, {free} MiB free{'' if folder.exists() else ' (made at the first run)'}"
    if free < DISK_FULL_MIB:
        return State.FAIL, found, "make room on this disk: without it no event can be kept"
    if free < DISK_TIGHT_MIB:
        return State.WARN, found, "make room on this disk soon"
    return _ok(found)


def _database(config: Config) -> Outcome:
    from edge_agent.store import Store, last_rescue

    path = paths.under_state(config.store.database)
    if not path.exists():
        return _ok(f"{path} (made at the first run)")
    with Store.open(path, readonly=True) as store:
        damage, counts, rescue = store.damage(), store.counts(), last_rescue(store)
    if damage is not None:
        again = "start the service again: it moves the file aside, begins a new one and saves what can be read"
        return State.FAIL, f"{path} IS DAMAGED: {damage}", again
    found = f"{path}: {counts.events} events, {counts.waiting} waiting"
    if rescue is not None and Path(rescue.aside).exists():
        saved = f"{rescue.events} events, {rescue.transcripts} transcripts and {rescue.calls} calls"
        loudly = f"A DAMAGED DATABASE WAS REPLACED at {rescue.at} ({rescue.found}); saved from it were {saved}"
        return State.WARN, f"{loudly}. Now {found}", f"look after this disk; then remove {rescue.aside}"
    return _ok(found)


def _hub_database(config: Config) -> Outcome:
    from edge_agent.hub import Ledger
    from edge_agent.hub.rescue import damage, file_of, last_rescue

    path = file_of(config.hub.database)
    if path is None:
        return _ok("PostgreSQL, which looks after itself")
    if not path.exists():
        return _ok("none: no hub has run here")
    if found := damage(path):
        again = "start the hub again: it moves the file aside, saves what can be read, and branches send the rest"
        return State.FAIL, f"{path} IS DAMAGED: {found}", again
    with Ledger.open(path, readonly=True) as ledger:
        branches, events, letters = ledger.totals()
        rescue = last_rescue(ledger)
    now = f"{path}: {events} events of {branches} branches, {letters} dead letters"
    if rescue is not None and Path(rescue.aside).exists():
        loudly = f"A DAMAGED DATABASE WAS REPLACED at {rescue.at} ({rescue.found}); saved were {rescue.events} events"
        return State.WARN, f"{loudly}. Now {now}", f"look after this disk; then remove {rescue.aside}"
    return _ok(now)


def _keys(config: Config) -> Outcome:
    from edge_agent import keys

    uplink = config.uplink
    branch, hub = paths.under_state(uplink.key_file), paths.under_state(config.hub.key_file)
    there = [path for path in (branch, hub) if path.exists()]
    for path in there:
        keys.load(path)
    if uplink.hub and not uplink.insecure and branch not in there:
        return State.FAIL, f"{branch} is missing", "`edge-agent keys new --for branch` makes it"
    return _ok(", ".join(map(str, there)) or "none; only the way to head office wants one")


def _hub(config: Config) -> Outcome:
    uplink = config.uplink
    if not uplink.hub:
        return State.WARN, "not configured: events wait in the database", "set `hub` and `hub_key` in [uplink]"
    if not uplink.hub_key and not uplink.insecure:
        return State.FAIL, "[uplink].hub_key is empty", "`edge-agent keys show --for hub` prints it there"
    host, _, port = uplink.hub.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except OSError as error:
        remedy = "see that the hub runs and that no firewall stands between; until then events wait in the database"
        return State.FAIL, f"{uplink.hub} does not answer ({error.strerror or error})", remedy
    return _ok(f"{uplink.hub} answers")


_CHECKS: dict[str, Callable[[Config], Outcome]] = {
    "python": _python,
    "sqlite": _sqlite,
    "processor": _processor,
    "memory": _memory,
    "model": _model,
    "endpointing": _endpointing,
    "dictionary": _dictionary,
    "segmenter": _segmenter,
    "rules": _rules,
    "classifier": _classifier,
    "state folder": _state_folder,
    "database": _database,
    "hub database": _hub_database,
    "keys": _keys,
    "hub": _hub,
}

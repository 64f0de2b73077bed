"""`doctor` and `version`: on this machine, and on one where something is wrong."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge_agent import __version__, keys
from edge_agent.cli.checkup import Check, State, examine
from edge_agent.config import Config, Dictionary, Model, Nodes, Store, Uplink
from edge_agent.store import Store as Database

if TYPE_CHECKING:
    from pathlib import Path

CHECKS = [
    "python",
    "sqlite",
    "processor",
    "memory",
    "model",
    "endpointing",
    "dictionary",
    "segmenter",
    "rules",
    "classifier",
    "state folder",
    "database",
    "hub database",
    "keys",
    "hub",
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("EDGE_AGENT_STATE", str(folder))
    return folder


def examined(config: Config) -> dict[str, Check]:
    return {check.name: check for check in examine(config)}


def run(*words: str, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *words],
        env=os.environ | {"EDGE_AGENT_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_this_machine_is_fit(tmp_path: Path) -> None:
    done = run("doctor", "--json", state=tmp_path / "state")
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [check["name"] for check in checks] == CHECKS
    assert [check for check in checks if check["state"] == "fail"] == []
    assert done.returncode == 0
    assert all(check["type"] == "check" and check["found"] for check in checks)
    assert all(check["remedy"] for check in checks if check["state"] != "ok")
    assert not (tmp_path / "state").exists(), "looking must not make anything"


def test_what_fails_is_shown_with_its_remedy(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[model]\npath = '{tmp_path / 'none'}'\n", encoding="utf-8")
    done = run("doctor", "-c", str(config), state=tmp_path / "state")
    assert done.returncode == 12
    at = next(n for n, line in enumerate(done.stdout.splitlines()) if line.startswith("fail  model"))
    assert str(tmp_path / "none") in done.stdout.splitlines()[at]
    assert done.stdout.splitlines()[at + 1].lstrip().startswith("try: ")
    assert "ok    python" in done.stdout
    assert done.stderr == ""


def test_a_damaged_model(state: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").write_bytes(b"no model")
    check = examined(Config(model=Model(path=str(tmp_path / "model"))))["model"]
    assert check.state is State.FAIL
    assert check.remedy


def test_more_threads_than_cores(state: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    check = examined(Config(model=Model(threads=64)))["processor"]
    assert check.state is State.WARN
    assert check.remedy == f"set it to {cores} or less"


def test_an_unknown_pack_and_a_missing_rule_file(state: Path, tmp_path: Path) -> None:
    config = Config(dictionary=Dictionary(packs=("nowhere",)), nodes=Nodes(rules=(str(tmp_path / "none.yaml"),)))
    checks = examined(config)
    assert checks["dictionary"].state is State.FAIL
    assert "nowhere" in checks["dictionary"].found
    assert checks["rules"].state is State.FAIL
    assert "none.yaml" in checks["rules"].found


def test_a_state_folder_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "file"))
    assert examined(Config())["state folder"].state is State.FAIL


def test_a_database_is_counted_and_a_file_that_is_none_is_refused(state: Path) -> None:
    Database.open(state / "edge-agent.db").close()
    assert examined(Config())["database"].found == f"{state / 'edge-agent.db'}: 0 events, 0 waiting"
    (state / "other.db").write_text("no database, but long enough to look like one at first sight" * 20)
    check = examined(Config(store=Store(database="other.db")))["database"]
    assert check.state is State.FAIL
    assert check.remedy


def test_a_key_that_others_can_read(state: Path) -> None:
    key = state / "branch.key"
    keys.new(key)
    assert examined(Config())["keys"] == Check("keys", State.OK, str(key))
    key.chmod(0o644)
    check = examined(Config())["keys"]
    assert check.state is State.FAIL
    assert f"chmod 600 {key}" in check.remedy


def test_a_hub_without_keys(state: Path) -> None:
    checks = examined(Config(uplink=Uplink(hub="tcp://127.0.0.1:1")))
    assert checks["keys"].found == f"{state / 'branch.key'} is missing"
    assert checks["hub"].found == "[uplink].hub_key is empty"
    assert {checks["keys"].state, checks["hub"].state} == {State.FAIL}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_hub_that_answers_and_one_that_does_not(state: Path, family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family is socket.AF_INET else "[::1]"
    try:
        server = socket.create_server((host.strip("[]"), 0), family=family)
    except OSError as error:
        pytest.skip(f"no loopback of this family here: {error}")
    with server:
        address = f"tcp://{host}:{server.getsockname()[1]}"
        config = Config(uplink=Uplink(hub=address, insecure=True))
        assert examined(config)["hub"] == Check("hub", State.OK, f"{address} answers")
    check = examined(config)["hub"]
    assert check.state is State.FAIL
    assert address in check.found
    assert "firewall" in check.remedy


def test_a_damaged_installation_is_said_in_words(state: Path, tmp_path: Path) -> None:
    """A package that can't be imported is a failed check, not a traceback."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')\n")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "doctor", "--json"],
        env=os.environ | {"PYTHONPATH": str(shadow)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 12
    assert "Traceback" not in done.stderr
    check = next(row for row in map(json.loads, done.stdout.splitlines()) if row["name"] == "endpointing")
    assert check["state"] == "fail"
    assert "libgomp.so.1" in check["found"]


def test_version(tmp_path: Path) -> None:
    said = run("version", state=tmp_path).stdout
    assert re.fullmatch(rf"edge-agent {__version__} \(Python {platform.python_version()}, SQLite [\d.]+\)\n", said)
    told = json.loads(run("version", "--json", state=tmp_path).stdout)
    assert told["type"] == "version"
    assert told["version"] == __version__
    assert told["sqlite"] in said

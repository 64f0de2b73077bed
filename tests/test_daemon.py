"""The appliance as a service: real processes, real signals, a real database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.control import Control, ask
from edge_agent.errors import ControlError
from edge_agent.store import Store
from tests.conftest import TOP, Cli

if TYPE_CHECKING:
    from pathlib import Path

DEMO = TOP / "edge_agent/data/demo.opus"
TUTORING = TOP / "tests/data/calls/tutoring.opus"
Start = Callable[..., "subprocess.Popen[str]"]


def write_config(folder: Path, *, path: Path = DEMO, realtime: bool = False, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.toml"
    file.write_text(
        f'{more}\n[site]\nid = "branch-1"\n'
        f'[[sources]]\nname = "played"\nkind = "file"\npath = "{path}"\nrealtime = {str(realtime).lower()}\n',
        encoding="utf-8",
    )
    return file


def wait_for(what: Callable[[], Any], patience_s: float = 60) -> Any:
    """Return the first true value of `what`; fail after the patience."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if value := what():
            return value
        time.sleep(0.1)
    raise AssertionError("it did not come")


def status_of(cli: Cli, config: Path) -> dict[str, Any] | None:
    try:
        return ask(cli.state / "control.sock", "status")
    except ControlError:
        return None


def stored(cli: Cli) -> list[dict[str, Any]]:
    with Store.open(cli.state / "edge-agent.db", readonly=True) as store:
        return [json.loads(row.body) for row in store.events()]


def test_sigterm_judges_and_stores_what_was_heard(cli: Cli, started: Start, tmp_path: Path) -> None:
    config = write_config(tmp_path, realtime=True)
    process = started("run", "-c", config)
    wait_for(lambda: (status := status_of(cli, config)) and status["utterances"] >= 2)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    events = stored(cli)
    assert events[0]["type"] == "edge.call.started"
    assert events[-1]["type"] == "edge.call.ended"
    assert events[-1]["data"]["reason"] == "stopped"
    assert events[-1]["data"]["utterances"] >= 2
    assert not (cli.state / "control.sock").exists()
    with Store.open(cli.state / "edge-agent.db", readonly=True) as store:
        said = "".join(line.text for line in store.transcripts(events[0]["subject"]))
    assert "录音" in said
    assert said[:8] not in log, "logs never hold what was said"


def test_once_hears_every_source_and_ends(cli: Cli, tmp_path: Path) -> None:
    cli.run("run", "--once", "-c", write_config(tmp_path, path=TUTORING))
    assert [event["type"] for event in stored(cli)][-1] == "edge.call.ended"
    assert {event["source"] for event in stored(cli)} == {"/sites/branch-1"}


def test_what_judges_may_be_wrong_while_sources_are_heard_already(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [\n  - id: x\n", encoding="utf-8")
    config = write_config(tmp_path)
    config.write_text(f'{config.read_text()}\n[nodes]\nrules = ["{tmp_path / "rules.yaml"}"]\n', encoding="utf-8")
    said = cli.run("run", "--once", "-c", config, code=6).stderr.splitlines()
    error = next(at for at, line in enumerate(said) if line.startswith("Error: "))
    assert "not valid YAML" in said[error]
    assert said[error + 1].startswith("Try: ")
    assert len(said) == error + 2, "nothing of what was under way shows"


def test_status_speaks_to_people_and_programs(cli: Cli, started: Start, tmp_path: Path) -> None:
    config = write_config(tmp_path, realtime=True)
    started("run", "-c", config)
    wait_for(lambda: (status := status_of(cli, config)) and status["calls"])
    (told,) = cli.lines("status", "-c", config, "--json")
    assert told["type"] == "status"
    assert told["site"] == "branch-1"
    assert told["calls"][0]["source"] == "played"
    assert "branch-1" in cli.run("status", "-c", config).stdout


def test_status_without_an_appliance_says_so(cli: Cli, tmp_path: Path) -> None:
    assert "edge-agent run" in cli.run("status", "-c", write_config(tmp_path), code=11).stderr


def test_sighup_takes_new_rules_and_refuses_wrong_ones(cli: Cli, started: Start, tmp_path: Path) -> None:
    rules = tmp_path / "site.yaml"
    rules.write_text((TOP / "tests/data/rules/site.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    config = write_config(tmp_path, realtime=True, more=f'[nodes]\nrules = ["{rules}"]')
    process = started("run", "-c", config)
    before = wait_for(lambda: (status := status_of(cli, config)) and status["rules"])

    rules.write_text(rules.read_text(encoding="utf-8").replace("太离谱了", "太夸张了"), encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    after = wait_for(lambda: (status := status_of(cli, config)) and status["rules"] != before and status)["rules"]

    rules.write_text("rules: [this is: {not right", encoding="utf-8")
    done = cli.run("reload", "-c", config, code=11)
    assert "site.yaml" in done.stderr
    assert wait_for(lambda: status_of(cli, config))["rules"] == after
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_second_appliance_on_the_same_socket_is_refused(cli: Cli, started: Start, tmp_path: Path) -> None:
    config = write_config(tmp_path, realtime=True)
    started("run", "-c", config)
    wait_for(lambda: status_of(cli, config))
    assert "running already" in cli.run("run", "-c", config, code=11).stderr


def test_a_socket_left_by_a_killed_appliance_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    control = Control(path, {"status": lambda: {"fine": True}})
    try:
        assert ask(path, "status") == {"fine": True}
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ControlError, match="unknown question"):
            ask(path, "sing")
    finally:
        control.close()
    assert not path.exists()


def test_where_head_office_is_not_reached_events_wait_and_the_command_says_so(cli: Cli, tmp_path: Path) -> None:
    cli.run("keys", "new", "--for", "branch")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    more = f'[uplink]\nhub = "tcp://127.0.0.1:{port}"\nhub_key = "{"a" * 40}"\ndrain_s = 1.0'
    done = cli.run("run", "--once", "-c", write_config(tmp_path, path=TUTORING, more=more), code=8)
    assert f"127.0.0.1:{port}" in done.stderr
    assert "wait" in done.stderr
    with Store.open(cli.state / "edge-agent.db", readonly=True) as store:
        counts = store.counts()
    assert counts.waiting == counts.events > 5


def test_a_locked_database_is_waited_for(cli: Cli, started: Start, tmp_path: Path) -> None:
    from edge_agent.sqlite import open_database

    cli.run("run", "--once", "-c", write_config(tmp_path, path=TUTORING))
    before = len(stored(cli))
    holder = open_database(cli.state / "edge-agent.db")
    holder.conn.execute("BEGIN IMMEDIATE")
    process = started("run", "--once", "-c", write_config(tmp_path, path=TUTORING))
    time.sleep(8)  # longer than SQLite itself waits
    holder.conn.rollback()
    holder.close()
    _, log = process.communicate(timeout=90)
    if process.returncode == 0:
        assert len(stored(cli)) > before
    else:
        assert process.returncode == 7, log
        assert "locked" in log


def test_a_database_that_cannot_be_written_is_refused(cli: Cli, tmp_path: Path) -> None:
    cli.state.mkdir()
    (cli.state / "edge-agent.db").mkdir()
    assert "edge-agent.db" in cli.run("run", "--once", "-c", write_config(tmp_path), code=7).stderr


def test_systemd_is_told(cli: Cli, tmp_path: Path) -> None:
    address = str(tmp_path / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(60)
        environment = {**cli.environment, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
        with subprocess.Popen(
            cli.command("run", "-c", write_config(tmp_path, realtime=True)),
            env=environment,
            cwd=TOP,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert systemd.recv(100) == b"READY=1"
            assert systemd.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGHUP)
            told = [systemd.recv(100)]
            while told[-1] != b"READY=1":
                told.append(systemd.recv(100))
            assert any(message.startswith(b"RELOADING=1\nMONOTONIC_USEC=") for message in told)
            process.send_signal(signal.SIGTERM)
            while systemd.recv(100) != b"STOPPING=1":
                pass
            assert process.wait(60) == 0
    assert os.path.exists(address)

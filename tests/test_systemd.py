"""The units: systemd finds nothing to say about them, and judges them well shut off."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from edge_agent import errors

FOLDER = Path(__file__).resolve().parent.parent / "systemd"
SERVICES = ["edge-agent", "edge-agent-hub"]
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSURE = 2.0

needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here (Debian package systemd)")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *map(str, words)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Unit(RawConfigParser):
    """A unit file; names keep their case, and a name may come twice (systemd adds such values up)."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters="=", comment_prefixes="#")
        self.read(FOLDER / f"{name}.service", encoding="utf-8")

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder that systemd-analyze takes for the root: the units, what they lean on, and their programs."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for name in ("sysinit", "basic", "shutdown", "multi-user", "network-online", "time-sync"):
        (units / f"{name}.target").write_text("[Unit]\nDescription=stands in\n")
    (units / "-.slice").write_text("[Unit]\nDescription=stands in\n")
    (units / "system.slice").write_text("[Unit]\nDescription=stands in\n")
    for name in SERVICES:
        shutil.copy(FOLDER / f"{name}.service", units)
    for program in ("opt/edge-agent/.venv/bin/edge-agent", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    (tmp_path / "opt/edge-agent/README.md").write_text("")
    return tmp_path


@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_verify_says_nothing(root: Path, name: str) -> None:
    done = analyze("verify", f"--root={root}", f"{name}.service")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize("line", ["ProtectSytem=strict", "SystemCallFilter=@no-such-group", "ExecStop=/nowhere"])
def test_verify_would_say_it(root: Path, line: str) -> None:
    unit = root / "etc/systemd/system/edge-agent.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("[Install]", f"{line}\n[Install]"), encoding="utf-8")
    done = analyze("verify", f"--root={root}", "edge-agent.service")
    assert line.split("=")[0 if "Sytem" in line else 1] in done.stdout + done.stderr


def exposure(unit: Path) -> float:
    said = analyze("security", "--offline=true", unit).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found[1])


@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_exposure_is_low(name: str) -> None:
    assert exposure(FOLDER / f"{name}.service") <= MOST_EXPOSURE


@needs_analyze
def test_exposure_would_show_an_open_door(tmp_path: Path) -> None:
    unit = tmp_path / "edge-agent.service"
    text = (FOLDER / "edge-agent.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("CapabilityBoundingSet=\n", "").replace("User=edge-agent\n", ""), encoding="utf-8")
    assert exposure(unit) > MOST_EXPOSURE


@pytest.mark.parametrize("name", SERVICES)
def test_a_person_must_mend_what_does_not_restart(name: str) -> None:
    """Exit codes that a restart can't change are those of errors that exist, and a full disk is not among them."""
    codes = {int(code) for code in Unit(name)["Service"]["RestartPreventExitStatus"].split()}
    known = {kind.exit_code for kind in errors.EdgeError.__subclasses__()}
    assert codes - known == {2}  # wrong usage, as the command line reports it
    assert errors.ConfigError.exit_code in codes
    assert errors.StoreError.exit_code not in codes


def test_the_recognizer_may_write_code() -> None:
    """CTranslate2 fails with `could not create a primitive` under MemoryDenyWriteExecute."""
    assert "MemoryDenyWriteExecute" not in Unit("edge-agent")["Service"]
    assert Unit("edge-agent-hub")["Service"]["MemoryDenyWriteExecute"] == "yes"


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_its_own_user_and_folder(name: str) -> None:
    service = Unit(name)["Service"]
    assert service["User"] == service["Group"] == service["StateDirectory"] == name
    assert re.search(rf"^u {name} - .* /var/lib/{name}$", (FOLDER / "sysusers.conf").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not here")
def test_the_users_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.conf"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    users = [line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    assert sorted(users) == SERVICES

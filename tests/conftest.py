"""What the tests share: the command line in a process of its own, with a state folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.line import head, keeper
from tests.postgres import postgres, where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["head", "keeper", "postgres", "where"]  # fixtures

# No test may fail because the machine is busy.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

UNKNOWN_WORDS = (
    "我们最近在看{}",
    "{}这个东西多少钱",
    "客户问的是{}的事情",
    "你们做不做{}啊",
    "关于{}，领导还没定",
    "{}也不便宜吧",
)
"""Sentences in which a word shows that is none of any pack."""
TOP = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cli:
    """Runs `edge-agent` for real; `state` is where it keeps its things."""

    state: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "EDGE_AGENT_STATE": str(self.state),
            "COLUMNS": "160",
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
        }

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "edge_agent", *map(str, arguments)]

    def run(
        self, *arguments: str | Path, code: int = 0, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and hold its exit code and manners: no traceback, errors on standard error."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env=self.environment,
            input=stdin,
            timeout=timeout_s,
            cwd=TOP,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        if code not in (0, 2, 141):
            assert "Error: " in done.stderr
        return done

    def lines(self, *arguments: str | Path, code: int = 0, stdin: str | None = None) -> list[dict[str, Any]]:
        """Run a command and read its JSON Lines; anything else on standard output fails."""
        return [json.loads(line) for line in self.run(*arguments, code=code, stdin=stdin).stdout.splitlines()]

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command that goes on; the `started` fixture ends it."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=TOP,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "state")


@pytest.fixture
def started(cli: Cli) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start commands in the background; what still runs at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        processes.append(cli.start(*arguments))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()

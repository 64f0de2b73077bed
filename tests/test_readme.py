"""What the README shows is run: both languages show the same commands, and each of them works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent import config
from tests.conftest import TOP, Cli

PAGES = ["README.md", "README.zh-CN.md"]


def blocks(page: str, language: str) -> list[str]:
    text = (TOP / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


def test_both_languages_show_the_same() -> None:
    for language in ("sh", "toml"):
        assert blocks("README.md", language) == blocks("README.zh-CN.md", language)
    headings = [re.findall(r"^#+", (TOP / page).read_text(encoding="utf-8"), flags=re.MULTILINE) for page in PAGES]
    assert headings[0] == headings[1]


def test_every_command_of_the_readme_works(cli: Cli, tmp_path: Path) -> None:
    """All of them, in order, as one user would type them; `scripts/test` is what runs this."""
    shown = commands("README.md")
    assert "scripts/quickstart" in shown
    assert "scripts/test" in shown
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in shown:
        if command == "scripts/test":
            continue
        words = shlex.split(command)
        done = subprocess.run(
            words,
            cwd=TOP,
            env={**cli.environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if words[:2] == ["edge-agent", "events"]:
            # A fresh site has stored nothing yet, and says so.
            assert done.returncode in (0, 7), (command, done.stderr)
            continue
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
        assert done.stdout.strip(), command


@pytest.mark.parametrize("page", PAGES)
def test_the_settings_of_the_readme_are_settings(page: str) -> None:
    for block in blocks(page, "toml"):
        table = tomllib.loads(block.replace("paste the 40 characters here", "a" * 40))
        config.Config.model_validate(table)


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        "ARCHITECTURE.md",
        "SECURITY.md",
        "docs/json.md",
        "docs/sources.md",
        "docs/hub.md",
        "docs/dictionary.md",
        "models/README.md",
        "models/zh-starter/README.md",
        "models/zh-segmenter/README.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (TOP / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (TOP / page).parent.joinpath(target).exists(), target

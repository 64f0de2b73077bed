"""What docs/dictionary.md shows is run, in order, as an admin would type it; its settings are settings."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from openpyxl import Workbook

from edge_agent import cli
from edge_agent.config import Config
from tests.conftest import TOP, UNKNOWN_WORDS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (TOP / "docs/dictionary.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def home(folder: Path) -> Path:
    """Lay out what is shipped, with few terms in each pack and little talk, so that it takes no time."""
    for pack in ("pharma", "manufacturing", "education"):
        copy = folder / "dictionaries" / pack
        copy.mkdir(parents=True)
        for name, count in (("pack.toml", None), ("terms.csv", 60)):
            lines = (TOP / "dictionaries" / pack / name).read_text(encoding="utf-8").splitlines(keepends=True)
            (copy / name).write_text("".join(lines[:count]), encoding="utf-8")
    talk = "dictionaries/nodes/examples/none-agent.tsv"  # what `validate` tries terms on
    (folder / talk).parent.mkdir(parents=True)
    (folder / talk).write_text("".join((TOP / talk).open(encoding="utf-8").readlines()[:100]), encoding="utf-8")
    (folder / "models").symlink_to(TOP / "models")
    return folder


def test_every_command_of_the_page_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EDGE_AGENT_HOME", str(home(tmp_path / "home")))
    monkeypatch.chdir(tmp_path)
    book = Workbook()
    for row in (("term", "category", "weight"), ("温控云盒", "product", 1), ("阿里健康", "competitor", 3)):
        book.active.append(row)  # type: ignore[union-attr]
    book.save("terms.xlsx")
    words = ("GMP认证", "VPX机箱", "柔性重组膜", "多轴云台")
    sentences = [one.format(word) for one in UNKNOWN_WORDS for word in words]
    (tmp_path / "sentences.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")

    def run(command: str) -> str:
        command, _, file = command.partition(" < ")
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        monkeypatch.setattr(sys, "stdin", (tmp_path / file).open() if file else io.StringIO())
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == 0, (command, err)
        assert out.strip(), command
        return out

    shown = [line for block in blocks("sh") for line in block.splitlines()]
    known = {word for line in shown for word in line.split()[2:3]}
    assert known >= {"import", "export", "versions", "diff", "rollback", "activate", "validate", "test", "suggest"}
    for command in shown:
        if "dict activate" in command:  # its hash is an example; this pack has others
            rows = map(json.loads, run("edge-agent dict versions --pack pharma --json").splitlines())
            version = next(row["version"] for row in rows if row["action"] == "import")
            command = re.sub("activate [0-9a-f]{8}", f"activate {version[:8]}", command)
            assert version[:8] in command
        out = run(command)
        match command.split()[2]:
            case "test":
                assert "GMP认证" in out
            case "suggest":
                assert "VPX机箱" in out
            case "show" | "search":
                assert "认证" in out


def test_the_settings_of_the_page_are_settings() -> None:
    assert [Config.model_validate(tomllib.loads(block)).dictionary.segmenter for block in blocks("toml")]

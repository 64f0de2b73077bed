"""`edge-agent dict` speaks JSON Lines to programs, marks terms for people, and fails in words."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_terms_pack import write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write(tmp_path)
    file = tmp_path / "config.toml"
    file.write_text(f'[dictionary]\nfolder = "{tmp_path}"\npacks = ["tiny"]\n', encoding="utf-8")
    return file


def edge(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edge_agent", "dict", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def test_a_program_reads_one_object_a_line(config: Path) -> None:
    done = edge("test", "-c", config, "--json", stdin="做 g m p 认正了\n\n好的\r\n".encode())
    assert done.returncode == 0, done.stderr.decode()
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert lines == [
        {
            "text": "做 GMP认证了",
            "heard": "做 g m p 认正了",
            "terms": [
                {
                    "term": "GMP认证",
                    "at": [2, 7],
                    "via": "phonetic",
                    "heard": "g m p 认正",
                    "score": 0.99,
                    "category": "quality",
                    "pack": "tiny",
                }
            ],
        },
        {"text": "", "heard": "", "terms": []},
        {"text": "好的", "heard": "好的", "terms": []},
    ]


def test_many_lines_come_back_in_order_and_an_error_comes_after_them(config: Path) -> None:
    """So many are shared among processes: several batches of 128 KB."""
    said = [f"第{number}行，好的，就按您说的办" for number in range(12_000)]
    done = edge("test", "-c", config, "--json", stdin="\n".join(said).encode() + "\n坏".encode("gb18030"))
    assert [json.loads(line)["heard"] for line in done.stdout.decode().splitlines()] == said
    assert done.returncode not in (0, 1)
    assert done.stderr.decode().startswith("Error: standard input:12001: not UTF-8 text\n")


def test_nothing_is_held_back_while_no_more_lines_come(config: Path) -> None:
    """A program may send as much as it likes and wait for the answers before it sends more."""
    command = [sys.executable, "-m", "edge_agent", "dict", "test", "-c", str(config), "--json"]
    text = "好的，我们看一下再说\n".encode() * 1500
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(4):
            process.stdin.write(text)
            process.stdin.flush()
            assert all(process.stdout.readline() for _ in range(1500))
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_a_person_sees_the_text_and_why(config: Path) -> None:
    shown = edge("test", "-c", config, "虫族蛋白和虫组蛋白").stdout.decode()
    assert "虫族蛋白和重组蛋白" in shown
    assert "phonetic" in shown
    assert "虫组蛋白" in shown


def test_the_list_is_whole(config: Path) -> None:
    rows = [json.loads(line) for line in edge("list", "-c", config, "--json").stdout.decode().splitlines()]
    assert [row["term"] for row in rows] == ["GMP认证", "重组蛋白", "医保目录编码"]
    assert rows[0] == {
        "term": "GMP认证",
        "category": "quality",
        "aliases": ["GMP证书", "药品GMP"],
        "weight": 3.0,
        "phonetic": "auto",
        "pack": "tiny",
    }
    table = edge("list", "-c", config).stdout.decode()
    assert all(row["term"] in table for row in rows)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "what"),
    [
        (["--pack", "nope"], b"", 6, "no pack 'nope'"),
        ([], "好\n".encode() + "药事会\n".encode("gb18030"), 10, "standard input:2: not UTF-8"),
    ],
)
def test_errors_are_told_in_words(config: Path, arguments: list[str], stdin: bytes, code: int, what: str) -> None:
    done = edge("test", "-c", config, *arguments, stdin=stdin)
    message = done.stderr.decode()
    assert done.returncode == code
    assert what in message
    assert "Try: " in message
    assert "Traceback" not in message

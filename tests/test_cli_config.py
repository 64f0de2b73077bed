"""`config show`, `config check` and the page that is made from the settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.config import Config, Source, load, settings, to_toml

TOP = Path(__file__).resolve().parent.parent


def edge_agent(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


def rows(*words: str | Path) -> list[dict[str, Any]]:
    done = edge_agent(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_show_prints_a_file_to_start_from(tmp_path: Path) -> None:
    done = edge_agent("config", "show")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "config.toml"
    path.write_text(done.stdout, encoding="utf-8")
    assert load(path) == Config()
    for table, name, unit, _, sentence in settings():
        assert f"{name} = " in done.stdout
        assert sentence + (f" [{unit}]" if unit else "") in done.stdout, f"{table}.{name}"


def test_show_prints_what_a_file_comes_to(tmp_path: Path) -> None:
    given = Config(sources=(Source(path="通话.flac", realtime=True),))
    path, copy = tmp_path / "a.toml", tmp_path / "b.toml"
    path.write_text(to_toml(given), encoding="utf-8")
    copy.write_text(edge_agent("config", "show", "-c", path).stdout, encoding="utf-8")
    assert load(copy) == given


def test_show_lists_settings_for_programs(tmp_path: Path) -> None:
    listed = rows("config", "show", "--json")
    assert [(row["table"], row["name"]) for row in listed] == [row[:2] for row in settings()]
    threshold = next(row for row in listed if row["name"] == "threshold")
    assert threshold == {
        "type": "setting",
        "table": "vad",
        "index": None,
        "name": "threshold",
        "unit": "",
        "about": "Probability of speech above which speech begins.",
        "default": 0.5,
        "value": 0.5,
    }

    path = tmp_path / "config.toml"
    path.write_text('[vad]\nthreshold = 0.7\n[[sources]]\npath = "a"\n[[sources]]\npath = "b"\n', encoding="utf-8")
    listed = rows("config", "show", "--json", "-c", path)
    assert [row["value"] for row in listed if row["name"] == "threshold"] == [0.7]
    found = [(row["index"], row["value"]) for row in listed if (row["table"], row["name"]) == ("sources", "path")]
    assert found == [(0, "a"), (1, "b")]


def test_check_says_that_a_file_is_right(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[sources]]\npath = "a"\n', encoding="utf-8")
    assert edge_agent("config", "check", path).stdout == f"{path}: ok (1 source)\n"
    assert rows("config", "check", path, "--json") == [{"type": "config", "file": str(path), "ok": True, "sources": 1}]


def test_check_names_line_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[site]\nid = 'a'\n[vad]\nthresold = 0.5\n", encoding="utf-8")
    done = edge_agent("config", "check", path)
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"Error: {path}:4: unknown setting `vad.thresold`",
        "Try: did you mean `threshold`?",
    ]


def test_a_missing_file_has_a_remedy(tmp_path: Path) -> None:
    done = edge_agent("config", "check", tmp_path / "none.toml")
    assert done.returncode == 4
    assert done.stderr.splitlines()[1].startswith("Try: `edge-agent config show`")


def test_the_page_of_settings_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "scripts" / "write_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (TOP / "docs" / "configuration.md").read_text(encoding="utf-8")
    for _, name, _, _, sentence in settings():
        assert f"| `{name}` |" in page
        assert sentence in page

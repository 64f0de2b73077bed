"""`eval terms` counts what was found, missed and made up, for every kind of noise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from tests.test_terms_pack import write

if TYPE_CHECKING:
    from pathlib import Path

LINES = (
    {"heard": "过了GMP认正吗", "said": "过了GMP认证吗", "terms": ["GMP认证"], "kind": "near"},
    {"heard": "过了GMP认证吗", "said": "过了GMP认证吗", "terms": ["GMP认证"], "kind": "none"},
    {"heard": "虫组旦白和GMP认正", "said": "重组蛋白和机内的人证", "terms": ["重组蛋白"], "kind": "near"},
    {"heard": "没听见", "said": "重组蛋白", "terms": ["重组蛋白"], "kind": "lost"},
    {"heard": "重组蛋白", "said": "重组蛋白", "terms": []},
)


def run(folder: Path, lines: tuple[dict[str, Any], ...] | str) -> tuple[int, str, list[dict[str, Any]]]:
    write(folder)
    config = folder / "edge.toml"
    config.write_text(f'[dictionary]\nfolder = "{folder}"\npacks = ["tiny"]\n', encoding="utf-8")
    file = folder / "lines.jsonl"
    text = lines if isinstance(lines, str) else "".join(json.dumps(line) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(
        app, ["eval", "terms", str(file), "--json", "--errors", "-c", str(config)], catch_exceptions=True
    )
    said = str(done.exception) if done.exception and not done.stdout else done.stdout
    objects = [json.loads(line) for line in done.stdout.splitlines()] if not done.exit_code else []
    return done.exit_code, said, objects


def test_recall_precision_and_false_alarms_an_hour(tmp_path: Path) -> None:
    code, _, objects = run(tmp_path, LINES)
    assert code == 0
    rows = {row["name"]: row for row in objects if row["type"] != "error"}
    assert list(rows) == ["near", "none", "lost", "", "all"]
    near = rows["near"]
    assert (near["terms"], near["found"], near["recall"], near["recall_uncorrected"]) == (2, 2, 1.0, 0.0)
    assert (near["right"], near["wrong"]) == (2, 1)
    assert near["false_alarms_per_hour"] == pytest.approx(15_000 / near["characters"], abs=0.01)
    assert (rows["lost"]["recall"], rows["lost"]["precision"]) == (0.0, None)
    assert (rows[""]["recall"], rows[""]["precision"]) == (None, 1.0)
    assert (rows["all"]["terms"], rows["all"]["found"], rows["all"]["precision"]) == (4, 3, 0.8)
    errors = [(row["kind"], row["term"]) for row in objects if row["type"] == "error"]
    assert errors == [("false alarm", "GMP认证"), ("missed", "重组蛋白")]


@pytest.mark.parametrize(
    "line", ['{"heard": "x"}', '{"heard": "x", "said": "x", "terms": "x"}', "[]", "{", '{"said": 1}']
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str) -> None:
    code, said, _ = run(tmp_path, line + "\n")
    assert code != 0
    assert "lines.jsonl:1" in said

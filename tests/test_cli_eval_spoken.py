"""`edge-agent eval spoken`: recordings and a dictionary in, recall and precision of every way out."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from tests.conftest import TOP, Cli

if TYPE_CHECKING:
    from pathlib import Path

SPEECH = TOP / "tests" / "data" / "asr"
NAME = {"audio": "name.flac", "text": "下个月汉印图文要来我们厂里考察。", "terms": ["汉印图文"], "set": "names"}
PLAIN = {"audio": "price.flac", "text": "你们的价格太高了", "set": "plain"}
PACK = 'id = "{0}"\nname = "{0}"\nindustry = "x"\nversion = "1"\nlanguage = "zh"\nlicence = "MIT"\n'


def pack(folder: Path, *terms: str) -> Path:
    folder.mkdir()
    (folder / "pack.toml").write_text(PACK.format(folder.name), encoding="utf-8")
    rows = "".join(f"{term},company,,,,,\n" for term in terms)
    (folder / "terms.csv").write_text(f"term,category,aliases,pinyin,weight,phonetic,note\n{rows}", encoding="utf-8")
    return folder


def speech(folder: Path) -> Path:
    for line in (NAME, PLAIN):
        shutil.copy(SPEECH / line["audio"], folder / line["audio"])  # type: ignore[operator]
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (NAME, PLAIN))
    (folder / "refs.jsonl").write_text(lines, encoding="utf-8")
    return folder


def test_every_way_is_measured_on_the_same_recordings(cli: Cli, tmp_path: Path) -> None:
    names = pack(tmp_path / "names", "汉印图文", "椎弓根螺钉")
    rows = cli.lines("eval", "spoken", speech(tmp_path), "--pack", names, "--json", "--errors")
    recall = {row["how"]: row["recall"] for row in rows if row["set"] == "names"}
    assert recall == {"none": 0.0, "hotwords": 1.0, "correction": 0.0, "both": 1.0, "both+align": 1.0}
    both = next(row for row in rows if row["how"] == "both" and row["set"] == "all")
    assert (both["clips"], both["terms"], both["found"], both["right"], both["wrong"]) == (2, 1, 1, 1, 0)
    assert both["precision"] == 1.0
    assert [row["type"] for row in rows].count("error") == 0


def test_what_was_missed_is_named(cli: Cli, tmp_path: Path) -> None:
    other = pack(tmp_path / "other", "椎弓根螺钉")
    folder = speech(tmp_path)
    error = cli.lines("eval", "spoken", folder, "--pack", other, "--json", "--errors", "--limit", "1")[-1]
    assert (error["type"], error["kind"], error["set"], error["term"]) == ("error", "missed", "names", "汉印图文")
    assert error["said"] == NAME["text"]
    shown = cli.run("eval", "spoken", folder, "--pack", other, "--errors").stdout
    assert "missed" in shown
    assert "Whisper.align" in shown
    assert "no pack" in cli.run("eval", "spoken", folder, "--pack", "nowhere", code=6).stderr

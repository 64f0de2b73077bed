"""`edge-agent dict` as an admin uses it: look first, change, see what changed, go back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import load_workbook

from edge_agent import cli
from edge_agent.store import Store
from edge_agent.types import Call, Speaker, TermHit, Transcript
from tests.conftest import UNKNOWN_WORDS
from tests.test_terms_pack import write

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Admin:
    """Types commands in this process: each starts afresh, and its errors end where they always do."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *words: str | Path, code: int = 0) -> str:
        self.monkeypatch.setattr(sys, "argv", ["edge-agent", "dict", *map(str, words), "-c", str(self.config)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = self.capsys.readouterr()
        assert (end.value.code or 0) == code, err
        assert ("Error: " in err) == (code not in (0, 1, 2))
        return out + err if code else out

    def lines(self, *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
        out = self.run(*words, "--json", code=code)
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    def file(self, name: str, text: str | bytes) -> Path:
        (self.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return self.folder / name

    def terms(self) -> list[str]:
        return [row["term"] for row in self.lines("list")]


@pytest.fixture
def admin(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "packs").mkdir()
    write(tmp_path / "packs")
    admin = Admin(tmp_path, capsys, monkeypatch)
    admin.file("config.toml", f'[dictionary]\nfolder = "{tmp_path / "packs"}"\npacks = ["tiny"]\n')
    return admin


SHEET = "术语,类别,别名,权重\n质检云台,product,云台,3\n重组蛋白,material,,-1.5\n,x,,\nGMP认证,quality,,9\n".encode(
    "gb18030"
)


def test_a_preview_says_what_would_change_and_changes_nothing(admin: Admin) -> None:
    file = admin.file("terms.csv", SHEET)
    *rows, end = admin.lines("import", file, "--pack", "tiny")
    assert [(row["type"], row.get("term")) for row in rows] == [
        ("added", "质检云台"),
        ("changed", "重组蛋白"),
        ("refused", None),
        ("refused", None),
    ]
    assert rows[1]["columns"] == ["category"]
    assert (rows[1]["before"]["category"], rows[1]["category"]) == ("product", "material")
    assert rows[1]["pinyin"] == "chong2 zu3 dan bai"  # columns that the file lacks stay as they are
    assert [(row["row"], row["column"]) for row in rows[2:]] == [(4, "term"), (5, "weight")]
    assert all(row["remedy"] for row in rows[2:])
    assert (end["added"], end["changed"], end["removed"], end["refused"], end["absent"]) == (1, 1, 0, 2, 2)
    assert (end["form"], end["encoding"], end["applied"], end["version"]) == ("csv", "gb18030", False, None)
    shown = admin.run("import", file, "--pack", "tiny")
    assert f"! refused  {file}:5, column weight: 9 is out of range" in shown
    assert "a number from -6 to 5" in shown
    assert "Nothing was changed. --yes does it." in shown
    assert "质检云台" not in admin.terms()
    assert admin.lines("versions") == []


def test_an_import_is_on_record_and_goes_back(admin: Admin) -> None:
    file = admin.file("terms.csv", SHEET)
    *_, end, change = admin.lines("import", file, "-p", "tiny", "--yes", "--by", "li")
    assert end["applied"]
    assert (change["type"], change["version"], change["active"], change["running"]) == (
        "change",
        end["version"],
        True,
        None,
    )
    assert admin.terms() == ["GMP认证", "重组蛋白", "医保目录编码", "质检云台"]
    first, folder = admin.lines("versions", "-p", "tiny")
    assert (first["action"], first["who"], first["terms"], first["active"]) == ("import", "li", 4, True)
    assert first["note"] == "terms.csv: 1 added, 1 changed, 0 removed, 0 unchanged, 2 refused"
    assert (folder["action"], folder["active"]) == ("folder", False)
    added, changed, total = admin.lines("diff", "-p", "tiny")
    assert (added["term"], changed["columns"]) == ("质检云台", ["category"])
    assert (total["from"], total["to"]) == (folder["version"], first["version"])
    assert "~ 重组蛋白  (category)" in admin.run("diff", "-p", "tiny", folder["version"], "active")
    assert "li" in admin.run("versions")

    (back,) = admin.lines("rollback", "--pack", "tiny")
    assert (back["action"], back["version"]) == ("rollback", folder["version"])
    assert admin.terms() == ["GMP认证", "重组蛋白", "医保目录编码"]
    assert "nothing was in force before" in admin.run("rollback", "--pack", "tiny", code=6)
    assert "is in force" in admin.run("activate", first["version"][:6], "--pack", "tiny")
    assert "质检云台" in admin.terms()
    assert "no version begins with" in admin.run("activate", "ffffff", "-p", "tiny", code=6)


def test_a_file_that_is_the_whole_pack_removes_what_it_lacks(admin: Admin) -> None:
    file = admin.file("terms.txt", "重组蛋白 2\n质检云台\n")
    *rows, end = admin.lines("import", file, "-p", "tiny", "--replace", "--yes")[:-1]
    assert [row["type"] for row in rows] == ["added", "changed", "removed", "removed"]
    assert end["removed"] == 2
    assert admin.terms() == ["重组蛋白", "质检云台"]
    assert "Nothing was changed." in admin.run("import", file, "-p", "tiny", "--replace", "--yes")
    assert len(admin.lines("versions")) == 2


def test_a_file_without_a_right_row_is_an_error_and_a_mended_one_is_offered(admin: Admin) -> None:
    file = admin.file("bad.csv", "term,weight\n" + "坏词语,99\n" * 500 + "=1+1,\n")
    said = admin.run("import", file, "-p", "tiny", "--yes", "--refused", admin.folder / "refused.csv", code=6)
    assert "all 501 rows were refused" in said
    assert len(said) < 8000
    assert len([row for row in admin.lines("import", file, "-p", "tiny", code=6) if row["type"] == "refused"]) == 20
    refused = (admin.folder / "refused.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(refused) == 502
    assert "99 is out of range" in refused[1]
    assert refused[-1].startswith("'=1+1,")  # no spreadsheet runs it
    assert admin.terms() == ["GMP认证", "重组蛋白", "医保目录编码"]


def test_terms_of_two_packs_are_told_and_the_heavier_row_counts(admin: Admin) -> None:
    file = admin.file("own.csv", "term,category,weight\nGMP认证,product,4\n重组蛋白,role,-2\n")
    *_, end, change = admin.lines("import", file, "-p", "own", "--new", "--yes")
    admin.config.write_text(admin.config.read_text().replace('["tiny"]', '["tiny", "own"]'))
    assert (change["pack"], change["terms"]) == ("own", 2)
    assert (
        "GMP认证 stands in several packs: own (product, weight 4), tiny (quality, weight 3); the row of own counts"
        in (end["notes"])
    )
    by_term = {row["term"]: (row["pack"], row["category"]) for row in admin.lines("list")}
    assert by_term["GMP认证"] == ("own", "product")
    assert by_term["重组蛋白"] == ("tiny", "product")
    sheets = admin.lines("show", "GMP认证")
    assert [(one["pack"], one["in_force"]) for one in sheets] == [("tiny", False), ("own", True)]
    warned = [row for row in admin.lines("validate") if row.get("kind") == "duplicate"]
    assert {row["term"] for row in warned} == {"GMP认证", "重组蛋白"}
    assert "is there already" in admin.run("import", file, "-p", "own", "--new", code=6)


def test_single_terms_are_added_changed_and_removed(admin: Admin) -> None:
    words = ["质检云台", "-p", "tiny", "--category", "product", "--alias", "云台", "--alias", "质检台", "--weight", "2"]
    (change,) = admin.lines("add", *words)
    assert (change["action"], change["note"]) == ("add", "质检云台")
    (sheet,) = admin.lines("show", "云台")
    assert (sheet["term"], sheet["aliases"], sheet["pinyin"]) == (
        "质检云台",
        ["云台", "质检台"],
        "zhi4 jian3 yun2 tai2",
    )
    assert "is there already" in admin.run("add", "质检云台", "-p", "tiny", "--weight", "1", code=6)
    admin.run("add", "质检云台", "-p", "tiny", "--weight", "1", "--replace")
    (sheet,) = admin.lines("show", "质检云台")
    assert (sheet["weight"], sheet["category"]) == (1.0, "product")
    for wrong, what in (
        (["", "-p", "tiny"], "the term is empty"),
        (["甲" * 500, "-p", "tiny"], "has 500 characters"),
        (["甲乙", "-p", "tiny", "--weight", "7"], "out of range"),
        (["甲乙", "-p", "none"], "no pack 'none'"),
    ):
        assert what in admin.run("add", *wrong, code=6)
    assert "no term '云台'" in admin.run("remove", "云台", "-p", "tiny", code=6)
    admin.run("remove", "质检云台", "重组蛋白", "-p", "tiny")
    assert admin.terms() == ["GMP认证", "医保目录编码"]
    assert "虫族蛋白和虫组蛋白" in admin.run("test", "虫族蛋白和虫组蛋白")
    admin.run("rollback", "-p", "tiny")
    assert "虫族蛋白和重组蛋白" in admin.run("test", "虫族蛋白和虫组蛋白")


def test_what_is_kept_only_waits(admin: Admin) -> None:
    assert "is kept, not in force" in admin.run("add", "质检云台", "-p", "tiny", "--no-activate")
    assert "质检云台" not in admin.terms()


@pytest.mark.parametrize("name", ["out.csv", "out.xlsx"])
def test_what_goes_out_comes_back_the_same(admin: Admin, name: str) -> None:
    file = admin.folder / name
    admin.run("add", "3-5", "-p", "tiny", "--alias", "12306", "--note", 'a "note", with commas')
    (said,) = admin.lines("export", "-p", "tiny", file)
    assert (said["terms"], said["file"]) == (4, str(file))
    (end,) = admin.lines("import", file, "-p", "tiny", "--replace")
    assert (end["unchanged"], end["refused"], end["added"], end["removed"], end["changed"]) == (4, 0, 0, 0, 0)
    assert "is there already" in admin.run("export", "-p", "tiny", file, code=6)
    if name.endswith("xlsx"):
        cells = [cell.value for cell in load_workbook(file).worksheets[0]["A"]]
        assert cells == ["term", "GMP认证", "重组蛋白", "医保目录编码", "3-5"]
    assert admin.run("export", "-p", "tiny").startswith("term,category,aliases,pinyin,weight,phonetic,note")


def test_a_pack_goes_out_as_a_folder_and_old_versions_too(admin: Admin) -> None:
    admin.run("add", "质检云台", "-p", "tiny")
    admin.run("export", "-p", "tiny", "--folder", admin.folder / "copy" / "tiny")
    admin.run("export", "-p", "tiny", "--version", "folder", admin.folder / "old.txt")
    assert (admin.folder / "old.txt").read_text(encoding="utf-8") == "GMP认证 3\n重组蛋白 -1.5\n医保目录编码\n"
    (total,) = admin.lines("validate", admin.folder / "copy" / "tiny", "--limit", "0")
    assert (total["terms"], total["errors"]) == (4, 0)


def test_search_finds_by_name_meaning_and_sound(admin: Admin) -> None:
    def found(query: str, *, hits: bool = True) -> list[tuple[str, str]]:
        return [(row["term"], row["by"]) for row in admin.lines("search", query, code=0 if hits else 1)]

    assert found("蛋白") == [("重组蛋白", "term")]
    assert found("药品gmp") == [("GMP认证", "alias")]
    assert found("comma") == [("医保目录编码", "note")]
    assert found("虫组") == [("重组蛋白", "sound")]
    assert found("任正") == found("renzheng") == found("ren4 zheng4") == [("GMP认证", "sound")]
    admin.run("search", "没有这样的", code=1)
    assert "no term or alias" in admin.run("show", "没有这样的", code=6)


def test_validate_says_what_will_hurt(admin: Admin) -> None:
    admin.file(
        "packs/tiny/terms.csv",
        (
            "term,category,aliases,pinyin,weight,phonetic,note\n"
            "集采目录,regulation,带量采购|编码本,,,,\n急采木炉,product,编码本,,,,\n丝,unit,,,,,\n编码,process,,,,,\n天气不错,x,,,,on,\n"
        ),
    )
    admin.file("packs/tiny/decoys.csv", "heard,term,note\n")
    admin.file("talk.txt", "今天天气不错啊\n填起步措施要做好\n编码规则你看一下\n" * 120)
    rows = admin.lines("validate", "--text", admin.folder / "talk.txt")
    kinds = {row["kind"]: row for row in rows if row["type"] == "warning"}
    assert kinds["sounds_alike"]["term"] == "集采目录"
    assert kinds["sounds_alike"]["others"] == ["急采木炉"]
    assert kinds["alias"]["others"] == ["集采目录"]
    assert {row["term"] for row in rows if row.get("kind") == "short"} == {"丝", "编码"}
    assert "天气不错" in {row["term"] for row in rows if row.get("kind") == "frequent"}
    assert rows[-1]["ok"]
    assert "warnings" in admin.run("validate", "--strict", "--text", admin.folder / "talk.txt", code=6)
    admin.file(
        "packs/tiny/terms.csv",
        "term,category,aliases,pinyin,weight,phonetic,note\n甲乙丙,,,,9,,\n,,,,,on,\n丁戊,,,,,,\n",
    )
    folder = admin.folder / "packs" / "tiny"
    rows = admin.lines("validate", folder, "--text", admin.folder / "talk.txt", code=6)
    assert [(row["row"], row["column"]) for row in rows if row["type"] == "error"] == [(2, "weight"), (3, "term")]


def test_a_pack_without_its_toml_is_refused(admin: Admin) -> None:
    (admin.folder / "packs" / "tiny" / "pack.toml").unlink()
    said = admin.run("list", code=6)
    assert "pack.toml: no such file" in said
    assert "Try: " in said


def remember(admin: Admin, *said: str, terms: tuple[TermHit, ...] = ()) -> None:
    with Store.open(admin.folder / "state" / "edge-agent.db") as store:
        for number, text in enumerate(said):
            call = Call(f"call-{number % 7}", "x", datetime.now(UTC), (Speaker.AGENT,))
            at = number * 1000
            transcript = Transcript(call.id, 0, Speaker.AGENT, 0, at, at + 900, text, text, terms, dictionary="abc")
            store.keep(calls=[call], transcripts=[transcript])


def test_suggest_names_the_words_that_no_pack_knows(admin: Admin) -> None:
    assert "no such database" in admin.run("suggest", code=7)
    words = ["质检云台", "VPX机箱", "重组蛋白", "柔性重组蛋白膜"]
    remember(admin, *(pattern.format(word) for word in words for pattern in UNKNOWN_WORDS), "我的手机是13812345678")
    *found, total = admin.lines("suggest", "--least", "4")
    by_word = {row["word"]: row for row in found}
    assert {"质检云台", "VPX机箱", "柔性重组蛋白膜"} <= by_word.keys()
    assert "重组蛋白" not in by_word
    assert by_word["质检云台"]["count"] == 6
    assert by_word["质检云台"]["calls"] > 1
    assert all("质检云台" in example for example in by_word["质检云台"]["examples"])
    assert total["found"] == len(found)
    assert "质检云台  6 times" in admin.run("suggest", "--least", "4")


def test_stats_count_what_was_heard(admin: Admin) -> None:
    hit = TermHit("重组蛋白", (0, 4), "phonetic", "虫组蛋白", 0.95, "product", "tiny")
    remember(admin, "重组蛋白好的", "重组蛋白不错", terms=(hit,))
    pack, whole = admin.lines("stats")
    assert (pack["terms"], pack["heard"], pack["never_heard"]) == (3, 2, 2)
    assert (pack["most_heard"], pack["via"]) == ([["重组蛋白", 2]], {"phonetic": 2})
    assert pack["categories"] == {"quality": 1, "product": 1, "regulation": 1}
    assert (whole["terms"], whole["packs"]) == (3, ["tiny"])
    assert "heard 2 times" in admin.run("stats")

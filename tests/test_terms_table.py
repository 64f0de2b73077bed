"""Files of terms as admins have them are read as they were meant, and what is wrong is told with row and column."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING

import pytest
from openpyxl import Workbook

from edge_agent.errors import DictionaryError
from edge_agent.terms import Pack, table
from edge_agent.terms.importing import plan
from edge_agent.terms.sheet import RowError
from edge_agent.terms.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.terms.importing import Plan

EMPTY = Pack("tiny")
CSV = (
    "term,category,aliases,pinyin,weight,phonetic,note\n"
    "集采目录编码,regulation,目录编码|编码,,3,auto,一个说明\nGMP认证,quality,,,,,\n"
)


def read(file: Path, content: str | bytes | None = None, sheet: str | None = None) -> Plan:
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    opened = read_table(file, sheet)
    return plan(EMPTY, opened.rows, opened.columns)


def terms(found: Plan) -> list[str]:
    return [term.term for term in found.pack.terms]


def refused(found: Plan) -> list[tuple[int, str, str]]:
    assert all(error.remedy for error in found.refusals.first)
    return [(error.line, error.column, error.what) for error in found.refusals.first]


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        (lambda text: text.encode(), "utf-8"),
        (lambda text: text.encode("utf-8-sig"), "utf-8-sig"),
        (lambda text: text.encode("gb18030"), "gb18030"),
        (lambda text: text.replace(",", "\t").encode("utf-16"), "utf-16"),
        (lambda text: text.replace("\n", "\r\n").encode("gb18030"), "gb18030"),
        (lambda text: ("sep=;\n" + text.replace(",", ";")).encode(), "utf-8"),
    ],
)
def test_a_table_is_read_whatever_excel_made_of_it(tmp_path: Path, encode, encoding: str) -> None:  # type: ignore[no-untyped-def]
    found = read(tmp_path / "a.csv", encode(CSV))
    assert read_table(tmp_path / "a.csv").encoding == encoding
    assert terms(found) == ["集采目录编码", "GMP认证"]
    assert (found.pack.terms[0].aliases, found.pack.terms[0].weight) == (("目录编码", "编码"), 3.0)
    assert not found.refusals.count


def test_columns_may_have_chinese_names_a_title_above_and_others_beside(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    found = read(file, "我们的术语表,,\n术语,类别,单价\n集采目录编码,法规,3.5\n")
    assert [(one.term, one.category) for one in found.pack.terms] == [("集采目录编码", "法规")]
    assert read_table(file).notes == ["columns that are not read: 单价"]


def test_a_plain_list_has_a_weight_behind_a_term(tmp_path: Path) -> None:
    found = read(tmp_path / "a.txt", "阿里巴巴 3\nGMP 认证\n集采目录编码\t-2.5\n\n重组蛋白,2\niPhone 15\n")
    assert [(one.term, one.weight) for one in found.pack.terms] == [
        ("阿里巴巴", 3.0),
        ("GMP 认证", 0.0),
        ("集采目录编码", -2.5),
        ("重组蛋白", 2.0),
    ]
    assert refused(found) == [(6, "weight", "15 is out of range")]


def test_one_bad_row_refuses_that_row_alone(tmp_path: Path) -> None:
    rows = [
        ",x,,",
        "好的\x07词语,x,,",
        "😀笑脸,x,,",
        f"{'长' * 500},x,,",
        "……,x,,",
        "=SUM(A1),x,,",
        "集采,x,,9",
        "集采,x,,many",
        "重组蛋白,x,,2",
        "重组蛋白,y,,2",
        "甲乙丙,x,丁|😀,",
        "一,二,三,四,五",
        '"没有关上的,x,,',
        "最后一个词,x,,",
    ]
    found = read(tmp_path / "a.csv", "term,category,aliases,weight\n" + "\n".join(rows) + "\n")
    assert terms(found) == ["重组蛋白", "最后一个词"]
    assert [(line, column) for line, column, _ in refused(found)] == [
        (2, "term"),
        (3, "term"),
        (4, "term"),
        (5, "term"),
        (6, "term"),
        (7, "term"),
        (8, "weight"),
        (9, "weight"),
        (11, "term"),
        (12, "aliases"),
        (13, "weight"),
        (14, "term"),
    ]
    what = [what for _, _, what in refused(found)]
    for part in ("empty", "U+0007", "emoji", "500 characters", "nothing that is said", "formula", "out of range"):
        assert any(part in one for one in what), part
    assert str(found.refusals.first[0]).startswith(f"{tmp_path / 'a.csv'}:2, column term: ")


def test_a_cell_may_hold_commas_quotes_and_in_a_note_line_ends(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", 'term,note\n"甲,乙","a ""b""\nc"\n"丙\n丁",x\n戊己,y\n')
    assert [(one.term, one.note) for one in found.pack.terms] == [("甲,乙", 'a "b" c'), ("戊己", "y")]
    assert refused(found) == [(4, "term", "holds the control character U+000A")]


def test_rows_of_another_encoding_are_refused_by_name(tmp_path: Path) -> None:
    odd = "医保目录\n".encode("gb18030")
    found = read(tmp_path / "a.csv", "term\n集采目录\n重组蛋白\n".encode() + odd)
    assert terms(found) == ["集采目录", "重组蛋白"]
    ((line, column, what),) = refused(found)
    assert (line, column) == (4, "term")
    assert "not UTF-8 as the rest" in what
    assert "医保目录" in found.refusals.first[0].remedy

    foreign = "".join(f"{one}\n" for one in ("集采目录", "重组蛋白", "联通", "药事会")).encode("gb18030")
    found = read(tmp_path / "b.csv", b"term\n" + foreign + "医保目录编码\n".encode())
    assert terms(found) == ["集采目录", "重组蛋白", "联通", "药事会"]  # 联通 in GB18030 happens to be valid UTF-8
    assert refused(found)[0][:2] == (6, "term")
    found = read(tmp_path / "c.csv", b"term\n" + foreign + b"\xff\xff\n")
    assert "neither GB18030" in refused(found)[0][2]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"abc\0def", "NUL"),
        (b"PK\x03\x04 and no more", "not an .xlsx"),
        ("甲乙丙,类别,别名\n丁,戊,己\n".encode(), "no row names the columns"),
        (b"term,term\nx,y\n", "stands twice"),
        (b"term\n" + b"x" * (1 << 20) + b"xx\n", "a line of more than 1 MiB"),
    ],
)
def test_what_is_no_table_of_terms_is_refused_whole(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(DictionaryError, match=what) as caught:
        read(tmp_path / "a.csv", content)
    assert caught.value.remedy
    assert str(tmp_path) in caught.value.where
    with pytest.raises(DictionaryError, match="no such file"):
        read(tmp_path / "none.csv")


def test_a_report_of_100_000_bad_rows_is_bounded(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", "term,weight\n重组蛋白,1\n" + "坏词语,99\n" * 100_000)
    assert terms(found) == ["重组蛋白"]
    assert found.refusals.count == 100_000
    assert len(found.refusals.first) == 1000
    assert list(found.refusals.reasons.values()) == [100_000]


def test_50_megabytes_end_with_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("wb") as out:
        out.write(b"term,note\n")
        block = "".join(f"术语编号{number:06},一个说明\n" for number in range(10_000)).encode()
        while out.tell() < 50_000_000:
            out.write(block)
    with pytest.raises(DictionaryError, match="lines: a pack has 200,000 terms at most"):
        read(file)


def test_a_table_of_too_many_rows_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_ROWS", 10)
    rows = "".join(f"术语编号{number:06}\n" for number in range(12))
    with pytest.raises(DictionaryError, match="more than 10 rows") as caught:
        read(tmp_path / "a.csv", f"term\n{rows}")
    assert caught.value.where == f"{tmp_path / 'a.csv'}:12"


def book(tmp_path: Path, *rows: list[object], merge: str = "", title: str = "terms") -> Path:
    made = Workbook()
    sheet = made.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    for area in merge.split():
        sheet.merge_cells(area)
    made.create_sheet("other").append(["term"])
    made.save(tmp_path / "a.xlsx")
    return tmp_path / "a.xlsx"


def test_a_workbook_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    from datetime import date

    file = book(
        tmp_path,
        ["词条", "类别", "权重"],
        ["集采目录编码", "regulation", 3],
        [12306, None, 1.0],
        [None, None, None],
        ["重组蛋白", "=A2", None],
        ["=CONCAT(A2,A3)", None, None],
        [date(2026, 3, 5), None, None],
        ["#N/A", None, None],
        ["药事会", "department", 9],
    )
    found = read(file)
    assert [(one.term, one.category, one.weight) for one in found.pack.terms] == [
        ("集采目录编码", "regulation", 3.0),
        ("12306", "", 1.0),
    ]
    assert [(line, column) for line, column, _ in refused(found)] == [
        (5, "category"),
        (6, "term"),
        (7, "term"),
        (8, "term"),
        (9, "weight"),
    ]
    assert str(found.refusals.first[0]).startswith(f"{file}, sheet terms, row 5, column category: holds the formula")
    assert "date" in refused(found)[2][2]
    opened = read_table(file)
    assert "other" in opened.notes[0]
    assert not list(read_table(file, "other").rows)
    with pytest.raises(DictionaryError, match="no sheet 'third'"):
        read_table(file, "third")


def test_merged_cells_say_the_same_for_all_their_rows_where_that_can_be_meant(tmp_path: Path) -> None:
    file = book(
        tmp_path,
        ["术语表", None, None],
        ["term", "category", "note"],
        ["重组蛋白", "product", "a"],
        ["单克隆抗体", None, "b"],
        ["药事会", None, "c"],
        ["采购平台", "system", "d"],
        [None, "system", "e"],
        ["横着合并", None, "f"],
        ["最后一个", "role", "g"],
        merge="A1:C1 B3:B5 A6:A7 A8:B8",
    )
    opened = read_table(file)
    found = plan(EMPTY, opened.rows, opened.columns)
    assert [(one.term, one.category) for one in found.pack.terms] == [
        ("重组蛋白", "product"),
        ("单克隆抗体", "product"),
        ("药事会", "product"),
        ("采购平台", "system"),
        ("最后一个", "role"),
    ]
    assert refused(found) == [
        (7, "term", "is merged with row 6"),
        (8, "term", "is merged over the columns term, category"),
    ]
    assert any("2 cells were taken from the merged cell" in note for note in opened.notes)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = book(tmp_path, ["term"], ["重组蛋白"])
    bomb = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(file) as good, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bad:
        for part in good.infolist():
            if part.filename != "xl/worksheets/sheet1.xml":
                bad.writestr(part, good.read(part))
        with bad.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as out:
            for _ in range(201):
                out.write(b" " * 1_000_000)
    assert bomb.stat().st_size < 2_000_000
    with pytest.raises(DictionaryError, match="would unpack to 201 MB"):
        read(bomb)

    # One that lies of its size: no more than it says is unpacked, and that is no sheet.
    packed = bytearray(bomb.read_bytes())
    for at in (found.start() for found in re.finditer(re.escape((201_000_000).to_bytes(4, "little")), packed)):
        packed[at : at + 4] = (1000).to_bytes(4, "little")
    bomb.write_bytes(packed)
    with pytest.raises(DictionaryError):
        read(bomb)


def test_a_damaged_workbook_is_refused(tmp_path: Path) -> None:
    whole = book(tmp_path, ["term"], ["重组蛋白"]).read_bytes()
    parts = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as good, zipfile.ZipFile(parts, "w") as bad:
        for part in good.infolist():
            content = good.read(part)
            bad.writestr(part, content[: len(content) // 2] if "sheet1" in part.filename else content)
    for content in (whole[: len(whole) // 2], parts.getvalue()):
        with pytest.raises(DictionaryError):
            read(tmp_path / "b.xlsx", content)


def test_an_error_of_a_row_knows_where_it_is(tmp_path: Path) -> None:
    opened = read_table(_written(tmp_path / "a.csv", "term,weight\n集采,x\n"))
    (row,) = opened.rows
    with pytest.raises(RowError) as caught:
        row.refuse("weight", "is wrong", "mend it")
    assert (caught.value.line, caught.value.column) == (2, "weight")


def _written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file

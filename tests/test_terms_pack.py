"""A pack is read as its files say, and every defect is refused with file, line, column and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.errors import DictionaryError
from edge_agent.terms import Decoy, Pack, Phonetic, Term
from edge_agent.terms.pinyin import Syllable

if TYPE_CHECKING:
    from pathlib import Path

PACK = {
    "pack.toml": 'id = "tiny"\nname = "小"\nindustry = "pharma"\n'
    'version = "1"\nlanguage = "zh-CN"\nlicence = "CC0-1.0"\n',
    "terms.csv": "term,category,aliases,pinyin,weight,phonetic,note\n"
    "GMP认证,quality,GMP证书|药品GMP,,3,auto,\n"
    "重组蛋白,product,,chong2 zǔ dan bai,-1.5,on,polyphone\n"
    "\n"
    '医保目录编码,regulation,,,,off,"a, comma"\n',
    "decoys.csv": "heard,term,note\n虫族蛋白,重组蛋白,\n目录编码,,anything\n",
}
HEADER = "term,category,aliases,pinyin,weight,phonetic,note\n"


def write(folder: Path, **files: str | bytes | None) -> Path:
    """Write the tiny pack, with some of its files (by their stem) replaced or, with None, left out."""
    pack = folder / "tiny"
    pack.mkdir(exist_ok=True)
    for name, text in PACK.items():
        content = files.get(name.partition(".")[0], text)
        if content is not None:
            (pack / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return pack


def refused(folder: Path, **files: str | bytes | None) -> DictionaryError:
    with pytest.raises(DictionaryError) as caught:
        Pack.load(write(folder, **files))
    assert caught.value.remedy
    return caught.value


def test_a_pack_is_read_as_its_files_say(tmp_path: Path) -> None:
    pack = Pack.load(write(tmp_path))
    assert (pack.id, pack.name, pack.licence) == ("tiny", "小", "CC0-1.0")
    assert pack.terms == (
        Term("GMP认证", "quality", ("GMP证书", "药品GMP"), (), 3.0, Phonetic.AUTO, ""),
        Term(
            "重组蛋白",
            "product",
            (),
            (Syllable("ch", "ong", 2), Syllable("z", "u", 3), Syllable("d", "an", 0), Syllable("b", "ai", 0)),
            -1.5,
            Phonetic.ON,
            "polyphone",
        ),
        Term("医保目录编码", "regulation", (), (), 0.0, Phonetic.OFF, "a, comma"),
    )
    assert pack.decoys == (Decoy("虫族蛋白", "重组蛋白"), Decoy("目录编码", "", "anything"))


def test_byte_order_mark_line_ends_and_column_order_do_not_count(tmp_path: Path) -> None:
    plain = Pack.load(write(tmp_path))
    marked = Pack.load(write(tmp_path, terms=b"\xef\xbb\xbf" + PACK["terms.csv"].replace("\n", "\r\n").encode()))
    assert marked == plain
    assert marked.digest == plain.digest


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    plain = Pack.load(write(tmp_path))
    for changed in (
        {"terms": PACK["terms.csv"].replace(",3,", ",4,")},
        {"decoys": PACK["decoys.csv"].replace("anything", "else")},
        {"pack": PACK["pack.toml"].replace('"1"', '"2"')},
    ):
        assert Pack.load(write(tmp_path, **changed)).digest != plain.digest


def test_decoys_are_optional(tmp_path: Path) -> None:
    assert Pack.load(write(tmp_path, decoys=None)).decoys == ()


@pytest.mark.parametrize(
    ("rows", "column", "what"),
    [
        ("甲乙丙,,,,heavy,,", "weight", "'heavy' is no number"),
        ("甲乙丙,,,,5.1,,", "weight", "out of range"),
        ("甲乙丙,,,,-7,,", "weight", "out of range"),
        ("甲乙丙,,,,nan,,", "weight", "out of range"),
        ("甲乙丙,,,,,maybe,", "phonetic", "'maybe'"),
        (",quality,别名,,,,", "term", "empty"),
        ("甲\x07乙丙,,,,,,", "term", "U+0007"),
        ("甲\u200b乙丙,,,,,,", "term", "U+200B"),
        ("甲乙丙,,丁\x00戊,,,,", "aliases", "U+0000"),
        ("甲" * 65 + ",,,,,,", "term", "65 characters"),
        ("甲乙丙,," + "丁" * 65 + ",,,,", "aliases", "65 characters"),
        ("甲乙丙,,,jia3 yi3,,,", "pinyin", "2 syllables for the 3"),
        ("甲乙丙,,,jia3 yi3 bingle,,,", "pinyin", "'bingle'"),
        ("甲乙丙,,,,,", "phonetic", "6 cells where the header has 7"),
        ("甲乙丙,,,,,,a,b", "note", "8 cells where the header has 7"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path: Path, rows: str, column: str, what: str) -> None:
    error = refused(tmp_path, terms=HEADER + "好词语,,,,,,\n" + rows + "\n", decoys=None)
    assert error.where == f"{tmp_path / 'tiny' / 'terms.csv'}:3, column {column}"
    assert what in error.what


def test_a_term_of_64_characters_is_taken(tmp_path: Path) -> None:
    pack = Pack.load(write(tmp_path, terms=HEADER + "甲" * 64 + ",,,,,,\n", decoys=None))
    assert len(pack.terms[0].term) == 64


def test_a_duplicate_names_the_first_line(tmp_path: Path) -> None:
    error = refused(tmp_path, terms=HEADER + "GMP认证,,,,,,\n药事会,,,,,,\nｇmp 认证,,,,,,\n", decoys=None)
    assert error.where.endswith("terms.csv:4, column term")
    assert "line 2" in error.what


@pytest.mark.parametrize(
    ("header", "place", "what"),
    [
        ("term,category,aliases,pinyin,weight,note", "column phonetic", "missing"),
        ("term,category,aliases,pinyin,weight,phonetic,note,colour", "column colour", "unknown"),
        ("term,category,aliases,pinyin,weight,phonetic,note,term", "column term", "twice"),
        ("", "column term", "missing"),
    ],
)
def test_a_bad_header_is_refused(tmp_path: Path, header: str, place: str, what: str) -> None:
    error = refused(tmp_path, terms=header + "\n")
    assert error.where.endswith(f"terms.csv:1, {place}")
    assert what in error.what


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, terms=(HEADER + "好词语,,,,,,\n").encode() + "药事会,,,,,,\n".encode("gb18030"))
    assert error.where.endswith("terms.csv:3")
    assert "UTF-8" in error.what


def test_an_open_quote_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, terms=HEADER + '好词语,,,,,,\n"药事会,,,,,,\n')
    assert error.where.endswith("terms.csv:3")


def test_a_decoy_for_a_term_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, decoys="heard,term,note\n虫族蛋白,重组蛋自,\n")
    assert error.where.endswith("decoys.csv:2, column term")


@pytest.mark.parametrize(
    ("toml", "what"),
    [
        (None, "no such file"),
        ('id = "tiny"\nname = ', "not valid TOML"),
        (PACK["pack.toml"].replace("name", "title"), "`name` is missing"),
        (PACK["pack.toml"].replace('"1"', "1"), "`version` is missing, or is no text"),
        (PACK["pack.toml"] + "colour = 'red'\n", "unknown key 'colour'"),
        (PACK["pack.toml"].replace('"tiny"', '"other"'), "not the name of the folder"),
    ],
)
def test_a_bad_pack_file_is_refused(tmp_path: Path, toml: str | None, what: str) -> None:
    error = refused(tmp_path, pack=toml)
    assert what in error.what
    assert "pack.toml" in error.where


def test_a_pack_without_terms_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, terms=None)
    assert "no such file" in error.what
    assert error.where.endswith("terms.csv")

"""A compiled dictionary comes back from its file as it was, and nothing that is wrong with the file gets through."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent import paths
from edge_agent.automaton import Automaton
from edge_agent.terms import Decoy, Dictionary, Pack, Phonetic, Term, compiled
from edge_agent.terms.pinyin import Syllable

if TYPE_CHECKING:
    from pathlib import Path

PACK = Pack(
    "tiny",
    terms=(
        Term("GMP认证", "quality", ("药品GMP", "吉艾姆屁认证"), (), 3.0, Phonetic.ON, "a note"),
        Term("重组蛋白", "product", (), tuple(map(Syllable.parse, ("chong2", "zu3", "dan", "bai")))),
    ),
    decoys=(Decoy("虫族蛋白", "重组蛋白"), Decoy("目录编码")),
)
HEARD = ("你们有GMP任证吗", "药品gmp和虫组蛋白", "虫族蛋白不是虫组蛋白", "吉艾姆屁认证", "")


def test_what_was_compiled_comes_back_the_same(tmp_path: Path) -> None:
    dictionary = Dictionary.compile([PACK])
    compiled.write(tmp_path / "tiny", dictionary.parts())
    again = Dictionary.from_parts(compiled.read(tmp_path / "tiny"))
    assert (again.version, list(again.entries)) == (dictionary.version, list(dictionary.entries))
    assert [entry.term for entry in again.entries] == list(PACK.terms)
    for heard in HEARD:
        assert again.recognise(heard) == dictionary.recognise(heard)
    assert {name: array.tobytes() for name, array in again.parts().items()} == {
        name: array.tobytes() for name, array in dictionary.parts().items()
    }
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_the_shipped_packs_come_back_the_same() -> None:
    dictionary = Dictionary.load(paths.shipped() / "dictionaries", ["pharma"])
    again = Dictionary.from_parts(dictionary.parts())
    assert list(again.entries) == list(dictionary.entries)


def test_an_empty_dictionary_comes_back_the_same(tmp_path: Path) -> None:
    compiled.write(tmp_path / "none", Dictionary.compile([]).parts())
    again = Dictionary.from_parts(compiled.read(tmp_path / "none"))
    assert (len(again.entries), again.recognise("集采").terms) == (0, ())


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "tiny"
    compiled.write(file, Dictionary.compile([PACK]).parts())
    whole = file.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(compiled.Damaged):
            compiled.read(file)
    for content in (b"", whole[:10], whole[:100], whole[:-1], whole + b"x", b"x" * 5000, b"\0" * len(whole)):
        file.write_bytes(content)
        with pytest.raises(compiled.Damaged):
            compiled.read(file)
    file.write_bytes(whole)
    assert "version" in compiled.read(file)


def test_a_library_without_a_frozen_form_keeps_its_patterns() -> None:
    frozen = "集采\0集采目录".encode()
    assert Automaton.thaw(frozen).find("集采目录") == Automaton.build(["集采", "集采目录"]).find("集采目录")


def test_texts_are_decoded_one_by_one() -> None:
    texts = compiled.Strings.of(["集采", "", "GMP", "𠮷"])
    assert [texts[index] for index in range(len(texts))] == ["集采", "", "GMP", "𠮷"]
    with pytest.raises(IndexError):
        texts[4]
    flat, ends = compiled.ragged([[1, 2], [], [3]])
    assert [flat[a:b].tolist() for a, b in pairwise(ends)] == [[1, 2], [], [3]]
    assert flat.dtype == np.int32

"""Which terms a recognizer is told of: few, and those that are likely now."""

from __future__ import annotations

from edge_agent.terms import Dictionary, Hotwords, Pack, Term
from edge_agent.terms.hotwords import MOST

PHARMA = Pack(
    "pharma",
    terms=(
        Term("一致性评价", "regulation"),
        Term("重疾险", "product", weight=3),
        Term("集采目录编码", "regulation", weight=1),
        *(Term(f"药{number}号", "code") for number in range(40)),
    ),
)
FINANCE = Pack("finance", terms=(Term("增额终身寿", "product"), Term("趸交保费", "unit", weight=-2)))
DICTIONARY = Dictionary.compile([PHARMA, FINANCE])


def hear(hotwords: Hotwords, heard: str, dictionary: Dictionary = DICTIONARY) -> tuple[str, ...]:
    return hotwords.hear(heard, dictionary.recognise(heard).terms, dictionary)


def test_before_anything_was_said_the_admins_weight_counts_alone() -> None:
    assert Hotwords().now(DICTIONARY) == ("重疾险", "集采目录编码")


def test_what_the_calls_of_a_source_are_about_comes_first() -> None:
    assert Hotwords(["finance"]).now(DICTIONARY)[:2] == ("增额终身寿", "重疾险")
    assert "一致性评价" in Hotwords(["regulation"]).now(DICTIONARY)
    assert "增额终身寿" not in Hotwords(["regulation"]).now(DICTIONARY)


def test_what_was_said_comes_first_and_fades() -> None:
    hotwords = Hotwords()
    assert hear(hotwords, "先说一致性评价吧")[0] == "一致性评价"
    assert hear(hotwords, "增额终身寿也要")[:2] == ("增额终身寿", "一致性评价")
    for _ in range(30):
        left = hear(hotwords, "好的")
    assert left == ("重疾险", "集采目录编码")


def test_what_was_hinted_at_counts_though_it_was_not_recognized() -> None:
    heard = "那份重疾办到期"
    assert DICTIONARY.recognise(heard).terms == ()
    plain = Dictionary.compile([Pack("a", terms=(Term("重疾险"), Term("一致性评价")))])
    assert hear(Hotwords(), heard, plain) == ("重疾险",)
    assert hear(Hotwords(), "今天天气不错", plain) == ()


def test_they_are_few_however_many_were_said() -> None:
    hotwords = Hotwords()
    for number in range(40):
        told = hear(hotwords, f"要药{number}号")
    assert len(told) == MOST
    assert told[0] == "药39号"


def test_another_dictionary_counts_at_once() -> None:
    hotwords = Hotwords()
    assert hotwords.now(DICTIONARY)
    assert hotwords.now(Dictionary.compile([Pack("b", terms=(Term("瀚川智联", weight=5),))])) == ("瀚川智联",)

"""Scoring: what is the same is never counted as an error, and what differs never as the same."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.asr.score import DIGITS, Score, align, count, normalise, score

NUMERALS = "一二三四五六七八九零〇十百千万亿两幺点分之0123456789,.%、 -−~"
WORDS = ["价格", "要", "个", "年的", "GMP", "打折吗", "元，"]


@pytest.mark.parametrize(
    "same",
    [
        ["我们要做ＧＭＰ认证。", "我们要做 gmp 认证", "我们，要做GMP认证！"],
        ["百分之十五", "15%", "１５％", "百分之15", "十五%"],
        ["百分之百", "百分之一百", "100%"],
        ["百分之三点五", "3.5%", "百分之3.5"],
        ["三百二十", "320", "三百二", "3百2十"],
        ["二零二六年", "2026年", "二〇二六年"],
        ["两千零二十六", "二千零二十六", "2026"],
        ["幺三八零零幺三八零零零", "一三八零零一三八零零零", "13800138000"],
        ["两个", "二个", "2个"],
        ["三万八", "三万八千", "3万8", "3.8万", "三点八万", "38000", "38,000"],
        ["两万五千六百", "二万五千六", "2万5千6百", "25600"],
        ["一千二百万", "1200万", "12,000,000"],
        ["一亿三千万", "1.3亿", "一点三亿", "一亿三", "130000000"],
        ["十二点五", "12.5"],
        ["零点五", "0.5"],
        ["五G", "5G"],
        ["负五度", "-5度", "−5度"],
        ["3-5天", "3~5天", "３－５天"],
        ["三十万零八百", "30万零8百", "300800"],
        ["好的～没问题……", "好的没问题"],
    ],
)
def test_one_thing_in_several_spellings_has_one_form(same: list[str]) -> None:
    assert len({normalise(text) for text in same}) == 1, [normalise(text) for text in same]


@pytest.mark.parametrize(
    "different",
    [
        ["三四个", "三十四个", "3、4个", "3-4个", "3 4个"],
        ["两三百", "二百三", "2300", "2到300"],
        ["三四百", "三百四", "3400", "304"],
        ["十七八岁", "一百七十八岁", "十八岁", "17、8岁"],
        ["一一说明", "十一说明", "一说明"],
        ["三七分成", "三十七分成"],
        ["二两酒", "二二酒", "二十二酒", "二酒"],
        ["1.5", "15", "1:5", "1、5"],
        ["5%", "5", "5‰"],
        ["-5度", "5度"],
        ["2.50", "2.05", "2:50", "两点五十", "250"],
        ["第一，百分之五", "百分之十五"],
        ["第1，5%", "第15%"],
        ["有3，十个一箱", "有30个一箱"],
        ["百分之七八", "百分之七十八", "7%8"],
        ["万一", "一万"],
        ["一千", "一百", "一千零一"],
        ["三万零八", "三万八", "三万零八百"],
        ["1，234", "1234", "1，2，3，4"],
        ["C++", "C"],
        ["买", "卖"],
        ["四", "是"],
    ],
)
def test_different_things_stay_different(different: list[str]) -> None:
    forms = [normalise(text) for text in different]
    assert len(set(forms)) == len(forms), forms


def in_full(number: int) -> str:
    """Spell a number as a person reads it; written apart from the code under test."""
    if number < 10:
        return DIGITS[number]
    text = ""
    for size, unit in ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十")):
        many, number = divmod(number, size)
        if many:
            text += in_full(many) + unit
        elif text and number and not text.endswith("零"):
            text += "零"
    text = (text + DIGITS[number] if number else text).rstrip("零")
    return text.removeprefix("一") if text.startswith("一十") else text


@st.composite
def written(draw: st.DrawFn, number: int) -> str:
    """Write a number in one of the ways that people do."""
    ways = [str(number), f"{number:,}", in_full(number)]
    ways.append(in_full(number).replace("二千", "两千").replace("二万", "两万").replace("十两", "十二"))
    if number > 99:
        ways.append("".join(DIGITS[int(digit)] for digit in str(number)))
    return draw(st.sampled_from(ways))


@st.composite
def sentences(draw: st.DrawFn) -> tuple[tuple[object, ...], str]:
    """Draw what a sentence means, and one way to write it."""
    meaning: list[object] = []
    text = ""
    for _ in range(draw(st.integers(1, 3))):
        word = draw(st.sampled_from(WORDS))
        number = draw(st.one_of(st.integers(0, 40), st.sampled_from([100, 105, 150, 1500, 10_500, 15_000, 100_200])))
        share = draw(st.booleans())
        spelt = draw(written(number))
        meaning += [word.rstrip("，"), number, share]
        text += word + (draw(st.sampled_from([f"百分之{spelt}", f"{spelt}%"])) if share else spelt)
    return tuple(meaning), text + "。"


@given(sentences(), sentences())
def test_forms_are_equal_exactly_if_the_meaning_is(
    one: tuple[tuple[object, ...], str], other: tuple[tuple[object, ...], str]
) -> None:
    assert (normalise(one[1]) == normalise(other[1])) == (one[0] == other[0])


@given(st.integers(0, 99_999_999), st.data())
def test_every_number_has_one_form(number: int, data: st.DataObject) -> None:
    assert normalise(data.draw(written(number))) == str(number)


@given(st.text(alphabet="价格是一二三四十百千万两幺零点，。、？ ", max_size=30))
def test_punctuation_never_matters_where_there_are_no_arabic_digits(text: str) -> None:
    bare = "".join(character for character in text if character not in "，。、？ ")
    assert normalise(text) == normalise(bare)
    # What isn't spelt with numerals comes out as it went in.
    assert [c for c in normalise(text) if c in "价格是"] == [c for c in text if c in "价格是"]


@given(st.text(alphabet=NUMERALS + "个GmＰ"))
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(st.text())
def test_any_text_has_a_form(text: str) -> None:
    form = normalise(text)
    assert form.strip() == form


@cache
def fewest(said: str, heard: str) -> int:
    """Count edits by trying everything."""
    if not said or not heard:
        return len(said) + len(heard)
    return min(
        fewest(said[1:], heard[1:]) + (said[0] != heard[0]), fewest(said[1:], heard) + 1, fewest(said, heard[1:]) + 1
    )


SHORT = st.text(alphabet="甲乙丙", max_size=6)


@given(SHORT, SHORT)
def test_the_alignment_has_the_fewest_edits_and_adds_up(said: str, heard: str) -> None:
    substitutions, deletions, insertions = align(said, heard)
    assert min(substitutions, deletions, insertions) >= 0
    assert substitutions + deletions + insertions == fewest(said, heard)
    assert insertions - deletions == len(heard) - len(said)
    assert align(heard, said) == (substitutions, insertions, deletions)


def test_a_long_recording_is_aligned() -> None:
    said = "甲乙丙丁" * 1000
    assert sum(align(said, said.replace("丁甲", "丁戊甲", 10)[3:])) == 13


@pytest.mark.parametrize(
    ("term", "text", "times"),
    [
        ("GMP认证", "ＧＭＰ 认证和gmp认证", 2),
        ("5G", "15G和5G", 1),
        ("一致性评价", "仿制药统一一致性评价", 1),
        ("三万八", "报价38000", 1),
        ("3.5%", "百分之三点五", 1),
        ("返点", "回扣", 0),
        ("。", "好。", 0),
    ],
)
def test_a_term_occurs_in_the_form_of_the_text(term: str, text: str, times: int) -> None:
    assert count(term, text) == times


def test_a_clip_is_scored() -> None:
    found = score(
        "GMP认证大概要三万八，返点另算，返点。",
        "GMP任证大概38000反点另算返点吗集采",
        terms=["GMP认证", "返点", "返点"],
        hotwords=["集采", "返点", "一致性评价", "集采"],
    )
    assert found == Score(
        clips=1,
        characters=19,
        substitutions=2,
        deletions=1,
        insertions=3,
        terms=3,
        terms_found=1,
        wrong_terms=1,
    )
    assert found.cer == pytest.approx(6 / 19)
    assert found.term_recall == pytest.approx(1 / 3)
    assert not found.perfect
    assert score("好的，没问题。", "好的没问题", ["没问题"]).perfect


def test_a_clip_without_speech_counts_apart() -> None:
    made_up = score("", "谢谢观看", hotwords=["谢谢", "再见"])
    assert made_up == Score(silent=1, made_up=1, wrong_terms=1)
    assert score("。", "，") == Score(silent=1)
    assert (made_up.cer, made_up.term_recall, made_up.perfect) == (None, None, False)


def test_scores_add_up() -> None:
    total = score("甲乙丙丁", "甲乙丙") + score("甲乙", "甲丙") + score("", "甲")
    assert total == Score(clips=2, characters=6, substitutions=1, deletions=1, silent=1, made_up=1)
    assert total.cer == pytest.approx(1 / 3)

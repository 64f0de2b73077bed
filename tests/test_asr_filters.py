"""What nobody said is taken out, and what somebody said stays."""

from __future__ import annotations

import pytest

from edge_agent.asr.filters import believed, is_echo, without_repetition
from edge_agent.asr.overlap import without_lead
from edge_agent.types import Hypothesis

TOLD = ("GMP认证", "一致性评价", "集采目录", "带量采购")


def heard(text: str, confidence: float = 0.9, voiced_ms: int = 0, told: tuple[str, ...] = ()) -> str:
    found = believed(Hypothesis(text, confidence), voiced_ms=voiced_ms, told=told)
    assert bool(found.text) == bool(found.confidence)
    return found.text


@pytest.mark.parametrize(
    "text",
    [
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "请不吝点赞订阅转发打赏支持明镜与点点栏目。",
        "字幕由Amara.org社区提供",
        "中文字幕志愿者 李宗盛",
        "明镜与点点栏目",
        "优优独播剧场——YoYo Television Series Exclusive",
        "作词：李宗盛",
    ],
)
def test_credits_that_nobody_says_are_dropped_however_sure_the_model_is(text: str) -> None:
    assert heard(text, 0.99, 5000) == ""


def test_credits_at_the_end_leave_what_was_said() -> None:
    assert heard("那我们周五签合同。字幕由Amara.org社区提供") == "那我们周五签合同。"


@pytest.mark.parametrize("text", ["谢谢观看", "感谢大家收看。", "下期再见", "Thank you for watching."])
def test_what_might_be_said_is_dropped_only_if_the_model_is_not_sure(text: str) -> None:
    assert heard(text, 0.5, 1500) == ""
    assert heard(text, 0.9, 1500) == text
    assert heard(f"我们的样品，{text}", 0.5, 4000) == f"我们的样品，{text}"


@pytest.mark.parametrize("text", ["嗯", "嗯。", "好", "好的。", "谢谢", "谢谢您", "对对对对对", "好好好好好好"])
def test_short_answers_stay(text: str) -> None:
    assert heard(text, 0.7, 250) == text
    assert heard(text, 0.9) == text


def test_what_turns_in_circles_stands_once() -> None:
    assert without_repetition("我们的价格我们的价格我们的价格我们的价格") == "我们的价格"
    assert without_repetition("是的，" * 9 + "可以") == "是的，可以"
    assert heard("哈" * 40) == "哈"
    assert without_repetition("账号是88888888") == "账号是88888888"
    assert without_repetition("对对对对，没问题") == "对对对对，没问题"
    assert without_repetition("我们说了三遍，三遍，三遍") == "我们说了三遍，三遍，三遍"


def test_more_than_can_be_said_in_so_little_voice_is_dropped() -> None:
    long = "我们公司的产品已经通过了一致性评价，现在可以供货"
    assert heard(long, 0.9, 300) == ""
    assert heard(long, 0.9, 4000) == long
    assert heard(long, 0.9, 0) == long, "how much voice there was isn't known"


def test_hotwords_given_back_are_no_text() -> None:
    assert heard("GMP认证、一致性评价、集采目录", told=TOLD) == ""
    assert heard("一致性评价集采目录带量采购。", told=TOLD) == ""
    for said in (
        "GMP认证",
        "GMP认证、一致性评价",
        "带量采购、集采目录、GMP认证",
        "有GMP认证、一致性评价、集采目录",
    ):
        assert heard(said, told=TOLD) == said
    assert not is_echo("", TOLD)


@pytest.mark.parametrize(
    ("before", "text", "rest"),
    [
        ("我们的价格是三十万", "十万一年。", "一年。"),
        ("价格是三十玩", "石万一年", "一年"),  # heard otherwise in both, but it sounds alike
        ("我们公司的长", "工司的产品很好", "品很好"),  # the cut went through 产, and through 公 before it
        ("我们的价格是", "那么好吧", "那么好吧"),
        ("是GMP", "MP认证", "认证"),
        ("好好", "好的", "的"),
        ("", "好的", "好的"),
        ("结束", "结束", ""),
    ],
)
def test_what_both_halves_of_a_cut_heard_is_written_once(before: str, text: str, rest: str) -> None:
    assert without_lead(before, text) == rest

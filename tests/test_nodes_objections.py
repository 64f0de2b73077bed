"""The shipped objection rules: how customers put it, and what only sounds like it."""

from __future__ import annotations

from collections import Counter

import pytest

from edge_agent import rooms
from edge_agent.config import Config
from edge_agent.nodes import Rules
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.match import Context
from edge_agent.nodes.phrase import Phrase, PhraseError, parse
from edge_agent.types import Speaker

RULES = Rules.load(rooms.rule_files(Config()))

SAID = {
    "price": ("你们这个价格有点高啊。", "这个数我回去没法交代。", "人家才收八百，比你们便宜一截。", "能不能再便宜点？"),
    "competitor": ("我们跟另外一家合作了好多年，挺顺的。", "不行我们就换一家。", "我们还有两家在谈，要货比三家。"),
    "budget": ("今年的预算早就用完了。", "账上实在没钱，掏不出这笔钱。", "只能等明年的预算下来。"),
    "authority": ("这事我做不了主。", "得回去请示一下我们老板。", "我就是个跑腿的，你跟我说也没用。"),
    "timing": ("我再考虑考虑吧。", "等过完年再说。", "最近忙不过来，改天再聊。"),
    "need": ("我们用不上这个东西。", "现有的设备还够用。", "没那个必要吧。"),
    "quality": ("我就怕用了没两天又坏了。", "上次那批货发霉了，客户都投诉到我这儿。", "你们这个靠谱吗？"),
    "supply": ("你们上个月又断货了，害得我停线两天。", "说好十五号，二十号才送到。", "我就担心到时候断货。"),
    "terms": ("三十天账期太短，我们转不过来。", "款到发货我们接受不了。", "这条违约金条款我们法务不同意。"),
}

NOT_SAID = {
    "price": ("贵公司在哪个区？", "价格倒是不贵。", "我不是嫌贵啊。"),
    "competitor": ("前年那家拖了一个多月，后来厂子都没了。", "隔壁那家金店搞活动，喇叭吵死了。"),
    "budget": ("不是预算的问题。", "经费已经批下来了。"),
    "authority": ("这个我自己就能定，不用问领导。",),
    "timing": ("我一会儿有个会，你长话短说。",),
    "need": ("我肯定用得上。",),
    "quality": ("你们质量没得说，一年没一个投诉。",),
    "supply": ("货一件没缺，也没晚到。", "晚两天没关系，来得及。"),
    "terms": ("账期六十天也够意思了。",),
}


def raised(text: str, speaker: Speaker = Speaker.CUSTOMER) -> set[str]:
    """Name the objections raised in one turn."""
    return {hit.raises.removeprefix("objection.") for hit in RULES.matcher.hits(text, speaker, Context())}


@pytest.mark.parametrize(("node", "text"), [(node, text) for node, texts in SAID.items() for text in texts])
def test_said(node: str, text: str) -> None:
    assert node in raised(text)
    assert node not in raised(text, Speaker.AGENT)


@pytest.mark.parametrize(("node", "text"), [(node, text) for node, texts in NOT_SAID.items() for text in texts])
def test_not_said(node: str, text: str) -> None:
    assert node not in raised(text)


def test_every_objection_has_many_ways_of_saying_it() -> None:
    phrases: Counter[str] = Counter()
    for rule in RULES.rules:
        phrases[rule.raises] += len(rule.any)
    assert min(phrases[f"objection.{node}"] for node in SAID) >= 25


def test_praise_before_a_contrast_takes_nothing_back() -> None:
    content = GUARDS["content"][1]
    assert not content("东西挺好，就是太贵了。", 7, 9)
    assert content("贵是贵了点，但值得。", 0, 3)
    assert not content("太贵了，我不放心。", 0, 2)


def test_only_syllables_that_stand_together_are_looked_for_by_sound() -> None:
    assert Phrase("没法交代", parse("没法交代", {})).by_sound
    assert Phrase("这个数…没法交代", parse("这个数…没法交代", {})).by_sound
    assert Phrase("这个…交代", parse("这个…交代", {})).by_sound is None
    assert Phrase("(甲乙丙|甲)…丁", parse("(甲乙丙丁戊|甲)…丁", {})).by_sound is None


def test_a_question_mark_after_a_bracket_is_refused() -> None:
    with pytest.raises(PhraseError, match=r"left out stands in \[ \]"):
        parse("(太|有点)?贵", {})

"""The judge of a call: the life of an objection, timers on call time, pieces of a turn, and what was never said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent.nodes import CallJudge, Limits, Rules
from edge_agent.types import Finding, Speaker, Step, TermHit, Transcript

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
rules:
  - {id: price, node: objection.price, any: [太贵, 就是贵, 价格高得离谱], unless: [negation]}
  - {id: quality, node: objection.quality, any: [质量不放心]}
  - {id: budget, node: objection.budget, any: [没预算]}
  - {id: timing, node: objection.timing, any: [下周再说]}
  - {id: boss, node: objection.authority, any: [做不了主]}
  - {id: rival, node: objection.competitor, any: [在用], term: competitor}
  - {id: rebate, node: compliance.rebate, any: [返…点], unless: [negation]}
  - {id: trial, node: opportunity.sample_request, any: [先试试]}
  - {id: leak, node: compliance.data_leak, any: [别家的价]}
  - {id: answer, signal: answer, who: agent, any: [我给您, 我们有]}
  - {id: accept, signal: accept, who: customer, any: [^行$, 没问题]}
  - {id: defer, signal: defer, who: customer, any: [下周再说, 周四给你准信]}
  - {id: wait, signal: wait, who: customer, any: [等明年]}
  - {id: decide, signal: decide, who: customer, any: [我能定]}
  - {id: step, signal: step, who: any, any: [周四…过去, 周四…返]}
  - {id: refuse, signal: refuse, who: any, any: [不用来]}
  - {id: notice, signal: notice, who: agent, any: [录音]}
  - {id: discovery, signal: discovery, who: agent, any: [用多少]}
"""
CASE = "c1/objection.price/1"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    file: Path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    return Rules.load([file])


class Talk:
    """A call under test: says things, remembers what was found, in two seconds each unless told otherwise."""

    def __init__(self, rules: Rules, limits: Limits | None = None) -> None:
        self.judge = CallJudge(rules, limits)
        self.found: list[Finding] = []
        self.now_ms = 0
        self._turn = -1
        self._who: Speaker | None = None

    def say(self, who: Speaker, text: str, *, last_ms: int = 2000, terms: tuple[TermHit, ...] = ()) -> list[Finding]:
        if who is not self._who:
            self._turn, self._who = self._turn + 1, who
        start, self.now_ms = self.now_ms, self.now_ms + last_ms
        out = self.judge.hear(Transcript("c1", 0, who, self._turn, start, self.now_ms, text, text, terms))
        self.found += out
        return out

    def agent(self, text: str, last_ms: int = 2000) -> list[Finding]:
        return self.say(Speaker.AGENT, text, last_ms=last_ms)

    def customer(self, text: str, last_ms: int = 2000) -> list[Finding]:
        return self.say(Speaker.CUSTOMER, text, last_ms=last_ms)

    def end(self) -> list[Finding]:
        out = self.judge.end(self.now_ms)
        self.found += out
        return out

    def life(self, node: str = "objection.price") -> list[str]:
        return [finding.step.value for finding in self.found if finding.node == node]

    def missing(self) -> set[str]:
        return {finding.node for finding in self.found if finding.node.startswith("process.")}


@pytest.fixture
def talk(rules: Rules) -> Talk:
    return Talk(rules)


def test_an_objection_is_raised_repeated_answered_closed_and_reopened_as_one_case(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("嗯。")
    talk.customer("就是贵。")
    talk.agent("我给您九折。")
    talk.customer("行。")
    talk.agent("好的。")
    talk.customer("还是太贵。")
    talk.end()
    assert talk.life() == ["raised", "repeated", "answered", "closed", "reopened", "unresolved"]
    assert {finding.case for finding in talk.found if finding.node == "objection.price"} == {CASE}


def test_evidence_names_words_turn_time_and_rule(talk: Talk) -> None:
    talk.agent("您好。", 1000)
    (raised,) = talk.customer("嗯，看了。太贵了。", 3000)
    assert len(raised.version) == 8
    assert replace(raised, version="") == Finding(
        step=Step.RAISED,
        node="objection.price",
        speaker=Speaker.CUSTOMER,
        quote="太贵了。",
        start_ms=1000,
        end_ms=4000,
        confidence=0.85,
        by="rule:price",
        turn=1,
        case=CASE,
        severity="warning",
        span=(0, 2),
    )


def test_acceptance_without_an_answer_closes_nothing(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("嗯。")
    talk.customer("行。")
    talk.end()
    assert talk.life() == ["raised", "unresolved"]


def test_acceptance_counts_at_the_end_of_the_turn(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("行")
    talk.customer("是行，就是贵。")
    talk.end()
    assert talk.life() == ["raised", "answered", "repeated", "unresolved"]


def test_a_trial_asked_for_is_an_acceptance(talk: Talk) -> None:
    talk.customer("质量不放心。")
    talk.agent("我们有报告。")
    talk.customer("那我先试试。")
    talk.end()
    assert talk.life("objection.quality") == ["raised", "answered", "closed"]


def test_who_agrees_and_objects_again_agrees_to_the_last_topic_only(talk: Talk) -> None:
    talk.customer("质量不放心。")
    talk.agent("我们有报告。")
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("没问题。没预算。")
    talk.end()
    assert talk.life("objection.quality")[-1] == "unresolved"
    assert talk.life("objection.price")[-1] == "closed"
    assert talk.life("objection.budget") == ["raised", "unresolved"]


def test_an_answer_is_to_what_was_raised_last_unless_it_speaks_of_the_other(talk: Talk) -> None:
    talk.customer("质量不放心。")
    talk.agent("嗯。")
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    assert talk.life("objection.quality") == ["raised"]
    talk.agent("质保三年，我们有检测报告。")
    assert talk.life("objection.quality") == ["raised", "answered"]


def test_an_offence_is_no_answer(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您返五个点。")
    talk.customer("行。")
    talk.end()
    assert talk.life("compliance.rebate") == ["raised"]
    assert talk.life() == ["raised", "unresolved"]


def test_acceptance_long_after_the_answer_is_of_something_else(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("你们那儿下雨了吗？")
    talk.agent("下了。")
    talk.customer("我们这边也下。")
    talk.agent("那您带伞。")
    talk.customer("行。")
    talk.end()
    assert talk.life() == ["raised", "answered", "unresolved"]


def test_who_puts_off_speaks_of_what_is_on_the_table(talk: Talk) -> None:
    talk.customer("质量不放心。")
    talk.agent("嗯。")
    talk.customer("太贵了。")
    talk.agent("嗯。")
    talk.customer("周四给你准信。")
    talk.end()
    assert talk.life("objection.quality") == ["raised", "unresolved"]
    assert talk.life() == ["raised", "deferred"]


def test_put_off_to_a_day_is_deferred_and_stays_so_when_the_day_is_confirmed(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("周四给你准信。")
    talk.agent("等您消息。")
    talk.customer("行。")
    talk.end()
    assert talk.life() == ["raised", "answered", "deferred"]


def test_put_off_and_accepted_after_a_better_answer_is_closed(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("周四给你准信。")
    talk.agent("今天定，我给您八五折。")
    talk.customer("行。")
    talk.end()
    assert talk.life() == ["raised", "answered", "deferred", "closed"]


def test_the_sentence_that_defers_raises_no_objection_of_timing(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("下周再说。")
    talk.end()
    assert talk.life() == ["raised", "answered", "deferred"]
    assert talk.life("objection.timing") == []


def test_without_an_objection_before_it_that_sentence_is_one_of_timing(talk: Talk) -> None:
    talk.customer("下周再说。")
    assert talk.life("objection.timing") == ["raised"]


def test_deferred_and_raised_again_is_reopened(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.agent("我给您九折。")
    talk.customer("周四给你准信。")
    talk.agent("嗯。")
    talk.customer("不过就是贵。")
    talk.end()
    assert talk.life() == ["raised", "answered", "deferred", "reopened", "unresolved"]


def test_a_budget_that_waits_is_closed_where_the_customer_agrees_to_the_answer(talk: Talk) -> None:
    talk.customer("没预算，等明年。")
    talk.agent("我给您做测算，周四过去讲。")
    talk.customer("行。")
    talk.end()
    assert talk.life("objection.budget") == ["raised", "answered", "closed"]


@pytest.mark.parametrize(
    ("answer", "reply", "state"),
    [
        ("嗯。", "行。", "unresolved"),
        ("我给您写份材料。", "行。", "closed"),
        ("嗯。", "领导批了，我能定。", "closed"),
    ],
)
def test_authority_is_closed_by_who_decides_or_agrees_to_an_answer(
    talk: Talk, answer: str, reply: str, state: str
) -> None:
    talk.customer("我做不了主。")
    talk.agent(answer)
    talk.customer(reply)
    talk.end()
    assert talk.life("objection.authority")[-1] == state


def test_authority_is_deferred_when_a_dated_step_is_agreed(talk: Talk) -> None:
    talk.customer("我做不了主。")
    talk.agent("那周四我过去。")
    talk.customer("行。")
    talk.end()
    assert talk.life("objection.authority")[-1] == "deferred"


@pytest.mark.parametrize(("wait_ms", "answered"), [(120_000, True), (120_001, False)])
def test_an_answer_counts_within_two_minutes_of_call_time(talk: Talk, wait_ms: int, answered: bool) -> None:
    talk.customer("太贵了。")
    talk.now_ms += wait_ms
    talk.agent("我给您九折。")
    talk.customer("行。")
    talk.end()
    assert talk.life() == (["raised", "answered", "closed"] if answered else ["raised", "unresolved"])


def test_raising_it_again_starts_the_time_anew(talk: Talk) -> None:
    talk.customer("太贵了。")
    talk.now_ms += 100_000
    talk.customer("真的太贵了。")
    talk.agent("嗯。")
    talk.customer("就是贵。")
    talk.now_ms += 100_000
    talk.agent("我给您九折。")
    assert talk.life() == ["raised", "repeated", "answered"]


def test_the_timers_are_settings(rules: Rules) -> None:
    talk = Talk(rules, Limits(answer_within_ms=1000))
    talk.customer("太贵了。")
    talk.now_ms += 1001
    talk.agent("我给您九折。")
    assert talk.life() == ["raised"]


def test_a_turn_in_pieces_is_found_once_and_across_the_cuts(talk: Talk) -> None:
    assert talk.customer("你们这个价格高得") == []
    (found,) = talk.customer("离谱啊，价格高得离谱")
    assert (found.step, found.turn) == (Step.RAISED, 0)
    assert talk.customer("，真的。") == []


def test_what_the_rest_of_the_sentence_denies_is_taken_back(talk: Talk) -> None:
    raised = talk.agent("返两个点")
    retracted = talk.agent("就别提了。")
    assert [finding.step for finding in raised + retracted] == [Step.RAISED, Step.RETRACTED]
    assert raised[0].node == retracted[0].node == "compliance.rebate"


def test_an_objection_taken_back_is_not_left_open(talk: Talk) -> None:
    talk.customer("太贵")
    talk.customer("是不可能的。")
    talk.end()
    assert talk.life() == ["raised", "retracted"]


def test_homophones_are_found_with_less_confidence(talk: Talk) -> None:
    (found,) = talk.customer("你们价各高的离普")
    assert found.node == "objection.price"
    assert found.confidence == pytest.approx(0.85 * 0.8)


@pytest.mark.parametrize("who", [Speaker.CUSTOMER, Speaker.AGENT, Speaker.UNKNOWN])
def test_who_must_say_it(talk: Talk, who: Speaker) -> None:
    found = talk.say(who, "太贵了。")
    assert bool(found) == (who is not Speaker.AGENT)
    if who is Speaker.UNKNOWN:
        assert found[0].confidence == pytest.approx(0.85 * 0.7)


@pytest.mark.parametrize("who", Speaker)
def test_what_either_may_say_is_as_sure_from_anybody(talk: Talk, who: Speaker) -> None:
    (found,) = talk.say(who, "给我看看别家的价。")
    assert (found.node, found.confidence) == ("compliance.data_leak", 0.85)


def test_without_speakers_a_repetition_far_on_in_the_one_turn_is_noticed(talk: Talk) -> None:
    talk.say(Speaker.UNKNOWN, "太贵了。")
    talk.say(Speaker.UNKNOWN, "嗯。" * 60)
    talk.say(Speaker.UNKNOWN, "太贵了。")
    assert talk.life() == ["raised", "repeated"]


@pytest.mark.parametrize(("category", "holds"), [("competitor", True), ("product", False)])
def test_a_rule_may_want_a_term_of_a_category(talk: Talk, category: str, holds: bool) -> None:
    hit = TermHit("华创", (3, 5), "exact", "华创", 1.0, category=category)
    found = talk.say(Speaker.CUSTOMER, "我们在用华创。", terms=(hit,))
    assert bool(found) == holds
    assert talk.say(Speaker.CUSTOMER, "我们在用它。") == []


def test_the_notice_counts_in_the_first_thirty_seconds_of_talk(rules: Rules) -> None:
    for before_ms, missing in ((29_000, False), (31_000, True)):
        talk = Talk(rules)
        talk.customer("喂。", before_ms)
        talk.agent("有录音。", 900)
        talk.end()
        assert ("process.recording_notice_missing" in talk.missing()) == missing


def test_the_time_of_the_notice_is_where_in_the_utterance_it_is_said(rules: Rules) -> None:
    for text, missing in (("录音。" + "嗯" * 97, False), ("嗯" * 97 + "录音。", True)):
        talk = Talk(rules)
        talk.agent(text, 60_000)
        talk.end()
        assert ("process.recording_notice_missing" in talk.missing()) == missing


def test_pauses_are_no_talk(talk: Talk) -> None:
    talk.now_ms = 300_000
    talk.agent("有录音。")
    talk.end()
    assert talk.missing() == {"process.next_step_missing"}


def test_discovery_is_missed_only_after_two_minutes_of_talk(rules: Rules) -> None:
    for talk_ms, question, missing in ((120_000, "", False), (120_001, "", True), (120_001, "用多少？", True)):
        talk = Talk(rules)
        talk.customer(question or "喂。", talk_ms)
        talk.end()
        assert ("process.discovery_missing" in talk.missing()) == missing
    asked = Talk(rules)
    asked.agent("您用多少？", 200_000)
    asked.end()
    assert "process.discovery_missing" not in asked.missing()


@pytest.mark.parametrize(
    ("turns", "agreed"),
    [
        (["a周四我过去。", "c好。"], True),
        (["a周四我过去。"], True),
        (["a周四我过去。", "c不用来。"], False),
        (["a周四我过去。", "c好。", "a嗯。", "c算了，不用来。"], False),
        (["c你周四过去吧。", "a好。"], True),
        (["a我回头发您。", "c好。"], False),
        (["a周四我给您返两个点。", "c啊？"], False),
    ],
)
def test_a_next_step_is_agreed_unless_refused(talk: Talk, turns: list[str], agreed: bool) -> None:
    for turn in turns:
        (talk.agent if turn[0] == "a" else talk.customer)(turn[1:])
    talk.end()
    assert ("process.next_step_missing" not in talk.missing()) == agreed


def test_process_nodes_hold_for_the_call_not_for_a_turn(talk: Talk) -> None:
    talk.agent("喂。")
    found = talk.end()
    assert {(finding.step, finding.turn, finding.case, finding.end_ms) for finding in found} == {
        (Step.RAISED, None, None, 2000)
    }


def test_a_call_without_a_word_lacks_nothing(talk: Talk) -> None:
    talk.customer("  ")
    assert talk.end() == []


def test_the_same_call_gives_the_same_findings(rules: Rules) -> None:
    def run() -> list[Finding]:
        talk = Talk(rules)
        for who, text in (("c", "太贵了，质量不放心，在用"), ("a", "我给您返两个点，周四过去"), ("c", "行。没预算")):
            (talk.agent if who == "a" else talk.customer)(text)
        talk.end()
        return talk.found

    assert run() == run() != []


def test_case_ids_are_told_apart_by_call(rules: Rules) -> None:
    transcript = Transcript("c1", 0, Speaker.CUSTOMER, 0, 0, 1000, "太贵了。", "太贵了。")
    found = [CallJudge(rules).hear(replace(transcript, call_id=name))[0].case for name in ("c1", "c2")]
    assert found == [CASE, "c2/objection.price/1"]

"""Rule files: what is wrong is named with file, line and what to do; later files replace rules; phrases and guards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.errors import DictionaryError
from edge_agent.nodes import Rules
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.match import Context
from edge_agent.types import Speaker
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "rules:\n  - id: a\n    node: objection.price\n"
GOOD = HEAD + "    any: [太贵]\n"

# name: (the file, the line of the error, a word of what is wrong, a word of the remedy)
WRONG = {
    "a tab": ("rules:\n\t- id: a\n", 2, "not valid YAML", "tabs"),
    "an open bracket": ("rules:\n  - id: a\n    any: [太贵\n", 4, "not valid YAML", "quotes"),
    "no mapping": ("- 太贵\n", 1, "no tables", "`lists:` and `rules:`"),
    "an unknown table": ("lists:\n  甲: [乙]\nrule:\n  - id: a\n", 3, "unknown table `rule`", "`rules:`"),
    "rules that are no list": ("rules:\n  a: b\n", 1, "`rules` must be a list", "- id"),
    "a rule that is no mapping": ("rules:\n  - 太贵\n", 2, "no rule", "- id"),
    "a key twice": (GOOD + "    any: [贵]\n", 5, "stands twice", "keep one"),
    "no id": ("rules:\n  - node: objection.price\n    any: [太贵]\n", 2, "without `id`", "add `id"),
    "an id twice": (
        GOOD + "  - id: a\n    node: objection.price\n    any: [贵]\n",
        5,
        "taken by line 2",
        "id of its own",
    ),
    "an unknown operator": (GOOD + "    anny: [贵]\n", 5, "unknown operator `anny`", "`any`"),
    "an unknown node": ("rules:\n  - id: a\n    node: objection.prise\n", 3, "unknown node", "`objection.price`"),
    "a process node": ("rules:\n  - id: a\n    node: process.discovery_missing\n", 3, "unknown node", "known are"),
    "an unknown signal": ("rules:\n  - id: a\n    signal: acept\n    any: [行]\n", 3, "unknown signal", "`accept`"),
    "node and signal": (GOOD + "    signal: accept\n", 2, "must say what it raises", "either"),
    "neither": ("rules:\n  - id: a\n    any: [太贵]\n", 2, "must say what it raises", "either"),
    "an unknown speaker": (GOOD + "    who: boss\n", 5, "`who` is `boss`", "agent, customer or any"),
    "an unknown guard": (GOOD + "    unless: [past, negatoin]\n", 5, "unknown guard", "`negation`"),
    "an unknown list": (HEAD + "    any:\n      - 贵\n      - <嫌贵>\n", 6, "no list named “嫌贵”", "docs/rules.md"),
    "a ring of lists": ("lists:\n  甲: [<乙>]\n  乙: [<丙>]\n  丙: [<甲>]\n", 2, "甲 → 乙 → 丙 → 甲", "references"),
    "a list of itself": ("lists:\n  甲: [<甲>]\n", 2, "甲 → 甲", "references"),
    "lists that are no table": ("lists: [甲]\n", 1, "`lists` must be a table", "名字"),
    "a broken expression": (HEAD + "    any:\n      - /贵(/\n", 5, "not a regular expression", "docs/rules.md"),
    "look-around": (HEAD + "    any:\n      - /(?=贵)/\n", 5, "RE2", "docs/rules.md"),
    "a back-reference": (HEAD + "    any:\n      - /(.)不\\1/\n", 5, "RE2", "docs/rules.md"),
    "an empty phrase": (HEAD + "    any:\n      - 贵\n      - ''\n", 6, "empty phrase", "delete"),
    "no phrase": (HEAD + "    any:\n      -\n", 5, "nothing", "quotes"),
    "a phrase of gaps": (HEAD + "    any: [……]\n", 4, "the phrase is empty", "docs/rules.md"),
    "a number": (HEAD + "    any: [100]\n", 4, "where a phrase should stand", "quotes"),
    "an open group": (HEAD + "    any: [(太|真贵]\n", 4, "not closed with “)”", "docs/rules.md"),
    "a closed group": (HEAD + "    any: [太)贵]\n", 4, "opening bracket", "docs/rules.md"),
    "a long gap": (HEAD + "    any: [贵………点]\n", 4, "a gap is written", "docs/rules.md"),
    "phrases that are no list": (HEAD + "    any: 太贵\n", 4, "must be a list", "one phrase a line"),
    "groups that are no lists": (HEAD + "    all: [太贵]\n", 4, "list of lists", "every group"),
    "no phrases at all": ("rules:\n  - id: a\n    node: objection.price\n", 2, "no phrase to look for", "`any:`"),
    "a confidence": (GOOD + "    confidence: 2\n", 5, "`confidence` is `2", "from 0 to 1"),
    "a time": (GOOD + "    within_first_s: soon\n", 5, "`within_first_s` is `soon`", "number"),
    "a severity": (GOOD + "    severity: high\n", 5, "`severity` is `high`", "alarm"),
    "a possessive repeat": (HEAD + "    any:\n      - /贵*+/\n", 5, "bad repetition operator", "docs/rules.md"),
    "a repetition without end": (HEAD + "    any:\n      - /贵{1,5000}/\n", 5, "counts to 1000", "docs/rules.md"),
    "a term with something beside it": (HEAD + "    any: ['{competitor}贵']\n", 4, "stands alone", "docs/rules.md"),
    "a term of the turn before": (
        GOOD + "    after: ['{competitor}']\n",
        5,
        "can't ask for a term",
        "near or sequence",
    ),
    "an unknown list as a reason": (GOOD + "    unless: [<说笑>]\n", 5, "no list named “说笑”", "docs/rules.md"),
    "near without a distance": (HEAD + "    near: [[贵], [高]]\n", 4, "how near", "within_chars: 10"),
    "near of one": (HEAD + "    near: [[贵]]\n    within_s: 5\n", 4, "two members", "for each"),
    "near beside any": (
        GOOD + "    near: [[贵], [高]]\n    within_s: 5\n",
        5,
        "together with any",
        "under `near` alone",
    ),
    "a distance without near": (
        GOOD + "    within_chars: 5\n",
        5,
        "without anything it holds for",
        "`near` or `sequence`",
    ),
    "two distances": (HEAD + "    near: [[贵], [高]]\n    within_s: 5\n    within_chars: 5\n", 5, "both", "keep one"),
    "a sequence of words": (HEAD + "    sequence: [贵, 高]\n", 4, "must be a table", "who:"),
    "a member with another word": (HEAD + "    sequence: [[贵], {all: [高]}]\n", 4, "unknown word `all`", "`any:`"),
    "a member that nobody says": (
        HEAD + "    sequence: [[贵], {who: boss, any: [高]}]\n",
        4,
        "`boss`",
        "agent, customer",
    ),
    "a member of nothing": (HEAD + "    sequence: [[贵], {who: agent}]\n", 4, "without a phrase", "at least one"),
    "half a time": (GOOD + "    nth: 1.5\n", 5, "`nth` is `1.5`", "whole number"),
    "a weight of two": (GOOD + "    weight: 2\n", 5, "`weight` is `2", "from 0.01 to 1"),
    "once maybe": (GOOD + "    once: maybe\n", 5, "`once` is `maybe`", "true or false"),
    "no deadline": (GOOD + "    absent: {any: [便宜]}\n", 5, "without a deadline", "within_s: 60"),
    "absent that is no table": (GOOD + "    absent: [便宜]\n", 5, "must be a table", "any:"),
    "a signal that comes too late": (
        "rules:\n  - id: a\n    signal: answer\n    any: [贵]\n    within_last_s: 60\n",
        3,
        "too late",
        "`node:`",
    ),
    "across calls without across": ("rules:\n  - id: a\n    node: customer.x\n", 3, "across calls only", "`across:`"),
    "across with phrases": (
        "rules:\n  - id: a\n    node: customer.x\n    across: {calls: 3, with: [quote]}\n    any: [贵]\n",
        5,
        "`any` beside `across`",
        "has id, name, node",
    ),
    "across with a node of a sentence": (
        HEAD + "    across: {calls: 3, with: [quote]}\n",
        3,
        "across calls",
        "customer.",
    ),
    "across without a number": (
        "rules:\n  - id: a\n    node: customer.x\n    across: {with: [quote]}\n",
        4,
        "without `calls`",
        "calls: 3",
    ),
    "across with a word nobody knows": (
        "rules:\n  - id: a\n    node: customer.x\n    across: {calls: 3, with: [quota]}\n",
        4,
        "`quota`",
        "`quote`",
    ),
    "a list of a hundred thousand phrases": (
        "lists:\n  甲:\n" + "    - 太贵\n" * 100_000,
        2,
        "100000 phrases",
        "{that category}",
    ),
    "a hundred thousand phrases": (
        HEAD + "    any:\n" + "      - 太贵\n" * 100_000,
        4,
        "100000 phrases",
        "dictionary pack",
    ),
}


def _file(folder: Path, text: str, name: str = "rules.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _rules(folder: Path, text: str) -> Rules:
    return Rules.load([_file(folder, text)])


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_remedy(tmp_path: Path, name: str) -> None:
    text, line, what, remedy = WRONG[name]
    file = _file(tmp_path, text)
    with pytest.raises(DictionaryError) as caught:
        Rules.load([file])
    assert caught.value.where == f"{file}:{line}"
    assert what in caught.value.what
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("data", [b"rules:\n  - id: \xff\n", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "rules.yaml"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(DictionaryError) as caught:
        Rules.load([file])
    assert caught.value.where == str(file)
    assert caught.value.remedy


def test_check_names_every_rule_that_is_wrong_and_counts_the_right_ones(tmp_path: Path) -> None:
    bad = "  - id: b\n    node: objection.prise\n    any: [贵]\n  - id: c\n    node: objection.need\n    any: ['']\n"
    file = _file(tmp_path, GOOD + bad)
    right, errors = Rules.check(file)
    assert (right, [error.where for error in errors]) == (1, [f"{file}:6", f"{file}:10"])


def test_a_file_may_use_the_lists_of_another(tmp_path: Path) -> None:
    common = _file(tmp_path, "lists:\n  嫌贵: [太贵]\n", "common.yaml")
    own = _file(tmp_path, HEAD + "    any: [<嫌贵>]\n")
    assert Rules.check(own, [common]) == (1, [])
    assert len(Rules.check(own)[1]) == 1


def test_a_later_file_replaces_the_rule_of_the_same_id(tmp_path: Path) -> None:
    first = _file(tmp_path, GOOD, "first.yaml")
    second = _file(tmp_path, GOOD.replace("太贵", "便宜点"), "second.yaml")
    (rule,) = Rules.load([first, second]).rules
    assert [phrase.text for phrase in rule.any] == ["便宜点"]


def test_the_version_changes_with_the_content_only(tmp_path: Path) -> None:
    versions = [
        Rules.load([_file(tmp_path, text, name)]).version
        for text, name in ((GOOD, "a.yaml"), (GOOD, "b.yaml"), (GOOD + "\n", "a.yaml"))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_an_empty_file_holds_no_rule(tmp_path: Path) -> None:
    assert _rules(tmp_path, "# nothing yet\n").rules == ()


GUARDED = {
    "negation": ("我们不能返两个点。", "不瞒您说我返两个点。"),
    "question": ("你们返两个点吗？", "我给您返两个点，您看行吗？"),
    "third_party": ("隔壁那家返两个点。", "我给您返两个点。"),
    "reported": ("您刚才说返两个点。", "我返两个点。"),
    "past": ("去年返两个点。", "今年返两个点。"),
    "conditional": ("如果返两个点呢。", "返两个点。"),
    "content": ("返两个点我挺满意。", "返两个点。"),
    "refusal": ("返两个点是红线。", "返两个点。"),
}


def test_every_guard_has_a_pair_of_sentences() -> None:
    assert set(GUARDED) == set(GUARDS)


@pytest.mark.parametrize("guard", GUARDED)
def test_a_guard_refuses_the_one_sentence_and_not_the_other(tmp_path: Path, guard: str) -> None:
    rules = _rules(tmp_path, f"rules:\n  - {{id: a, node: compliance.rebate, any: [返…点], unless: [{guard}]}}\n")
    refused, held = GUARDED[guard]
    assert rules.matcher.hits(refused, Speaker.AGENT, Context()) == []
    assert len(rules.matcher.hits(held, Speaker.AGENT, Context())) == 1


def test_an_expression_that_stalls_other_engines_takes_no_time(tmp_path: Path) -> None:
    rules = _rules(tmp_path, HEAD + "    any:\n      - /^(a+)+贵$/\n      - <甲>贵\nlists:\n  甲: [/(b+)+/]\n")
    heard = "a" * 150 + "。" + "b" * 150
    assert rules.matcher.hits(heard, Speaker.CUSTOMER, Context()) == []
    (hit,) = rules.matcher.hits("嗯，" + "b" * 60 + "贵。", Speaker.CUSTOMER, Context())
    assert hit.span == (2, 63)


def test_a_phrase_of_many_gaps_takes_no_time(tmp_path: Path) -> None:
    rules = _rules(tmp_path, HEAD + "    any: [甲……甲……甲……甲……甲……甲……贵]\n")
    assert rules.matcher.hits("甲" * 199, Speaker.CUSTOMER, Context()) == []
    assert len(rules.matcher.hits("甲乙" * 7 + "贵", Speaker.CUSTOMER, Context())) == 1


def test_edges_are_no_part_of_what_is_found(tmp_path: Path) -> None:
    rules = _rules(tmp_path, HEAD + "    any: [^<甲>$]\nlists:\n  甲:\n    - /[贵高]+/\n")
    hits = [
        rules.matcher.hits(text, Speaker.CUSTOMER, Context()) for text in ("嗯，贵，真的。", "贵，嗯。", "嗯，真贵。")
    ]
    assert [[hit.span for hit in found] for found in hits] == [[(2, 3)], [(0, 1)], []]


def test_what_a_rule_says_is_its_version(tmp_path: Path) -> None:
    texts = (GOOD, "# 注\n" + GOOD, GOOD + "    severity: alarm\n", "lists:\n  甲: [乙]\n" + GOOD)
    versions = [_rules(tmp_path, text).rules[0].version for text in texts]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_twenty_thousand_phrases_are_read_and_found(tmp_path: Path) -> None:
    phrases = [f"甲{number:05}乙" for number in range(20_000)]
    rules = _rules(tmp_path, "lists:\n  全: [" + ", ".join(phrases) + "]\n" + HEAD + "    any: [<全>]\n")
    (hit,) = rules.matcher.hits("嗯，甲19999乙。", Speaker.CUSTOMER, Context())
    assert hit.quote == "嗯，甲19999乙。"


# Sentences of an agent in which a rule of the pack holds, and some in which none does.
OF_PACKS = {
    "finance": (("这款保本保息的您放心", "您把钱打到我这张卡上就行"), ("我们不能承诺保本保息", "这个保本保息吗？")),
    "education": (("我们包过的", "保证孩子考上重点"), ("我们没有包过一说", "保过班是签协议的")),
    "pharma": (("这药没有任何副作用", "你帮我拉一下统方"), ("说没有任何副作用是违规的", "不能帮您拉统方")),
}


def test_every_pack_with_rules_has_sentences() -> None:
    assert {path.parent.name for path in (TOP / "dictionaries").glob("*/rules.yaml")} == set(OF_PACKS)


@pytest.mark.parametrize("pack", OF_PACKS)
def test_the_rules_of_a_pack_hold_where_they_should(pack: str) -> None:
    rules = Rules.load([TOP / "dictionaries" / pack / "rules.yaml"])
    held, refused = OF_PACKS[pack]
    assert [bool(rules.matcher.hits(text, Speaker.AGENT, Context())) for text in held] == [True, True]
    assert [rules.matcher.hits(text, Speaker.AGENT, Context()) for text in refused] == [[], []]

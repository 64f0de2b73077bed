"""Rule files: what is wrong is named with file, line and what to do; later files replace rules; phrases and guards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.errors import DictionaryError
from edge_agent.nodes import Rules
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.match import Context
from edge_agent.types import Speaker

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
    "a hundred thousand phrases": (HEAD + "    any:\n" + "      - 太贵\n" * 100_000, 4, "100000 phrases", "split it"),
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

"""The classifier beside the rules: training, the file, and how the judge weighs the two."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent import rooms
from edge_agent.config import Config, Nodes
from edge_agent.errors import DictionaryError
from edge_agent.nodes import CallJudge, Classifier, Rules, catalogue, training
from edge_agent.nodes.classifier import AGENT_SPEAKS, SURE
from edge_agent.nodes.concepts import Concepts
from edge_agent.nodes.features import Around
from edge_agent.nodes.labelled import read_calls
from edge_agent.types import Speaker, Transcript
from tests.conftest import TOP, Cli

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((TOP / "dictionaries/nodes").glob("*/*.tsv"))
CONCEPTS = TOP / "dictionaries/nodes/concepts.txt"
SHIPPED = TOP / "models/zh-nodes/classifier.npz"
PRICE, REBATE = "objection.price", "compliance.rebate"


def some(*names: str) -> list[training.Example]:
    return training.read(path for path in EXAMPLES if path.stem in names)


@pytest.fixture(scope="module")
def small() -> Classifier:
    return training.train(some("objection-price", "compliance-rebate"))


def said(text: str, speaker: Speaker = Speaker.CUSTOMER, turn: int = 0) -> Transcript:
    return Transcript("call", 0, speaker, turn, turn * 5000, turn * 5000 + 4000, text, text)


def rules(folder: Path, phrase: str, name: str = "common") -> Rules:
    file = folder / name / "rules.yaml"
    file.parent.mkdir()
    file.write_text(f"rules:\n  - id: own\n    name: 试\n    node: {PRICE}\n    any: [{phrase}]\n", encoding="utf-8")
    return Rules.load([file])


def test_it_learns_what_it_was_not_shown() -> None:
    examples = some("objection-price", "compliance-rebate")
    mixed = random.Random(7).sample(examples, len(examples))
    fifth = len(mixed) // 5
    classifier = training.train(mixed[fifth:])
    right = wrong = missed = 0
    for one in mixed[:fifth]:
        found = classifier.probabilities(one.text, one.speaker, Around(one.before))
        raised = {node for node, (sure, _) in found.items() if sure >= SURE and node in catalogue}
        known = one.nodes & set(classifier.nodes)
        right += len(raised & known)
        wrong += len(raised - known)
        missed += len(known - raised)
    assert right / (right + missed) > 0.5
    assert right / (right + wrong) > 0.7


def test_the_same_examples_give_the_same_classifier(small: Classifier) -> None:
    again = training.train(some("objection-price", "compliance-rebate"))
    assert np.array_equal(small.weights, again.weights)
    assert np.array_equal(small.keys, again.keys)
    other = training.train(some("objection-price", "compliance-rebate"), seed=2)
    assert not np.array_equal(small.weights, other.weights)


def test_nodes_with_too_few_examples_are_left_to_the_rules(small: Classifier) -> None:
    assert set(small.nodes) == {PRICE, REBATE, AGENT_SPEAKS}


def test_what_is_written_is_read_back(small: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "classifier.npz"
    small.save(path, "examples")
    back = Classifier.load(path)
    assert back.nodes == small.nodes
    text = "这个数我回去没法交代"
    assert back.probabilities(text, Speaker.CUSTOMER) == small.probabilities(text, Speaker.CUSTOMER)
    assert len(back.version) == 12


@pytest.mark.parametrize("harm", ["missing", "garbage", "cut", "empty", "format", "parts"])
def test_a_file_that_is_wrong_is_refused(
    small: Classifier, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "classifier.npz"
    if harm == "format":
        monkeypatch.setattr("edge_agent.nodes.classifier.FORMAT", 99)
    wrong = replace(small, bias=small.bias[:1], nodes=small.nodes[:1]) if harm == "parts" else small
    wrong.save(path, "examples")
    monkeypatch.undo()
    match harm:
        case "missing":
            path.unlink()
        case "garbage":
            path.write_bytes(b"not a classifier" * 100)
        case "cut":
            path.write_bytes(path.read_bytes()[:-2000])
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(DictionaryError, match="classifier"):
        Classifier.load(path)


def test_without_a_usable_classifier_the_rules_go_on_alone_and_doctor_says_so(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"broken")
    assert rooms.open_knowledge(Config(nodes=Nodes(classifier=str(broken)))).classifier is None
    assert rooms.open_knowledge(Config(nodes=Nodes(classifier="off"))).classifier is None
    config = tmp_path / "config.toml"
    config.write_text(f'[nodes]\nclassifier = "{broken}"\n', encoding="utf-8")
    checks = {check["name"]: check for check in cli.lines("doctor", "--json", "-c", config)}
    assert checks["classifier"]["state"] == "warn"
    assert "alone" in checks["classifier"]["found"]


def test_it_raises_what_no_phrase_lists(small: Classifier, tmp_path: Path) -> None:
    text = next(
        one.text
        for one in some("objection-price")
        if PRICE in one.nodes and small.probabilities(one.text, Speaker.CUSTOMER)[PRICE][0] > 0.8
    )
    (finding,) = CallJudge(rules(tmp_path, "没有这样的话"), classifier=small).hear(said(text))
    assert finding.node == PRICE
    assert finding.by.startswith("classifier:")
    assert finding.confidence > 0.8
    assert finding.quote in text


def test_what_a_long_turn_said_first_is_judged_too() -> None:
    shipped = Classifier.load(SHIPPED)
    text = "你们这个价格实在太贵了，比别家贵了两成，我接受不了"
    aside = "我们这边上个礼拜刚刚搬到新的办公楼，楼下有个小花园，中午吃了饭大家都去走一走。" * 20
    probability, quote = shipped.probabilities(f"{text}。{aside}", Speaker.CUSTOMER)[PRICE]
    assert probability > SURE
    assert quote.rstrip("。") in text
    assert shipped.probabilities(aside, Speaker.CUSTOMER)[PRICE][0] < SURE


def test_who_must_speak_must_speak(small: Classifier, tmp_path: Path) -> None:
    common = rules(tmp_path, "没有这样的话")
    text = next(one.text for one in some("objection-price") if one.nodes == {PRICE})
    assert PRICE not in {one.node for one in CallJudge(common, classifier=small).hear(said(text, Speaker.AGENT))}
    unknown = CallJudge(common, classifier=small).hear(said(text, Speaker.UNKNOWN))
    known = CallJudge(common, classifier=small).hear(said(text))
    assert known[0].node == PRICE
    assert next(one for one in unknown if one.node == PRICE).confidence < known[0].confidence


def test_it_overrules_the_common_rules_but_not_the_sites_own(tmp_path: Path) -> None:
    shipped = Classifier.load(SHIPPED)
    text = "好的，知道了，谢谢您，再见。"
    assert shipped.probabilities(text, Speaker.CUSTOMER)[PRICE][0] < SURE
    assert CallJudge(rules(tmp_path, "知道了"), classifier=shipped).hear(said(text)) == []
    (finding,) = CallJudge(rules(tmp_path, "知道了", "site"), classifier=shipped).hear(said(text))
    assert finding.by == "rule:own"


def test_the_shipped_one_is_trained_on_the_shipped_examples() -> None:
    with np.load(SHIPPED) as file:
        about = str(file["about"])
    calls = training.turns_of(read_calls(sorted((TOP / "dictionaries/nodes/calls").glob("*.txt"))))
    assert training.digest([*training.read(EXAMPLES), *calls]) in about, "run scripts/train_nodes"
    shipped = Classifier.load(SHIPPED)
    assert len([node for node in shipped.nodes if node in catalogue]) == 26
    assert {"accept", "answer"} < set(shipped.nodes)
    assert shipped.concepts == Concepts.load(CONCEPTS)


def test_an_example_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text(f"{training.COLUMNS}\n太贵了\t\tcustomer\tobjection.price\n太贵了\t\tcustomer\n", encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"own\.tsv:3"):
        training.read([path])
    path.write_text(f"{training.COLUMNS}\n太贵了\t\tcustomer\tobjection.prize\n", encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"own\.tsv:2.*objection\.prize"):
        training.read([path])
    path.write_text("太贵了\n", encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"own\.tsv:1"):
        training.read([path])


def test_a_concept_carries_over_to_a_word_that_no_example_holds(tmp_path: Path) -> None:
    path = tmp_path / "concepts.txt"
    path.write_text("# 一行一类\n上级: 领导 老板 掌门人\n", encoding="utf-8")
    boss = [
        training.Example(f"{one}我得问领导", "", Speaker.CUSTOMER, frozenset({PRICE})) for one in "甲乙丙丁戊己" * 6
    ]
    none = [training.Example(f"{one}今天天气好", "", Speaker.CUSTOMER, frozenset()) for one in "甲乙丙丁戊己" * 6]
    plain, taught = training.train(boss + none), training.train(boss + none, Concepts.load(path))
    unseen = ("掌门人", Speaker.CUSTOMER)
    assert taught.probabilities(*unseen)[PRICE][0] > plain.probabilities(*unseen)[PRICE][0] + 0.1


def test_concepts_are_found_longest_first_and_in_order(tmp_path: Path) -> None:
    concepts = Concepts({"老板": ("上级",), "老板娘": ("上级", "家人"), "贵": ("贵",)})
    assert concepts.find("老板娘嫌贵，要八块") == [(0, "上级"), (0, "家人"), (4, "贵"), (7, "#元")]
    assert "上级>贵" in Concepts.pairs(concepts.find("老板娘嫌贵"))
    assert Concepts().find("贵") == []
    path = tmp_path / "concepts.txt"
    path.write_text("上级 领导\n", encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"concepts\.txt:1"):
        Concepts.load(path)
    with pytest.raises(DictionaryError, match="can't be read"):
        Concepts.load(tmp_path / "none.txt")


def test_examples_of_turns_teach_signals_and_nothing_about_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "turns"
    folder.mkdir()
    (folder / "own.tsv").write_text(f"{training.COLUMNS}\n那行\t给您九折\tcustomer\taccept\n", encoding="utf-8")
    (one,) = training.read([folder / "own.tsv"])
    assert one.signals
    assert one.nodes == {"accept"}
    (folder / "own.tsv").write_text(f"{training.COLUMNS}\n那行\t\tcustomer\t{PRICE}\n", encoding="utf-8")
    with pytest.raises(DictionaryError, match="unknown node"):
        training.read([folder / "own.tsv"])


def test_the_words_tell_who_speaks_where_the_channel_does_not(tmp_path: Path) -> None:
    shipped = Classifier.load(SHIPPED)
    judge = CallJudge(rules(tmp_path, "没有这样的话"), classifier=shipped)
    agent, sure = shipped.who("您好，我是恒达的小王，这边给您做个回访，请问您现在方便吗？", "")
    assert agent is Speaker.AGENT
    assert 0.8 <= sure <= 1
    findings = judge.hear(said("这个价我们真接受不了，太贵了。", Speaker.UNKNOWN))
    price = next(one for one in findings if one.node == PRICE)
    assert price.speaker is Speaker.CUSTOMER
    assert price.speaker_confidence is not None
    assert price.confidence < price.speaker_confidence
    known = CallJudge(rules(tmp_path, "没有这样的话", "other"), classifier=shipped)
    assert all(one.speaker_confidence is None for one in known.hear(said("这个价我们真接受不了，太贵了。")))

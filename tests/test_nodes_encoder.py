"""The network beside the linear model: what it is given, that it reads words in order, and a second look at a turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.errors import DictionaryError
from edge_agent.nodes import CallJudge, Classifier, Rules
from edge_agent.nodes.encoder import END, FIRST, MOST, MOST_BEFORE, START, UNKNOWN_CHARACTER, Encoder, rows
from edge_agent.nodes.features import Around
from edge_agent.types import Speaker, Transcript
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = TOP / "models/zh-nodes/classifier.npz"
AGENT, CUSTOMER = Speaker.AGENT, Speaker.CUSTOMER
CHARACTERS = {char: number for number, char in enumerate("太贵了你好", FIRST)}


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load(SHIPPED)


@pytest.fixture(scope="module")
def encoder(shipped: Classifier) -> Encoder:
    assert shipped.encoder is not None
    return shipped.encoder


def numbers(text: str) -> list[int]:
    return [CHARACTERS.get(char, UNKNOWN_CHARACTER) for char in text]


def test_a_turn_stands_before_the_reply_and_what_was_said_before_it() -> None:
    characters, says = rows("太贵了", CUSTOMER, [(AGENT, "你好"), (CUSTOMER, "嗯")], CHARACTERS, "好")
    assert characters == [
        START,
        *numbers("太贵了"),
        END,
        *numbers("好"),
        END,
        *numbers("你好"),
        END,
        *numbers("嗯"),
        END,
    ]
    assert says == [2] * 5 + [7] * 2 + [4] * 3 + [5] * 2


def test_what_was_said_last_is_read_of_a_long_past_and_the_beginning_of_a_long_turn() -> None:
    characters, says = rows("太" * 500, CUSTOMER, [(CUSTOMER, "你" * 500), (AGENT, "好" * 30)], CHARACTERS)
    assert characters.count(CHARACTERS["太"]) == MOST
    assert characters.count(CHARACTERS["好"]) == 30
    assert characters.count(CHARACTERS["你"]) == MOST_BEFORE - 30 - 2
    assert len(characters) == len(says)


def test_it_reads_words_in_their_order(encoder: Encoder) -> None:
    said = encoder.scores("你们比别家便宜", CUSTOMER, (), {"quiet"})
    turned = encoder.scores("别家比你们便宜", CUSTOMER, (), {"quiet"})
    assert said.shape == (len(encoder.names),)
    at = encoder.names.index("objection.price")
    assert turned[at] > said[at]


def test_it_heeds_who_speaks_and_what_was_said_before(encoder: Encoder) -> None:
    answer = encoder.names.index("answer")
    text, complaint = "这个我们有检测报告，坏了包换。", ((CUSTOMER, "你们这个质量我实在信不过。"),)
    answers = encoder.scores(text, AGENT, complaint, {"open", "open:objection.quality"})[answer]
    assert answers > encoder.scores(text, CUSTOMER, complaint, {"open", "open:objection.quality"})[answer]
    assert answers > encoder.scores(text, AGENT, (), {"quiet"})[answer]


@pytest.mark.parametrize("text", ["", "？", "\U0001f600 hello", "嗯" * 5000])
def test_it_judges_whatever_is_said(encoder: Encoder, text: str) -> None:
    assert np.isfinite(encoder.scores(text, Speaker.UNKNOWN, [(Speaker.UNKNOWN, text)], ())).all()


def test_an_encoder_that_is_damaged_is_refused_with_the_classifier(shipped: Classifier, tmp_path: Path) -> None:
    class Damaged(Encoder):
        def __init__(self, model: bytes) -> None:
            self.model = model

    path = tmp_path / "classifier.npz"
    for model in (b"", b"not a model" * 100, SHIPPED.read_bytes()[:5000]):
        replace(shipped, encoder=Damaged(model)).save(path, "examples")
        with pytest.raises(DictionaryError, match="the encoder in it can't be opened"):
            Classifier.load(path)


def test_its_score_is_one_of_two(shipped: Classifier, encoder: Encoder) -> None:
    around = Around("您看这个价行吗？", turns=((AGENT, "您看这个价行吗？"),))
    text = "这个数我回去没法交代。"
    alone = replace(shipped, encoder=None)
    together, words = (each.scores(text, CUSTOMER, around) for each in (shipped, alone))
    order = dict(zip(encoder.names, encoder.scores(text, CUSTOMER, around.turns, ()).tolist(), strict=True))
    for node, both, one in zip(shipped.nodes, together.tolist(), words.tolist(), strict=True):
        assert both == pytest.approx(one + shipped.trust * order.get(node, 0.0), abs=1e-3)


def test_a_speaker_unknown_to_it_is_judged_all_the_same(shipped: Classifier) -> None:
    judge = CallJudge(Rules.load([]), classifier=shipped)
    text = "你们这个价也太贵了，我回去没法交代。"
    found = judge.hear(Transcript("call", 0, Speaker.UNKNOWN, 0, 0, 4000, text, text))
    assert "objection.price" in {each.node for each in found}

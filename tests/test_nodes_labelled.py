"""Labelled calls: how they are read, what is learned of their turns, and what is held back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.errors import DictionaryError
from edge_agent.nodes import training
from edge_agent.nodes.features import standing
from edge_agent.nodes.labelled import read_calls, read_held
from edge_agent.terms.noise import Noise
from edge_agent.types import Speaker
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

CALL = """# saas | 考勤续费
A 喂，我是云签的小段。 || notice
C 前天又丢了两个人的记录，叫我怎么敢再续。 || objection.quality, risk.churn
A 那两条后台补回来了。 || answer
C 哦，能补回来那还行。 || accept
A 好。 ||
= objection.quality:closed
"""


def calls(folder: Path, text: str = CALL) -> Path:
    path = folder / "own-1.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_call_is_read_with_what_every_turn_does(tmp_path: Path) -> None:
    (call,) = read_calls([calls(tmp_path)])
    assert (call.industry, call.title) == ("saas", "考勤续费")
    assert [turn.speaker for turn in call.turns[:2]] == [Speaker.AGENT, Speaker.CUSTOMER]
    assert call.turns[1].nodes == {"objection.quality", "risk.churn"}
    assert call.turns[2].signals == {"answer"}
    assert call.turns[4].nodes == call.turns[4].signals == frozenset()
    assert call.states == {"objection.quality": "closed"}


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("A 您好。 ||\n", 1),
        ("# 没有分隔\n", 1),
        (CALL + "B 谁？ ||\n", 8),
        (CALL + "C 没有标注\n", 8),
        (CALL + "C 太贵了。 || objection.prize\n", 8),
        (CALL + "= objection.price:gone\n", 8),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, wrong: str, line: int) -> None:
    with pytest.raises(DictionaryError, match=rf"own-1\.txt:{line}"):
        read_calls([calls(tmp_path, wrong)])


def test_every_turn_is_an_example_that_knows_where_its_call_stood(tmp_path: Path) -> None:
    examples = training.turns_of(read_calls([calls(tmp_path)]))
    assert [one.whole for one in examples] == [True] * 5
    assert examples[1].before == "喂，我是云签的小段。"
    assert examples[0].standing == {"quiet", "turn:0"}
    assert {"open", "open:objection.quality"} < examples[2].standing
    assert {"answered", "answered:objection.quality"} < examples[3].standing
    assert examples[4].standing == standing({}, 4) == {"quiet", "turn:3"}


def test_a_tenth_is_held_back_by_title_and_reads_the_same(tmp_path: Path) -> None:
    many = "\n".join(CALL.replace("考勤续费", f"考勤续费{number}") for number in range(60))
    subprocess.run(
        [sys.executable, TOP / "scripts/take_calls", calls(tmp_path, many), "--folder", tmp_path / "nodes"], check=True
    )
    learned = read_calls([tmp_path / "nodes/calls/own.txt"])
    held = read_held(tmp_path / "nodes/held.jsonl")
    assert {call.title for call in learned} | {call.title for call in held} == {f"考勤续费{n}" for n in range(60)}
    assert 0 < len(held) < 20
    assert held[0].turns == learned[0].turns
    first = json.loads((tmp_path / "nodes/held.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["process"] == ["process.next_step_missing"]


def test_every_third_example_is_learned_misheard_too(tmp_path: Path) -> None:
    examples = training.turns_of(read_calls([calls(tmp_path)])) * 40
    heard = training.misheard(examples, Noise(training.NOISE_SEED).spoil)
    assert [one.nodes for one in heard] == [one.nodes for one in examples[::3]]
    changed = sum(one.text != was.text for one, was in zip(heard, examples[::3], strict=True))
    assert changed > 10
    assert training.misheard(examples, Noise(training.NOISE_SEED).spoil) == heard


def test_held_calls_that_are_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    path.write_text('{"title": "?"}\n', encoding="utf-8")
    with pytest.raises(DictionaryError, match=r"held\.jsonl"):
        read_held(path)


def test_nothing_is_learned_from_what_is_held_back() -> None:
    folder = TOP / "dictionaries/nodes"
    learned = {call.title for call in read_calls(sorted((folder / "calls").glob("*.txt")))}
    held = read_held(folder / "held.jsonl")
    assert len(held) > 100
    assert learned.isdisjoint(call.title for call in held)
    assert all(call.held_out for call in held)


def test_probabilities_become_what_comes_true() -> None:
    """Half of what looks the same raises the node: it can't be surer than a half."""
    node = "objection.price"
    learned = [
        training.Example(f"{one}{two}贵", "", Speaker.CUSTOMER, frozenset({node}))
        for one in "甲乙丙丁戊己"
        for two in "子丑寅卯辰"
    ]
    learned += [training.Example(f"{one}天气好", "", Speaker.CUSTOMER, frozenset()) for one in "甲乙丙丁戊己" * 5]
    held = [
        training.Example("真贵", "", Speaker.CUSTOMER, frozenset({node} if number % 2 else ()), whole=True)
        for number in range(200)
    ]
    taught = training.train(learned)
    better = training.calibrated(taught, held)
    before, after = (one.probabilities("真贵", Speaker.CUSTOMER)[node][0] for one in (taught, better))
    assert before > 0.9
    assert after == pytest.approx(0.5, abs=0.1)
    assert np.array_equal(better.weights, taught.weights)

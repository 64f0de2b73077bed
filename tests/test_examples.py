"""The example sentences: data that admins extend and that classifiers are trained on."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edge_agent.nodes import catalogue
from edge_agent.nodes.catalogue import SIGNALS
from edge_agent.nodes.labelled import read_calls
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted((TOP / "dictionaries/nodes/examples").glob("*.tsv"))
TURNS = sorted((TOP / "dictionaries/nodes/turns").glob("*.tsv"))
CALLS = sorted((TOP / "dictionaries/nodes").glob("*/*.txt"))
EVALUATION = (
    "calls.jsonl",
    "blind.jsonl",
    "calls-dev.jsonl",
    "calls-sealed.jsonl",
    "calls-exam.jsonl",
    "calls-unseen.jsonl",
)
KNOWN = {node for node in catalogue if not node.startswith("process.")}


def rows(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "text\tprevious\tspeaker\tnode"
    return [line.split("\t") for line in lines[1:]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_is_a_sentence_a_speaker_and_known_nodes(path: Path) -> None:
    for number, row in enumerate(rows(path), 2):
        assert len(row) == 4, (path.name, number)
        text, _, speaker, nodes = row
        assert 1 < len(text) <= 90, (path.name, number, text)
        assert speaker in ("agent", "customer"), (path.name, number, speaker)
        labels = nodes.split("|")
        assert labels == ["none"] or set(labels) <= KNOWN, (path.name, number, nodes)


def test_no_sentence_stands_twice() -> None:
    seen = Counter(re.sub(r"\W", "", row[0]) for path in FILES for row in rows(path))
    assert [text for text, times in seen.items() if times > 1] == []


def test_no_sentence_is_one_of_the_evaluation() -> None:
    evaluation = "".join((TOP / "tests/data" / name).read_text(encoding="utf-8") for name in EVALUATION)
    learned = [row[0] for path in FILES + TURNS for row in rows(path)]
    learned += [turn.text for call in read_calls(CALLS) for turn in call.turns]
    assert [text for text in learned if len(text) > 12 and text in evaluation] == []


def test_there_are_enough_of_every_kind() -> None:
    labels = Counter(label for path in FILES for row in rows(path) for label in row[3].split("|"))
    assert all(labels[node] >= 250 for node in KNOWN), labels
    assert labels["none"] >= 6000


def test_turns_are_examples_of_signals() -> None:
    labels = Counter(label for path in TURNS for row in rows(path) for label in row[3].split("|"))
    assert set(labels) <= {"none", *SIGNALS}
    assert min(labels["accept"], labels["answer"]) > 50

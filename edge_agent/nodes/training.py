"""Trains the classifier on example sentences: a minute on one core, without a GPU and without further packages."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE
from edge_agent.nodes.classifier import Classifier, counted
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = "text\tprevious\tspeaker\tnode"
NONE = "none"
_SEEN_AT_LEAST = 2
_ENOUGH = 30
_EPOCHS = 10
_RATE = 2.0
_DECAY = 2e-5
_POSITIVES_COUNT = 4.0


@dataclass(frozen=True, slots=True)
class Example:
    """A turn, what the other party said before it, who speaks, and which nodes it raises (none: an empty set)."""

    text: str
    before: str
    speaker: Speaker
    nodes: frozenset[str]


def read(files: Iterable[Path]) -> list[Example]:
    """Read example files: tab-separated columns text, previous, speaker, node (several joined by `|`, or `none`).

    Raises:
        DictionaryError: a file or a row is wrong; names file and line.
    """
    examples: list[Example] = []
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        if not lines or lines[0] != COLUMNS:
            raise DictionaryError(
                "the first line is not the heading", where=f"{path}:1", remedy=f"it must be: {COLUMNS!r}"
            )
        for number, line in enumerate(lines[1:], 2):
            try:
                text, before, speaker, label = line.split("\t")
                nodes = frozenset(label.split("|")) - {NONE}
                if not text or not nodes <= CATALOGUE.keys():
                    raise ValueError(f"unknown node in `{label}`" if text else "no text")
                examples.append(Example(text, before, Speaker(speaker), nodes))
            except ValueError as error:
                raise DictionaryError(
                    f"not an example: {error}",
                    where=f"{path}:{number}",
                    remedy="four columns with tabs between: text, previous, agent or customer, node or none",
                ) from error
    return examples


def digest(examples: Iterable[Example]) -> str:
    """Return a short hash of examples, whatever their order."""
    rows = sorted(f"{one.text}\t{one.before}\t{one.speaker}\t{'|'.join(sorted(one.nodes))}" for one in examples)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def train(examples: Sequence[Example], *, seed: int = 1) -> Classifier:
    """Train a classifier: a logistic regression with L2 for each node, by stochastic descent (Bottou 2010).

    Nodes with fewer than thirty examples are left to the rules. The same examples and seed give the same classifier.
    """
    labels = Counter(node for one in examples for node in one.nodes)
    nodes = tuple(node for node in CATALOGUE if labels[node] >= _ENOUGH)
    seen: Counter[int] = Counter()
    for one in examples:
        seen.update({feature for _, counts in counted(one.text, one.before) for feature in counts})
    keys = np.array(sorted(key for key, times in seen.items() if times >= _SEEN_AT_LEAST), dtype=np.uint32)
    often = np.array([seen[int(key)] for key in keys], dtype=np.float32)
    rarity = (np.log((1 + len(examples)) / (1 + often)) + 1).astype(np.float32)
    empty = Classifier(
        nodes,
        keys,
        rarity,
        weights=np.zeros((len(keys) + 1, len(nodes)), np.int8),
        scale=np.ones(len(nodes), np.float32),
        bias=np.zeros(len(nodes), np.float32),
        version="",
    )
    weights, bias = _fit(empty, examples, np.random.default_rng(seed))
    # Eight bits a weight: a quarter of the size, and what unseen examples get moved by .0005 on average, .03 at most
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-6) / 127
    return Classifier(
        nodes,
        keys,
        rarity,
        weights=np.rint(weights / scale).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=bias.astype(np.float32),
        version="",
    )


def _fit(
    empty: Classifier, examples: Sequence[Example], chance: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Descend; the decay of all weights is kept in one factor, so that a step touches only the features of its row."""
    rows = []
    for one in examples:
        at, value = empty.vector(one.text, one.before)
        if one.speaker is Speaker.AGENT:
            at, value = np.append(at, len(empty.keys)), np.append(value, np.float32(1))
        rows.append((at, value[:, None]))
    wanted = np.array([[node in one.nodes for node in empty.nodes] for one in examples], dtype=np.float32)
    weights = np.zeros((len(empty.keys) + 1, len(empty.nodes)), dtype=np.float32)
    bias = np.full(len(empty.nodes), -3.0, dtype=np.float32)
    factor, step = 1.0, 0
    for _ in range(_EPOCHS):
        for row in chance.permutation(len(rows)):
            at, value = rows[row]
            step += 1
            rate = _RATE / (1 + _RATE * _DECAY * step)
            score = (value * weights[at]).sum(axis=0) * factor + bias
            error = 1 / (1 + np.exp(-score)) - wanted[row]
            error *= 1 + (_POSITIVES_COUNT - 1) * wanted[row]
            factor *= 1 - rate * _DECAY
            weights[at] -= (rate / factor) * (value * error)
            bias -= 0.1 * rate * error
    return weights * np.float32(factor), bias

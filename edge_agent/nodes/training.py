"""Trains the classifier on example sentences: a minute on one core, without a GPU and without further packages."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE, SIGNALS
from edge_agent.nodes.classifier import AGENT, AGENT_SPEAKS, Classifier, context, counted
from edge_agent.nodes.concepts import Concepts
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.nodes.classifier import Counted

COLUMNS = "text\tprevious\tspeaker\tnode"
NONE = "none"
TURNS = "turns"
"""Name of the folder whose examples are of signals."""
QUIET = frozenset({"accept", "answer", "decide", "step"})
_SEEN_AT_LEAST = 2
_SHORT = 6
_AGENTS, _BESIDE = 0.33, 0.7
_ENOUGH = 30
_EPOCHS = 8
_RATE = 2.0
_DECAY = 2e-5
_POSITIVES_COUNT = 3.0


@dataclass(frozen=True, slots=True)
class Example:
    """A turn, what the other party said before it, who speaks, and which nodes it raises (none: an empty set).

    Where it is an example of what a turn does to an objection, `signals` is true, `nodes` names signals, and nothing is
    said of the nodes it may raise.
    """

    text: str
    before: str
    speaker: Speaker
    nodes: frozenset[str]
    signals: bool = False


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
                signals = path.parent.name == TURNS
                if not text or not nodes <= (SIGNALS if signals else CATALOGUE).keys():
                    raise ValueError(f"unknown node in `{label}`" if text else "no text")
                examples.append(Example(text, before, Speaker(speaker), nodes, signals))
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


def train(examples: Sequence[Example], concepts: Concepts | None = None, *, seed: int = 1) -> Classifier:
    """Train a classifier: a logistic regression with L2 for each node, by stochastic descent (Bottou 2010).

    Nodes and signals with fewer than thirty examples are left to the rules. The same examples and seed give the same
    classifier.
    """
    labels = Counter(node for one in examples for node in one.nodes)
    concepts = concepts or Concepts()
    labels[AGENT_SPEAKS] = sum(one.speaker is Speaker.AGENT for one in examples)
    nodes = tuple(node for node in (*CATALOGUE, *SIGNALS, AGENT_SPEAKS) if labels[node] >= _ENOUGH)
    chance = np.random.default_rng(seed)
    examples = [*examples, *_joined(examples, chance)]
    seen: Counter[int] = Counter()
    features = [counted(one.text, context(one.before, concepts), concepts) for one in examples]
    for one in features:
        seen.update({feature for kind in one for feature in kind.features.tolist()})
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
        concepts=concepts,
    )
    weights, bias = _fit(empty, examples, features, chance)
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
        concepts=concepts,
    )


def _joined(examples: Sequence[Example], chance: np.random.Generator) -> list[Example]:
    """Make turns of two examples of one speaker, a third as many as there are examples.

    People say more than one thing before the other speaks, most of it beside the point: examples of one sentence alone
    leave the classifier sure of short turns only.
    """
    whole = [one for one in examples if not one.signals and len(one.text) > _SHORT]
    said = {who: [one for one in whole if one.speaker is who] for who in (Speaker.AGENT, Speaker.CUSTOMER)}
    plain = {who: [one for one in some if not one.nodes] for who, some in said.items()}
    out: list[Example] = []
    for _ in range(len(whole) // 3):
        who = Speaker.AGENT if chance.random() < _AGENTS else Speaker.CUSTOMER
        beside = plain[who] if plain[who] and chance.random() < _BESIDE else said[who]
        if not said[who]:
            continue
        pair = [said[who][chance.integers(len(said[who]))], beside[chance.integers(len(beside))]]
        if chance.random() < 0.5:
            pair.reverse()
        first, second = pair
        stop = "" if first.text[-1] in "。！？，" else "，"
        nodes = first.nodes | second.nodes
        out.append(Example(first.text + stop + second.text, first.before, who, nodes))
    return out


def _fit(
    empty: Classifier,
    examples: Sequence[Example],
    features: Sequence[list[Counted]],
    chance: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Descend; the decay of all weights is kept in one factor, so that a step touches only the features of its row."""
    rows = []
    for one, counts in zip(examples, features, strict=True):
        at, value = empty.place(counts)
        if one.speaker is Speaker.AGENT:
            at, value = np.append(at, len(empty.keys)), np.append(value, np.float32(AGENT))
        rows.append((at, value[:, None]))
    wanted = np.array([[node in one.nodes for node in empty.nodes] for one in examples], dtype=np.float32)
    told = np.array([[(node in SIGNALS) == one.signals for node in empty.nodes] for one in examples], dtype=np.float32)
    role = empty.nodes.index(AGENT_SPEAKS) if AGENT_SPEAKS in empty.nodes else None
    # Who accepts, answers, decides or fixes a day raises nothing by that; of the other signals this can't be said.
    quiet = [one.signals and bool(one.nodes & QUIET) for one in examples]
    told[np.array(quiet, dtype=bool)] = 1
    if role is not None:
        wanted[:, role] = [one.speaker is Speaker.AGENT for one in examples]
        told[:, role] = 1
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
            error *= told[row] * (1 + (_POSITIVES_COUNT - 1) * wanted[row])
            factor *= 1 - rate * _DECAY
            weights[at] -= (rate / factor) * (value * error)
            bias -= 0.1 * rate * error
            if role is not None:
                # Who speaks is to be told from the words, not from the feature that says it.
                weights[-1, role] = 0
    return weights * np.float32(factor), bias

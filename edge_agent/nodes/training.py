"""Trains the classifier on example sentences and labelled calls: minutes on one core, no GPU, no more packages."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE, SIGNALS
from edge_agent.nodes.classifier import AGENT, AGENT_SPEAKS, Classifier
from edge_agent.nodes.concepts import Concepts
from edge_agent.nodes.encoder import BACK
from edge_agent.nodes.features import CIRCUMSTANCES, Around, believed, counted, standing
from edge_agent.nodes.labelled import read_calls, read_held
from edge_agent.nodes.match import Context
from edge_agent.nodes.rules import Rules
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.nodes.encoder import Encoder
    from edge_agent.nodes.features import Counted
    from edge_agent.nodes.labelled import LabelledCall

COLUMNS = "text\tprevious\tspeaker\tnode"
NONE = "none"
TURNS = "turns"
"""Name of the folder whose examples are of signals."""
QUIET = frozenset({"accept", "answer", "decide", "step"})
NOISE_SEED = 7
"""Seed of the noise with which the shipped classifier was trained."""
_MISHEARD = (0.05, 0.1)
_SEEN_AT_LEAST = 2
_ENOUGH = 30
_EPOCHS = 8
_RATE = 2.0
_POSITIVES_COUNT = 3.0
_CALLS_COUNT = 2.0
_CHARACTERS_MS = 1000 / 4.5
_ROUNDS, _HALVINGS = 5, 20
_SLOPES, _SHIFT = (0.02, 3.0), 15.0
_NEAR = 1.0


@dataclass(frozen=True, slots=True)
class Example:
    """A turn, what the other party said before it, who speaks, and which nodes it raises (none: an empty set).

    Where it is an example of what a turn does to an objection, `signals` is true, `nodes` names signals, and nothing is
    said of the nodes it may raise. A turn of a labelled call is `whole`: `nodes` names both, and what it doesn't name
    does not hold; `standing` is where the call stood, `turns` are those before it, `reply` is the next one.
    """

    text: str
    before: str
    speaker: Speaker
    nodes: frozenset[str]
    signals: bool = False
    whole: bool = False
    standing: frozenset[str] = frozenset()
    talk_ms: int = 0
    turns: tuple[tuple[Speaker, str], ...] = ()
    reply: str = ""


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


def turns_of(calls: Iterable[LabelledCall]) -> list[Example]:
    """Make an example of every turn of labelled calls; where each stood is followed by the labels."""
    return [example for call in calls for example in _turns(call)]


def _turns(call: LabelledCall) -> Iterator[Example]:
    last: dict[Speaker, str] = {}
    where: dict[str, str] = {}
    talk_ms = 0.0
    for number, turn in enumerate(call.turns):
        other = _other(turn.speaker)
        yield Example(
            turn.text,
            last.get(other, ""),
            turn.speaker,
            turn.nodes | turn.signals,
            whole=True,
            standing=standing(where, number),
            talk_ms=round(talk_ms),
            turns=tuple((one.speaker, one.text) for one in call.turns[max(0, number - BACK) : number]),
            reply=next((one.text for one in call.turns[number + 1 : number + 2] if one.speaker is other), ""),
        )
        last[turn.speaker] = turn.text
        talk_ms += len(turn.text) * _CHARACTERS_MS
        if turn.speaker is Speaker.AGENT and "answer" in turn.signals:
            where = dict.fromkeys(where, "answered")
        elif turn.speaker is Speaker.CUSTOMER:
            if turn.signals & {"accept", "decide"}:
                where = {node: how for node, how in where.items() if how != "answered"}
            where |= {node: "open" for node in turn.nodes if node.startswith("objection.")}


@dataclass(frozen=True, slots=True)
class Material:
    """What the classifier is made of: examples to learn from, others to calibrate with, words by meaning, rules."""

    examples: tuple[Example, ...]
    held: tuple[Example, ...]
    concepts: Concepts
    rules: Rules

    @classmethod
    def load(cls, folder: Path, common: Iterable[Path]) -> Material:
        """Read all of a folder like `dictionaries/nodes`, and the files of the common rules.

        Raises:
            DictionaryError: a file is wrong; names file and line.
        """
        concepts, held = folder / "concepts.txt", folder / "held.jsonl"
        return cls(
            (*read(sorted(folder.glob("*/*.tsv"))), *turns_of(read_calls(sorted((folder / "calls").glob("*.txt"))))),
            tuple(turns_of(read_held(held))) if held.exists() else (),
            Concepts.load(concepts) if concepts.exists() else Concepts(),
            Rules.load(sorted(common)),
        )

    def classifier(self, further: Sequence[Example] = (), encoder: Encoder | None = None) -> Classifier:
        """Train on the examples and on further ones, and calibrate; an encoder is taken as it is."""
        made = train([*self.examples, *further], self.concepts, self.rules)
        return calibrated(replace(made, encoder=encoder), self.held, self.rules)


def misheard(examples: Sequence[Example], spoil: Callable[[str, float], str]) -> list[Example]:
    """Give every third example as a recognizer might hear it: with one character of ten or twenty wrong.

    `spoil` puts so many errors in a hundred characters into a text (`edge_agent.terms.noise`).
    """
    out = []
    for number, one in enumerate(examples[::3]):
        share = _MISHEARD[number % len(_MISHEARD)]
        out.append(replace(one, text=spoil(one.text, share), before=spoil(one.before, share)))
    return out


def digest(examples: Iterable[Example]) -> str:
    """Return a short hash of examples, whatever their order."""
    rows = sorted(
        f"{one.text}\t{one.before}\t{one.speaker}\t{'|'.join(sorted(one.nodes))}{'|'.join(sorted(one.standing))}"
        for one in examples
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def around(example: Example, rules: Rules | None) -> Around:
    """Return what is around an example, as the judge of a call would see it."""
    turns = example.turns or (((_other(example.speaker), example.before),) if example.before else ())
    if rules is None:
        return Around(example.before, standing=example.standing, turns=turns)
    hits = rules.matcher.hits(example.text, example.speaker, Context(example.before, example.talk_ms))
    return Around(example.before, believed(hits), example.standing, turns)


def _other(speaker: Speaker) -> Speaker:
    return Speaker.CUSTOMER if speaker is Speaker.AGENT else Speaker.AGENT


def train(
    examples: Sequence[Example], concepts: Concepts | None = None, rules: Rules | None = None, *, seed: int = 1
) -> Classifier:
    """Train a classifier: a logistic regression for each node, by stochastic descent (Bottou 2010).

    It runs over the examples eight times and stops there, which is all the regularization that it has: with a penalty
    on the weights it did worse on calls of unseen writers. Nodes and signals with fewer than thirty examples are left
    to the rules. The same examples and seed give the same classifier.
    """
    labels = Counter(node for one in examples for node in one.nodes)
    concepts = concepts or Concepts()
    labels[AGENT_SPEAKS] = sum(one.speaker is Speaker.AGENT for one in examples)
    nodes = tuple(node for node in (*CATALOGUE, *SIGNALS, AGENT_SPEAKS) if labels[node] >= _ENOUGH)
    chance = np.random.default_rng(seed)
    seen: Counter[int] = Counter()
    features = [counted(one.text, around(one, rules), concepts) for one in examples]
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
    return replace(
        empty,
        weights=np.rint(weights / scale).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=bias.astype(np.float32),
    )


def _fit(
    empty: Classifier, examples: Sequence[Example], features: Sequence[list[Counted]], chance: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Descend at a constant rate; a step touches only the features of its row."""
    rows = []
    for one, counts in zip(examples, features, strict=True):
        at, value = empty.place(counts)
        if one.speaker is Speaker.AGENT:
            at, value = np.append(at, len(empty.keys)), np.append(value, np.float32(AGENT))
        rows.append((at, value))
    wanted = np.array([[node in one.nodes for node in empty.nodes] for one in examples], dtype=np.float32)
    told = np.array(
        [[one.whole or (node in SIGNALS) == one.signals for node in empty.nodes] for one in examples], dtype=np.float32
    )
    # Who accepts, answers, decides or fixes a day raises nothing by that; of the other signals this can't be said.
    quiet = [one.signals and bool(one.nodes & QUIET) for one in examples]
    told[np.array(quiet, dtype=bool)] = 1
    told[np.array([one.whole for one in examples], dtype=bool)] *= _CALLS_COUNT
    role = empty.nodes.index(AGENT_SPEAKS) if AGENT_SPEAKS in empty.nodes else None
    if role is not None:
        wanted[:, role] = [one.speaker is Speaker.AGENT for one in examples]
        told[:, role] = 1
    telling = _telling(empty, features)
    weights = np.zeros((len(empty.keys) + 1, len(empty.nodes)), dtype=np.float32)
    bias = np.full(len(empty.nodes), -3.0, dtype=np.float32)
    told *= 1 + (_POSITIVES_COUNT - 1) * wanted
    for _ in range(_EPOCHS):
        for row in chance.permutation(len(rows)):
            at, value = rows[row]
            here = weights[at]
            error = (1 / (1 + np.exp(-(value @ here + bias))) - wanted[row]) * told[row]
            weights[at] = here - np.outer(value * np.float32(_RATE), error)
            bias -= np.float32(0.1 * _RATE) * error
            if role is not None:
                weights[telling, role] = 0
    return weights, bias


def calibrated(classifier: Classifier, held: Sequence[Example], rules: Rules | None = None) -> Classifier:
    """Bring probabilities to what came true on examples that nothing was learned from (Platt 1999).

    One slope for all nodes, one for what the encoder adds, and a shift for each node, held near zero where examples
    are few.
    """
    if not held:
        return classifier
    seen = [(one.text, one.speaker, around(one, rules)) for one in held]
    words = np.stack([classifier.words(*one) for one in seen])
    came = np.array([[node in one.nodes for node in classifier.nodes] for one in held], dtype=np.float64)
    if AGENT_SPEAKS in classifier.nodes:
        came[:, classifier.nodes.index(AGENT_SPEAKS)] = [one.speaker is Speaker.AGENT for one in held]
    told = np.array([[may(node, one.speaker) for node in classifier.nodes] for one in held], dtype=np.float64)
    order = np.stack([classifier.order(*one) for one in seen])
    slope, trust, shift = _fitted(words, order, came, told)
    return replace(
        classifier,
        scale=(classifier.scale * slope).astype(np.float32),
        bias=(classifier.bias * slope + shift).astype(np.float32),
        trust=trust,
    )


def _fitted(
    words: NDArray[np.float32], order: NDArray[np.float32], came: NDArray[np.float64], told: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Return the likeliest slope for either kind of scores and shift for each node; all are of shape (rows, nodes)."""
    slope, trust, shift = 1.0, 0.0, np.zeros(words.shape[1])

    def error() -> NDArray[np.float64]:
        scores = slope * words + trust * order + shift
        sure: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
        return (sure - came) * told

    # All derivatives of the likelihood only rise: halving finds where they are nought, wherever it begins.
    for _ in range(_ROUNDS):
        low, high = _SLOPES
        for _ in range(_HALVINGS):
            slope = (low + high) / 2
            low, high = (low, slope) if (error() * words).sum() > 0 else (slope, high)
        if order.any():
            low, high = 0.0, _SLOPES[1]
            for _ in range(_HALVINGS):
                trust = (low + high) / 2
                low, high = (low, trust) if (error() * order).sum() > 0 else (trust, high)
        least, most = np.full_like(shift, -_SHIFT), np.full_like(shift, _SHIFT)
        for _ in range(_HALVINGS):
            shift = (least + most) / 2
            above = error().sum(axis=0) + _NEAR * shift > 0
            least, most = np.where(above, least, shift), np.where(above, shift, most)
    return slope, trust, shift


def may(name: str, speaker: Speaker) -> bool:
    """Say whether this party may raise the node."""
    return name not in CATALOGUE or CATALOGUE[name].speaker in (None, speaker)


def _telling(empty: Classifier, features: Sequence[list[Counted]]) -> NDArray[np.intp]:
    """Return the places of what tells who speaks without a word: that is to be told from the words."""
    known = {int(feature) for kinds in features for kind in kinds[-CIRCUMSTANCES:] for feature in kind.features}
    places = np.flatnonzero(np.isin(empty.keys, np.array(sorted(known), dtype=np.uint32)))
    return np.append(places, len(empty.keys))

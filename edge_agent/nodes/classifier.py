"""A classifier beside the rules: what a sentence means where no phrase list says so.

A logistic regression for each node over n-grams of characters (1–3), of canonical syllables (2–3, so that homophones
of the recognizer weigh less) and of the other party's last words (1–2), and over what the words mean
(`edge_agent.nodes.concepts`), with tf–idf weights: the linear model that text classification is measured against (Wang
& Manning 2012; Joulin et al. 2016). It is trained by `edge_agent.nodes.training` on the examples and the concepts in
`dictionaries/nodes`, and has no other knowledge. Beside the nodes it judges what a turn does to an objection (answers,
accepts, puts off …), where it was taught that.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.concepts import Concepts
from edge_agent.nodes.phrase import SENTENCE_ENDS, sound
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 2
SURE = 0.63
"""Probability from which the classifier raises a node by itself."""
DOUBT = 0.12
"""Probability below which it overrules a rule of the common set."""
SURE_OF_SIGNAL = 0.8
"""Probability from which it says by itself what a turn does to an objection."""
SURE_OF_SPEAKER = 0.8
"""Probability from which the words tell who speaks, on a channel that carries both parties."""
STAY = 0.3
"""Probability above which what it raised stays raised while the turn goes on."""
_TEXT, _SOUND, _BEFORE = (1, 3, 1.0), (2, 3, 0.5), (1, 2, 0.3)
_MEANING, _PAIRS, _MEANING_BEFORE = 0.6, 0.4, 0.2
_LAST_WORDS = 40
AGENT = 0.5
"""Value of the feature that the agent speaks."""
AGENT_SPEAKS = "speaker.agent"
"""Name under which the classifier says whether the words are an agent's."""
_SENTENCE = re.compile(rf"[^{SENTENCE_ENDS}]+[{SENTENCE_ENDS}]*")
_LONGEST = 300
_SHORTEST = 2
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Features of one kind, how often each stands in the text, and what the kind weighs."""

    weight: float
    features: NDArray[np.uint32]
    often: NDArray[np.float32]


def _counts(weight: float, counter: Counter[int]) -> Counted:
    size = len(counter)
    return Counted(
        weight,
        np.fromiter(counter.keys(), dtype=np.uint32, count=size),
        np.fromiter(counter.values(), dtype=np.float32, count=size),
    )


def counted(text: str, before: list[Counted], concepts: Concepts) -> list[Counted]:
    """Count the features of a text, each kind with its weight, and add those of the `context` in which it was said.

    A feature is the CRC-32 of its kind and its characters.
    """
    found = concepts.find(text)
    return [
        _ngrams(b"t", text, _TEXT),
        _ngrams(b"s", sound(text), _SOUND),
        _named(b"c", _MEANING, {name for _, name in found}),
        _named(b"p", _PAIRS, concepts.pairs(found)),
        *before,
    ]


def context(before: str, concepts: Concepts) -> list[Counted]:
    """Count the features of what was said before; the same for every sentence of a turn."""
    last = before[-_LAST_WORDS:]
    return [_ngrams(b"b", last, _BEFORE), _named(b"d", _MEANING_BEFORE, {name for _, name in concepts.find(last)})]


def _ngrams(kind: bytes, words: str, lengths: tuple[int, int, float]) -> Counted:
    shortest, longest, weight = lengths
    return _counts(
        weight,
        Counter(
            zlib.crc32(kind + words[at : at + length].encode())
            for length in range(shortest, longest + 1)
            for at in range(len(words) - length + 1)
        ),
    )


def _named(kind: bytes, weight: float, names: set[str]) -> Counted:
    return _counts(weight, Counter(zlib.crc32(kind + name.encode()) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Features, their rarity, and a weight for each feature and node; never changed, safe to share between threads.

    `keys` holds the features in ascending order, `rarity` their inverse document frequency, `weights` is of shape
    (features + 1, nodes): the last row is for the speaker being the agent. `bias` is of shape (nodes,).
    """

    nodes: tuple[str, ...]
    keys: NDArray[np.uint32]
    rarity: NDArray[np.float32]
    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    version: str
    concepts: Concepts = field(default_factory=Concepts)

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a classifier.

        Raises:
            DictionaryError: the file is missing, damaged, or of another version.
        """
        try:
            data = path.read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about["format"] != FORMAT:
                    raise ValueError(f"format {about['format']}, this program reads {FORMAT}")
                made = cls(
                    nodes=tuple(about["nodes"]),
                    keys=file["keys"],
                    rarity=file["rarity"],
                    weights=file["weights"],
                    scale=file["scale"],
                    bias=file["bias"],
                    concepts=Concepts({word: tuple(names) for word, names in about["concepts"].items()}),
                    version=hashlib.sha256(data).hexdigest()[:12],
                )
            if made.weights.shape != (len(made.keys) + 1, len(made.nodes)) or len(made.keys) != len(made.rarity):
                raise ValueError("its parts do not fit together")
        except _UNREADABLE as error:
            raise DictionaryError(
                f"the classifier can't be used: {error}",
                where=str(path),
                remedy="`scripts/train_nodes` makes it anew; until then the rules go on alone",
            ) from error
        return made

    def save(self, path: Path, examples: str) -> None:
        """Write the classifier; `examples` is the hash of what it was trained on."""
        known = {"format": FORMAT, "nodes": self.nodes, "examples": examples, "concepts": dict(self.concepts.words)}
        about = json.dumps(known, ensure_ascii=False)
        parts = {name: getattr(self, name) for name in ("keys", "rarity", "weights", "scale", "bias")}
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(about), **parts)

    def place(self, kinds: list[Counted]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the places and the values of the features that are known; each kind has the length of its weight."""
        places: list[NDArray[np.intp]] = []
        values: list[NDArray[np.float32]] = []
        for kind in kinds:
            found, often = kind.features, kind.often
            at = np.minimum(np.searchsorted(self.keys, found), max(0, len(self.keys) - 1))
            known = self.keys[at] == found if len(self.keys) else np.zeros(len(found), dtype=bool)
            at, often = at[known], often[known]
            value = (1 + np.log(often)) * self.rarity[at]
            length = math.sqrt(float(value @ value)) or 1.0
            places.append(at)
            values.append((value * (kind.weight / length)).astype(np.float32))
        return np.concatenate(places), np.concatenate(values)

    def who(self, text: str, before: str) -> tuple[Speaker, float]:
        """Tell who speaks by the words, and how sure that is; `UNKNOWN` where they don't tell."""
        if AGENT_SPEAKS not in self.nodes:
            return Speaker.UNKNOWN, 0.0
        agent = self.probabilities(text, before, Speaker.UNKNOWN)[AGENT_SPEAKS][0]
        if agent >= SURE_OF_SPEAKER:
            return Speaker.AGENT, agent
        return (Speaker.CUSTOMER, 1 - agent) if agent <= 1 - SURE_OF_SPEAKER else (Speaker.UNKNOWN, 0.0)

    def probabilities(self, text: str, before: str, speaker: Speaker) -> dict[str, tuple[float, str]]:
        """Return the probability of every node in a turn, with the words that speak most for it.

        A turn is judged sentence by sentence and as a whole, and the highest counts.

        Args:
            text: what the turn has said so far.
            before: what the other party said before it.
            speaker: who speaks; where it is unknown, either may have.
        """
        sentences = (match.group()[:_LONGEST] for match in _SENTENCE.finditer(text))
        pieces = list(dict.fromkeys([*(one for one in sentences if len(one) > _SHORTEST), text[-_LONGEST:]]))
        agent = self.weights[-1] * self.scale * AGENT
        scores = np.empty((len(pieces), len(self.nodes)), dtype=np.float32)
        said_before = context(before, self.concepts)
        for row, piece in enumerate(pieces):
            at, value = self.place(counted(piece, said_before, self.concepts))
            scores[row] = (value @ self.weights[at].astype(np.float32)) * self.scale + self.bias
        match speaker:
            case Speaker.AGENT:
                scores += agent
            case Speaker.UNKNOWN:
                scores += np.maximum(agent, 0)
        best = scores.argmax(axis=0)
        return {
            node: (1 / (1 + math.exp(-float(scores[row, column]))), pieces[row].strip())
            for column, (node, row) in enumerate(zip(self.nodes, best, strict=True))
        }

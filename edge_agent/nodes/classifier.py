"""A classifier beside the rules: what a sentence means where no phrase list says so.

A logistic regression for each node over n-grams of characters (1–3), pairs of characters further apart, n-grams of
syllables (2–3, so that homophones of the recognizer weigh less) and of the other party's last words (1–2), and over
what the words mean (`edge_agent.nodes.concepts`), with tf–idf weights: the linear model that text classification is
measured against (Wang & Manning 2012; Joulin et al. 2016). Two more kinds of features are not words: which rules of
the common set hold, so that it learns how far to believe each (stacking, Wolpert 1992), and where the call stands:
which objections are open or answered. It is trained by `edge_agent.nodes.training` on the examples, the labelled calls
and the concepts in `dictionaries/nodes`, and has no other knowledge. To its scores those of a small neural network are
added (`edge_agent.nodes.encoder`), which reads words in their order. Beside the nodes it judges what a turn does
(answers, accepts, puts off, fixes a next step …).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import SIGNALS
from edge_agent.nodes.concepts import Concepts
from edge_agent.nodes.encoder import Encoder
from edge_agent.nodes.features import Around, counted, of_words
from edge_agent.nodes.phrase import SENTENCE_ENDS
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.nodes.features import Counted

FORMAT = 4
SURE, SURE_OF_RULE = 0.3, 0.25
"""Probability from which a node is raised, and below which a rule of the common set is overruled."""
SURE_OF_SIGNAL = dict.fromkeys(SIGNALS, 0.25) | {"refuse": 0.15, "wait": 0.15, "decide": 0.12}
"""The same for what a turn does; lower where it was taught few examples of that."""
SURE_OF_SPEAKER = 0.8
"""Probability from which the words tell who speaks, on a channel that carries both parties."""
STAY = 0.19
"""Probability above which what it raised stays raised while the turn goes on."""
AGENT = 0.5
"""Value of the feature that the agent speaks."""
AGENT_SPEAKS = "speaker.agent"
"""Name under which the classifier says whether the words are an agent's."""
_SENTENCE = re.compile(rf"[^{SENTENCE_ENDS}]+[{SENTENCE_ENDS}]*")
_LONGEST = 300
_WORTH_A_QUOTE = 0.2
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Features, their rarity, and a weight for each feature and node; never changed, safe to share between threads.

    `keys` holds the features in ascending order, `rarity` their inverse document frequency, `weights` is of shape
    (features + 1, nodes): the last row is for the speaker being the agent. `bias` is of shape (nodes,). `trust` is what
    the scores of the `encoder`, if there is one, are multiplied by before they are added: half, until it is calibrated.
    """

    nodes: tuple[str, ...]
    keys: NDArray[np.uint32]
    rarity: NDArray[np.float32]
    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    version: str
    concepts: Concepts = field(default_factory=Concepts)
    encoder: Encoder | None = None
    trust: float = 0.5

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
                    encoder=Encoder(file["encoder"].tobytes()) if "encoder" in file else None,
                    trust=float(about["trust"]),
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
        about = json.dumps(known | {"trust": self.trust}, ensure_ascii=False)
        parts = {name: getattr(self, name) for name in ("keys", "rarity", "weights", "scale", "bias")}
        if self.encoder is not None:
            parts["encoder"] = np.frombuffer(self.encoder.model, dtype=np.uint8)
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
        at = self.nodes.index(AGENT_SPEAKS)
        scores = [self.words(piece, Speaker.UNKNOWN, Around(before))[at] for piece in _pieces(text)]
        agent = float(1 / (1 + np.exp(-np.clip(max(scores), -30, 30))))
        if agent >= SURE_OF_SPEAKER:
            return Speaker.AGENT, agent
        return (Speaker.CUSTOMER, 1 - agent) if agent <= 1 - SURE_OF_SPEAKER else (Speaker.UNKNOWN, 0.0)

    def probabilities(self, text: str, speaker: Speaker, around: Around | None = None) -> dict[str, tuple[float, str]]:
        """Return the probability of every node in a turn, with the sentence of it that speaks most for the node.

        Args:
            text: what the turn has said so far; what is longer than any it has learned from is judged in pieces, and
                the highest probability counts.
            speaker: who speaks; where it is unknown, either may have.
            around: what was said before it, which rules hold, and where the call stands.
        """
        around = around or Around()
        found: dict[str, tuple[float, str]] = {}
        for piece in _pieces(text):
            sure = 1 / (1 + np.exp(-np.clip(self.scores(piece, speaker, around), -30, 30)))
            quotes = self._quotes(piece, sure >= _WORTH_A_QUOTE)
            for node, probability, quote in zip(self.nodes, sure.tolist(), quotes, strict=True):
                if node not in found or probability > found[node][0]:
                    found[node] = probability, quote
        return found

    def scores(self, text: str, speaker: Speaker, around: Around) -> NDArray[np.float32]:
        """Return the logarithms of the odds of every node, of shape (nodes,)."""
        scores = self.words(text, speaker, around)
        if self.encoder is not None:
            scores += np.float32(self.trust) * self.order(text, speaker, around)
        return scores

    def order(self, text: str, speaker: Speaker, around: Around) -> NDArray[np.float32]:
        """Return what the encoder makes of the turn, of shape (nodes,): 0 for what it doesn't judge."""
        if self.encoder is None:
            return np.zeros(len(self.nodes), dtype=np.float32)
        scores = self.encoder.scores(text, speaker, around.turns, around.standing).tolist()
        known = dict(zip(self.encoder.names, scores, strict=True))
        return np.array([known.get(node, 0.0) for node in self.nodes], dtype=np.float32)

    def words(self, text: str, speaker: Speaker, around: Around) -> NDArray[np.float32]:
        """Return what the linear model makes of the turn, of shape (nodes,)."""
        scores = self._scores(counted(text, around, self.concepts)) + self.bias
        agent = self.weights[-1] * self.scale * AGENT
        match speaker:
            case Speaker.AGENT:
                scores += agent
            case Speaker.UNKNOWN:
                scores += np.maximum(agent, 0)
        return scores

    def _scores(self, kinds: list[Counted]) -> NDArray[np.float32]:
        at, value = self.place(kinds)
        scores: NDArray[np.float32] = (value @ self.weights[at].astype(np.float32)) * self.scale
        return scores

    def _quotes(self, text: str, wanted: NDArray[np.bool_]) -> list[str]:
        """Return for each node the sentence that speaks most for it; the whole text for those that aren't wanted."""
        whole = text.strip()
        sentences = [match.group().strip() for match in _SENTENCE.finditer(text)]
        if len(sentences) < 2 or not wanted.any():
            return [whole] * len(self.nodes)
        scores = np.stack([self._scores(of_words(sentence, self.concepts)) for sentence in sentences])
        return [sentences[row] if want else whole for row, want in zip(scores.argmax(axis=0), wanted, strict=True)]


def encoder_in(path: Path) -> Encoder | None:
    """Return the encoder of a classifier file, of whatever version that is; None if there is none that can be used."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Encoder(file["encoder"].tobytes()) if "encoder" in file else None
    except _UNREADABLE:
        return None


def _pieces(text: str) -> list[str]:
    """Cut a text into pieces of whole sentences, none much longer than what the classifier has learned from."""
    if len(text) <= _LONGEST:
        return [text]
    pieces = [""]
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        for at in range(0, len(sentence), _LONGEST):
            part = sentence[at : at + _LONGEST]
            if len(pieces[-1]) + len(part) > _LONGEST and pieces[-1]:
                pieces.append("")
            pieces[-1] += part
    return pieces

"""A classifier beside the rules: what a sentence means where no phrase list says so.

A logistic regression for each node over n-grams of characters (1–4), of canonical syllables (2–4, so that homophones
of the recognizer weigh less) and of the other party's last words (1–3), with tf–idf weights: the linear model that
text classification is measured against (Wang & Manning 2012; Joulin et al. 2016). It is trained by
`edge_agent.nodes.training` on the examples in `dictionaries/nodes/examples`, and has no other knowledge.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import DictionaryError
from edge_agent.nodes.phrase import SENTENCE_ENDS, sound
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 1
SURE = 0.55
"""Probability from which the classifier raises a node by itself."""
DOUBT = 0.05
"""Probability below which it overrules a rule of the common set."""
STAY = 0.3
"""Probability above which what it raised stays raised while the turn goes on."""
_TEXT, _SOUND, _BEFORE = (1, 4, 1.0), (2, 4, 0.7), (1, 3, 0.3)
_SENTENCE = re.compile(rf"[^{SENTENCE_ENDS}]+[{SENTENCE_ENDS}]*")
_LONGEST = 300
_SHORTEST = 2
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


def counted(text: str, before: str) -> list[tuple[float, Counter[int]]]:
    """Count the n-grams of a text, of its sounds and of what was said before it, each with the weight of its kind.

    A feature is the CRC-32 of its kind and its characters.
    """
    kinds = ((b"t", text, _TEXT), (b"s", sound(text), _SOUND), (b"b", before, _BEFORE))
    return [
        (
            weight,
            Counter(
                zlib.crc32(kind + words[at : at + length].encode())
                for length in range(shortest, longest + 1)
                for at in range(len(words) - length + 1)
            ),
        )
        for kind, words, (shortest, longest, weight) in kinds
    ]


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
        about = json.dumps({"format": FORMAT, "nodes": self.nodes, "examples": examples})
        parts = {name: getattr(self, name) for name in ("keys", "rarity", "weights", "scale", "bias")}
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(about), **parts)

    def vector(self, text: str, before: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the places and the values of the features that are known; each kind has the length of its weight."""
        places: list[NDArray[np.intp]] = []
        values: list[NDArray[np.float32]] = []
        for weight, counts in counted(text, before):
            found = np.fromiter(counts.keys(), dtype=np.uint32, count=len(counts))
            often = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
            at = np.minimum(np.searchsorted(self.keys, found), max(0, len(self.keys) - 1))
            known = self.keys[at] == found if len(self.keys) else np.zeros(len(found), dtype=bool)
            at, often = at[known], often[known]
            value = (1 + np.log(often)) * self.rarity[at]
            length = math.sqrt(float(value @ value)) or 1.0
            places.append(at)
            values.append((value * (weight / length)).astype(np.float32))
        return np.concatenate(places), np.concatenate(values)

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
        agent = self.weights[-1] * self.scale
        scores = np.empty((len(pieces), len(self.nodes)), dtype=np.float32)
        for row, piece in enumerate(pieces):
            at, value = self.vector(piece, before)
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

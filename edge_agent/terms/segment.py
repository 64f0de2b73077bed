"""Cutting a text into words: pkuseg's conditional random field, with the dictionary's terms as words of their own.

The model is a folder as `spacy_pkuseg.train` writes it (`features.msgpack`, `weights.npz`), with a card that has the
hashes of both, if it has one; `scripts/train_segmenter` made the shipped one. Of pkuseg only features and search
are used, on purpose: its class fetches a model when a folder is called like one that is published, reads pickles, and
its preprocessor makes words that nobody gave it (with 医保 and 医保目录编码 it makes one word of 医保目录 in
医保目录要改). Here the terms are those that an automaton finds, leftmost, then longest.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

FEATURES, WEIGHTS, CARD = "features.msgpack", "weights.npz", "card.toml"
AROUND = 7
"""Characters on either side of a word that are looked at: no feature reaches further than six."""

_TAGS = ("B", "B_single", "I", "I_end", "I_first")
_FIRST, _SINGLE, _LAST = _TAGS.index("B"), _TAGS.index("B_single"), _TAGS.index("I_end")
_NEVER = -1e6
_WIDE = str.maketrans({code: code + 0xFEE0 for code in (*range(0x41, 0x5B), *range(0x61, 0x7B))})
_PIECE = re.compile(r"[A-Za-z0-9]+(?:[.+-][A-Za-z0-9]+)*|\s+|[^\sA-Za-z0-9]+")
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
"""What numpy, msgpack and pkuseg raise where a file isn't what its name says."""
_SAYS = "set [dictionary] segmenter to the folder of a pkuseg model, to off, or leave it empty for the shipped one"


def as_read(text: str) -> str:
    """Return a text as the model is to read it: letters full-width, which pkuseg takes for one kind of character."""
    return text.translate(_WIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Segmenter:
    """A loaded model; nothing in it changes, so many threads may use it.

    `version` is what its card says or, without a card, the beginning of a hash.
    """

    version: str
    checked: bool
    """A card was there, and its hashes are those of the files."""
    _extractor: Any
    _weights: NDArray[np.float64]
    _count: int

    @classmethod
    def open(cls, folder: Path) -> Segmenter:
        """Load a model.

        Raises:
            ModelError: a file is missing, damaged, or of another kind of model.
        """
        files = [folder / FEATURES, folder / WEIGHTS]
        for file in files:
            if not file.is_file():
                raise ModelError(f"no segmenter: {file.name} is missing", where=str(folder), remedy=_SAYS)
        try:
            hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            card = tomllib.loads(text) if (text := _card(folder)) else {}
            for name, wanted in dict(card.get("sha256", {})).items():
                if hashes.get(name) != wanted:
                    raise ModelError(
                        f"{name} is damaged: it is not the file that the card names",
                        where=str(folder),
                        remedy="put the folder in its place again, or make it anew with scripts/train_segmenter",
                    )
            extractor, weights = _read(folder)
        except _UNREADABLE as error:
            raise ModelError(f"no segmenter that can be read: {error}", where=str(folder), remedy=_SAYS) from error
        version = str(card.get("version") or hashlib.sha256("".join(hashes.values()).encode()).hexdigest()[:12])
        count = len(weights) // len(_TAGS) - len(_TAGS)
        return cls(version, bool(card.get("sha256")), extractor, weights, count)

    def cut(self, text: str, words: Iterable[tuple[int, int]] = ()) -> list[str]:
        """Cut a text into words that together are the text again; `words` are spans that are words, in order.

        A run of letters and digits is one word, and so is a run of blanks.
        """
        found: list[str] = []
        done = 0
        for start, end in words:
            found += self._cut(text[done:start])
            found.append(text[start:end])
            done = end
        return found + self._cut(text[done:])

    def odds(self, text: str, start: int, end: int) -> float:
        """Return how much more two characters look like a word than like the ends of two other words, in nats.

        Both readings get the best cut of what stands around them.
        """
        first, last = max(0, start - AROUND), min(len(text), end + AROUND)
        scores, steps = self._scores(text[first:last])
        at = start - first
        whole, apart = scores.copy(), scores.copy()
        whole[at, [tag for tag in range(len(_TAGS)) if tag != _FIRST]] = _NEVER
        whole[at + 1, [tag for tag in range(len(_TAGS)) if tag != _LAST]] = _NEVER
        apart[at + 1, [tag for tag in range(len(_TAGS)) if tag not in (_FIRST, _SINGLE)]] = _NEVER
        # Two single characters are no other words: that is how the model says that it doesn't know this one.
        left, right = apart.copy(), apart
        left[at, _SINGLE] = _NEVER
        right[at + 1, _SINGLE] = _NEVER
        return self._best(whole, steps) - max(self._best(left, steps), self._best(right, steps))

    def _cut(self, text: str) -> list[str]:
        words: list[str] = []
        for piece in _PIECE.findall(text):
            if piece[0].isspace() or (piece[0].isascii() and piece[0].isalnum()):
                words.append(piece)
                continue
            tags = self._search(*self._scores(piece))
            starts = [at for at, tag in enumerate(tags) if not at or tag in (_FIRST, _SINGLE)]
            words += [piece[start:end] for start, end in zip(starts, [*starts[1:], len(piece)], strict=True)]
        return words

    def _scores(self, text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each tag scores at each character, and what each scores after each."""
        from spacy_pkuseg import inference

        nodes = list(self._extractor.normalize_text(as_read(text)))
        features = [self._extractor.get_node_features_idx(at, nodes) for at in range(len(nodes))]
        tags = len(_TAGS)
        scores, steps = inference.getLogYY(features, tags, self._count * tags, self._weights, 1.0)
        return scores, steps

    def _search(self, scores: NDArray[np.float64], steps: NDArray[np.float64]) -> list[int]:
        from spacy_pkuseg import inference

        return [int(tag) for tag in inference.run_viterbi(scores, steps)[1]]

    def _best(self, scores: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
        """Return the score of the best cut (that of `run_viterbi` ends at 300)."""
        tags = self._search(scores, steps)
        return float(scores[range(len(tags)), tags].sum() + steps[tags[:-1], tags[1:]].sum())


@cache
def shared(folder: Path) -> Segmenter | None:
    """Return the segmenter of a folder, loaded once; None where it can't be used, which the log says once."""
    try:
        return Segmenter.open(folder)
    except ModelError as error:
        log.warning("%s; words are told by the word list alone. %s", error, error.remedy)
        return None


def _card(folder: Path) -> str:
    file = folder / CARD
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _read(folder: Path) -> tuple[Any, NDArray[np.float64]]:
    """Read both files, and hold against each other what pkuseg's search takes on trust."""
    from spacy_pkuseg.feature_extractor import FeatureExtractor

    extractor = FeatureExtractor.load(str(folder))
    tags, names = extractor.tag_to_idx, extractor.feature_to_idx
    if sorted(tags, key=tags.get) != list(_TAGS) or sorted(tags.values()) != list(range(len(_TAGS))):
        raise ValueError(f"its tags are {', '.join(map(str, tags))}, not {', '.join(_TAGS)}")
    with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
        kinds, count = (int(size) for size in stored["sizes"])
        weights = np.ascontiguousarray(stored["w"], np.float64)
    if kinds != len(_TAGS) or weights.shape != (len(_TAGS) * (count + len(_TAGS)),):
        raise ValueError(f"{WEIGHTS} does not belong to {FEATURES}")
    if set(map(type, names.values())) != {int} or not 0 <= min(names.values()) <= max(names.values()) < count:
        raise ValueError(f"{FEATURES} numbers features that there are not")
    if not np.isfinite(weights).all():
        raise ValueError(f"{WEIGHTS} holds what is no number")
    return extractor, weights

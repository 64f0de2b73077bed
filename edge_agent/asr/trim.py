"""A model without the tokens that it cannot write: the same text for a third of the decoder's work.

Whisper's decoder weighs 51,865 tokens for every one that it writes. In a small model that is most of its work, and most
of it is in vain: a model that was taught Mandarin alone gives the rest a bias that keeps them from ever being picked
(`scripts/train_recognizer/export`). Here their rows are left out while the weights are read. Whoever calls the model
speaks in Whisper's own token ids as before.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BINARY_VERSION = 6
"""Version of CTranslate2's `model.bin` that is understood here; others are loaded whole."""
NEVER = -1000.0
"""Bias up to which a token is never picked: no score of a decoder makes up for it."""
_COMMAND = re.compile(r"<\|[a-z]+\|>$")
_EMBEDDINGS, _BIAS = "decoder/embeddings/weight", "decoder/projection/bias"
_BY_TOKEN = frozenset(
    (_EMBEDDINGS, f"{_EMBEDDINGS}_scale", "decoder/projection/weight", "decoder/projection/weight_scale", _BIAS)
)
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


@dataclass(frozen=True, slots=True)
class _Variable:
    """One array of `model.bin`: name, shape, CTranslate2's number of its type, and its bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: memoryview

    def array(self) -> NDArray[Any]:
        return np.frombuffer(self.data, _TYPES[self.kind]).reshape(self.shape)


class _Reader:
    """Reads `model.bin` from the front, without copying arrays."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self._data, self._at)
        self._at += struct.calcsize("<" + kind)
        return int(value)

    def bytes(self, size: int) -> memoryview:
        if self._at + size > len(self._data):
            raise ValueError("the file ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        return bytes(self.bytes(self.number("H"))[:-1]).decode()

    def variable(self) -> _Variable:
        name = self.text()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        return _Variable(name, shape, self.number("B"), self.bytes(self.number("I")))


@dataclass(frozen=True, slots=True)
class _Weights:
    """What is in `model.bin`; `aliases` name variables that are another one."""

    name: str
    revision: int
    variables: tuple[_Variable, ...]
    aliases: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, data: memoryview) -> _Weights | None:
        """Return the variables, or nothing where the file is of another version or damaged: CTranslate2 will say so."""
        reader = _Reader(data)
        try:
            if reader.number("I") != BINARY_VERSION:
                return None
            name, revision = reader.text(), reader.number("I")
            variables = tuple(reader.variable() for _ in range(reader.number("I")))
            aliases = tuple((reader.text(), reader.text()) for _ in range(reader.number("I")))
        except (ValueError, struct.error):
            return None
        return cls(name, revision, variables, aliases)

    def written(self, kept: NDArray[np.intp]) -> bytes:
        """Return the bytes of a `model.bin` that has only these rows for tokens."""
        tokens = next(one.shape[0] for one in self.variables if one.name == _EMBEDDINGS)
        parts: list[bytes | memoryview] = [struct.pack("<I", BINARY_VERSION), _text(self.name)]
        parts.append(struct.pack("<II", self.revision, len(self.variables)))
        for one in self.variables:
            shape, data = one.shape, one.data
            if one.name in _BY_TOKEN and shape[:1] == (tokens,):
                shape = (len(kept), *shape[1:])
                data = memoryview(one.array()[kept].tobytes())
            parts += [_text(one.name), struct.pack(f"<B{len(shape)}I", len(shape), *shape)]
            parts += [struct.pack("<BI", one.kind, len(data)), data]
        parts.append(struct.pack("<I", len(self.aliases)))
        parts += [_text(name) for alias in self.aliases for name in alias]
        return b"".join(parts)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<H", len(raw) + 1) + raw + b"\0"


@dataclass(frozen=True, slots=True)
class Result:
    """What CTranslate2 calls a `WhisperGenerationResult`, with Whisper's own token ids."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


class Trimmed:
    """A `ctranslate2.models.Whisper` that knows some of its tokens only, called by the ids of all of them.

    `kept` are the ids of its rows, rising. Whatever else it is told in a prompt is `stand_in`, a row of zeros like it.
    """

    def __init__(self, model: Any, kept: NDArray[np.intp], stand_in: int, tokens: int) -> None:
        self._model = model
        self._kept = kept.tolist()
        self._places = np.full(tokens, int(np.searchsorted(kept, stand_in)), dtype=np.intp)
        self._places[kept] = np.arange(len(kept))
        self._known = frozenset(self._kept)
        self.n_mels: int = model.n_mels

    def encode(self, features: Any) -> Any:
        """Return the encoder's states; as of CTranslate2's model."""
        return self._model.encode(features)

    def generate(
        self, features: Any, prompts: Iterable[Sequence[int]], *, suppress_tokens: Iterable[int] = (), **how: Any
    ) -> list[Result]:
        """Write texts; as of CTranslate2's model, without time stamps."""
        suppress = [token for token in suppress_tokens if token in self._known]
        results = self._model.generate(
            features,
            [self._placed(prompt) for prompt in prompts],
            suppress_tokens=self._placed(suppress) or None,
            **how,
        )
        return [
            Result(
                [[self._kept[token] for token in sequence] for sequence in result.sequences_ids],
                result.scores,
                result.no_speech_prob,
            )
            for result in results
        ]

    def align(
        self, features: Any, start: Sequence[int], texts: Iterable[Sequence[int]], frames: Any, **how: Any
    ) -> list[Any]:
        """Lay texts along the audio; as of CTranslate2's model."""
        placed = [self._placed(text) for text in texts]
        found: list[Any] = self._model.align(features, self._placed(start), placed, frames, **how)
        return found

    def _placed(self, tokens: Sequence[int]) -> list[int]:
        places: list[int] = self._places[list(tokens)].tolist()
        return places


def open_trimmed(folder: Path, vocabulary: Sequence[str], config: dict[str, Any], **how: Any) -> Trimmed | None:
    """Load a model without the tokens that it never writes; nothing if it may write all, or is of an unknown form.

    A token is left out if its bias forbids it and its row is zero, so that the text, its probability and what a prompt
    does are the same to the last digit. `how` goes to `ctranslate2.models.Whisper`.

    Raises:
        RuntimeError, ValueError: of CTranslate2.
    """
    import ctranslate2

    with (folder / "model.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = memoryview(mapped)
        try:
            weights = _Weights.read(data)
            chosen = _kept(weights, vocabulary) if weights else None
            if weights is None or chosen is None:
                return None
            kept, stand_in = chosen
            written = weights.written(kept)
        finally:
            weights = None
            data.release()
    places = {int(token): place for place, token in enumerate(kept)}
    config = {**config, "lang_ids": [places[token] for token in config["lang_ids"]]}
    for name in ("suppress_ids", "suppress_ids_begin"):
        config[name] = [places[token] for token in config[name] if token in places]
    files = {
        "model.bin": written,
        "config.json": json.dumps(config).encode(),
        "vocabulary.json": json.dumps([vocabulary[token] for token in kept]).encode(),
    }
    model = ctranslate2.models.Whisper(str(folder), files=files, **how)
    return Trimmed(model, kept, stand_in, len(vocabulary))


def _kept(weights: _Weights, vocabulary: Sequence[str]) -> tuple[NDArray[np.intp], int] | None:
    """Return the tokens to keep, and one of the others to stand for all of them."""
    variables = {one.name: one for one in weights.variables}
    bias, rows = variables.get(_BIAS), variables.get(_EMBEDDINGS)
    if bias is None or rows is None or bias.kind not in (0, 4) or rows.kind not in _TYPES:
        return None
    if len(bias.shape) != 1 or len(rows.shape) != 2 or not len(vocabulary) == bias.shape[0] == rows.shape[0]:
        return None
    never = (bias.array() <= NEVER) & ~rows.array().any(axis=1)
    # CTranslate2 looks for Whisper's own tokens by name, so they stay; moments (`<|0.02|>`) need not.
    never[[index for index, word in enumerate(vocabulary) if _COMMAND.match(word)]] = False
    left_out = np.flatnonzero(never)
    if not len(left_out):
        return None
    never[left_out[0]] = False
    return np.flatnonzero(~never), int(left_out[0])

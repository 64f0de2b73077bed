"""A model without the tokens that it need not weigh: the same text for a third of the decoder's work.

Whisper's decoder weighs 51,865 tokens for every one that it writes. In a small model that is most of its work, and most
of it is in vain: a model that was taught Mandarin alone gives the rest a bias that keeps them from ever being picked
(`scripts/train_recognizer/export`), and a stock model that hears Chinese writes Chinese. Here their rows are left out
while the weights are read. Whoever calls the model speaks in Whisper's own token ids as before.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
from dataclasses import dataclass
from functools import cache
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
ALL, CHINESE = "all", "chinese"
"""Which tokens a model may write, by its card."""
_LETTERS = 3
"""Latin words of so many letters at most are kept whole; longer ones can be spelled with them."""
_CHINESE = re.compile(r"[\u2014\u2018-\u201d\u2026\u00b7\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")
_MOMENT = re.compile(r"<\|\d+\.\d\d\|>$")
_COMMAND = re.compile(r"<\|[a-z]+\|>$")
_EMBEDDINGS, _BIAS = "decoder/embeddings/weight", "decoder/projection/bias"
_BY_TOKEN = frozenset(
    (_EMBEDDINGS, f"{_EMBEDDINGS}_scale", "decoder/projection/weight", "decoder/projection/weight_scale", _BIAS)
)
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: np.uint16}  # 5: bfloat16, only moved


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

    `kept` are the ids of its rows, rising. Whatever else it is told is `stand_in`, a row of zeros like it; without a
    `stand_in` it is spelled with the tokens of its bytes, for which `vocabulary` is needed.
    """

    def __init__(self, model: Any, kept: NDArray[np.intp], stand_in: int | None, vocabulary: Sequence[str]) -> None:
        self._model = model
        self._kept = kept.tolist()
        self._places = {token: place for place, token in enumerate(self._kept)}
        self._stand_in = None if stand_in is None else self._places[stand_in]
        self._vocabulary = vocabulary
        self.n_mels: int = model.n_mels

    def knows(self, tokens: Iterable[int]) -> bool:
        """Say whether a prompt may hold these tokens without becoming longer."""
        return self._stand_in is not None or all(token in self._places for token in tokens)

    def encode(self, features: Any) -> Any:
        """Return the encoder's states; as of CTranslate2's model."""
        return self._model.encode(features)

    def generate(
        self, features: Any, prompts: Iterable[Sequence[int]], *, suppress_tokens: Iterable[int] = (), **how: Any
    ) -> list[Result]:
        """Write texts; as of CTranslate2's model, without time stamps."""
        suppress = [self._places[token] for token in suppress_tokens if token in self._places]
        results = self._model.generate(
            features,
            [self._placed(prompt) for prompt in prompts],
            suppress_tokens=suppress or None,
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
        placed: list[int] = []
        for token in tokens:
            if (place := self._places.get(token, self._stand_in)) is not None:
                placed.append(place)
            else:
                placed += (self._places[_byte_tokens(self._vocabulary)[byte]] for byte in self._vocabulary[token])
        return placed


@cache
def _bytes_of() -> dict[str, int]:
    """Return which byte each character of a token stands for (GPT-2's vocabulary, Radford et al. 2019)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = (byte for byte in range(256) if byte not in shown)
    return {chr(byte): byte for byte in shown} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def _byte_tokens(vocabulary: Sequence[str]) -> dict[str, int]:
    """Return the tokens that stand for one byte each; they come first, in whatever order."""
    return {token: index for index, token in enumerate(vocabulary[:256])}


def chinese(vocabulary: Sequence[str]) -> NDArray[np.bool_]:
    """Return for every token whether a Chinese transcript may need it.

    Those are Chinese characters and punctuation, pieces of characters, digits and short Latin words, with which any
    other word can be spelled, and Whisper's own tokens but for moments.
    """
    wanted = np.zeros(len(vocabulary), bool)
    for index, token in enumerate(vocabulary):
        if _COMMAND.match(token):
            wanted[index] = True
            continue
        if _MOMENT.match(token) or not all(character in _bytes_of() for character in token):
            continue
        try:
            text = bytes(_bytes_of()[character] for character in token).decode()
        except UnicodeDecodeError:  # a piece of a character
            wanted[index] = True
            continue
        text = text.strip()
        wanted[index] = len(text) <= _LETTERS if text.isascii() else bool(_CHINESE.fullmatch(text))
    return wanted


def open_trimmed(
    folder: Path, vocabulary: Sequence[str], config: dict[str, Any], tokens: str = ALL, **how: Any
) -> Trimmed | None:
    """Load a model without the tokens that it need not weigh; nothing if it needs all, or is of an unknown form.

    A token that its bias forbids and whose row is zero is left out in any case: the text, its probability and what a
    prompt does are the same to the last digit. With `tokens` being `CHINESE`, so is what no Chinese transcript needs,
    which a model's card says only where it was checked. `how` goes to `ctranslate2.models.Whisper`.

    Raises:
        RuntimeError, ValueError: of CTranslate2.
    """
    import ctranslate2

    with (folder / "model.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = memoryview(mapped)
        try:
            weights = _Weights.read(data)
            chosen = _kept(weights, vocabulary, tokens) if weights else None
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
    return Trimmed(model, kept, stand_in, vocabulary)


def _kept(weights: _Weights, vocabulary: Sequence[str], tokens: str) -> tuple[NDArray[np.intp], int | None] | None:
    """Return the tokens to keep, and, where the others are alike, one of them to stand for all."""
    variables = {one.name: one for one in weights.variables}
    bias, rows = variables.get(_BIAS), variables.get(_EMBEDDINGS)
    if rows is None or rows.kind not in _TYPES or len(rows.shape) != 2 or rows.shape[0] != len(vocabulary):
        return None
    if bias is not None and bias.kind in (0, 4) and bias.shape == rows.shape[:1]:
        never = (bias.array() <= NEVER) & ~rows.array().any(axis=1)
        # CTranslate2 looks for Whisper's own tokens by name, so they stay; moments (`<|0.02|>`) need not.
        never[[index for index, word in enumerate(vocabulary) if _COMMAND.match(word)]] = False
        left_out = np.flatnonzero(never)
        if len(left_out):
            never[left_out[0]] = False
            return np.flatnonzero(~never), int(left_out[0])
    return (np.flatnonzero(chinese(vocabulary)), None) if tokens == CHINESE else None

"""The card of a model: who it is, what was checked, and the hash of every file.

`card.toml` lies in the model's folder. A folder without one (Whisper weights of the user's own, in CTranslate2's form)
gets the defaults that are safe for any Whisper model: the whole window of 30 s, and nothing to compare hashes with.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from edge_agent.asr.trim import ALL, CHINESE
from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "card.toml"
WINDOW_S = 30
"""Whisper's own window; every Whisper model was trained for it."""
LONGEST_PROMPT = 224
"""Half the positions of Whisper's decoder: the other half is for the text."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is searched for; the names are those of CTranslate2's `Whisper.generate`.

    `tokens_per_second` bounds the text by the length of the bucket, so that a decoder that repeats itself soon stops.
    """

    beam_size: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    tokens_per_second: int = 20


@dataclass(frozen=True, slots=True)
class Gates:
    """When a text is not believed: it is dropped if *both* thresholds are crossed (Radford et al. 2022, section 4.5).

    `no_speech` is the probability of `<|nospeech|>`, `log_probability` the mean of the tokens' natural logarithms.
    """

    no_speech: float = 0.6
    log_probability: float = -1.0


@dataclass(frozen=True, slots=True)
class Rescoring:
    """What counts in the second pass (`rescore`), beside what is heard, which counts 1.

    `language` weighs how likely the text is, `heard` is what a character of the first pass gets where the pass is sure
    of itself, `length` what every character gets, for the language model prefers short texts.
    """

    language: float = 0.9
    heard: float = 4.0
    length: float = 1.3


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about a model.

    `buckets_s` are the lengths of context, in whole seconds and rising, at which it was checked to write what it writes
    at 30 s. `prompt_tokens` is the length of the slot for hotwords, `<|startofprev|>` counted; 0 says that the model
    must not be prompted. `tokens` is `all`, or `chinese` where it was checked that the model writes the same without
    the tokens of other scripts and of long Latin words (`trim`). `peak` within 0…1 is the loudest sample that every
    utterance is brought to; 0 leaves the level as it is. `sha256` maps file names to hexadecimal digests; `measured`
    holds figures for people to read.
    """

    name: str
    version: str = ""
    architecture: str = ""
    language: str = "zh"
    licence: str = ""
    trained_on: str = ""
    buckets_s: tuple[int, ...] = (WINDOW_S,)
    prompt_tokens: int = 0
    tokens: str = ALL
    peak: float = 0.0
    decoding: Decoding = Decoding()
    gates: Gates = Gates()
    rescoring: Rescoring = Rescoring()
    sha256: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Card:
        """Read the card of a model's folder, or take the defaults if there is none.

        Raises:
            ModelError: no such folder, or the card is no TOML, lacks a name, or has an unknown or wrong field.
        """
        if not folder.is_dir():
            raise ModelError(
                "no such model folder",
                where=str(folder),
                remedy="set `path` in [model] to a folder with a CTranslate2 Whisper model, or leave it empty",
            )
        file = folder / FILE
        if not file.exists():
            return cls(name=folder.resolve().name)
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _wrong(file, f"the card can't be read: {error}") from error
        card: Card = _fill(cls, table, file, "")
        if not card.buckets_s or any(not 0 < b <= WINDOW_S for b in card.buckets_s):
            raise _wrong(file, f"`buckets_s` must hold lengths of 1 to {WINDOW_S} seconds")
        if list(card.buckets_s) != sorted(set(card.buckets_s)):
            raise _wrong(file, "`buckets_s` must rise")
        if card.prompt_tokens > LONGEST_PROMPT:
            raise _wrong(file, f"`prompt_tokens` must lie within 0 to {LONGEST_PROMPT}")
        if card.tokens not in (ALL, CHINESE):
            raise _wrong(file, f"`tokens` must be `{ALL}` or `{CHINESE}`")
        if not 0 <= card.peak <= 1:
            raise _wrong(file, "`peak` must lie within 0 to 1")
        return card

    @property
    def title(self) -> str:
        """Name and version, as events carry them."""
        return f"{self.name}@{self.version}" if self.version else self.name

    def bucket_s(self, seconds: float) -> int:
        """Return the smallest checked bucket that holds so much audio.

        Raises:
            ValueError: it is longer than the largest one.
        """
        for bucket in self.buckets_s:
            if seconds <= bucket:
                return bucket
        raise ValueError(
            f"an utterance of {seconds:.2f} s does not fit the model's {self.buckets_s[-1]} s: cut it first"
        )


def digest(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(folder: Path) -> Card:
    """Load a folder's card and compare every hash it names (23 MB take about 20 ms).

    Raises:
        ModelError: see `Card.load`; or `model.bin` or a named file is missing, or a file isn't what the card says.
    """
    card = Card.load(folder)
    for name in ("model.bin", *card.sha256):
        if not (folder / name).is_file():
            raise ModelError(
                f"the model lacks `{name}`",
                where=str(folder),
                remedy="copy the whole folder again; a model in CTranslate2's form has model.bin, config.json, "
                "tokenizer.json and a vocabulary",
            )
    for name, expected in card.sha256.items():
        if digest(folder / name) != expected:
            raise ModelError(
                "the file isn't the one that was checked: its SHA-256 differs from the card's",
                where=str(folder / name),
                remedy="copy the model again; if you changed it on purpose, `scripts/make_card` writes a new card",
            )
    return card


def to_toml(card: Card) -> str:
    """Write a card as TOML that `Card.load` reads back to the same; what has its default is left out."""

    def value(given: object) -> str:
        if isinstance(given, bool):
            return str(given).lower()
        if isinstance(given, (tuple, list)):
            return "[" + ", ".join(map(value, given)) + "]"
        # JSON's escapes are TOML's, but for DEL.
        return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")

    def rows(table: Any, always: tuple[str, ...] = ()) -> list[str]:
        plain = [
            (f.name, getattr(table, f.name), None if f.default is MISSING else f.default)
            for f in fields(table)
            if not isinstance(getattr(table, f.name), (dict, Decoding, Gates, Rescoring))
        ]
        return [f"{name} = {value(given)}" for name, given, default in plain if name in always or given != default]

    lines = rows(card, ("name", "version", "language", "buckets_s", "prompt_tokens", "tokens"))
    for name in ("decoding", "gates", "rescoring"):
        if inner := rows(getattr(card, name)):
            lines += ["", f"[{name}]", *inner]
    for name in ("sha256", "measured"):
        if table := getattr(card, name):
            lines += ["", f"[{name}]", *(f"{value(key)} = {value(given)}" for key, given in table.items())]
    return "\n".join(lines) + "\n"


def _wrong(file: Path, what: str) -> ModelError:
    return ModelError(
        what, where=str(file), remedy="`scripts/make_card FOLDER` writes a card; models/README.md shows one"
    )


def _fill(kind: type[Any], table: dict[str, Any], file: Path, prefix: str) -> Any:
    """Make a card, or a table of one, out of TOML, refusing unknown and mistyped fields."""
    values: dict[str, Any] = {}
    known = {f.name: f for f in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise _wrong(file, f"unknown field `{prefix}{key}`")
        annotation = known[key].type
        nested = {"Decoding": Decoding, "Gates": Gates, "Rescoring": Rescoring}.get(str(annotation))
        if nested is not None and isinstance(value, dict):
            values[key] = _fill(nested, value, file, f"{key}.")
            continue
        if isinstance(value, list):
            value = tuple(value)
        if annotation == "float" and type(value) is int:
            value = float(value)
        if not _fits(annotation, value):
            raise _wrong(file, f"`{prefix}{key}` can't be {value!r}")
        values[key] = value
    for f in fields(kind):
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise _wrong(file, f"`{prefix}{f.name}` is missing")
    return kind(**values)


def _fits(annotation: object, value: object) -> bool:
    match annotation:
        case "str":
            return isinstance(value, str)
        case "int":
            return type(value) is int and value >= 0
        case "float":
            return type(value) is float
        case "tuple[int, ...]":
            return isinstance(value, tuple) and all(type(item) is int for item in value)
        case "dict[str, str]":
            return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        case "dict[str, Any]":
            return isinstance(value, dict)
    return False

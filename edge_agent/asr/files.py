"""The files of a CTranslate2 Whisper folder: opened, and judged before they can do harm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_agent.asr.trim import ALL, open_trimmed
from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

CONVERT = "convert a Whisper model with `ct2-transformers-converter --copy_files tokenizer.json`, and copy it whole"
CONFIG = ("suppress_ids", "suppress_ids_begin", "lang_ids")
"""What CTranslate2 writes to the config.json of a Whisper model, and of no other."""


def open_model(folder: Path, threads: int, compute_type: str, workers: int = 1, tokens: str = ALL) -> Any:
    """Load the weights as a `ctranslate2.models.Whisper` on the CPU, once for all `workers`.

    Tokens that it can't write, or by its card need not, are left out (`trim`), which shows in its speed alone.

    Raises:
        ModelError: config.json or model.bin is damaged or not of a Whisper model, or the arithmetic isn't supported.
    """
    import ctranslate2

    config = _json(folder / "config.json")
    if not isinstance(config, dict) or not all(key in config for key in CONFIG):
        raise ModelError("not the configuration of a Whisper model", where=str(folder / "config.json"), remedy=CONVERT)
    how: dict[str, Any] = {
        "device": "cpu",
        "compute_type": compute_type,
        "inter_threads": workers,
        "intra_threads": threads,
    }
    try:
        trimmed = open_trimmed(folder, _vocabulary(folder), config, tokens, **how)
        return trimmed or ctranslate2.models.Whisper(str(folder), **how)
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the weights can't be loaded: {error}",
            where=str(folder / "model.bin"),
            remedy="copy the model again; `compute_type` in [model] must be one this CPU can do",
        ) from error


def open_tokenizer(folder: Path, language: str) -> Any:
    """Load the tokenizer as a `faster_whisper.tokenizer.Tokenizer` set to transcribe `language`.

    Raises:
        ModelError: it is missing or damaged, belongs to another vocabulary than the weights, or lacks the language.
    """
    import tokenizers
    from faster_whisper.tokenizer import Tokenizer

    file = folder / "tokenizer.json"
    try:
        raw = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for whatever it meets
        raise ModelError(f"the tokenizer can't be read: {error}", where=str(file), remedy=CONVERT) from error
    vocabulary = _vocabulary(folder)
    for token in (
        "<|endoftext|>",
        "<|startoftranscript|>",
        f"<|{language}|>",
        "<|transcribe|>",
        "<|startofprev|>",
        "<|notimestamps|>",
    ):
        index = raw.token_to_id(token)
        if index is None:
            raise ModelError(
                f"the model doesn't know {token}", where=str(file), remedy="take a multilingual Whisper model"
            )
        if index >= len(vocabulary) or vocabulary[index] != token:
            raise ModelError(
                f"tokenizer and vocabulary don't belong together: they disagree on {token}",
                where=str(folder),
                remedy=CONVERT,
            )
    return Tokenizer(raw, multilingual=True, task="transcribe", language=language)


def _vocabulary(folder: Path) -> list[str]:
    """Read the tokens in the order of their ids; older conversions have a text file with one a line."""
    older = folder / "vocabulary.txt"
    if older.is_file():
        return older.read_text(encoding="utf-8").split("\n")
    vocabulary = _json(folder / "vocabulary.json")
    if not isinstance(vocabulary, list):
        raise ModelError("not a list of tokens", where=str(folder / "vocabulary.json"), remedy=CONVERT)
    return vocabulary


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"the file can't be read: {error}", where=str(file), remedy=CONVERT) from error

"""Which of Whisper's 51,865 tokens the model learns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from train_recognizer.grammar import TOP

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tokenizers import Tokenizer

END, START, ZH, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS, ZERO = (
    50257,
    50258,
    50260,
    50359,
    50361,
    50362,
    50363,
    50364,
)
PAD = 220
"""A blank; it fills the slot of the prompt up."""
SLOT = 64
"""Tokens of the prompt, so that the start of the transcript stands at the same place for every utterance."""
TIME_STEP = 5
"""Time stamps are learned in steps of 0.1 s (five of Whisper's 0.02 s)."""
SOURCE = TOP / "models" / "zh-starter"
"""Where the tokenizer lies: made from Whisper's public vocabulary (openai-whisper, MIT)."""


def open_tokenizer(folder: Path = SOURCE) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def special() -> list[int]:
    """Return the special tokens that are learned."""
    return [END, START, ZH, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS, *range(ZERO, ZERO + 1501, TIME_STEP)]


def collect(tokenizer: Tokenizer, lines: Iterable[str], words: Iterable[str], characters: Iterable[str]) -> list[int]:
    """Return the ids of every token that lines, words and characters need, with the special ones."""
    found: set[int] = {PAD}
    pieces = [
        *words,
        *(" " + w for w in words),
        *(f"{before}{c}" for c in characters for before in ("", " ", "，", "、")),
    ]
    pieces += [before + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,、 。？！.?" for before in ("", " ")]
    for encoded in tokenizer.encode_batch([*lines, *pieces], add_special_tokens=False):
        found.update(encoded.ids)
    return sorted(found) + special()


def needed(tokenizer: Tokenizer, texts: list[str]) -> set[int]:
    """Return the ids of the tokens of texts, at the start of a line, after a blank and in a list of hotwords."""
    lines = [before + text for text in texts for before in ("", " ", "、")]
    return {token for encoded in tokenizer.encode_batch(lines, add_special_tokens=False) for token in encoded.ids}


def write(file: Path, ids: list[int]) -> None:
    file.write_text(json.dumps(ids))


def slot(tokenizer: Tokenizer, terms: list[str]) -> list[int]:
    """Return the prompt of a list of terms: exactly `SLOT` tokens, the terms at its end, whole terms only."""
    room = SLOT - 1
    kept: list[str] = []
    for term in terms:
        if len(tokenizer.encode(" " + "、".join([*kept, term]), add_special_tokens=False).ids) <= room:
            kept.append(term)
    ids = tokenizer.encode(" " + "、".join(kept), add_special_tokens=False).ids if kept else []
    return [PREVIOUS, *[PAD] * (room - len(ids)), *ids]

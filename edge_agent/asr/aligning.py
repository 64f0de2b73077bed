"""The decoder made to write a given text: how likely that is, and when each character of it was said.

`Whisper.align` forces a text on an utterance's own encoding (teacher forcing) and lays its tokens along the audio by
the decoder's attention (dynamic time warping). So two readings can be compared, whichever model it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.asr.spotting import Terms
    from edge_agent.types import Hypothesis

MOST = 3
"""So many readings of an utterance are weighed, the likeliest by its text first."""
_FRAME_MS = 20
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Aligned:
    """A text on an utterance: the logarithms of its tokens' probabilities added up, their number, and its times.

    `times_ms` are of each character, in ms since the utterance began; `chances` are the logarithms of the probabilities
    of their tokens. Both are empty where tokens give another text back.
    """

    total: float
    tokens: int
    times_ms: tuple[tuple[int, int], ...]
    chances: tuple[float, ...] = ()


def align(model: Any, tokenizer: Any, states: NDArray[np.float32], frames: int, texts: Sequence[str]) -> list[Aligned]:
    """Write texts on the encoding of one utterance, of shape (1, bucket, width); `frames` of 10 ms are speech.

    A text without tokens is as unlikely as can be.
    """
    import ctranslate2

    tokens = [tokenizer.encode(text) for text in texts]
    some = [index for index, one in enumerate(tokens) if one]
    found = [Aligned(-math.inf, 0, ())] * len(texts)
    if not some:
        return found
    repeated = ctranslate2.StorageView.from_array(np.repeat(states, len(some), axis=0))
    results = model.align(repeated, tokenizer.sot_sequence, [tokens[index] for index in some], [frames] * len(some))
    for index, result in zip(some, results, strict=True):
        chances = np.maximum(np.array(result.text_token_probs, np.float64), _LEAST)
        logs = np.log(chances)
        pieces = _pieces(tokenizer, tokens[index], texts[index])
        found[index] = Aligned(
            float(logs.sum()),
            len(tokens[index]),
            _times_ms(pieces, result.alignments),
            tuple(float(logs[begin:end].mean()) for begin, end, count in pieces for _ in range(count)),
        )
    return found


def weighed(
    model: Any, tokenizer: Any, states: NDArray[np.float32], frames: int, hypothesis: Hypothesis, terms: Terms
) -> Hypothesis:
    """Return a hypothesis with its times and with the readings that the decoder likes better; the model as in `align`.

    It is asked only where the text hints at terms or has one: each reading costs as much as a line of text.
    """
    doubts = terms.doubts(hypothesis.text, MOST)[:MOST]
    if not doubts and not terms.mentions(hypothesis.text):
        return hypothesis
    text = hypothesis.text
    others = [text[: one.start] + one.put + text[one.end :] for one in doubts]
    own, *rest = align(model, tokenizer, states, frames, [text, *others])
    readings = tuple(
        replace(one, evidence=other.total - own.total)
        for one, other in zip(doubts, rest, strict=True)
        if other.total > own.total
    )
    return replace(hypothesis, readings=readings, times_ms=own.times_ms)


def _pieces(tokenizer: Any, tokens: Sequence[int], text: str) -> list[tuple[int, int, int]]:
    """Return the tokens that make whole characters together: first, one after the last, and how many characters."""
    pieces: list[tuple[int, int, int]] = []
    done = begun = 0
    written = ""
    for index in range(len(tokens)):
        written = tokenizer.decode(tokens[: index + 1])
        if written.endswith("\ufffd") and index + 1 < len(tokens):
            continue
        pieces.append((begun, index + 1, len(written) - done))
        done, begun = len(written), index + 1
    return pieces if written == text else []


def _times_ms(pieces: Sequence[tuple[int, int, int]], path: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the times of a text's characters; those of one token share its time evenly."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for token, frame in path:
        first.setdefault(token, frame)
        last[token] = frame
    times: list[tuple[int, int]] = []
    for begin, end, count in pieces:
        before = times[-1][1] if times else 0
        start = max(before, first.get(begin, 0) * _FRAME_MS)
        stop = max(start, (last.get(end - 1, first.get(begin, 0)) + 1) * _FRAME_MS)
        edges = [start + (stop - start) * at // max(1, count) for at in range(count + 1)]
        times += pairwise(edges)
    return tuple(times)

"""Find out what a foreign model may be trusted with, on the user's own audio: shorter context, and prompts.

There need be no references: the question is whether a shorter context gives the text that the whole window of 30 s
gives, which every Whisper model was trained for; and whether the model, told a term, writes it where the dictionary had
to correct what it wrote untold, and writes nothing it was told where it wasn't said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_agent.asr.card import WINDOW_S
from edge_agent.asr.engine import Engine
from edge_agent.asr.score import Score, count, score
from edge_agent.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_agent.types import Samples

CANDIDATES = (6, 10, 15)
MOST_DIFFERENT = 0.01
"""So many characters in one may differ from those at 30 s: no more than batches and rounding change."""
FEWEST = 8
"""From fewer utterances nothing is concluded."""
SLOT = 64
"""Tokens of the prompt slot that is tried: some ten terms."""
_FEWEST_TERMS = 3
_MOST_TOLD = 10
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Compared:
    """A model with less beside the same with all: of `clips` utterances `same` have the same text.

    `difference` is the CER of the one against the other, `seconds` what an utterance takes, `whole_s` what it takes
    with all, one thread each.
    """

    clips: int
    same: int
    difference: float | None
    seconds: float
    whole_s: float

    @property
    def safe(self) -> bool:
        """Whether the model may be run with so little."""
        return self.clips >= FEWEST and self.difference is not None and self.difference <= MOST_DIFFERENT


@dataclass(frozen=True, slots=True)
class Context(Compared):
    """A length of context, against the whole of 30 s."""

    bucket_s: int


class Vocabulary(Compared):
    """The tokens that a Chinese transcript needs, against all of them, both at 30 s."""


@dataclass(frozen=True, slots=True)
class Prompting:
    """Of `terms` that are said, `untold` are written without a prompt and `told` with it.

    `invented` were told and written where they were not said; `difference` is the CER that prompts with wrong terms
    make.
    """

    terms: int
    untold: int
    told: int
    invented: int
    difference: float | None

    @property
    def helps(self) -> bool:
        """Whether the model should be told hotwords."""
        return (
            self.terms >= _FEWEST_TERMS
            and self.told > self.untold
            and not self.invented
            and self.difference is not None
            and self.difference <= MOST_DIFFERENT
        )


def contexts(engine: Engine, clips: Sequence[Samples], beat: Callable[[], None] = lambda: None) -> Iterator[Context]:
    """Try every shorter context on the utterances that it holds, and on pieces of speech that fill it to the brim.

    `clips` are float32 of shape (n,) at 16 kHz, of 30 s at most. `beat` is called after each step.
    """
    whole = engine.with_context(WINDOW_S)
    at_whole, whole_s = _texts(whole, clips)
    for bucket_s in CANDIDATES:
        places = [place for place, clip in enumerate(clips) if len(clip) <= bucket_s * SAMPLE_RATE_HZ]
        full = list(_full(clips, bucket_s))
        fitting = [*(clips[place] for place in places), *full]
        long = [*(at_whole[place] for place in places), *_texts(whole, full)[0]]
        beat()
        short, seconds = _texts(engine.with_context(bucket_s), fitting)
        beat()
        same = sum(one == other for one, other in zip(long, short, strict=True))
        yield Context(len(fitting), same, _difference(long, short), seconds, whole_s, bucket_s)


def vocabulary(whole: Engine, fewer: Engine, clips: Sequence[Samples]) -> Vocabulary:
    """Try whether a model writes with fewer tokens what it writes with all of them, at 30 s."""
    long, whole_s = _texts(whole.with_context(WINDOW_S), clips)
    short, seconds = _texts(fewer.with_context(WINDOW_S), clips)
    same = sum(one == other for one, other in zip(long, short, strict=True))
    return Vocabulary(len(clips), same, _difference(long, short), seconds, whole_s)


def prompting(
    engine: Engine, clips: Sequence[Samples], find: Callable[[str], Sequence[str]], terms: Sequence[str]
) -> Prompting:
    """Try whether the model makes use of being told terms. `find` names the dictionary's terms in a text."""
    untold, _ = _texts(engine, clips)
    said = [list(dict.fromkeys(find(text))) for text in untold]
    taught = Engine(
        replace(engine.card, prompt_tokens=SLOT), engine._model, engine._tokenizer, engine._beam, engine._rescorer
    )
    others = [[term for term in terms if term not in found][: _MOST_TOLD - 1] for found in said]
    right, _ = _texts(taught, clips, [[*found, *more][:_MOST_TOLD] for found, more in zip(said, others, strict=True)])
    wrong, _ = _texts(taught, clips, others)
    return Prompting(
        terms=sum(map(len, said)),
        untold=_written(said, untold),
        told=_written(said, right),
        invented=_written(others, wrong),
        difference=_difference(untold, wrong),
    )


def _written(terms: list[list[str]], texts: list[str]) -> int:
    return sum(bool(count(term, text)) for found, text in zip(terms, texts, strict=True) for term in found)


def _full(clips: Sequence[Samples], bucket_s: int) -> Iterator[Samples]:
    """Join neighbouring utterances to a few pieces that fill a context: there stock models fail first."""
    import numpy as np

    joined = np.concatenate([*clips, np.zeros(0, np.float32)])
    length = bucket_s * SAMPLE_RATE_HZ - SAMPLE_RATE_HZ // 20
    for number in range(min(4, len(clips), len(joined) // length)):
        yield joined[number * length : (number + 1) * length]


def _difference(reference: list[str], texts: list[str]) -> float | None:
    return sum(map(score, reference, texts), Score()).cer


def _texts(engine: Engine, clips: Sequence[Samples], told: Any = None) -> tuple[list[str], float]:
    """Recognize, and say how many seconds an utterance took."""
    texts: list[str] = []
    began = time.perf_counter()
    for start in range(0, len(clips), _BATCH):
        part = clips[start : start + _BATCH]
        texts += [one.text for one in engine.transcribe(part, told[start : start + _BATCH] if told else None)]
    return texts, (time.perf_counter() - began) / max(1, len(clips))

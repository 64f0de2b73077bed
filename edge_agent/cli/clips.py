"""Recordings with what is said in them: read from a folder, recognized as the appliance does, and scored."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent import rooms
from edge_agent.asr.score import Score, count, score
from edge_agent.audio.decode import ABSENT
from edge_agent.cli import script
from edge_agent.errors import AudioError, TranscriptError
from edge_agent.evidence import without_lead
from edge_agent.pipeline import within_context
from edge_agent.types import SAMPLE_RATE_HZ, Call, Chunk, Gap, Speaker
from edge_agent.vad import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edge_agent.asr import Engine
    from edge_agent.config import Config
    from edge_agent.types import Hypothesis, Samples

_EXAMPLE = '{"audio": "a.wav", "text": "太贵了"}'


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and its reference; `name` is the file as the reference names it, `where` the file and line of it.

    An empty `text` says that nothing is said. `terms` occur in the text, `hotwords` are what the recognizer may be
    told.
    """

    set: str
    name: str
    audio: Path
    text: str
    terms: tuple[str, ...]
    hotwords: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class Utterances:
    """The utterances of a clip, each with what was recognized; `length` is that of the clip, in samples."""

    clip: Clip
    samples: list[Samples]
    hypotheses: list[Hypothesis]
    length: int
    spent_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What was recognized in a clip, and its share of the time that took; `told` if hotwords were offered."""

    clip: Clip
    text: str
    score: Score
    audio_s: float
    recognition_s: float
    told: bool


@dataclass(frozen=True, slots=True)
class Sum:
    """The sums over the clips of a set, or over all; `told` counts those that hotwords were offered for."""

    name: str
    score: Score
    audio_s: float
    recognition_s: float
    told: int

    @classmethod
    def over(cls, name: str, heard: Sequence[Heard]) -> Sum:
        """Add up."""
        return cls(
            name,
            sum((one.score for one in heard), Score()),
            sum(one.audio_s for one in heard),
            sum(one.recognition_s for one in heard),
            sum(one.told for one in heard),
        )

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of recognition for a second of audio; None if there is no audio."""
        return self.recognition_s / self.audio_s if self.audio_s else None


def read(folder: Path, limit: int | None = None) -> dict[str, list[Clip]]:
    """Read the references of a folder (`*.jsonl`) by sets; of each set at most the first `limit`.

    Raises:
        TranscriptError: the folder, its references, or what one of them needs is missing or wrong; names file and line.
        AudioError: a recording is missing.
    """
    if not folder.is_dir():
        raise TranscriptError(
            "no such folder", where=str(folder), remedy="give a folder with recordings and their references in *.jsonl"
        )
    sets: dict[str, list[Clip]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for where, _, value in script.objects(file, "recording", _EXAMPLE):
            clip = _clip(value, file, where)
            sets.setdefault(clip.set, []).append(clip)
    if not sets:
        raise TranscriptError(
            "the folder has no references",
            where=str(folder),
            remedy=f"write a file NAME.jsonl in it, with a line for each recording: {_EXAMPLE}",
        )
    return {name: clips[:limit] for name, clips in sets.items()}


def recognize(clips: Iterable[Clip], engine: Engine, config: Config, *, tell: bool) -> Iterator[Heard]:
    """Recognize clips, in the order given (see `hear`). With `tell`, the hotwords of a clip are offered.

    Raises:
        AudioError: a recording can't be decoded, or is damaged; names the line of its reference.
    """
    for one in hear(clips, engine, config, tell=tell):
        # A blank keeps the number that ends one utterance from the number that begins the next.
        text = " ".join(hypothesis.text for hypothesis in one.hypotheses if hypothesis.text)
        told = tell and engine.takes_hotwords and bool(one.clip.hotwords)
        found = score(one.clip.text, text, one.clip.terms, one.clip.hotwords)
        yield Heard(one.clip, text, found, one.length / SAMPLE_RATE_HZ, one.spent_s, told)


def hear(clips: Iterable[Clip], engine: Engine, config: Config, *, tell: bool = False) -> Iterator[Utterances]:
    """Recognize clips, in the order given: each as one utterance, or cut into utterances if it is too long for that.

    Several channels are mixed to one. With `tell`, the hotwords of a clip are offered for each of its utterances.

    Raises:
        AudioError: a recording can't be decoded, or is damaged; names the line of its reference.
    """
    waiting: list[tuple[Clip, Samples]] = []
    for clip in clips:
        call, chunks = _decode(clip, config)
        end = chunks[-1].start + chunks[-1].samples.shape[1] if chunks else 0
        if end <= engine.buckets[-1] * SAMPLE_RATE_HZ:
            waiting.append((clip, _joined(chunks, end)))
            if len(waiting) < config.model.batch:
                continue
        yield from _whole(waiting, engine, tell=tell)
        waiting = []
        if end > engine.buckets[-1] * SAMPLE_RATE_HZ:
            yield _in_utterances(clip, call, chunks, engine, config, tell=tell)
    yield from _whole(waiting, engine, tell=tell)


def warm_up(engine: Engine) -> None:
    """Recognize a second of noise: the first call takes longer than those after it."""
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ)
    engine.transcribe([(0.1 * noise).astype(np.float32)])


def _clip(value: dict[str, Any], file: Path, where: str) -> Clip:
    texts = {"set": file.stem, **value}
    for key in ("audio", "text", "set"):
        if not isinstance(texts.get(key), str):
            raise TranscriptError(
                f"`{key}` is {texts[key]!r}" if key in texts else f"a recording without `{key}`",
                where=where,
                remedy=f"write the line as {_EXAMPLE}; where nothing is said, the text is empty",
            )
    lists = {"terms": [], "hotwords": [], **value}
    for key in ("terms", "hotwords"):
        if not isinstance(lists[key], list) or not all(isinstance(term, str) for term in lists[key]):
            raise TranscriptError(f"`{key}` is {lists[key]!r}", where=where, remedy='write it as ["GMP认证", "返点"]')
    for term in lists["terms"]:
        if not count(term, texts["text"]):
            raise TranscriptError(
                f"the term {term!r} doesn't occur in `text`",
                where=where,
                remedy="list in `terms` what is said, and in `hotwords` what the recognizer may be told",
            )
    audio = file.parent / texts["audio"]
    if not audio.is_file():
        raise AudioError(
            "no such file", where=f"{where}: {audio}", remedy="`audio` counts from the folder of this file"
        )
    return Clip(
        texts["set"], texts["audio"], audio, texts["text"], tuple(lists["terms"]), tuple(lists["hotwords"]), where
    )


def _decode(clip: Clip, config: Config) -> tuple[Call, list[Chunk]]:
    """Return a recording as a call with one channel."""
    try:
        source = rooms.open_file(config, clip.audio, [Speaker.UNKNOWN])
        chunks = []
        for item in source:
            if isinstance(item, Chunk):
                chunks.append(replace(item, samples=item.samples.mean(axis=0, keepdims=True)))
            elif item.reason != ABSENT:
                raise _damaged(clip, item)
    except AudioError as error:
        raise AudioError(error.what, where=f"{clip.where}: {clip.audio}", remedy=error.remedy) from error
    return replace(source.call, speakers=(Speaker.UNKNOWN,)), chunks


def _damaged(clip: Clip, gap: Gap) -> AudioError:
    return AudioError(
        f"{gap.reason} ({gap.start_ms} to {gap.end_ms} ms)",
        where=str(clip.audio),
        remedy="copy or record it again: what isn't heard can't be held against a reference",
    )


def _joined(chunks: list[Chunk], end: int) -> Samples:
    """Return the audio up to the sample `end`, with zeros where there is none."""
    samples = np.zeros(end, np.float32)
    for chunk in chunks:
        samples[chunk.start : chunk.start + chunk.samples.shape[1]] = chunk.samples[0]
    return samples


def _whole(clips: list[tuple[Clip, Samples]], engine: Engine, *, tell: bool) -> Iterator[Utterances]:
    """Recognize clips in one call, each as one utterance."""
    if not clips:
        return
    hotwords = [clip.hotwords for clip, _ in clips] if tell else None
    began = time.perf_counter()
    hypotheses = engine.transcribe([samples for _, samples in clips], hotwords)
    share_s = (time.perf_counter() - began) / len(clips)
    for (clip, samples), hypothesis in zip(clips, hypotheses, strict=True):
        yield Utterances(clip, [samples], [hypothesis], len(samples), share_s)


def _in_utterances(
    clip: Clip, call: Call, chunks: list[Chunk], engine: Engine, config: Config, *, tell: bool
) -> Utterances:
    """Recognize a long recording as a call is: cut by the voice activity, several utterances at a time."""
    endpoint = rooms.corridor_settings(config).endpoint
    segmenter = Segmenter(call, within_context(endpoint, engine.buckets[-1]))
    utterances = [utterance for chunk in chunks for utterance in segmenter.feed(chunk)]
    utterances += segmenter.flush()
    heard: list[Hypothesis] = []
    began = time.perf_counter()
    for start in range(0, len(utterances), config.model.batch):
        batch = utterances[start : start + config.model.batch]
        hotwords = [clip.hotwords] * len(batch) if tell else None
        found = engine.transcribe([utterance.samples for utterance in batch], hotwords)
        for utterance, hypothesis in zip(batch, found, strict=True):
            heard.append(without_lead(heard[-1].text if heard else "", hypothesis, utterance))
    spent_s = time.perf_counter() - began
    length = chunks[-1].start + chunks[-1].samples.shape[1]
    return Utterances(clip, [utterance.samples for utterance in utterances], heard, length, spent_s)

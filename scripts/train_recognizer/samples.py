"""Training samples out of utterances: joined, padded, masked, prompted, and the tokens that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from train_recognizer import vocabulary
from train_recognizer.features import FRAMES_PER_SECOND, MELS, normalised
from train_recognizer.vocabulary import END, NO_SPEECH, NO_TIMESTAMPS, PREVIOUS, START, TIME_STEP, TRANSCRIBE, ZERO, ZH

if TYPE_CHECKING:
    from random import Random

    from numpy.random import Generator
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from train_recognizer.shards import Utterance

IGNORED = -100
WEIGHTS = {"，": 1.5, "、": 1.0, "。": 0.0, "？": 0.0, "！": 0.0}
LONGEST = 3000
"""Frames of Whisper's window."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence of a sample; `start` and `end` in frames."""

    text: str
    terms: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Features of shape (frames, 80), normalised; no segments if nothing is said."""

    features: NDArray[np.float32]
    segments: tuple[Segment, ...]
    units: tuple[int, ...]


@dataclass(slots=True)
class Target:
    """What the decoder reads and should write next; `places` is where each token is heard (states; -1: nowhere)."""

    tokens: list[int]
    wanted: list[int]
    places: list[float]


@dataclass
class Maker:
    """Draws samples and targets. `pool` grows while speech is still being made."""

    tokenizer: Tokenizer
    ids: list[int]
    random: Random
    rs: Generator
    pool: list[Utterance] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    joined: float = 0.2
    long: float = 0.02
    silent: float = 0.04
    prompted: float = 0.3

    def __post_init__(self) -> None:
        self.row = {token: row for row, token in enumerate(self.ids)}
        self._order: list[int] = []

    def add(self, utterances: list[Utterance]) -> None:
        """Put utterances into the pool."""
        self.pool += utterances
        self.terms += [t for u in utterances for t in u.terms if 2 <= len(t) <= 8]
        self._order = []

    def utterance(self) -> Utterance:
        """Return the next utterance of a shuffled round through the pool."""
        if not self._order:
            self._order = self.random.sample(range(len(self.pool)), len(self.pool))
        return self.pool[self._order.pop()]

    def sample(self) -> Sample:
        """Draw a sample: mostly one utterance, some joined, some without speech."""
        r = self.random
        if r.random() < self.silent:
            return Sample(self._masked(normalised(self._no_speech())), (), ())
        kind = r.random()
        count, limit = 1, 1500
        if kind < self.long:
            count, limit = r.randint(4, 10), LONGEST
        elif kind < self.joined:
            count = r.randint(2, 4)
        parts: list[NDArray[np.float32]] = []
        segments: list[Segment] = []
        units: list[int] = []
        at = 0
        for _ in range(count):
            u = self.utterance()
            if parts and at + len(u.energies) > limit - 130:
                break
            if parts and r.random() < 0.7:  # a pause: the end of the last utterance, its frames shuffled
                tail = parts[-1][-8:]
                pause = tail[self.rs.integers(len(tail), size=r.randint(1, 120))]
                parts.append(pause)
                at += len(pause)
            segments.append(Segment(u.text, u.terms, at + u.start, at + u.end))
            parts.append(u.energies.astype(np.float32))
            at += len(u.energies)
            units += u.units
        energies = np.concatenate(parts)
        features = normalised(energies, r.uniform(0, 0.8) if r.random() < 0.4 else 0.0)
        return Sample(self._masked(features + np.float32(self.rs.uniform(-0.05, 0.05))), tuple(segments), tuple(units))

    def _no_speech(self) -> NDArray[np.float32]:
        """Return log-mel energies of something that isn't speech: noise, silence, tones, clicks, music-like sweeps."""
        rs, r = self.rs, self.random
        n = r.randint(30, 1000)
        floor = rs.uniform(-6, 1) + np.cumsum(rs.normal(0, 0.08, MELS))
        x = floor[None] + rs.normal(0, 0.35, (n, MELS))
        kind = r.random()
        if kind < 0.12:
            x = np.full((n, MELS), -10.0)
        elif kind < 0.65:
            on = np.ones(n)
            if kind < 0.4:  # ringback, busy and dialling tones come and go
                period, share = r.randint(20, 500), r.uniform(0.15, 0.8)
                on = ((np.arange(n) + r.randint(0, period)) % period < share * period).astype(float)
            for _ in range(r.randint(1, 5)):
                line = rs.uniform(2, 60) + np.cumsum(rs.normal(0, r.choice([0.0, 0.0, 0.15, 0.5]), n))
                if kind > 0.5:  # notes of a melody
                    line = line + np.repeat(rs.uniform(-8, 8, n // 20 + 1), 20)[:n]
                peak = np.exp(-((np.arange(MELS)[None] - line[:, None]) ** 2) / (2 * rs.uniform(0.6, 2.0) ** 2))
                x = np.maximum(x, floor.max() + rs.uniform(0.5, 4) * on[:, None] * peak - (1 - peak) * 9)
        elif kind < 0.8:
            for _ in range(r.randint(1, 12)):
                at = r.randrange(n)
                x[at : at + r.randint(1, 12)] += rs.uniform(1, 4)
        return x.astype(np.float32)

    def _masked(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blank out bands and moments (SpecAugment, Park et al. 2019) in six of ten."""
        r = self.random
        if r.random() < 0.6:
            features = features.copy()
            mean = features.mean()
            for _ in range(2):
                width = r.randint(0, 12)
                at = r.randrange(MELS - width)
                features[:, at : at + width] = mean
            for _ in range(len(features) // 200 + 1):
                width = r.randint(0, 14)
                at = r.randrange(max(1, len(features) - width))
                features[at : at + width] = mean
        return features.astype(np.float32)

    def targets(self, batch: list[tuple[Segment, ...]]) -> list[Target]:
        """Return the targets of a batch: all prompted or none, for a prompt makes every row of a batch longer."""
        prompted = self.random.random() < self.prompted
        return [self.target(segments, prompted) for segments in batch]

    def target(self, segments: tuple[Segment, ...], prompted: bool = False) -> Target:
        """Draw prompt and style (with time stamps or without) and return what the decoder should write."""
        r = self.random
        prompt = self._prompt(segments) if segments and prompted else []
        start = [self.row[t] for t in (*prompt, START, ZH, TRANSCRIBE)]
        timed = r.random() < 0.5
        text: list[int] = []
        places: list[float] = []
        for s in segments:
            tokens, shares = self._spread(s.text)
            first, last = s.start / 2, s.end / 2
            heard = [first + share * (last - first) for share in shares]
            text += [self._time(s.start), *tokens, self._time(s.end)] if timed else tokens
            places += [-1.0, *heard, -1.0] if timed else heard
        text.append(self.row[END])
        places.append(-1.0)
        if not timed:
            start.append(self.row[NO_TIMESTAMPS])
        tokens = start + text[:-1]
        wanted = [IGNORED] * (len(start) - 1) + text
        wanted[len(prompt)] = self.row[ZH if segments else NO_SPEECH]
        return Target(tokens, wanted, [-1.0] * (len(start) - 1) + places)

    def _spread(self, text: str) -> tuple[list[int], list[float]]:
        """Return the tokens of a text, and where each is said, as a share of its time: a syllable a character.

        A comma is a pause of about a syllable and a half; a mark at the end takes no time.
        """
        weights = [WEIGHTS.get(c, 1.0) for c in text]
        ends = np.concatenate([[0.0], np.cumsum(weights)])
        total = float(ends[-1]) or 1.0
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        tokens: list[int] = []
        places: list[float] = []
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if token in self.row:
                tokens.append(self.row[token])
                places.append(float(ends[start] + ends[end]) / 2 / total)
                continue
            for at in range(start, end):  # an acronym that no sentence had: letter by letter
                letter = self.tokenizer.encode(text[at], add_special_tokens=False).ids
                if len(letter) == 1 and letter[0] in self.row:
                    tokens.append(self.row[letter[0]])
                    places.append(float(ends[at] + ends[at + 1]) / 2 / total)
        return tokens, places

    def _time(self, frame: int) -> int:
        steps = round(frame / FRAMES_PER_SECOND * 10)
        return self.row[ZERO + TIME_STEP * min(300, max(0, steps))]

    def _prompt(self, segments: tuple[Segment, ...]) -> list[int]:
        """Draw a prompt: true terms and distractors in a slot, or as faster-whisper lays them out, or earlier text."""
        r = self.random
        if r.random() < 0.08:
            ids = self.tokenizer.encode(" " + r.choice(self.pool).text, add_special_tokens=False).ids
            return [PREVIOUS, *(t for t in ids if t in self.row)]
        terms = [t for s in segments for t in s.terms if r.random() < 0.85]
        if r.random() < 0.25:
            clause = r.choice(segments).text.strip("。？！")
            size = r.choice([2, 3, 3, 4])
            if len(clause) > size + 1:
                at = r.randrange(len(clause) - size)
                piece = clause[at : at + size]
                terms += [piece] if piece.isalnum() else []
        # Distractors are of the terms' kind, or the place of a term would tell which one is right.
        for _ in range(r.choice([0, 1, 2, 4, 6, 9, 9, 10])):
            if r.random() < 0.7 and self.terms:
                terms.append(r.choice(self.terms))
            else:
                other = r.choice(self.pool).text.strip("。？！")
                size = r.choice([2, 3, 4])
                at = r.randrange(max(1, len(other) - size))
                piece = other[at : at + size]
                terms += [piece] if piece.isalnum() and len(piece) > 1 else []
        if not terms:
            return []
        r.shuffle(terms)
        if r.random() < 0.75:
            ids = vocabulary.slot(self.tokenizer, terms)
        else:
            line = " " + r.choice([" ", "、", "，", ", ", ","]).join(terms)
            ids = [PREVIOUS, *self.tokenizer.encode(line, add_special_tokens=False).ids[:160]]
        return [t for t in ids if t in self.row]


def batches(samples: list[Sample], seconds: float, random: Random) -> list[list[Sample]]:
    """Return samples in batches of like length, each with at most so much audio, padding included; shuffled."""
    out: list[list[Sample]] = []
    current: list[Sample] = []
    for sample in sorted(samples, key=lambda s: len(s.features)):
        if current and (len(current) + 1) * len(sample.features) > seconds * FRAMES_PER_SECOND:
            out.append(current)
            current = []
        current.append(sample)
    if current:
        out.append(current)
    random.shuffle(out)
    return out

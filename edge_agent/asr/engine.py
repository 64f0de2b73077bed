"""The engine: text out of utterances, many at a time, with no more context than the model's card allows.

Stock faster-whisper pads every utterance to 30 s and recognizes one at a time. Here CTranslate2's model is called
directly: features are cut to the smallest checked bucket, and utterances of equal bucket share one call of encoder and
decoder. Features, prompt and suppressed tokens are faster-whisper's own: at 30 s the text is the same (`reference`).
Hotwords stand in a slot of fixed length (`prompt`), so that utterances with different ones share a call too. Where the
model's folder has a language model, a second pass writes what was heard anew (`rescore`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.asr.aligning import align, weighed
from edge_agent.asr.card import Card, verify
from edge_agent.asr.echo import echoed
from edge_agent.asr.files import open_model, open_tokenizer
from edge_agent.asr.level import levelled
from edge_agent.asr.prompt import slot
from edge_agent.asr.rescore import FILE as LANGUAGE
from edge_agent.asr.rescore import Rescorer
from edge_agent.asr.spotting import Spotter, times_ms
from edge_agent.asr.trim import Trimmed
from edge_agent.types import SAMPLE_RATE_HZ, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.asr.spotting import Terms
    from edge_agent.types import Reading, Samples

HOP = 160
SHORTEST = SAMPLE_RATE_HZ // 10
"""Shorter audio holds no syllable."""
SILENCE = Hypothesis("", 0.0, 1.0)
LONGEST_TEXT = 448
"""Positions of Whisper's decoder, prompt included."""


class Engine:
    """One model in memory. Only one thread may touch it: CTranslate2 runs its own `threads` underneath.

    `card` says what the model was checked for, `name` is what events carry, `buckets` are its lengths of context in
    seconds. Without a `rescorer` there is no second pass.
    """

    def __init__(
        self, card: Card, model: Any, tokenizer: Any, beam: int | None, rescorer: Rescorer | None = None
    ) -> None:
        from faster_whisper.feature_extractor import FeatureExtractor
        from faster_whisper.transcribe import get_suppressed_tokens

        self.card = card
        self.name = card.title
        self.buckets = card.buckets_s
        self._model = model
        self._tokenizer = tokenizer
        self._rescorer = rescorer
        self._features = FeatureExtractor(feature_size=model.n_mels)
        self._beam = beam or card.decoding.beam_size
        self._prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        self._terms: Callable[[], Terms] | None = None
        self._spotter: Spotter | None = None
        self._suppress = list(get_suppressed_tokens(tokenizer, [-1]))

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        threads: int = 2,
        compute_type: str = "int8",
        beam: int | None = None,
        rescore: bool = True,
        workers: int = 1,
        tokens: str | None = None,
    ) -> Engine:
        """Verify a model's folder and load it.

        Without a `beam` or `tokens`, the card's are taken; without `rescore`, a language model in the folder is passed
        over. So many `workers` may use the weights at once, each on `threads` and with an engine of its own
        (`sharing`).
        `compute_type` is one of CTranslate2's (`int8`, `int8_float32`, `float32`, `auto`).

        Raises:
            ModelError: the folder is missing, damaged, foreign, or not what its card says.
        """
        card = verify(folder)
        tokenizer = open_tokenizer(folder, card.language)
        rescorer = Rescorer.load(folder / LANGUAGE) if rescore and (folder / LANGUAGE).is_file() else None
        model = open_model(folder, threads, compute_type, workers, tokens or card.tokens)
        return cls(card, model, tokenizer, beam, rescorer)

    @property
    def trimmed(self) -> bool:
        """Whether the model was loaded without some of its tokens."""
        return isinstance(self._model, Trimmed)

    @property
    def takes_hotwords(self) -> bool:
        """Whether hotwords are of use: to a model that was taught to be told them, or to the second pass."""
        return self.card.prompt_tokens > 0 or self._rescorer is not None

    @property
    def takes_prompts(self) -> bool:
        """Whether the model was taught to be told hotwords before an utterance."""
        return self.card.prompt_tokens > 0

    def heed(self, terms: Callable[[], Terms] | None) -> None:
        """Listen from now on for terms in every utterance: `Hypothesis.readings` says what may have been said.

        `terms` gives the dictionary that is in force. Engines that share the model have terms of their own.
        """
        self._terms = terms

    def sharing(self, *, beam: int | None = None, rescore: bool = True) -> Engine:
        """Return an engine on the same weights: for another thread, or (with other arguments) for less effort."""
        return Engine(self.card, self._model, self._tokenizer, beam or self._beam, self._rescorer if rescore else None)

    def with_context(self, at_least_s: int) -> Engine:
        """Return an engine on the same model that gives no utterance less context than this, checked or not.

        `at_least_s` is within 1 to 30 seconds. It is for measuring; both engines belong to one thread.
        """
        longer = (bucket for bucket in self.card.buckets_s if bucket > at_least_s)
        card = replace(self.card, buckets_s=(at_least_s, *longer))
        return Engine(card, self._model, self._tokenizer, self._beam, self._rescorer)

    def transcribe(
        self, utterances: Sequence[Samples], hotwords: Sequence[Sequence[str] | None] | None = None
    ) -> list[Hypothesis]:
        """Recognize utterances; those of equal bucket share one call, so the caller bounds how many come at once.

        Each is float32 of shape (n,) at 16 kHz within [-1, 1]. `hotwords` names for each utterance the terms that may
        occur in it, the most important first; those with and those without hotwords don't share a call. The result is
        in the order given. Digital silence and less than 100 ms give empty text.

        Raises:
            ValueError: an utterance is longer than the largest bucket, isn't one-dimensional, or holds NaN or infinity;
                or there are hotwords for more or fewer utterances than there are.
        """
        slots = self._slots(len(utterances), hotwords)
        groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for index, samples in enumerate(utterances):
            if samples.ndim != 1 or not np.isfinite(samples).all():
                raise ValueError(f"utterance {index}: samples must be finite and of shape (n,), not {samples.shape}")
            bucket = self.card.bucket_s(len(samples) / SAMPLE_RATE_HZ)
            if len(samples) >= SHORTEST and samples.any():
                # CTranslate2 wants the transcript to begin at the same index for all of a call.
                groups[bucket, bool(slots[index])].append(index)
        found = [SILENCE] * len(utterances)
        for (bucket, _), indices in groups.items():
            frames = np.stack([self._frames(utterances[index], bucket) for index in indices])
            prompts = [[*slots[index], *self._prompt] for index in indices]
            encoded = self._encode(frames)
            found_here = self._decode(encoded, prompts, bucket)
            states = (
                np.array(encoded) if self._rescorer or self._terms or any(slots[index] for index in indices) else None
            )
            for row, index in enumerate(indices):
                told = (hotwords[index] or ()) if hotwords and slots[index] else ()
                if states is not None and told:
                    alone = states[row : row + 1]
                    if self._echoes(alone, utterances[index], found_here[row], told):
                        (found_here[row],) = self._decode(self._storage(alone), [self._prompt], bucket)
            if self._rescorer and states is not None:
                for row, index in enumerate(indices):
                    # The encoder halves the number of frames; what follows the utterance is zeros: nobody spoke there.
                    heard = states[row, : math.ceil(len(utterances[index]) // HOP / 2)]
                    told = (hotwords[index] or ()) if hotwords else ()
                    found_here[row] = self._rewritten(self._rescorer, heard, found_here[row], told)
            for row, index in enumerate(indices):
                found[index] = found_here[row]
                if self._terms and not self._rescorer and states is not None and found_here[row].text:
                    # No ear has heard the terms: the decoder judges what the text hints at.
                    alone, speech = states[row : row + 1], len(utterances[index]) // HOP
                    found[index] = weighed(self._model, self._tokenizer, alone, speech, found_here[row], self._terms())
        return found

    def _slots(self, count: int, hotwords: Sequence[Sequence[str] | None] | None) -> list[list[int]]:
        """Return the tokens before the prompt, for each of `count` utterances; none where there is nothing to tell."""
        if hotwords is None:
            return [[]] * count
        if len(hotwords) != count:
            raise ValueError(f"hotwords for {len(hotwords)} utterances, but there are {count}")
        if not self.card.prompt_tokens:
            return [[]] * count
        knows = self._model.knows if self.trimmed else lambda _: True
        return [slot(self._tokenizer, terms or (), self.card.prompt_tokens, knows) for terms in hotwords]

    def _frames(self, samples: Samples, bucket_s: int) -> NDArray[np.float32]:
        """Return log-mel frames of shape (mels, bucket), zero after the utterance.

        As in faster-whisper the loudest frame of the utterance sets the scale, the frame that its extractor appends is
        dropped, and zeros (not silence) fill the rest.
        """
        mel = self._features(levelled(samples, self.card.peak))[:, : len(samples) // HOP]
        frames = np.zeros((mel.shape[0], bucket_s * SAMPLE_RATE_HZ // HOP), dtype=np.float32)
        frames[:, : mel.shape[1]] = mel
        return frames

    def _encode(self, frames: NDArray[np.float32]) -> Any:
        """Return states of shape (utterances, frames / 2, width) of a batch of shape (utterances, mels, frames)."""
        import ctranslate2

        return self._model.encode(ctranslate2.StorageView.from_array(frames))

    @staticmethod
    def _storage(states: NDArray[np.float32]) -> Any:
        import ctranslate2

        return ctranslate2.StorageView.from_array(np.ascontiguousarray(states))

    def _echoes(
        self, states: NDArray[np.float32], samples: Samples, hypothesis: Hypothesis, told: Sequence[str]
    ) -> list[str]:
        """Return the hotwords that were written only because they were told."""
        written = [term for term in told if term in hypothesis.text]
        if not written:
            return []
        (alone,) = align(self._model, self._tokenizer, states, len(samples) // HOP, [hypothesis.text])
        return echoed(hypothesis.text, written, alone, samples)

    def _decode(self, encoded: Any, prompts: list[list[int]], bucket_s: int) -> list[Hypothesis]:
        """Run the decoder over a batch, with prompts of equal length."""
        how = self.card.decoding
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=self._beam,
            patience=how.patience,
            length_penalty=how.length_penalty,
            repetition_penalty=how.repetition_penalty,
            no_repeat_ngram_size=how.no_repeat_ngram_size,
            max_length=min(LONGEST_TEXT, len(prompts[0]) + bucket_s * how.tokens_per_second),
            suppress_tokens=self._suppress,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [self._hypothesis(result) for result in results]

    def _rewritten(
        self, rescorer: Rescorer, states: NDArray[np.float32], hypothesis: Hypothesis, hotwords: Sequence[str]
    ) -> Hypothesis:
        """Write anew what was heard; the confidence stays that of the first pass."""
        if not hypothesis.text:
            return hypothesis
        passage = rescorer.listen(states, hypothesis.text, hypothesis.confidence, self.card.rescoring)
        if passage is None:
            return hypothesis
        written = rescorer.write(passage, self.card.rescoring, hotwords)
        if not written.places:
            return hypothesis
        readings: tuple[Reading, ...] = ()
        if self._terms:
            terms = self._terms()
            if self._spotter is None or self._spotter.version != terms.version:
                self._spotter = Spotter(rescorer, terms)
            readings = self._spotter.listen(passage, written)
        return replace(hypothesis, text=written.text, readings=readings, times_ms=times_ms(written))

    def weigh(self, samples: Samples, texts: Sequence[str]) -> list[float]:
        """Return how likely each text is to be what an utterance says: the mean logarithm of its tokens' probabilities.

        The decoder is made to write each text on the utterance's encoding (`Whisper.align`). `samples` are float32 of
        shape (n,) at 16 kHz, as `transcribe` takes them; a text without tokens is as unlikely as can be.

        Raises:
            ValueError: the utterance is longer than the largest bucket.
        """
        if not any(texts):
            return [-math.inf] * len(texts)
        bucket = self.card.bucket_s(len(samples) / SAMPLE_RATE_HZ)
        states = np.array(self._encode(self._frames(samples, bucket)[None]))
        frames = min(len(samples) // HOP, bucket * SAMPLE_RATE_HZ // HOP)
        found = align(self._model, self._tokenizer, states, frames, texts)
        return [one.total / max(1, one.tokens) for one in found]

    def _hypothesis(self, result: Any) -> Hypothesis:
        tokens = result.sequences_ids[0]
        # The score is the sum of log-probabilities over length ** penalty; the end of text counts as a token too.
        total = result.scores[0] * len(tokens) ** self.card.decoding.length_penalty
        mean = total / (len(tokens) + 1)
        no_speech = float(result.no_speech_prob)
        gates = self.card.gates
        if no_speech > gates.no_speech and mean < gates.log_probability:
            return Hypothesis("", 0.0, no_speech)
        # A character whose bytes are incomplete decodes to U+FFFD, and punctuation alone says nothing.
        text = self._tokenizer.decode(tokens).replace("\ufffd", "").strip()
        if not any(character.isalnum() for character in text):
            return Hypothesis("", 0.0, no_speech)
        return Hypothesis(text, min(1.0, math.exp(mean)), no_speech)

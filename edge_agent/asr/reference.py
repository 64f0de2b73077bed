"""Stock faster-whisper on the same folder: what the engine's text is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faster_whisper import WhisperModel

from edge_agent.asr.card import Card
from edge_agent.asr.level import levelled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_agent.types import Samples


def reference_texts(
    folder: Path, utterances: Sequence[Samples], *, threads: int = 1, compute_type: str = "int8"
) -> list[str]:
    """Recognize utterances one at a time with `faster_whisper.WhisperModel`, padded to 30 s as it always does.

    Samples are as for `Engine.transcribe`; level, decoding options and gates are the card's; no timestamps,
    no earlier text as a prompt, and no second try at a higher temperature.
    """
    card = Card.load(folder)
    how = card.decoding
    model = WhisperModel(str(folder), device="cpu", compute_type=compute_type, cpu_threads=threads)
    texts = []
    for samples in utterances:
        segments, _ = model.transcribe(
            levelled(samples, card.peak),
            language=card.language,
            beam_size=how.beam_size,
            patience=how.patience,
            length_penalty=how.length_penalty,
            repetition_penalty=how.repetition_penalty,
            no_repeat_ngram_size=how.no_repeat_ngram_size,
            temperature=0.0,
            no_speech_threshold=card.gates.no_speech,
            log_prob_threshold=card.gates.log_probability,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        texts.append("".join(segment.text for segment in segments).strip())
    return texts

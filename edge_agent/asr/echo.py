"""Terms that a recognizer writes only because it was told of them.

A prompt that names terms makes a model write them where nobody said them: in noise, in silence, in place of what sounds
a little like one. So each told term that stands in a text is asked for without the prompt: the decoder must find it
likely on the audio alone, and there must be a voice where it stands. Otherwise the text is recognized anew, not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.asr.aligning import Aligned
    from edge_agent.types import Samples

NEVER = -5.0
"""Mean logarithm of its characters' probabilities without the prompt below which a term is an echo. It is low: a name
that the model never saw is unlikely too where it was said."""
UNLIKELY = -4.0
"""The same where the rest of the text is no likelier."""
QUIET = 0.05
"""Loudness (root mean square) of a term beside that of the loudest tenth of the utterance; less is no voice."""
_BLOCK = 320


def echoed(text: str, told: Sequence[str], aligned: Aligned, samples: Samples) -> list[str]:
    """Return the told terms in a text that were not said; `aligned` is the text on its audio, without a prompt."""
    if len(aligned.chances) != len(text):
        return []
    chances = np.array(aligned.chances)
    loud = _loudness(samples)
    echoes = []
    for term in told:
        at = text.find(term)
        while at >= 0 and term:
            span = slice(at, at + len(term))
            others = np.delete(chances, np.arange(span.start, span.stop))
            mean = float(chances[span].mean())
            rest = float(others.mean()) if len(others) else mean
            start, end = aligned.times_ms[at][0], aligned.times_ms[at + len(term) - 1][1]
            voice = loud[start * 16 // _BLOCK : max(start * 16 // _BLOCK + 1, end * 16 // _BLOCK)]
            unlikely = mean < NEVER or max(mean, rest) < UNLIKELY
            if unlikely or not len(voice) or voice.max() < QUIET:
                echoes.append(term)
                break
            at = text.find(term, span.stop)
    return echoes


def _loudness(samples: Samples) -> np.ndarray:
    """Return how loud each 20 ms are beside the loudest tenth."""
    whole = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    loud = np.sqrt((whole.astype(np.float64) ** 2).mean(axis=1)) if len(whole) else np.zeros(1)
    most = float(np.quantile(loud, 0.9))
    return np.asarray(loud / most if most > 0 else loud)

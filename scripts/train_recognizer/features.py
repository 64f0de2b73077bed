"""Whisper's features, before they are normalised, so that utterances can be joined afterwards."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MELS = 80
FRAMES_PER_SECOND = 100
FLOOR = 1e-10


@cache
def _filters() -> NDArray[np.float32]:
    from faster_whisper.feature_extractor import FeatureExtractor

    filters: NDArray[np.float32] = FeatureExtractor.get_mel_filters(16000, 400, MELS).astype(np.float32)
    return filters


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log10 mel energies of shape (frames, 80) of samples at 16 kHz, framed as faster-whisper frames them.

    Whisper (Radford et al. 2022, section 2.2) then clips to 8 below the loudest and scales: `normalised`.
    """
    from scipy import fft

    x = np.pad(samples.astype(np.float32), (0, 160))
    x = np.pad(x, (200, 200), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(x, 400)[::160] * np.hanning(401)[:-1].astype(np.float32)
    power = np.abs(fft.rfft(frames, axis=1)[:-1]) ** 2
    energies: NDArray[np.float32] = np.log10(np.maximum(power @ _filters().T, FLOOR))
    return energies


def normalised(energies: NDArray[np.float32], louder: float = 0.0) -> NDArray[np.float32]:
    """Return what Whisper's encoder is given; `louder` pretends that the window held something so much louder."""
    top = energies.max() + louder
    return (np.maximum(energies, top - 8.0) + 4.0) / 4.0

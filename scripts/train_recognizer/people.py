"""Words recorded by people, joined to sentences, so that the model meets human voices too.

The folder holds one file a word, `cmn-<hanzi>.mp3`, as the public project audio-cmn publishes them (CC BY-SA).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from scipy import signal

from train_recognizer.channel import RATE_HZ

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from numpy.typing import NDArray

    Wave = NDArray[np.float32]


def is_held_out(word: str) -> bool:
    """Say whether a word of two characters and more is kept for measuring: one in twelve, by its hash."""
    return len(word) > 1 and hashlib.sha256(word.encode()).digest()[0] < 22


def decode(file: Path) -> Wave:
    """Return the samples of a recording at 16 kHz, float32, silence at both ends cut off."""
    import av

    parts = []
    with av.open(str(file)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        for frame in container.decode(audio=0):
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
        parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    x = np.concatenate(parts).astype(np.float32)
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    return x[max(0, loud[0] - 400) : loud[-1] + 800] if len(loud) else x


class People:
    """The recorded words that training may use."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            file.stem.removeprefix("cmn-"): file
            for file in folder.glob("cmn-*.mp3")
            if not is_held_out(file.stem.removeprefix("cmn-"))
        }

    def say(self, text: str, random: Random) -> Wave | None:
        """Return a sentence of recorded words at 16 kHz, tempo and pitch varied; None if a word was not recorded."""
        import jieba

        words: list[str] = []
        for word in jieba.cut("".join(c if c.isalnum() else " " for c in text)):
            pieces = [word] if word in self._files or not word.strip() else list(word)
            if any(piece.strip() and piece not in self._files for piece in pieces):
                return None
            words += pieces
        speed = random.uniform(0.9, 1.35)
        parts: list[Wave] = []
        for word in words:
            if not word.strip():
                parts.append(np.zeros(int(random.uniform(0.1, 0.3) * RATE_HZ), np.float32))
                continue
            x = decode(self._files[word])
            x = signal.resample(x, max(1, int(len(x) / speed))).astype(np.float32)
            overlap = random.randint(0, 800)
            parts.append(x / (np.abs(x).max() + 1e-6) * random.uniform(0.5, 0.9))
            if overlap:
                parts.append(np.zeros(overlap, np.float32))
        return np.concatenate(parts) if parts else None

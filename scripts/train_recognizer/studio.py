"""Where tests are spoken: voices that training never used, plain channels, recordings with their references."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from scipy import signal

from train_recognizer.channel import RATE_HZ, Channel, Line, coloured, g711, to_16k
from train_recognizer.espeak import HELD_OUT, Espeak, pinyin
from train_recognizer.grammar import HERE

if TYPE_CHECKING:
    from pathlib import Path

PEAK = 0.6


class Studio:
    """Speaks, and writes recordings with their references."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out = out
        self.rs = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.espeak = Espeak()
        self.line = Line(self.rs)
        self._voice = 0
        out.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def say(self, text: str, voice: str | None = None) -> np.ndarray:
        """Return speech at 16 kHz; voices take turns."""
        if voice is None:
            voice = HELD_OUT[self._voice % len(HELD_OUT)]
            self._voice += 1
        rate = int(np.clip(self.rs.normal(195, 30), 140, 270))
        pitch, spread = int(self.rs.uniform(25, 75)), int(self.rs.uniform(30, 75))
        samples = self.espeak.say(pinyin(text), voice, rate=rate, pitch=pitch, spread=spread)
        return to_16k(samples, self.espeak.rate_hz)

    def add(self, name: str, samples: np.ndarray, text: str, **more: object) -> None:
        rows = self._rows.setdefault(name, [])
        file = f"{name}-{len(rows):03}.flac"
        soundfile.write(self.out / file, samples, RATE_HZ, subtype="PCM_16")
        rows.append({"audio": file, "text": text, "set": name, **more})

    def write(self) -> None:
        for name, rows in self._rows.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (self.out / f"{name}.jsonl").write_text(lines, encoding="utf-8")
            print(name, len(rows))

    def wide(self, speech: np.ndarray) -> np.ndarray:
        channel = Channel(snr_db=self.rs.uniform(30, 45))
        return self.line.carry(speech, channel, lead_s=0.2, trail_s=0.3, peak=PEAK)

    def telephone(self, speech: np.ndarray) -> np.ndarray:
        """A telephone at its plainest, by other means than training's: 300-3400 Hz, 15 dB of noise, 8 kHz, G.711."""
        x = np.pad(speech, (3200, 4800))
        band = signal.butter(4, (300, 3400), "bandpass", fs=RATE_HZ, output="sos")
        x = signal.sosfilt(band, x)
        narrow = signal.resample_poly(x, 1, 2)
        rms = np.sqrt(np.mean(speech**2))
        narrow = narrow + coloured(len(narrow), self.rs) * (rms * 10 ** (-15 / 20))
        narrow = g711((narrow * (0.5 / np.abs(narrow).max())).astype(np.float32), self.rs)
        wide: np.ndarray = signal.resample_poly(narrow, 2, 1).astype(np.float32)
        return wide

    def call(self, rows: list[list[str]], voices: dict[str, str]) -> tuple[np.ndarray, str]:
        """Return a conversation in one channel, half a second between turns, and what is said."""
        parts: list[np.ndarray] = []
        for speaker, text in rows:
            parts.append(self.say(text, voices[speaker]) * (1.0 if speaker == "agent" else 0.7))
            parts.append(np.zeros(int(self.rs.uniform(0.25, 0.9) * RATE_HZ), np.float32))
        x = np.concatenate(parts)
        x = x + coloured(len(x), self.rs) * np.float32(np.sqrt(np.mean(x**2)) * 10 ** (-30 / 20))
        return (x * (PEAK / np.abs(x).max())).astype(np.float32), "".join(text for _, text in rows)


def lines(name: str) -> list[str]:
    """Return the lines of a file of `evaluation/`."""
    return [line for line in (HERE / "evaluation" / name).read_text(encoding="utf-8").splitlines() if line]

"""Shards of training speech: features in one flat file, what was said in another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from train_recognizer.features import MELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Utterance:
    """`energies` are log-mel of shape (frames, 80) in float16; speech lies within `start` and `end` (frames)."""

    text: str
    terms: tuple[str, ...]
    units: tuple[int, ...]
    start: int
    end: int
    energies: NDArray[np.float16]


class Writer:
    """Writes a shard; what is written before a crash can be read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._features = path.with_suffix(".f16").open("wb")
        self._rows = path.with_suffix(".jsonl").open("w", encoding="utf-8")
        self._frames = 0
        self._count = 0

    def add(self, utterance: Utterance, **more: object) -> None:
        """Append an utterance, with whatever is worth knowing about it."""
        utterance.energies.astype(np.float16).tofile(self._features)
        row = {
            "text": utterance.text,
            "terms": utterance.terms,
            "units": utterance.units,
            "start": utterance.start,
            "end": utterance.end,
            "at": self._frames,
            "frames": len(utterance.energies),
            **more,
        }
        self._rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._frames += len(utterance.energies)
        self._count += 1
        if self._count % 50 == 0:
            self.flush()

    def flush(self) -> None:
        """Put what was added on disk."""
        self._features.flush()
        self._rows.flush()

    def close(self) -> None:
        """Put everything on disk and close."""
        self._features.close()
        self._rows.close()


def read(path: Path) -> Iterator[Utterance]:
    """Yield the utterances of a shard whose features are all on disk; the features are mapped, not loaded."""
    flat = np.memmap(path.with_suffix(".f16"), np.float16, "r")
    features = flat[: len(flat) // MELS * MELS].reshape(-1, MELS)
    with path.with_suffix(".jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                return
            row = json.loads(line)
            end = row["at"] + row["frames"]
            if end > len(features):
                return
            yield Utterance(
                row["text"],
                tuple(row["terms"]),
                tuple(row["units"]),
                row["start"],
                row["end"],
                features[row["at"] : end],
            )

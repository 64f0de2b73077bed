"""Loudness: utterances are brought to the level that a model was trained at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_agent.types import Samples


def levelled(samples: Samples, peak: float) -> Samples:
    """Return samples of shape (n,) scaled so that the loudest is `peak`; 0 leaves them as they are."""
    loudest = float(np.abs(samples).max(initial=0.0))
    if not peak or not loudest:
        return samples
    return samples * np.float32(peak / loudest)

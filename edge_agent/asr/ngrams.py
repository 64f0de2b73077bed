"""How likely a character is after the two before it: a table of n-grams, looked up many at a time.

The table is a back-off model (Katz 1987) with interpolated Kneser–Ney probabilities (Chen & Goodman 1999), made by
`scripts/train_recognizer/make_language`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BITS = 13
"""Bits of a character's number in the key of an n-gram, so at most 8,192 characters."""
START, END, UNKNOWN = 0, 1, 2
"""Numbers of the beginning and the end of a sentence, and of any character that the table lacks."""
_SHIFT = np.uint64(BITS)
_LAST = np.uint64((1 << BITS) - 1)
_CONTEXT = np.uint64((1 << 2 * BITS) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class NGrams:
    """Natural logarithms of probabilities; what is not listed is scored by its shorter context and a weight.

    `one` and `back_one` are of shape (characters,). `two` and `three` hold keys in ascending order: the numbers of the
    characters, `BITS` each, the first in the highest bits. A context is the key of two characters.
    """

    one: NDArray[np.float32]
    back_one: NDArray[np.float32]
    two: NDArray[np.uint64]
    log_two: NDArray[np.float32]
    back_two: NDArray[np.float32]
    three: NDArray[np.uint64]
    log_three: NDArray[np.float32]

    @classmethod
    def load(cls, file: Mapping[str, NDArray[np.generic]]) -> NGrams:
        """Take the table out of an opened `.npz`; keys are stored as differences, the rest in float16.

        Raises:
            KeyError: a part is missing.
            ValueError: the parts don't fit together.
        """
        two, three = (np.cumsum(file[name], dtype=np.uint64) for name in ("two", "three"))
        names = ("one", "back_one", "log_two", "back_two", "log_three")
        one, back_one, log_two, back_two, log_three = (file[name].astype(np.float32) for name in names)
        made = cls(one, back_one, two, log_two, back_two, three, log_three)
        sizes = len(one) == len(back_one), len(two) == len(log_two) == len(back_two), len(three) == len(log_three)
        if not all(sizes) or not len(two) or not len(three):
            raise ValueError("the parts of the n-grams do not fit together")
        return made

    def log_probabilities(
        self, contexts: NDArray[np.uint64], following: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        """Return the score of every character of `following` after every context, and the contexts that then hold.

        Both are of shape (contexts, following).
        """
        then = following.astype(np.uint64)
        last = contexts & _LAST
        pairs = (last[:, None] << _SHIFT) | then
        at, there = _find(self.two, pairs)
        shorter = self.back_one[last.astype(np.int64)][:, None] + self.one[following]
        score = np.where(there, self.log_two[at], shorter)
        at, there = _find(self.two, contexts)
        score += np.where(there, self.back_two[at], np.float32(0))[:, None]
        at, there = _find(self.three, (contexts[:, None] << _SHIFT) | then)
        return np.where(there, self.log_three[at], score), pairs & _CONTEXT


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where in ascending keys the wanted ones would stand, and whether they do."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted

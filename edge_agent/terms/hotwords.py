"""Which terms are likely now: the few that a recognizer is told of before it hears an utterance.

A prompt holds some thirty terms, a dictionary 100,000; told all at once none would help. What counts is the call so
far, on both channels: terms that were said (people come back to them), terms that what was heard hints at without
showing them, terms of the packs and categories that the calls of a source are about, and the admin's weight.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.terms.dictionary import Dictionary
    from edge_agent.types import TermHit

MOST = 24
"""Terms that are told at once; the slot takes fewer if they are long."""
_SAID, _HINTED, _ABOUT, _WEIGHT = 3.0, 2.0, 1.0, 0.2
_FADING = 0.85
"""What is left of a hit's or a hint's worth after each further utterance."""
_REMEMBERED = 24
"""Utterances that count."""
_STANDING = 512
"""So many terms of the highest weight are looked through for those that a source's calls are about."""


class Hotwords:
    """The terms that are likely now in one call; `about` names the packs and categories that it is about."""

    def __init__(self, about: Iterable[str] = ()) -> None:
        self._about = frozenset(about)
        self._heard: deque[tuple[frozenset[str], frozenset[str]]] = deque(maxlen=_REMEMBERED)
        self._standing: tuple[str, dict[str, float]] = "", {}

    def hear(self, heard: str, hits: Iterable[TermHit], dictionary: Dictionary) -> tuple[str, ...]:
        """Take in an utterance of either channel, and return the hotwords from now on, the likeliest first."""
        said = frozenset(hit.term for hit in hits)
        self._heard.append((said, frozenset(dictionary.nearby(heard)) - said))
        return self.now(dictionary)

    def now(self, dictionary: Dictionary) -> tuple[str, ...]:
        """Return the hotwords, the likeliest first."""
        worth = defaultdict(float, self._always(dictionary))
        for age, (said, hinted) in enumerate(reversed(self._heard)):
            for term in said:
                worth[term] += _SAID * _FADING**age
            for term in hinted:
                worth[term] += _HINTED * _FADING**age
        ranked = sorted(worth.items(), key=lambda entry: (-entry[1], entry[0]))
        return tuple(term for term, value in ranked if value > 0)[:MOST]

    def _always(self, dictionary: Dictionary) -> dict[str, float]:
        """Return what the heaviest terms, and those of the call's subjects, are worth whatever was said."""
        version, standing = self._standing
        if version != dictionary.version:
            weights = dictionary.entries.weight
            standing = {}
            for number in np.argsort(-weights, kind="stable")[:_STANDING].tolist():
                entry = dictionary.entries[number]
                about = bool(self._about & {entry.pack, entry.term.category})
                value = _ABOUT * about + _WEIGHT * entry.term.weight
                if value > 0 and (about or entry.term.weight > 0):
                    standing[entry.term.term] = value
            self._standing = dictionary.version, standing
        return standing

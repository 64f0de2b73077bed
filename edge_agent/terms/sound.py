"""Phonetic correction: where a text sounds like a term but is spelled otherwise.

Canonical syllables, one symbol each, are searched by an automaton (all syllables there) and by seeds (one of them
wrong, missing or too many). Every find is verified twice: a score says how close the hearing comes to the term, and log
odds hold what the term explains against what plain language does (`words`): an everyday phrase that happens to sound
like a term stays what it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.automaton import Automaton
from edge_agent.phonetics import HANZI
from edge_agent.terms import words
from edge_agent.terms.compiled import ragged
from edge_agent.terms.forms import INSISTED, SHORTEST
from edge_agent.terms.likeness import DROPPED, EVERYDAY, NEAR, OTHER, RIGHT, SLIP, Laid, lay, lay_at, near_symbols
from edge_agent.terms.pinyin import known_word, symbols
from edge_agent.terms.seeds import LONGEST, Seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_agent.terms.compiled import Parts
    from edge_agent.terms.forms import Forms
    from edge_agent.terms.normalise import Normalised

# The thresholds by number of syllables fall because more equal syllables are less likely to be chance.
_THRESHOLDS = {3: 0.90, 4: 0.84}
_THRESHOLD_LONG = 0.80
_PER_WEIGHT = 0.01
# Log odds from which a term is believed, for three, four, five, six, and seven and more syllables: all sound as they
# should; all are at least near to that; one is too many; is missing; is missing, and all others are spelled right; is
# another. Chosen on 98,000 characters of talk and the half of the noise that is not held out, with 100,000 terms.
_GATES = {
    "sound": (2.5, 0.0, 0.0, 0.0, 0.0),
    "near": (6.0, 4.0, 1.0, 0.0, 0.0),
    "more": (8.0, 4.0, 4.0, 3.0, 2.0),
    "less": (5.0, 3.0, 4.0, 2.0, 1.0),
    "short": (5.0, 0.5, 1.0, 0.0, 0.0),
    "other": (99.0, 14.0, 12.0, 9.0, 5.0),
}
_EASE, _EASE_SCORE, _HIGHEST = 6.0, 0.15, 8.0
"""How much less is asked of a term that the audio is yet to be asked about: log odds, score, and the highest gate."""
_DOUBT = 1.0
"""Where two terms explain a hearing with an error about equally well (log odds apart), neither is believed."""
_RATE = -4.0
"""Logarithm of how often any term at all begins at a syllable."""
_FEWEST = 3000
"""A smaller dictionary is judged as if it had so many terms: what its terms share with plain talk does not change."""
_ODDS_PER_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Where a form may stand in a text.

    `text[start + out]` is too many, the form's character `place` is missing (-1: none); where `out` is None, anything
    may be.
    """

    start: int
    end: int
    form: int
    out: int | None = -1
    place: int = -1


@dataclass(frozen=True, slots=True)
class Correction:
    """What should stand instead of `text[start:end]` of a normalised text: a form of a term.

    `odds` are logarithms of how much better the term explains what was heard than plain language does, `gate` is what
    they must reach; `sure` says that every syllable is there. With `cut` the first or last is missing: people shorten
    names, so the term is named, and the text stays as it is.
    """

    start: int
    end: int
    form: int
    score: float
    odds: float
    gate: float
    sure: bool
    cut: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """Every term that may be corrected, by its sound."""

    forms: Forms
    automaton: Automaton
    members: NDArray[np.int32]
    """The forms of each pattern in turn; those of pattern k are `members[ends[k]:ends[k + 1]]`."""
    ends: NDArray[np.int64]
    seeds: Seeds
    prior: float

    @classmethod
    def build(cls, forms: Forms, patterns: Sequence[tuple[str, int]]) -> Sounds:
        """Compile forms; a pattern is how a form may be read."""
        alike: dict[str, list[int]] = {}
        for pattern, number in patterns:
            alike.setdefault(pattern, []).append(number)
        seeds = Seeds.build([(pattern, number) for pattern, number in patterns if not forms.lettered(number)])
        return cls(forms, Automaton.build(list(alike)), *ragged(list(alike.values())), seeds, _prior(forms))

    @classmethod
    def from_parts(cls, parts: Parts, forms: Forms) -> Sounds:
        """Take the sounds that `parts` gave out."""
        automaton, seeds = Automaton.from_parts(parts, "sound.automaton"), Seeds.from_parts(parts)
        return cls(forms, automaton, parts["sound.members"], parts["sound.ends"], seeds, _prior(forms))

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the sounds."""
        own: dict[str, NDArray[Any]] = {"sound.members": self.members, "sound.ends": self.ends}
        return self.automaton.parts("sound.automaton") | own | self.seeds.parts()

    def find(self, text: Normalised, allowed: Callable[[Correction], bool]) -> list[Correction]:
        """Return the corrections that are believed and allowed, in order, none over another; the likeliest go first."""
        sounds = symbols(text.text)
        found: dict[tuple[int, int, int], Correction] = {}
        for one in self._candidates(text.text, sounds):
            key = one.start, one.end, one.form
            if key not in found and text.whole(one.start, one.end):
                fix = self._judge(text.text, sounds, one)
                if fix is not None and allowed(fix):
                    found[key] = fix
        chosen: list[Correction] = []
        taken = bytearray(len(text.text))
        for fix in self._clear(sorted(found.values(), key=self._rank)):
            if not any(taken[fix.start : fix.end]):
                taken[fix.start : fix.end] = b"\1" * (fix.end - fix.start)
                chosen.append(fix)
        return sorted(chosen, key=lambda fix: fix.start)

    def _clear(self, ranked: list[Correction]) -> Iterator[Correction]:
        """Leave out what has an error and a rival that is about as good: it may be the one or the other."""
        best: dict[tuple[int, int], list[Correction]] = {}
        for one in ranked:
            best.setdefault((one.start, one.end), []).append(one)
        for one in ranked:
            rivals = best[one.start, one.end]
            term = self.forms.owner(one.form)
            if one.sure or all(
                self.forms.owner(other.form) == term or abs(other.odds - one.odds) > _DOUBT for other in rivals
            ):
                yield one

    def near(self, text: str, most: int) -> list[Correction]:
        """Return what may have been said though the text hardly shows it, each form once, the likeliest first."""
        sounds = symbols(text)
        found: dict[int, Correction] = {}
        for one in self._candidates(text, sounds, _EASE):
            fix = self._judge(text, sounds, one, _EASE)
            if fix is not None and (one.form not in found or fix.odds > found[one.form].odds):
                found[one.form] = fix
        return sorted(found.values(), key=lambda fix: -fix.odds)[:most]

    def _candidates(self, text: str, sounds: str, ease: float = 0.0) -> Iterator[_Candidate]:
        for start, end, which in self.automaton.find(sounds):
            for form in self.members[self.ends[which] : self.ends[which + 1]].tolist():
                yield _Candidate(start, end, form)
        yield from self._from_seeds(text, sounds, ease)

    def _from_seeds(self, text: str, sounds: str, ease: float) -> Iterator[_Candidate]:
        rows, lengths, outs, forms, places = self.seeds.find(sounds)
        if not len(rows):
            return
        codes = np.zeros(len(text) + LONGEST + 2, np.uint32)
        codes[: len(text)] = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        sizes = self.forms.lengths[forms]
        offsets = self.forms.offsets[forms] + np.where(places == -3, sizes - lengths, 0)
        steps = np.arange(LONGEST)
        counted = steps < lengths[:, None]
        mine = rows[:, None] + steps + ((outs >= 0)[:, None] & (steps >= outs[:, None]))
        theirs = offsets[:, None] + steps + ((places >= 0)[:, None] & (steps >= places[:, None]))
        same = counted & (codes[mine] == self.forms.codes[np.minimum(theirs, len(self.forms.codes) - 1)])
        equal = same.sum(axis=1)
        # What a term could explain at best: every character by itself, which no cut into words can exceed.
        spans = lengths + (outs >= 0)
        costs = np.cumsum(np.concatenate([[0.0], singles()[np.minimum(codes, 0xFFFF)]]))
        left = rows - (places == 0)
        right = rows + spans + (places == sizes - 1)
        most = costs[right] - costs[np.maximum(left, 0)]
        replaced = (outs >= 0) & (places >= 0)
        foreign = np.minimum(offsets + np.maximum(places, 0), len(self.forms.sounds) - 1)
        spoken = np.frombuffer(sounds.encode("utf-32-le"), np.uint32)
        near = near_symbols(spoken[np.minimum(rows + np.maximum(outs, 0), len(spoken) - 1)], self.forms.sounds[foreign])
        errors = np.where(replaced, np.where(near, NEAR, OTHER), np.where(outs >= 0, SLIP, DROPPED))
        # What the admin insists on is not asked for odds; it is not held back here more than the heaviest term.
        heaviest = np.where(self.forms.flags[forms] & INSISTED, 5.0, self.forms.weight[forms])
        least = self.prior + _ODDS_PER_WEIGHT * heaviest + RIGHT * equal - 3.0 * (lengths - equal) + errors
        kinds = np.where(replaced, np.where(near, 1, 4), np.where(outs >= 0, 2, 3))
        gates = np.minimum(_GATE_TABLE[kinds, np.clip(sizes - 3, 0, 4)], _HIGHEST if ease else np.inf) - ease
        worth = (places >= -1) & (most + least >= gates) & (equal >= np.where(sizes == 3, 2, (lengths + 1) // 2))
        half = np.flatnonzero((places < -1) & (equal >= lengths // 2))
        worth[half] = self._other_half(spoken, rows[half], lengths[half], forms[half], places[half])
        worth[places < -1] &= equal[places < -1] >= lengths[places < -1] // 2
        for at in np.flatnonzero(worth).tolist():
            out = int(outs[at])
            yield from self._spans(text, int(rows[at]), int(rows[at] + spans[at]), int(forms[at]), out, int(places[at]))

    def _other_half(
        self,
        spoken: NDArray[np.uint32],
        rows: NDArray[np.int64],
        lengths: NDArray[np.int64],
        forms: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Tell where all syllables of a long term's other half but one stand too, though one place to either side."""
        rest = np.minimum(self.forms.lengths[forms] - lengths, LONGEST)
        first = places == -2
        steps = np.arange(LONGEST)
        there = np.where(first, rows + lengths, rows - rest)[:, None] + steps
        wanted = (self.forms.offsets[forms] + np.where(first, lengths, 0))[:, None] + steps
        padded = np.concatenate([np.zeros(LONGEST + 1, np.uint32), spoken, np.zeros(LONGEST + 2, np.uint32)])
        want = self.forms.sounds[np.minimum(wanted, len(self.forms.sounds) - 1)]
        same = np.zeros(want.shape, bool)
        for shift in (-1, 0, 1):
            at = np.clip(there + shift + LONGEST + 1, 0, len(padded) - 1)
            same |= padded[at] == want
        count = (same & (steps < rest[:, None])).sum(axis=1)
        enough: NDArray[np.bool_] = count >= rest - 1
        return enough

    def _spans(self, text: str, start: int, end: int, form: int, out: int, place: int) -> Iterator[_Candidate]:
        """Return where a candidate may begin and end: a syllable missing at an edge may be a foreign one beside it."""
        size = int(self.forms.lengths[form])
        if place == -2:
            ends = (start + size, start + size - 1, start + size + 1)
            yield from (_Candidate(start, at, form, None) for at in ends if at <= len(text))
        elif place == -3:
            starts = (end - size, end - size + 1, end - size - 1)
            yield from (_Candidate(at, end, form, None) for at in starts if at >= 0)
        else:
            yield _Candidate(start, end, form, out, place)
            if out < 0 and place == 0 and start and HANZI.match(text[start - 1]):
                yield _Candidate(start - 1, end, form, 0, 0)
            if out < 0 and place == size - 1 and end < len(text) and HANZI.match(text[end]):
                yield _Candidate(start, end + 1, form, size - 1, size - 1)

    def _judge(self, text: str, sounds: str, one: _Candidate, ease: float = 0.0) -> Correction | None:
        start, end, form = one.start, one.end, one.form
        heard = text[start:end]
        want = self.forms.chars(form)
        lettered = self.forms.lettered(form)
        if want in heard and not lettered:
            return None  # it is the term
        if not heard.isalnum() and any(not char.isalnum() and char not in want for char in heard):
            return None  # there is a pause within
        insisted = self.forms.insisted(form)
        if not insisted and _plain(heard):
            return None
        symbols, given = self.forms.symbols(form), self.forms.given(form)
        if one.out is None:
            laid = lay(heard, sounds[start:end], want, symbols, given)
        else:
            laid = lay_at(heard, sounds[start:end], want, symbols, given, one.out, one.place)
        weight = float(self.forms.weight[form])
        sure = laid.errors == 0
        if not sure and lettered:
            return None
        if insisted:
            return Correction(start, end, form, laid.score, 99.0, 0.0, sure) if laid.score >= _THRESHOLD_LONG else None
        threshold = _THRESHOLDS.get(len(want), _THRESHOLD_LONG) - _PER_WEIGHT * weight
        if laid.score < threshold - (_EASE_SCORE if ease else 0.0) and (laid.errors > 1 or sure):
            return None
        gate = self._gate(laid, heard, want, sounds[start:end] == symbols)
        gate = min(gate, _HIGHEST) - ease if ease else gate
        odds = self.prior + _ODDS_PER_WEIGHT * weight + laid.evidence
        table = words.costs()
        if odds + sum(table.get(char, words.UNKNOWN) for char in heard) < gate:
            return None  # whatever words there are: they only cost less
        odds += words.cost_in(text, start, end)
        if odds < gate:
            return None
        cut = heard in (want[1:], want[:-1])
        return Correction(start, end, form, laid.score, odds, gate, sure, cut)

    @staticmethod
    def _gate(laid: Laid, heard: str, want: str, alike: bool) -> float:
        size = len(want)
        if laid.errors == 0:
            kind = "sound" if alike else "near"
        elif len(heard) == size - 1:
            left = next((at for at, char in enumerate(heard) if char != want[at]), size - 1)
            # Of four, one in the middle is often left out for another word (泌尿外科, 泌尿科).
            edge = size > 4 or left in (0, size - 1)
            kind = "short" if edge and heard[left:] == want[left + 1 :] else "less"
        else:
            kind = "more" if len(heard) > size else "less" if len(heard) < size else "other"
        return _GATES[kind][min(size, 7) - 3]

    def _rank(self, one: Correction) -> tuple[float, float, float, int, int]:
        return -round(one.odds, 1), -one.score, -float(self.forms.weight[one.form]), one.start, one.form


_GATE_TABLE = np.array([_GATES[kind] for kind in ("sound", "near", "more", "short", "other")])


def _prior(forms: Forms) -> float:
    return _RATE - math.log(max(int((forms.lengths >= SHORTEST).sum()), _FEWEST))


def _plain(heard: str) -> bool:
    """Tell whether a hearing is plain language: a word that a lexicon has, or nothing but small words (要是会上)."""
    return known_word(heard) or heard in words.costs() or EVERYDAY.issuperset(heard)


@cache
def singles() -> NDArray[np.float64]:
    """Return what each character of the first plane costs alone."""
    costs = np.full(1 << 16, words.UNKNOWN)
    for word, cost in words.costs().items():
        if len(word) == 1 and ord(word) < len(costs):
            costs[ord(word)] = cost
    return costs

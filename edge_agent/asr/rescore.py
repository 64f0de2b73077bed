"""The second pass: what the encoder heard is written anew, with a language model at hand.

A small recognizer hears better than it writes: it has seen little text, so its homophones are wrong (患者自付 →
换者自负). While it was trained, a linear layer on its encoder named initials, finals with tone, and letters (CTC,
Graves et al. 2006). Here this *ear* cuts an utterance into syllables, each with the chance of every sound. A beam
search finds the characters whose sounds, order (`ngrams`) and agreement with the first pass are together the most
likely: a noisy channel (Shannon 1948), and the joint decoding of hybrid CTC/attention (Watanabe et al. 2017).

All of it lies in `language.npz` in the model's folder; without it there is no second pass.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.asr.ngrams import END, NGrams
from edge_agent.errors import ModelError
from edge_agent.phonetics import HANZI

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.asr.card import Rescoring

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.int64]

FILE = "language.npz"
FORMAT = 1
TONES = 5
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COMMA, STOPS = "，", "。？！"

_SILENCE, _INITIAL, _FINAL, _LETTER = range(4)
_CERTAIN = 0.98
"""Probability of silence from which a frame of 20 ms holds no sound."""
_SPLIT = 0.6
"""Probability of two different finals in frames side by side from which they are two syllables."""
_PAUSE = 8
"""Frames of 20 ms between two syllables from which there may be a punctuation mark."""
_CANDIDATES, _BEAM = 30, 12
_COMMON = 0.3
"""How much a character's frequency counts when candidates are chosen."""
_GAP = -7.0
"""What it costs, in natural logarithms, to leave out a syllable or a character where both passes are aligned."""
_IMPOSSIBLE = -14.0
_TOLD = 30.0
"""What a character of a hotword gets where the hotword was heard: more than any language model has against it."""
_NEAR, _NEAREST = 1.6, 4.0
"""How much less likely than the likeliest a hotword's syllables may be, on average and each (natural logarithms)."""
_LEAST = 1e-6
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where a syllable or letter was heard, in frames of 20 ms; `nothing` is the score of it being none.

    `scores` are of shape (readings,) for a syllable, (letters,) for a letter: natural logarithms.
    """

    start: int
    end: int
    nothing: float
    scores: Floats
    letter: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A hotword that was heard: the slot where it begins, its characters' numbers, and how near its sounds come.

    `behind` is how much less likely than the likeliest its syllables are, on average, in natural logarithms.
    """

    word: str
    at: int
    numbers: list[int]
    behind: float


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """An utterance as the ear heard it: slots, what the first pass wrote for each (-1: nothing), what that counts."""

    heard: str
    slots: list[Slot]
    agreed: list[int]
    bonus: float


@dataclass(frozen=True, slots=True)
class Written:
    """A text, the slot of each character (-1 for marks) with its frames of 20 ms, and the hotwords that were heard.

    Without `places` nothing was written anew.
    """

    text: str
    places: tuple[int, ...] = ()
    frames: tuple[tuple[int, int] | None, ...] = ()
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Rescorer:
    """Ear, readings and n-grams of one model; never changed, safe to share between threads.

    `characters` names the numbers of the n-grams. The ear is of shape (width, units) and (units,); its units are
    silence, `initials` consonants, finals times tones, letters. `hear_initials` and `hear_finals` say with which chance
    what was said (row) is heard as what (column); row 0 of the first is for no initial. A reading is a character with
    its initial (0: none), its final times tone, and the logarithm of its share in how the character is read; they are
    in the order of the characters.
    """

    characters: str
    grams: NGrams
    weight: Floats
    bias: Floats
    initials: int
    hear_initials: Floats
    hear_finals: Floats
    read: Numbers
    read_initial: Numbers
    read_final: Numbers
    read_share: Floats

    @classmethod
    def load(cls, file: Path) -> Rescorer:
        """Read a language model (10 MB take about 0.2 s).

        Raises:
            ModelError: the file is missing, damaged, or of another version.
        """
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as held:
                about = json.loads(str(held["about"]))
                if about["format"] != FORMAT:
                    raise ValueError(f"format {about['format']}, this program reads {FORMAT}")
                weight, bias, initials, finals, share = (
                    held[name].astype(np.float32)
                    for name in ("weight", "bias", "hear_initials", "hear_finals", "read_share")
                )
                read, initial, final = (held[name].astype(np.int64) for name in ("read", "read_initial", "read_final"))
                count = int(about["initials"])
                grams = NGrams.load(held)
            made = cls(about["characters"], grams, weight, bias, count, initials, finals, read, initial, final, share)
            made._check()
        except _UNREADABLE as error:
            raise ModelError(
                f"the language model can't be used: {error}",
                where=str(file),
                remedy="copy the model again; `scripts/train_recognizer/make_language` writes a new one",
            ) from error
        return made

    def _check(self) -> None:
        finals = len(self.hear_finals)
        fits = (
            len(self.characters) == len(self.grams.one),
            self.weight.shape[1:] == self.bias.shape == (1 + self.initials + finals + len(LETTERS),),
            self.hear_initials.shape == (self.initials + 1,) * 2,
            self.hear_finals.shape == (finals, finals),
            len(self.read) == len(self.read_initial) == len(self.read_final) == len(self.read_share),
            set(LETTERS + COMMA + STOPS) <= set(self.characters),
        )
        if not all(fits):
            raise ValueError("its parts do not fit together")

    def rewrite(
        self, states: Floats, heard: str, confidence: float, weights: Rescoring, hotwords: Sequence[str] = ()
    ) -> str:
        """Return the text of an utterance; `listen` and `write` in one."""
        passage = self.listen(states, heard, confidence, weights)
        return self.write(passage, weights, hotwords).text if passage else heard

    def listen(self, states: Floats, heard: str, confidence: float, weights: Rescoring) -> Passage | None:
        """Cut an utterance into syllables, from the encoder's states of shape (frames, width) and the first pass.

        `confidence` in 0…1 is of the first pass. None where nothing can be written anew: what has anything but hanzi
        and letters in it stays as it is, for the ear knows no digits; so does what has no syllable that the ear hears.
        """
        said = [character.upper() for character in heard if character.isalnum()]
        slots = self._slots(self._sounds(states))
        if not slots or not said or not all(HANZI.match(character) or character in LETTERS for character in said):
            return None
        agreed = self._agreed(slots, [self.characters.find(character) for character in said])
        return Passage(heard, slots, agreed, weights.heard * confidence**3)

    def write(self, passage: Passage, weights: Rescoring, hotwords: Sequence[str] = ()) -> Written:
        """Return the likeliest text. A hotword is written where it was heard, whatever the language model thinks."""
        agreed, bonuses = list(passage.agreed), [passage.bonus] * len(passage.slots)
        told = self._told(passage.slots, hotwords)
        for one in told:
            agreed[one.at : one.at + len(one.numbers)] = one.numbers
            bonuses[one.at : one.at + len(one.numbers)] = [_TOLD] * len(one.numbers)
        text, places = self._search(passage.slots, agreed, bonuses, weights)
        if not any(character.isalnum() for character in text):
            return Written(passage.heard)
        frames = [(passage.slots[place].start, passage.slots[place].end) if place >= 0 else None for place in places]
        return Written(text, tuple(places), tuple(frames), tuple(told))

    def likeliest(self, passage: Passage) -> str:
        """Return a text of the characters that sound most as was heard, whatever words they make."""
        common = _COMMON * self.grams.one[self.read]
        return "".join(
            LETTERS[int(slot.scores.argmax())]
            if slot.letter
            else self.characters[int(self.read[int((slot.scores + common).argmax())])]
            for slot in passage.slots
        )

    def _sounds(self, states: Floats) -> Floats:
        """Return the chance of every unit in every frame, of shape (frames, units)."""
        scores = states @ self.weight + self.bias
        chances: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return chances

    def _runs(self, chances: Floats) -> list[tuple[int, int, int]]:
        """Return where initials, finals and letters stand: kind, first frame, frame after the last."""
        first_final, first_letter = 1 + self.initials, 1 + self.initials + len(self.hear_finals)
        groups = np.add.reduceat(chances, [0, 1, first_final, first_letter], axis=1)
        kinds = groups.argmax(axis=1).tolist()
        toneless = (
            chances[:, first_final:first_letter]
            .reshape(len(chances), len(self.hear_finals) // TONES, TONES)
            .sum(axis=2)
        )
        best, sure = toneless.argmax(axis=1), toneless.max(axis=1) > _SPLIT
        runs: list[tuple[int, int, int]] = []
        start = 0
        for frame in range(1, len(kinds) + 1):
            if frame < len(kinds) and kinds[frame] == kinds[start]:
                both = kinds[start] == _FINAL and sure[frame] and sure[frame - 1]
                if not both or best[frame] == best[frame - 1]:
                    continue
            if kinds[start] != _SILENCE:
                runs.append((kinds[start], start, frame))
            start = frame
        return runs

    def _slots(self, chances: Floats) -> list[Slot]:
        """Cut an utterance into syllables and letters; every frame counts for one of them."""
        runs = [*self._runs(chances), (_SILENCE, len(chances), len(chances))]
        slots: list[Slot] = []
        at = done = 0
        while at < len(runs) - 1:
            kind, start, end = runs[at]
            following, next_start, next_end = runs[at + 1]
            if kind == _LETTER:
                cut = (end + next_start) // 2
                nothing, unit = _one(chances[done:cut])
                scores = np.log(unit[-len(LETTERS) :] + _LEAST)
                slots.append(Slot(start, end, float(np.log(nothing + _LEAST)), scores, letter=True))
                at, done = at + 1, cut
                continue
            if kind == _FINAL:  # its initial, if it has one, was hardly heard
                between, last = start, at
            elif following == _FINAL:
                between, last, end = (end + next_start) // 2, at + 1, next_end
            else:  # its final was hardly heard
                between, last, end = end, at, next_start
            after, after_start, _ = runs[last + 1]
            cut = end if after == _FINAL else (end + after_start) // 2
            slots.append(self._syllable(start, end, _one(chances[done:between]), _one(chances[between:cut])))
            at, done = last + 1, cut
        return slots

    def _syllable(self, start: int, end: int, initial: tuple[float, Floats], final: tuple[float, Floats]) -> Slot:
        """Weigh every reading by how its initial and final were heard."""
        finals = slice(1 + self.initials, 1 + self.initials + len(self.hear_finals))
        heard = np.concatenate([[initial[0]], initial[1][1 : 1 + self.initials]])
        by_initial = np.log(self.hear_initials @ heard + _LEAST)
        by_final = np.log(self.hear_finals @ final[1][finals] + _LEAST)
        scores = by_initial[self.read_initial] + by_final[self.read_final] + self.read_share
        nothing = float(np.log(initial[0] + _LEAST) + np.log(final[0] + _LEAST))
        return Slot(start, end, nothing, scores.astype(np.float32))

    @property
    def _letters(self) -> list[int]:
        """Return the numbers of A to Z."""
        return [self.characters.index(letter) for letter in LETTERS]

    def _readings(self, character: int) -> slice:
        first, last = np.searchsorted(self.read, [character, character + 1])
        return slice(int(first), int(last))

    def _agreed(self, slots: list[Slot], numbers: list[int]) -> list[int]:
        """Lay the first pass along the slots (Needleman & Wunsch 1970); -1 where it has no character."""
        likeness = np.full((len(slots), len(numbers)), _IMPOSSIBLE)
        for column, number in enumerate(numbers):
            if number in self._letters:
                letter = self._letters.index(number)
                likeness[:, column] = [slot.scores[letter] if slot.letter else _IMPOSSIBLE for slot in slots]
                continue
            readings = self._readings(number)
            if readings.start == readings.stop:
                continue
            for row, slot in enumerate(slots):
                if not slot.letter:
                    likeness[row, column] = slot.scores[readings].max()
        total = np.zeros((len(slots) + 1, len(numbers) + 1))
        total[:, 0] = np.arange(len(slots) + 1) * _GAP
        total[0] = np.arange(len(numbers) + 1) * _GAP
        for row in range(len(slots)):
            for column in range(len(numbers)):
                total[row + 1, column + 1] = max(
                    total[row, column] + likeness[row, column],
                    total[row, column + 1] + _GAP,
                    total[row + 1, column] + _GAP,
                )
        agreed = [-1] * len(slots)
        row, column = len(slots), len(numbers)
        while row and column:
            if total[row, column] == total[row - 1, column] + _GAP:
                row -= 1
            elif total[row, column] == total[row, column - 1] + _GAP:
                column -= 1
            else:
                row, column = row - 1, column - 1
                agreed[row] = numbers[column]
        return agreed

    def _told(self, slots: list[Slot], hotwords: Sequence[str]) -> list[Told]:
        """Return where hotwords were heard; none overlaps another.

        A hotword is heard where its syllables are hardly less likely than the likeliest ones. The nearest come first.
        """
        found: list[tuple[float, int, Told]] = []
        best = [float(slot.scores.max()) for slot in slots]
        for word in hotwords:
            numbers = [self.characters.find(character) for character in word.upper()]
            spans = [self._readings(number) for number in numbers]
            letters = [LETTERS.find(character) for character in word.upper()]
            if len(word) < 2 or any(
                span.start == span.stop and letter < 0 for span, letter in zip(spans, letters, strict=True)
            ):
                continue  # of one character, or not spoken as Chinese
            for at in range(len(slots) - len(word) + 1):
                behind = []
                for slot, span, letter, most in zip(slots[at:], spans, letters, best[at:], strict=False):
                    if slot.letter != (letter >= 0):
                        break
                    score = slot.scores[letter] if letter >= 0 else slot.scores[span].max()
                    behind.append(most - float(score))
                if len(behind) == len(word) and sum(behind) <= _NEAR * len(word) and max(behind) <= _NEAREST:
                    mean = sum(behind) / len(word)
                    found.append((mean - len(word), at, Told(word, at, numbers, mean)))
        taken: set[int] = set()
        told = []
        for _, at, one in sorted(found, key=lambda entry: entry[:2]):
            places = set(range(at, at + len(one.numbers)))
            if not places & taken:
                taken |= places
                told.append(one)
        return told

    def _search(
        self, slots: list[Slot], agreed: list[int], bonuses: list[float], weights: Rescoring
    ) -> tuple[str, list[int]]:
        beam = _Beam(self.grams, weights)
        letters = np.array(self._letters)
        marks = np.array([self.characters.index(mark) for mark in COMMA + STOPS])
        for index, slot in enumerate(slots):
            if index and slot.start - slots[index - 1].end >= _PAUSE:
                # A mark is no sound: it is neither heard nor does it make the text longer.
                beam.extend(marks[:-1], np.full(len(marks) - 1, -weights.length, np.float32), 0.0)
            if slot.letter:
                scores = slot.scores + np.float32(bonuses[index]) * (letters == agreed[index])
                best = np.argsort(-scores)[:3]
                beam.extend(letters[best], scores[best], slot.nothing, index)
                continue
            likely = slot.scores + _COMMON * self.grams.one[self.read]
            kept = np.argpartition(-likely, min(_CANDIDATES, len(likely) - 1))[:_CANDIDATES]
            readings = self._readings(agreed[index])
            kept = np.union1d(kept, np.arange(readings.start, readings.stop))
            # Of a character with several readings the best counts.
            kept = kept[np.argsort(-slot.scores[kept], kind="stable")]
            candidates, first = np.unique(self.read[kept], return_index=True)
            scores = slot.scores[kept[first]] + np.float32(bonuses[index]) * (candidates == agreed[index])
            beam.extend(candidates, scores, slot.nothing, index)
        beam.extend(marks[1:], np.full(len(STOPS), -weights.length, np.float32), None)
        beam.extend(np.array([END]), np.full(1, -weights.length, np.float32), None)
        text = beam.best()[:-1]
        return "".join(self.characters[number] for number, _ in text), [place for _, place in text]


class _Beam:
    """Unfinished texts, the best few; of those that end in the same two characters, only the best."""

    def __init__(self, grams: NGrams, weights: Rescoring) -> None:
        self._grams = grams
        self._weights = weights
        self._contexts = np.zeros(1, np.uint64)
        self._scores = np.zeros(1, np.float32)
        self._texts: list[tuple[tuple[int, int], ...]] = [()]

    def extend(self, candidates: Numbers, scores: Floats, nothing: float | None, place: int = -1) -> None:
        """Append one of the candidates with its score, or, if `nothing` has a score, none; `place` is its slot."""
        log, contexts = self._grams.log_probabilities(self._contexts, candidates)
        total = self._scores[:, None] + self._weights.language * log + scores + self._weights.length
        totals, keys = total.ravel(), contexts.ravel()
        if nothing is not None:
            totals = np.concatenate([totals, self._scores + np.float32(nothing)])
            keys = np.concatenate([keys, self._contexts])
        order = np.argsort(-totals, kind="stable")[: 4 * _BEAM]
        _, first = np.unique(keys[order], return_index=True)
        order = order[np.sort(first)][:_BEAM]
        order = order[np.argsort(keys[order])]  # keys that rise are found faster
        texts = []
        for index in order.tolist():
            parent, which = divmod(index, len(candidates))
            if index < total.size:
                texts.append((*self._texts[parent], (int(candidates[which]), place)))
            else:
                texts.append(self._texts[index - total.size])
        self._contexts, self._scores, self._texts = keys[order], totals[order], texts

    def best(self) -> tuple[tuple[int, int], ...]:
        """Return the numbers of the most likely text, each with its slot."""
        return self._texts[int(self._scores.argmax())]


def _one(chances: Floats) -> tuple[float, Floats]:
    """Return with which chance frames hold nothing, and with which exactly one unit, for every unit (CTC's sum)."""
    nothing = 1.0
    within = np.zeros(chances.shape[1], np.float32)
    after = np.zeros(chances.shape[1], np.float32)
    for frame in chances[chances[:, 0] < _CERTAIN]:
        after = (after + within) * frame[0]
        within = (within + np.float32(nothing)) * frame
        nothing *= float(frame[0])
    return nothing, within + after

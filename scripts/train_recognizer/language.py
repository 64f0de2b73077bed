"""The parts of `language.npz`: n-grams and readings out of text, and the recognizer's ear."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.asr.ngrams import BITS, END, START, UNKNOWN
from edge_agent.asr.rescore import COMMA, FORMAT, LETTERS, STOPS, TONES
from edge_agent.phonetics import canonical
from train_recognizer.units import FINALS, INITIAL, INITIALS, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Keys = NDArray[np.uint64]

HANZI_RUN = re.compile("[\u4e00-\u9fff]+")
ORDER = 3
LEXICON = 0.02
"""What a word counts in the n-grams: this, times the root of its frequency in jieba's lexicon."""
TERM = 2.0
"""What a term of the packs counts."""
SELDOM = 5
"""Frequency in jieba's lexicon below which a word is left out."""
SOURCES = ("written", "template", "pack", "acronym", "swapped")
"""Kinds of sentences whose order of words is worth knowing; random words and invented names teach the wrong one."""
EAR = ("weight", "bias", "hear_initials", "hear_finals")
"""The parts of the file that no text changes."""
RARE = 0.01
"""Share of a character's readings below which one is left out."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """With which chance something else is heard than what is said.

    `tone` is for another tone, `like` for what `edge_agent.phonetics` merges, `initial` and `final` for anything.
    """

    tone: float = 0.6
    like: float = 0.02
    initial: float = 0.005
    final: float = 0.03


def write(
    file: Path, lines: Sequence[str], words: Mapping[str, float], heard: Mapping[str, NDArray[np.generic]]
) -> dict[str, int]:
    """Write the file: n-grams and readings of the text, and the parts of `EAR` as they are; return how many n-grams."""
    characters = alphabet(lines, words)
    parts = {**ngrams(lines, words, characters), **readings(lines[::4], characters), **heard}
    about = {"format": FORMAT, "characters": characters, "initials": len(INITIALS)}
    np.savez_compressed(file, allow_pickle=False, about=np.array(json.dumps(about)), **parts)
    return {name: len(parts[name]) for name in ("one", "two", "three")}


def heard(file: Path) -> dict[str, NDArray[np.generic]]:
    """Return the parts of `EAR` of a file that is there."""
    with np.load(file, allow_pickle=False) as held:
        return {name: held[name] for name in EAR}


def lexicon(terms: Iterable[str]) -> dict[str, float]:
    """Return the words of jieba's lexicon (MIT), and terms, with what they count in the n-grams."""
    import jieba

    words: dict[str, float] = {}
    for line in (Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, _ = line.split()
        if int(count) >= SELDOM and re.fullmatch("[\u4e00-\u9fff]{1,8}", word):
            words[word] = LEXICON * int(count) ** 0.5
    for term in terms:
        words[term] = words.get(term, 0.0) + TERM
    return words


def alphabet(lines: Iterable[str], words: Mapping[str, float], most: int = 6500) -> str:
    """Return the characters that get a number, the three special ones first; those of the lines before the words'."""
    counts = Counter(character for line in lines for character in line)
    known = dict.fromkeys([COMMA, *STOPS, *LETTERS, *(character for character, _ in counts.most_common())])
    weights: dict[str, float] = {}
    for word, weight in words.items():
        for character in word:
            weights[character] = weights.get(character, 0.0) + weight
    known.update(dict.fromkeys(sorted(weights, key=lambda character: -weights[character])))
    return "\0\1\2" + "".join(list(known)[:most])


def ngrams(lines: Sequence[str], words: Mapping[str, float], characters: str) -> dict[str, NDArray[np.generic]]:
    """Count n-grams up to three characters and smooth them, as `edge_agent.asr.ngrams` stores them.

    Interpolated Kneser–Ney with one discount an order (Chen & Goodman 1999): below the highest order it counts before
    how many different characters an n-gram stands. Words add their weight to the n-grams within them.
    """
    number = {character: index for index, character in enumerate(characters)}
    text = np.array(
        [n for line in lines for n in (START, *(number.get(c, UNKNOWN) for c in line), END)], dtype=np.uint64
    )
    sentence = np.cumsum(text == START)
    counted = [_count(text, sentence, order) for order in range(1, ORDER + 1)]
    within = [_within(words, number, order) for order in range(1, ORDER + 1)]
    size = len(characters)
    out: dict[str, NDArray[np.generic]] = {}
    lower = np.full(size, 1 / size)
    lower_keys = np.arange(size, dtype=np.uint64)
    for order in range(1, ORDER + 1):
        keys, counts = counted[order - 1]
        if order < ORDER:
            counts = _continued(keys, counts, counted[order][0], order)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        most = once / max(1, once + 2 * twice)
        more, weights = within[order - 1]
        every = np.union1d(keys, more)
        total = np.zeros(len(every))
        total[np.searchsorted(every, keys)] += counts
        total[np.searchsorted(every, more)] += weights
        taken = np.minimum(total * 0.9, most)
        contexts, which = np.unique(every >> np.uint64(BITS), return_inverse=True)
        sums = np.bincount(which, total)
        back = np.bincount(which, taken) / sums
        shorter = every & np.uint64((1 << BITS * (order - 1)) - 1)
        chances = (total - taken) / sums[which] + back[which] * (
            lower[np.searchsorted(lower_keys, shorter)] if order > 1 else 1 / size
        )
        if order == 1:
            full = np.full(size, back[0] / size)
            full[every.astype(int)] = chances
            out["one"], lower, lower_keys = np.log(full), full, np.arange(size, dtype=np.uint64)
            continue
        weights_back = np.zeros(len(lower_keys))
        weights_back[np.searchsorted(lower_keys, contexts)] = np.log(np.maximum(back, 1e-6))
        name = ("", "two", "three")[order - 1]
        out["back_one" if order == 2 else "back_two"] = weights_back
        out[name], out[f"log_{name}"] = np.diff(every, prepend=np.uint64(0)), np.log(chances)
        lower, lower_keys = chances, every
    return {name: part if part.dtype == np.uint64 else part.astype(np.float16) for name, part in out.items()}


def _count(text: Keys, sentence: NDArray[np.int64], order: int) -> tuple[Keys, NDArray[np.float64]]:
    """Count the n-grams of one order within sentences; none predicts the beginning of a sentence."""
    length = len(text) - order + 1
    keys = np.zeros(length, np.uint64)
    for offset in range(order):
        keys = (keys << np.uint64(BITS)) | text[offset : offset + length]
    kept = (sentence[:length] == sentence[order - 1 :]) & (text[order - 1 :] != START)
    found, counts = np.unique(keys[kept], return_counts=True)
    return found, counts.astype(np.float64)


def _within(words: Mapping[str, float], number: Mapping[str, int], order: int) -> tuple[Keys, NDArray[np.float64]]:
    totals: dict[int, float] = {}
    for word, weight in words.items():
        numbers = [number.get(character, UNKNOWN) for character in word]
        for start in range(len(numbers) - order + 1):
            key = 0
            for one in numbers[start : start + order]:
                key = key << BITS | one
            totals[key] = totals.get(key, 0.0) + weight
    keys = np.array(sorted(totals), dtype=np.uint64)
    return keys, np.array([totals[key] for key in keys.tolist()], dtype=np.float64)


def _continued(keys: Keys, counts: NDArray[np.float64], longer: Keys, order: int) -> NDArray[np.float64]:
    """Return before how many different characters each n-gram stands; what begins a sentence keeps its count."""
    ends, times = np.unique(longer & np.uint64((1 << BITS * order) - 1), return_counts=True)
    at = np.minimum(np.searchsorted(ends, keys), len(ends) - 1)
    before = np.where(ends[at] == keys, times[at], 0.5)
    first = keys >> np.uint64(BITS * (order - 1)) == START
    result: NDArray[np.float64] = np.where(first & (order > 1), counts, before)
    return result


def readings(lines: Iterable[str], characters: str) -> dict[str, NDArray[np.generic]]:
    """Return how characters are read: as in the lines, or else as pypinyin (MIT) reads them alone."""
    from pypinyin import Style, lazy_pinyin

    def read(run: str) -> list[str]:
        return lazy_pinyin(run, style=Style.TONE3, neutral_tone_with_five=True, v_to_u=False)

    counts: dict[str, Counter[str]] = {}
    for line in lines:
        for run in HANZI_RUN.findall(line):
            syllables = read(run)
            if len(syllables) == len(run):
                for character, syllable in zip(run, syllables, strict=True):
                    counts.setdefault(character, Counter())[syllable] += 1
    rows = []
    for index, character in enumerate(characters):
        if not HANZI_RUN.fullmatch(character):
            continue
        found = counts.get(character) or Counter(read(character))
        total = sum(found.values())
        for syllable, count in found.items():
            parts = _parts(syllable)
            if parts and count >= RARE * total:
                rows.append((index, *parts, np.log(count / total)))
    rows.sort()
    columns = list(zip(*rows, strict=True))
    return {
        "read": np.array(columns[0], np.uint16),
        "read_initial": np.array(columns[1], np.uint8),
        "read_final": np.array(columns[2], np.uint8),
        "read_share": np.array(columns[3], np.float16),
    }


def _parts(syllable: str) -> tuple[int, int] | None:
    """Return the number of the initial (0: none) and of the final with tone; None for what is no syllable."""
    written = re.fullmatch("([a-zü]+)([1-5])", syllable.replace("ü", "v"))
    match = INITIAL.match(written[1]) if written else None
    if not written or not match or match[2] not in FINALS:
        return None
    initial = INITIALS.index(match[1]) + 1 if match[1] else 0
    return initial, FINALS.index(match[2]) * TONES + int(written[2]) - 1


def ear(weight: Floats, bias: Floats, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Bring a CTC head of shapes (units, width) and (units,) into the order of `units.UNITS`.

    Units that it lacks are never heard. An older head calls its letters `LA`, not `=A`.
    """
    where = {re.sub("^L(?=[A-Z]$)", "=", name): row for row, name in enumerate(names)}
    where[UNITS[0]] = 0
    own = np.zeros((weight.shape[1], len(UNITS)), np.float32)
    least = np.full(len(UNITS), -60.0, np.float32)
    for column, unit in enumerate(UNITS):
        if unit in where:
            own[:, column], least[column] = weight[where[unit]], bias[where[unit]]
    return {"weight": own.astype(np.float16), "bias": least}


def confusions(chances: Confusion) -> dict[str, NDArray[np.generic]]:
    """Return with which chance initials and finals (rows) are heard as others (columns)."""
    count = len(INITIALS) + 1
    initials = np.full((count, count), chances.initial / count)
    initials[0, 0] += 1 - chances.like - chances.initial
    for column, initial in enumerate(INITIALS, 1):
        like = [
            row
            for row, other in enumerate(INITIALS, 1)
            if row != column and canonical(other + "a") == canonical(initial + "a")
        ]
        initials[column, column] += 1 - chances.initial - (chances.like if like else 0)
        initials[like, column] += chances.like / max(1, len(like))
    finals = np.full((len(FINALS) * TONES,) * 2, chances.final / len(FINALS) / TONES)
    for at, final in enumerate(FINALS):
        like = [other for other, name in enumerate(FINALS) if other != at and canonical(name) == canonical(final)]
        for column in range(at * TONES, (at + 1) * TONES):
            finals[column, column] += 1 - chances.tone - chances.final - (chances.like if like else 0)
            finals[at * TONES : (at + 1) * TONES, column] += chances.tone / TONES
            for other in like:
                finals[other * TONES : (other + 1) * TONES, column] += chances.like / len(like) / TONES
    return {"hear_initials": initials.astype(np.float32), "hear_finals": finals.astype(np.float32)}

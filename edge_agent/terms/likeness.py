"""How likely one character is heard for another, and how a whole hearing lies along a term.

A character adds to a score between 0 and 1: itself 1, a homophone a little less, and less again for each part in which
its syllable differs. Beside the score stands evidence in natural logarithms: how likely this hearing is if the term was
said. The figures were chosen on the half of the noise that is not held out (`edge_agent.terms.noise`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.terms.pinyin import FIRST_SYMBOL, Syllable, every_symbol, readings
from edge_agent.terms.variants import RHYMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

HOMOPHONE = 0.95
_OTHER_TONE = 0.10
_OTHER_INITIAL = 0.15
_OTHER_FINAL = 0.15
_LIKE = 0.70
"""For a syllable that differs in more than the house takes for one sound, but not by much (b/p, ie/ei)."""
RHYME = 0.70
# Small words make up half of all talk: one of them in a find speaks for plain language, not for a mishearing.
EVERYDAY = frozenset("的了是在我你他她它们这那有不就和也都说要会能到去来上下吗呢吧啊哦嗯一个好很还没么什")
_EVERYDAY_COST = 0.10
INSERTED = 0.3
"""What a character that is too many takes off the sum."""

RIGHT, NEAR, DROPPED, TOO_MANY, SLIP, OTHER = -0.1, -6.0, -5.0, -11.0, -4.0, -9.5
"""Evidence: heard as it is; near it; not at all; too many; too many but a filler or said twice; as anything else."""
SLIPS = frozenset("嗯呃啊那的了是这个哦额")

_INITIALS = {
    frozenset(pair)
    for group in (("b", "p"), ("d", "t"), ("g", "k"), ("j", "q", "x"), ("zh", "ch", "z", "c"), ("s", "x"), ("h", "k"))
    for pair in combinations(group, 2)
} | {
    frozenset(pair)
    for pair in (
        ("j", "zh"),
        ("q", "ch"),
        ("x", "sh"),
        ("z", "j"),
        ("c", "q"),
        ("m", "n"),
        ("", "w"),
        ("", "y"),
        ("m", "b"),
    )
}
_FINALS = {
    frozenset(pair)
    for pair in (
        ("u", "ü"), ("ie", "ei"), ("uo", "ou"), ("o", "e"), ("ai", "ei"), ("ao", "ou"), ("iao", "iu"), ("ui", "uai"),
        ("an", "en"), ("ang", "ong"), ("a", "e"), ("uo", "e"), ("i", "ei"), ("ün", "un"), ("uan", "un"),
        ("a", "ia"), ("an", "ian"), ("ie", "üe"), ("ong", "eng"), ("ang", "eng"), ("i", "ie"), ("i", "ü"), ("ei", "ui"),
        ("ai", "an"), ("a", "ai"), ("ou", "u"), ("uo", "u"), ("iong", "ong"), ("ian", "in"), ("uan", "ian"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Laid:
    """A hearing laid along a term: the score, the evidence, and how many syllables are missing, too many or foreign."""

    score: float
    evidence: float
    errors: int


def closeness(a: Syllable, b: Syllable) -> float:
    """Return what a syllable that was heard for another adds to the score, 0 if they have little in common."""
    other_tone = a.tone != b.tone and 0 not in (a.tone, b.tone)
    if a.symbol == b.symbol:
        return (
            HOMOPHONE
            - _OTHER_TONE * other_tone
            - _OTHER_INITIAL * (a.initial != b.initial)
            - _OTHER_FINAL * (a.final != b.final)
        )
    initial = a.initial == b.initial or frozenset((a.initial, b.initial)) in _INITIALS
    final = a.final == b.final or frozenset((a.final, b.final)) in _FINALS
    both = a.initial != b.initial and a.final != b.final
    return _LIKE - (_OTHER_TONE / 2 if other_tone else 0) if initial and final and not both else 0.0


@lru_cache(maxsize=1 << 17)
def likeness(had: str, had_symbol: str, want: str, symbol: str, given: Syllable | None) -> float:
    """Return what a character that was heard for another adds to the score, 0 if it can't be said like it.

    `had_symbol` and `symbol` are how both are read in their context (`pinyin.symbols`); `given` is the admin's reading.
    """
    if had == want:
        return 1.0
    if want.isascii() or had.isascii():
        return RHYME if any(had in group and want in group for group in RHYMES) else 0.0
    # Where both can be read as one sound, that reading counts.
    wanted = [given] if given else _said_as(want, symbol)
    closest = max((closeness(a, b) for a in _said_as(had, symbol) for b in wanted), default=0.0)
    if had_symbol != symbol:
        closest = max((closest, *(closeness(a, b) for a in _said_as(had, had_symbol) for b in wanted)))
    return max(0.0, closest - _EVERYDAY_COST * (had in EVERYDAY)) if closest else 0.0


def _said_as(char: str, symbol: str) -> list[Syllable]:
    """Return the readings that sound like `symbol`: the usual one alone if it does, for the others are rare then."""
    alike = [syllable for syllable in readings(char) if syllable.symbol == symbol]
    return alike[:1] if alike[:1] == list(readings(char)[:1]) else alike


@cache
def near_table() -> NDArray[np.bool_]:
    """Return for every two symbols whether syllables of theirs have something in common (`closeness` above 0)."""
    alike = list(every_symbol().values())
    said = [syllable for ones in alike for syllable in ones]
    which = np.repeat(np.arange(len(alike)), [len(ones) for ones in alike])
    same_initial, near_initial = _alike([one.initial for one in said], _INITIALS)
    same_final, near_final = _alike([one.final for one in said], _FINALS)
    near = (same_initial & near_final) | (same_final & near_initial) | (which == which[:, None])
    table = np.zeros((len(alike) + 1, len(alike) + 1), bool)
    rows, columns = np.nonzero(near)
    table[which[rows], which[columns]] = True
    return table


def _alike(parts: Sequence[str], confused: Collection[frozenset[str]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for every two parts of syllables whether they are equal, and whether they are or are easily confused."""
    names = sorted(set(parts))
    near = np.array([[one == other or frozenset((one, other)) in confused for other in names] for one in names])
    places = np.array([names.index(part) for part in parts])
    return places == places[:, None], near[places][:, places]


def near_symbols(had: NDArray[np.uint32], want: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell for pairs of symbols whether any syllables of theirs are near; letters and digits always may be."""
    table = near_table()
    first = FIRST_SYMBOL
    rows = np.where(had >= first, had - first, len(table) - 1)
    columns = np.where(want >= first, want - first, len(table) - 1)
    near: NDArray[np.bool_] = table[rows, columns] | ((had < 128) & (want < 128))
    return near


def evidence(part: float) -> float:
    """Return the evidence of one character, from what it adds to the score."""
    if part >= 1.0:
        return RIGHT
    if part <= 0.0:
        return OTHER
    return -3.0 - 10.0 * (HOMOPHONE - part) if part > _LIKE else NEAR


def lay_at(
    had: str, had_symbols: str, want: str, symbols: str, given: Sequence[Syllable | None], out: int, place: int
) -> Laid:
    """Weigh a hearing whose error is known: `had[out]` is too many, `want[place]` is missing; -1 for none.

    With both, the one stands for the other.
    """
    total, score, errors, at = 0.0, 0.0, 0, 0
    for index, char in enumerate(want):
        if index == place and out < 0:
            total, errors = total + DROPPED, errors + 1
            continue
        if at == out and place < 0:
            total, score, errors = total + _spare(had, at), score - INSERTED, errors + 1
            at += 1
        part = likeness(had[at], had_symbols[at], char, symbols[index], given[index])
        total, score, errors = total + evidence(part), score + part, errors + (part <= 0.0)
        at += 1
    return Laid(max(0.0, score) / len(want), total, errors)


def _spare(had: str, at: int) -> float:
    """Return the evidence of a character that is too many."""
    twice = had[at] in SLIPS or had[at] in (had[at - 1 : at], had[at + 1 : at + 2])
    return SLIP if twice else TOO_MANY


def lay(
    had: str, had_symbols: str, want: str, symbols: str, given: Sequence[Syllable | None], inserted: float = INSERTED
) -> Laid:
    """Lay a hearing along a term so that the evidence is greatest (Needleman & Wunsch 1970), and weigh it."""
    if len(had) == len(want) and had_symbols == symbols:
        parts = [likeness(*each) for each in zip(had, had_symbols, want, symbols, given, strict=True)]
        return Laid(sum(parts) / len(want), sum(map(evidence, parts)), sum(part <= 0 for part in parts))
    rows: list[tuple[float, float, int]] = [(0.0, 0.0, 0)]
    for at in range(len(had)):
        total, score, errors = rows[-1]
        rows.append((total + _spare(had, at), score - inserted, errors + 1))
    for place, char in enumerate(want):
        above = rows
        total, score, errors = above[0]
        rows = [(total + DROPPED, score, errors + 1)]
        for at, heard in enumerate(had):
            part = likeness(heard, had_symbols[at], char, symbols[place], given[place])
            total, score, errors = above[at]
            best = (total + evidence(part), score + part, errors + (part <= 0.0))
            total, score, errors = above[at + 1]
            if total + DROPPED > best[0]:
                best = (total + DROPPED, score, errors + 1)
            total, score, errors = rows[at]
            cost = _spare(had, at)
            if total + cost > best[0]:
                best = (total + cost, score - inserted, errors + 1)
            rows.append(best)
    total, score, errors = rows[-1]
    return Laid(max(0.0, score) / len(want), total, errors)

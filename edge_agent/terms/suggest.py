"""Words that are said often and that no pack knows: candidates for the dictionary, mined from what was said.

New words are found as in Matrix67's well-known method: a string is a word if its parts come together far more often
than chance would have it (pointwise mutual information of its weakest cut) and if it stands among many different
neighbours (entropy of what precedes and what follows). That needs no word list, so it finds the words that no list has.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import count as count_up
from typing import TYPE_CHECKING

from edge_agent.terms import words
from edge_agent.terms.checks import is_everyday
from edge_agent.terms.normalise import normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_agent.terms.dictionary import Dictionary

LONGEST = 8
"""Characters of a word; a run of letters and digits counts as one."""
_COHESION = 3.0
"""Least pointwise mutual information of the weakest cut, in nats."""
_FREEDOM = 0.9
"""Least entropy of the neighbours on either side, in nats."""
_OPEN, _CLOSE = "\ue000", "\ue001"
_UNIT = re.compile(rf"{_OPEN}[^{_CLOSE}]*{_CLOSE}|[A-Z0-9][A-Z0-9.+-]*|[\u3400-\u9fff\U00020000-\U0002a6df]")
_RUN = re.compile(rf"(?:{_UNIT.pattern})+")
_PLAIN = 5.8
"""Nats a character below which a text is plain language (`edge_agent.terms.words`)."""
_PLAIN_BESIDE = 5.0
"""The same for what stands beside a word (关于质检云台 is no longer word than 质检云台)."""
_LETTERS = re.compile("[A-Z0-9]")
# What a word neither begins nor ends with: these join everything.
_SMALL = frozenset(
    "的了是在我你他她它们这那有不就和也都说要会能到去来上下吗呢吧啊哦嗯呀嘛么很还没什给把被跟对让从向为与或及个"
)
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A word that no pack has: how often and in how many calls it was said, how much it is one, and where."""

    word: str
    count: int
    calls: int
    cohesion: float
    freedom: float
    examples: tuple[str, ...]


def suggest(
    said: Iterable[tuple[str, str]],
    dictionary: Dictionary,
    *,
    least: int = 3,
    segment: Callable[[str], list[str]] | None = None,
    everyday: Callable[[str], bool] = is_everyday,
) -> list[Suggestion]:
    """Return the words of calls that no pack has, the most telling first.

    `said` are calls and texts. `least` is how often a word must be said. `segment` cuts a text into words; with it a
    candidate that is never a word, nor several words whole, is left out.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    before: dict[tuple[str, ...], Counter[str]] = {}
    after: dict[tuple[str, ...], Counter[str]] = {}
    sentences: Counter[tuple[str, ...]] = Counter()
    texts: list[tuple[str, str]] = []
    for call, text in said:
        texts.append((call, text))
        for run in _runs(text, dictionary):
            if len(run) > 3:
                sentences[tuple(run)] += 1
            for size in range(1, LONGEST + 1):
                counts.update(tuple(run[at : at + size]) for at in range(len(run) - size + 1))
    total = sum(count for gram, count in counts.items() if len(gram) == 1)
    frequent = {
        gram for gram, count in counts.items() if count >= least and _may_be_new(gram) and sentences[gram] < count / 2
    }
    edges = count_up()  # the edge of a sentence is a neighbour that no other place has
    for _, text in texts:
        for run in _runs(text, dictionary):
            padded = [f"|{next(edges)}", *run, f"|{next(edges)}"]
            for size in range(1, LONGEST + 1):
                for at in range(1, len(run) - size + 2):
                    gram = tuple(padded[at : at + size])
                    if gram in frequent:
                        before.setdefault(gram, Counter())[padded[at - 1]] += 1
                        after.setdefault(gram, Counter())[padded[at + size]] += 1
    chosen: list[tuple[float, tuple[str, ...], float, float]] = []
    for gram in frequent:
        cohesion = _cohesion(gram, counts, total)
        freedom = min(_entropy(before[gram]), _entropy(after[gram]))
        word = _plain(gram)
        if cohesion >= _COHESION and freedom >= _FREEDOM and not (everyday(word) or _is_plain(word)):
            chosen.append((counts[gram] * min(cohesion, 10.0), gram, cohesion, freedom))
    chosen.sort(key=lambda one: (-one[0], one[1]))
    whole = _without_parts([(gram, cohesion, freedom) for _, gram, cohesion, freedom in chosen], counts)
    found = [_look(_plain(gram), counts[gram], cohesion, freedom, texts) for gram, cohesion, freedom in whole]
    if segment is not None:
        found = [one for one in found if _is_whole(one, segment)]
    return found


def _runs(text: str, dictionary: Dictionary) -> list[list[str]]:
    """Cut a text into runs of characters, acronyms and terms; a term that a pack has is marked, and is one unit."""
    marked: list[str] = []
    done = 0
    recognition = dictionary.recognise(text)
    for hit in recognition.terms:
        marked += (recognition.text[done : hit.at[0]], _OPEN, recognition.text[hit.at[0] : hit.at[1]], _CLOSE)
        done = hit.at[1]
    marked.append(recognition.text[done:])
    return [_UNIT.findall(run) for run in _RUN.findall(normalise("".join(marked)).text)]


def _plain(gram: tuple[str, ...]) -> str:
    return "".join(gram).replace(_OPEN, "").replace(_CLOSE, "")


def _may_be_new(gram: tuple[str, ...]) -> bool:
    """Tell whether this could be a word that no pack has: a term may be part of it, but is not all of it."""
    if gram[0] in _SMALL or gram[-1] in _SMALL or all(unit.startswith(_OPEN) for unit in gram):
        return False
    return len(gram) > 1 or len(gram[0]) > 1


def _is_plain(text: str) -> bool:
    """Tell whether a text is nothing but everyday words in a row (今天天气不错), which people say often too."""
    return not _LETTERS.search(text) and words.cost(text) < _PLAIN * len(text)


def _is_beside(text: str, part: str) -> bool:
    """Tell whether a text is a word that was found too, with plain language before or after it."""
    rest = text.removeprefix(part) if text.startswith(part) else text.removesuffix(part)
    return len(rest) < len(text) and words.cost(rest) < _PLAIN_BESIDE * len(rest)


def _cohesion(gram: tuple[str, ...], counts: Counter[tuple[str, ...]], total: int) -> float:
    if len(gram) == 1:
        return _COHESION if len(gram[0]) > 1 and not gram[0].isdigit() else 0.0  # an acronym holds together by itself
    whole = counts[gram] / total
    return min(
        math.log(whole / (counts[gram[:cut]] / total * counts[gram[cut:]] / total)) for cut in range(1, len(gram))
    )


def _entropy(neighbours: Counter[str]) -> float:
    total = neighbours.total()
    return -sum(count / total * math.log(count / total) for count in neighbours.values())


def _without_parts(
    found: list[tuple[tuple[str, ...], float, float]], counts: Counter[tuple[str, ...]]
) -> list[tuple[tuple[str, ...], float, float]]:
    """Leave out what is nearly always part of a longer word that was found too, and the longer where it is chance."""
    texts = [_plain(gram) for gram, _, _ in found]
    kept = []
    for (gram, cohesion, freedom), text in zip(found, texts, strict=True):
        longer = [other for (other, _, _), whole in zip(found, texts, strict=True) if text != whole and text in whole]
        if any(counts[other] >= 0.7 * counts[gram] for other in longer):
            continue
        if any(_is_beside(text, part) for part in texts if part != text and part in text):
            continue
        kept.append((gram, cohesion, freedom))
    return kept


def _look(word: str, count: int, cohesion: float, freedom: float, texts: list[tuple[str, str]]) -> Suggestion:
    calls: set[str] = set()
    examples: dict[str, None] = {}
    for call, text in texts:
        if word in normalise(text).text:
            calls.add(call)
            if len(examples) < _EXAMPLES:
                examples[text] = None
    return Suggestion(word, count, len(calls), round(cohesion, 2), round(freedom, 2), tuple(examples))


def _is_whole(one: Suggestion, segment: Callable[[str], list[str]]) -> bool:
    """Tell whether some example has the word as one or several whole words."""
    for text in one.examples:
        whole = normalise(text).text
        ends = {0}
        at = 0
        for word in segment(whole):
            at += len(word)
            ends.add(at)
        start = whole.find(one.word)
        if start in ends and start + len(one.word) in ends:
            return True
    return False

"""Matching: every rule against one stretch of talk, sentence by sentence.

Most phrases are not looked for at all: an index from pairs of characters to phrases tells which could stand in a
sentence, and only those are tried. The same index exists over sounds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.phrase import SENTENCE_ENDS, Pattern, Phrase, sound
from edge_agent.types import Speaker, TermHit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.nodes.rules import Rule

_SOUND_CONFIDENCE = 0.8
UNKNOWN_CONFIDENCE = 0.7
# A sentence that never ends (no punctuation, or noise) is cut, so that work grows with the length of the text.
_SENTENCE = re.compile(rf"[^{SENTENCE_ENDS}]{{1,200}}[{SENTENCE_ENDS}]*|[{SENTENCE_ENDS}]+")


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may ask about around the words: the other party's last turn, the talk so far, terms."""

    before: str = ""
    talk_ms: int = 0
    terms: tuple[TermHit, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """What holds in a text: what it raises, by which rule or classifier, on which half-open span, how surely.

    `common` says that it comes from a rule of the common set, which the classifier may overrule.
    """

    raises: str
    by: str
    start: int
    end: int
    quote: str
    confidence: float
    severity: str = "info"
    common: bool = False


class _Index:
    """Phrases by anchor; those without an anchor are always tried."""

    def __init__(self, patterns: Sequence[tuple[Rule, Pattern]]) -> None:
        self._by_key: dict[str, list[int]] = defaultdict(list)
        self._always: list[int] = []
        self._patterns = patterns
        for number, (_, pattern) in enumerate(patterns):
            for key in pattern.anchors:
                self._by_key[key].append(number)
            if not pattern.anchors:
                self._always.append(number)

    def candidates(self, text: str) -> Iterator[tuple[Rule, Pattern]]:
        keys = {*text, *(text[at : at + 2] for at in range(len(text) - 1))}
        numbers = {number for key in keys & self._by_key.keys() for number in self._by_key[key]}
        for number in sorted(numbers.union(self._always)):
            yield self._patterns[number]


class Matcher:
    """All rules, compiled; it holds nothing of a call and may be shared by threads."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        leading = [(rule, phrase) for rule in rules for phrase in rule.any or rule.all[0]]
        self._characters = _Index([(rule, phrase.by_characters) for rule, phrase in leading])
        self._sounds = _Index([(rule, found) for rule, phrase in leading if (found := phrase.by_sound)])

    def hits(self, text: str, speaker: Speaker, context: Context) -> list[Hit]:
        """Return the best hit of every rule that holds in `text`, in the order of the words."""
        best: dict[str, Hit] = {}
        for match in _SENTENCE.finditer(text):
            sentence, offset = match.group(), match.start()
            for heard, index, factor in (
                (sentence, self._characters, 1.0),
                (sound(sentence), self._sounds, _SOUND_CONFIDENCE),
            ):
                for rule, pattern in index.candidates(heard):
                    if rule.id in best and best[rule.id].confidence >= rule.confidence * factor:
                        continue
                    if hit := _try(rule, pattern, heard, sentence, text, speaker, context, factor):
                        best[rule.id] = _hit(rule, offset, hit, sentence)
        return sorted(best.values(), key=lambda hit: (hit.start, hit.by))


def _hit(rule: Rule, offset: int, found: tuple[int, int, float], sentence: str) -> Hit:
    start, end, confidence = found
    return Hit(
        raises=rule.raises,
        by=f"rule:{rule.id}",
        start=offset + start,
        end=offset + end,
        quote=sentence.strip(),
        confidence=confidence,
        severity=rule.severity,
        common=rule.common,
    )


def _try(
    rule: Rule,
    pattern: Pattern,
    heard: str,
    sentence: str,
    text: str,
    speaker: Speaker,
    context: Context,
    factor: float,
) -> tuple[int, int, float] | None:
    if rule.speaker is not None and speaker not in (rule.speaker, Speaker.UNKNOWN):
        return None
    found = next(
        (
            match.span()
            for match in pattern.regex.finditer(heard)
            if not any(GUARDS[name][1](sentence, *match.span()) for name in rule.unless)
        ),
        None,
    )
    if found is None or not _around(rule, sentence, text, context):
        return None
    confidence = rule.confidence * factor
    if rule.speaker is not None and speaker is Speaker.UNKNOWN:
        confidence *= UNKNOWN_CONFIDENCE
    return *found, confidence


def _around(rule: Rule, sentence: str, text: str, context: Context) -> bool:
    """Say whether what stands around the phrase is as the rule wants it."""
    if rule.within_first_s is not None and context.talk_ms > rule.within_first_s * 1000:
        return False
    if rule.term and all(term.category != rule.term for term in context.terms):
        return False
    return (
        all(stands(group, sentence) for group in rule.all)
        and not stands(rule.none, sentence)
        and not stands(rule.none_in_turn, text)
        and (not rule.after or stands(rule.after, context.before))
        and not stands(rule.not_after, context.before)
    )


def stands(phrases: Sequence[Phrase], text: str) -> bool:
    """Say whether one of the phrases stands in the text."""
    return any(phrase.by_characters.regex.search(text) for phrase in phrases)

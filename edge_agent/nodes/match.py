"""Matching: every rule against one stretch of talk, sentence by sentence.

Most phrases are not looked for at all: an index from pairs of characters to phrases tells which could stand in a
text, and only those are tried. The same index exists over sounds; regular expressions without characters to go by are
asked for together, as one RE2 set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_agent.automaton import Automaton, Occurrence
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.phrase import SENTENCE_ENDS, Pattern, Phrase, Term, options_of_re2, plain_sound
from edge_agent.types import Alternative, Speaker, TermHit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.nodes.rules import Rule

_SOUND_CONFIDENCE = 0.8
UNKNOWN_CONFIDENCE = 0.7
# A sentence that never ends (no punctuation, or noise) is cut, so that work grows with the length of the text.
_SENTENCE = re.compile(rf"[^{SENTENCE_ENDS}]{{1,200}}[{SENTENCE_ENDS}]*|[{SENTENCE_ENDS}]+")


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may ask about around the words.

    `before` is the other party's last turn, `talk_ms` the talk so far; `terms` are those of the text, with their spans
    in it.
    """

    before: str = ""
    talk_ms: int = 0
    terms: tuple[TermHit, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """What holds in a text: what it raises, by which rule or classifier, on which half-open span, how surely.

    `sentence` is where the quoted sentence begins in the text. `common` says that the hit comes from a rule of the
    common set, which the classifier may overrule; `version` is that of the rule or the classifier; `alternative` is
    the reading that lost.
    """

    raises: str
    by: str
    start: int
    end: int
    quote: str
    confidence: float
    severity: str = "info"
    common: bool = False
    sentence: int = 0
    version: str = ""
    alternative: Alternative | None = None

    @property
    def rule(self) -> str:
        """The rule's id, or the classifier's version."""
        return self.by.partition(":")[2]

    @property
    def span(self) -> tuple[int, int] | None:
        """Where in the quote the words stand, half-open; None where it was judged as a whole."""
        if not self.by.startswith("rule:") or not self.quote:
            return None
        start = min(max(0, self.start - self.sentence), len(self.quote))
        return start, min(max(start, self.end - self.sentence), len(self.quote))


class _Index:
    """Phrases by the strings they can't stand without, all looked for in one pass; the rest is asked for as one set."""

    def __init__(self, patterns: Sequence[tuple[Rule, Pattern]]) -> None:
        self.empty = not patterns
        self._patterns = patterns
        self._always: list[int] = []
        self._set: Any = None
        self._set_numbers: list[int] = []
        strings: dict[str, int] = {}
        self._by_string: dict[int, list[int]] = defaultdict(list)
        self._needs: list[tuple[frozenset[int], ...]] = []
        for number, (_, pattern) in enumerate(patterns):
            needs = [frozenset(strings.setdefault(one, len(strings)) for one in need) for need in pattern.needs]
            self._needs.append(tuple(needs[1:]))
            for string in needs[0] if needs else ():
                self._by_string[string].append(number)
            if not needs:
                (self._set_numbers if pattern.linear else self._always).append(number)
        self._automaton = Automaton.build(list(strings))
        if self._set_numbers:
            self._gather()
        self._everywhere = bool(self._always or self._set_numbers)

    def _gather(self) -> None:
        import re2

        self._set = re2.Set.SearchSet(options_of_re2())
        for number in self._set_numbers:
            self._set.Add(self._patterns[number][1].source)
        self._set.Compile()

    def find(self, text: str) -> list[Occurrence]:
        """Return every occurrence of a string that some phrase needs; none if no phrase can stand in the text."""
        found = self._automaton.find(text)
        if self._everywhere or any(which in self._by_string for _, _, which in found):
            return found or _NOWHERE
        return []

    def candidates(self, text: str, present: set[int]) -> Iterator[tuple[Rule, Pattern]]:
        """Yield the patterns that could stand in a sentence in which these strings are present."""
        if found := present & self._by_string.keys():
            for number in sorted({number for string in found for number in self._by_string[string]}):
                if all(not need.isdisjoint(present) for need in self._needs[number]):
                    yield self._patterns[number]
        for number in self._always:
            yield self._patterns[number]
        if self._set is not None:
            for place in sorted(self._set.Match(text) or ()):
                yield self._patterns[self._set_numbers[place]]


# What `find` returns where no string is found, but some phrases need none.
_NOWHERE: list[Occurrence] = [(0, 0, -1)]


class Matcher:
    """All rules, compiled once, shared by every call; it remembers nothing."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        leading = [(rule, phrase) for rule in rules for phrase in rule.any or rule.all[0]]
        spoken = [(rule, phrase) for rule, phrase in leading if not phrase.term]
        self._terms = [(rule, phrase.term) for rule, phrase in leading if phrase.term]
        self._characters = _Index([(rule, phrase.by_characters) for rule, phrase in spoken])
        self._sounds = _Index([(rule, found) for rule, phrase in spoken if (found := phrase.by_sound)])

    def hits(self, text: str, speaker: Speaker, context: Context) -> list[Hit]:
        """Return the best hit of every rule that holds in `text`, in the order of the words.

        Of a rule that counts (`Rule.every`), the best hit in each sentence; of a member of a sequence, every hit.
        """
        best: dict[Any, Hit] = {}
        heard = [(text, self._characters, self._characters.find(text), 1.0)]
        if not self._sounds.empty:
            sounds = plain_sound(text)
            heard.append((sounds, self._sounds, self._sounds.find(sounds), _SOUND_CONFIDENCE))
        heard = [each for each in heard if each[2]]
        if not heard and not (self._terms and context.terms):
            return []
        for match in _SENTENCE.finditer(text):
            start, end = match.span()
            place = _Place(match.group(), start, text, speaker, context)
            for words, index, found, factor in heard:
                piece = words[start:end]
                present = {which for begins, ends, which in found if start <= begins and ends <= end}
                for rule, pattern in index.candidates(piece, present):
                    place.look(rule, pattern.spans(piece), factor, best)
            if self._terms and place.terms:
                for rule, term in self._terms:
                    place.look(rule, place.named(term), 1.0, best)
        return sorted(best.values(), key=lambda hit: (hit.start, hit.by))


class _Place:
    """One sentence of a text, and what is around it."""

    def __init__(self, sentence: str, offset: int, text: str, speaker: Speaker, context: Context) -> None:
        self._sentence = sentence
        self._offset = offset
        self._text = text
        self._speaker = speaker
        self._context = context
        self.terms = tuple(
            replace(term, at=(term.at[0] - offset, term.at[1] - offset))
            for term in context.terms
            if offset <= term.at[0] < offset + len(sentence) or term.at == (0, 0)
        )

    def named(self, term: Term) -> Iterator[tuple[int, int]]:
        """Yield where a term stands."""
        return (found.at for found in self.terms if term.meets(found.category, found.term))

    def look(self, rule: Rule, spans: Iterator[tuple[int, int]], factor: float, best: dict[Any, Hit]) -> None:
        """Try a rule whose phrase may stand here, and note its hits under what makes them different."""
        if rule.speaker is not None and self._speaker not in (rule.speaker, Speaker.UNKNOWN):
            return
        confidence = rule.confidence * factor
        if rule.speaker is not None and self._speaker is Speaker.UNKNOWN:
            confidence *= UNKNOWN_CONFIDENCE
        key: Any = (rule.id, self._offset) if rule.every else rule.id
        if not rule.member and key in best and best[key].confidence >= confidence:
            return
        around: bool | None = None
        for start, end in spans:
            if any(GUARDS[name][1](self._sentence, start, end) for name in rule.unless):
                continue
            if around is None and not (around := self._around(rule)):
                return
            if rule.member:
                key = (rule.id, self._offset + start)
                if key in best and best[key].confidence >= confidence:
                    continue
            best[key] = self._hit(rule, start, end, confidence)
            if not rule.member:
                return

    def _hit(self, rule: Rule, start: int, end: int, confidence: float) -> Hit:
        blanks = len(self._sentence) - len(self._sentence.lstrip())
        return Hit(
            raises=rule.raises,
            by=f"rule:{rule.id}",
            start=self._offset + start,
            end=self._offset + end,
            quote=self._sentence.strip(),
            confidence=confidence,
            severity=rule.severity,
            common=rule.common,
            sentence=self._offset + blanks,
            version=rule.version,
        )

    def _around(self, rule: Rule) -> bool:
        """Say whether what stands around the phrase is as the rule wants it."""
        context = self._context
        if rule.within_first_s is not None and context.talk_ms > rule.within_first_s * 1000:
            return False
        if rule.term and not any(term.category in rule.term or term.term in rule.term for term in context.terms):
            return False
        return (
            all(self._stands(group) for group in rule.all)
            and not self._stands(rule.none)
            and not stands(rule.none_in_turn, self._text)
            and (not rule.after or stands(rule.after, context.before))
            and not stands(rule.not_after, context.before)
        )

    def _stands(self, phrases: Sequence[Phrase]) -> bool:
        return any(
            next(self.named(phrase.term), None) is not None
            if phrase.term
            else phrase.by_characters.stands(self._sentence)
            for phrase in phrases
        )


def stands(phrases: Sequence[Phrase], text: str) -> bool:
    """Say whether one of the phrases stands in the text."""
    return any(phrase.by_characters.stands(text) for phrase in phrases)

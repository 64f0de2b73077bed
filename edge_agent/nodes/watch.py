"""What rules ask over more than a sentence: what stands near or follows, the Nth time, deadlines, the end of the call.

One watch lives as long as a call. It is given the hits of every stretch of talk and keeps back those that do not count
yet, or no more. A sentence that is still going on is read again with its next piece; what was noted of it before is
forgotten then and noted anew. Every time is the call's own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.nodes.match import Hit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.nodes.rules import Rule, Rules
    from edge_agent.types import Transcript

# Turn, and the half-open span of characters in what was said in it.
_Key = tuple[int, int, int]
_ENOUGH = 0.999


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is read at once: `offset` is where it begins in its turn, `said` where the latest utterance does.

    `talk_ms` is the talk before that utterance.
    """

    transcript: Transcript
    offset: int
    said: int
    talk_ms: int

    def at_ms(self, place: int) -> float:
        """Return how far into its utterance a character of the turn was said, in milliseconds."""
        length = max(1, len(self.transcript.text))
        return (self.transcript.end_ms - self.transcript.start_ms) * max(0, place - self.said) / length


@dataclass(frozen=True, slots=True)
class Held:
    """A hit that waits: for its deadline, or for the end of the call. Without a transcript the clock began the call."""

    rule: Rule
    hit: Hit
    transcript: Transcript | None
    due_ms: float


@dataclass(frozen=True, slots=True)
class _Noted:
    key: _Key
    at_ms: float
    hit: Hit


class Watch:
    """Remembers of one call what its rules ask about."""

    def __init__(self, rules: Rules) -> None:
        self._rules = {rule.id: rule for rule in rules.watched}
        self._members = {member.id: (rule, at) for rule in rules.watched for at, member in enumerate(rule.members)}
        self._absent = {rule.absent.id: rule for rule in rules.watched if rule.absent}
        self._noted: dict[str, dict[_Key, _Noted]] = defaultdict(dict)
        self._timers: dict[tuple[str, _Key], Held] = {}
        self._late: dict[tuple[str, _Key], Held] = {}
        for rule in self._absent.values():
            if not (rule.any or rule.all):
                nothing = Hit(rule.raises, f"rule:{rule.id}", 0, 0, "", rule.confidence, rule.severity)
                held = Held(rule, replace(nothing, version=rule.version), None, rule.absent_s * 1000)
                self._timers[rule.id, (-1, 0, 0)] = held

    def hear(self, hits: Iterable[Hit], stretch: Stretch) -> list[Hit]:
        """Return the hits that count."""
        if not self._rules:
            return list(hits)
        turn = stretch.transcript.turn
        for places in self._noted.values():
            for key in [key for key in places if _again(key, turn, stretch.offset)]:
                del places[key]
        for table in (self._timers, self._late):
            for mark in [mark for mark in table if _again(mark[1], turn, stretch.offset)]:
                del table[mark]
        counting: list[Hit] = []
        touched: dict[str, Rule] = {}
        missing: list[_Noted] = []
        for hit in hits:
            if hit.rule in self._members:
                self._note(hit.rule, hit, stretch)
                rule = self._members[hit.rule][0]
                touched[rule.id] = rule
            elif hit.rule in self._absent:
                missing.append(self._note(hit.rule, hit, stretch))
            elif hit.rule in self._rules:
                self._note(hit.rule, hit, stretch, sentence=True)
                touched[hit.rule] = self._rules[hit.rule]
            else:
                counting.append(hit)
        for rule in touched.values():
            if rule.members:
                self._complete(rule, stretch)
            counting += self._count(rule, stretch)
        self._said(missing)
        return self._heavy(counting, turn)

    def due(self, now_ms: float) -> list[Held]:
        """Return the hits whose deadline is before a time of the call, in order, and forget them."""
        due = sorted((held.due_ms, mark) for mark, held in self._timers.items() if held.due_ms < now_ms)
        return [self._timers.pop(mark) for _, mark in due]

    def late(self, talk_ms: float) -> list[Held]:
        """Return the hits of the last so many seconds of talk, now that all talk is known."""
        return [
            held
            for _, held in sorted(self._late.items(), key=lambda item: item[0][1])
            if talk_ms - held.due_ms <= (held.rule.within_last_s or 0) * 1000
        ]

    def _note(self, name: str, hit: Hit, stretch: Stretch, *, sentence: bool = False) -> _Noted:
        turn, offset = stretch.transcript.turn, stretch.offset
        place = hit.sentence if sentence else hit.start
        key = (turn, offset + place, offset + (place if sentence else hit.end))
        at = stretch.transcript.start_ms + stretch.at_ms(offset + hit.start)
        noted = self._noted[name][key] = _Noted(key, at, hit)
        return noted

    def _complete(self, rule: Rule, stretch: Stretch) -> None:
        """Note every place of this stretch at which all members of a rule have held."""
        turn, offset = stretch.transcript.turn, stretch.offset
        names = [member.id for member in rule.members]
        for last in [len(names) - 1] if rule.ordered else range(len(names)):
            for noted in list(self._noted[names[last]].values()):
                if not _again(noted.key, turn, offset):
                    continue
                before = [self._noted[name].values() for at, name in enumerate(names) if at != last]
                found = _follows(rule, before, noted) if rule.ordered else _near(rule, before, noted)
                if found:
                    sure = min(each.hit.confidence for each in (*found, noted))
                    hit = replace(
                        noted.hit, raises=rule.raises, by=f"rule:{rule.id}", version=rule.version, confidence=sure
                    )
                    self._noted[rule.id][noted.key] = replace(noted, hit=hit)

    def _count(self, rule: Rule, stretch: Stretch) -> list[Hit]:
        """Return the hits of this stretch that count: the Nth and those after it, not too soon after another."""
        out = []
        last: float | None = None
        turn, offset = stretch.transcript.turn, stretch.offset
        for time, (key, noted) in enumerate(sorted(self._noted[rule.id].items()), 1):
            if time < rule.nth or (last is not None and (rule.once or noted.at_ms - last < rule.cooldown_s * 1000)):
                continue
            last = noted.at_ms
            if not _again(key, turn, offset):
                continue
            if rule.absent:
                end = stretch.transcript.end_ms
                self._timers[rule.id, key] = Held(rule, noted.hit, stretch.transcript, end + rule.absent_s * 1000)
            elif rule.within_last_s is not None:
                talk = stretch.talk_ms + stretch.at_ms(key[1])
                self._late[rule.id, key] = Held(rule, noted.hit, stretch.transcript, talk)
            else:
                out.append(noted.hit)
        return out

    def _said(self, missing: Iterable[_Noted]) -> None:
        """Stop the clocks that what was said has answered."""
        for noted in missing:
            rule = self._absent[noted.hit.rule]
            for mark, held in list(self._timers.items()):
                if held.rule is rule and mark[1] < noted.key and noted.at_ms <= held.due_ms:
                    del self._timers[mark]

    def _heavy(self, hits: list[Hit], turn: int) -> list[Hit]:
        """Leave out what weighs too little: the rules of one node that hold in one turn must come to 1."""
        weights: dict[str, float] = defaultdict(float)
        for rule in self._rules.values():
            if rule.weight < 1 and any(key[0] == turn for key in self._noted[rule.id]):
                weights[rule.raises] += rule.weight
        light = {name for name, rule in self._rules.items() if rule.weight < 1}
        return [hit for hit in hits if hit.rule not in light or weights[hit.raises] >= _ENOUGH]


def _again(key: _Key, turn: int, offset: int) -> bool:
    """Say whether a place is in what is read now."""
    return key[0] == turn and key[1] >= offset


def _near(rule: Rule, before: Sequence[Iterable[_Noted]], last: _Noted) -> list[_Noted]:
    """Return a place for each of the others, near the last of them; nothing if one has none."""
    found = []
    for places in before:
        near = [each for each in places if each.key <= last.key and _apart(each, last) and _close(rule, each, last)]
        if not near:
            return []
        found.append(max(near, key=lambda each: each.key))
    return found


def _follows(rule: Rule, before: Sequence[Iterable[_Noted]], last: _Noted) -> list[_Noted]:
    """Return a place for each of the earlier ones in their order, the latest that will do."""
    found: list[_Noted] = []
    now = last
    for places in reversed(before):
        earlier = [
            each
            for each in places
            if each.key < now.key and _apart(each, now) and _close(rule, each, last if rule.within_s else now)
        ]
        if not earlier:
            return []
        now = max(earlier, key=lambda each: each.key)
        found.append(now)
    return found


def _apart(one: _Noted, other: _Noted) -> bool:
    """The words of one are not the words of the other."""
    return one.key[0] != other.key[0] or one.key[2] <= other.key[1] or other.key[2] <= one.key[1]


def _close(rule: Rule, one: _Noted, other: _Noted) -> bool:
    if rule.within_chars is not None:
        gap = max(other.key[1] - one.key[2], one.key[1] - other.key[2])
        return one.key[0] == other.key[0] and gap <= rule.within_chars
    return rule.within_s is None or abs(other.at_ms - one.at_ms) <= rule.within_s * 1000

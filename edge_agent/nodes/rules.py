"""Rules: what an operations person wrote in YAML, read, checked and ready to be matched.

A file has two tables, `lists` (named lists of phrases) and `rules`. Several files are read as one: lists of all files
are known to all, and a rule of a later file with the id of an earlier one takes its place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE, SIGNALS
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.rulefile import Entry, File, Lists
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_agent.nodes.match import Matcher
    from edge_agent.nodes.phrase import Phrase

# Folder of the rules that the classifier may overrule; what a pack or a site writes stands.
COMMON = "common"
# What a rule across calls raises is named by who writes it.
ACROSS = re.compile(r"customer(\.[a-z][a-z0-9_]*)+")
_SEVERITIES = ("info", "warning", "alarm")
_SPEAKERS = {"agent": Speaker.AGENT, "customer": Speaker.CUSTOMER, "any": None}
_WHAT = ("any", "all", "none", "none_in_turn", "after", "not_after", "unless", "term", "within_first_s")
_TOGETHER = ("near", "sequence", "within_chars", "within_s")
_WHEN = ("within_last_s", "nth", "cooldown_s", "once", "absent", "weight")
_KEYS = ("id", "name", "node", "signal", "who", *_WHAT, *_TOGETHER, *_WHEN, "across", "confidence", "severity")
_ACROSS_KEYS = ("id", "name", "node", "across", "confidence", "severity")
_DAY_S = 86_400


@dataclass(frozen=True)
class Across:
    """A condition over the customer's calls, judged at the end of each.

    It holds where each of the last `calls` calls in which one of `having` was noticed had none of `without`; only calls
    of the last `within_days` count, if that is given.
    """

    calls: int
    having: tuple[str, ...]
    without: tuple[str, ...] = ()
    within_days: float | None = None


@dataclass(frozen=True)
class Rule:
    """One rule: what it raises, and when.

    It holds in a sentence where one phrase of `any` stands and one phrase of every group in `all`, none of `none` in
    the sentence, none of `none_in_turn` in the turn, no guard of `unless` objects, and the other party's last turn has
    one of `after` and none of `not_after`. `speaker` is who must speak (None: either). `term` are categories or names
    of which a dictionary term of the utterance must be one. `within_first_s` is seconds of talk since the call began.
    `common` says that the rule is of the common set; `version` is a short hash of what the rule says.

    A rule with `members` holds where all of them have held, in their order if `ordered`, within so many characters of
    one turn or seconds of the call. The rest is judged over the call: `within_last_s` is seconds of talk before its
    end, `nth` the time from which the rule counts, `cooldown_s` and `once` how often it may; `absent` must not hold for
    `absent_s` seconds after the rule did (after the call began, if it has no phrases). The weights of the rules for one
    node that hold in a turn must come to 1.
    """

    id: str
    name: str
    raises: str
    speaker: Speaker | None
    any: tuple[Phrase, ...]
    all: tuple[tuple[Phrase, ...], ...] = ()
    none: tuple[Phrase, ...] = ()
    none_in_turn: tuple[Phrase, ...] = ()
    after: tuple[Phrase, ...] = ()
    not_after: tuple[Phrase, ...] = ()
    unless: tuple[str, ...] = ()
    term: tuple[str, ...] = ()
    within_first_s: float | None = None
    within_last_s: float | None = None
    members: tuple[Rule, ...] = ()
    ordered: bool = False
    within_chars: int | None = None
    within_s: float | None = None
    nth: int = 1
    cooldown_s: float = 0.0
    once: bool = False
    absent: Rule | None = None
    absent_s: float = 0.0
    weight: float = 1.0
    across: Across | None = None
    confidence: float = 0.85
    severity: str = "info"
    common: bool = False
    member: bool = False
    version: str = ""

    @cached_property
    def every(self) -> bool:
        """Every sentence in which the rule holds counts, not only the best of a turn."""
        return bool(
            self.nth > 1
            or self.cooldown_s
            or self.once
            or self.within_last_s is not None
            or self.absent
            or self.weight < 1
        )


@dataclass(frozen=True)
class Rules:
    """Every rule that is in force; `version` is a short hash of the files' content."""

    rules: tuple[Rule, ...]
    version: str

    @classmethod
    def load(cls, files: Sequence[Path]) -> Rules:
        """Read rule files as one set.

        Raises:
            DictionaryError: a file can't be read or something in it is wrong; names file and line, and what to do.
        """
        read = [File.read(path) for path in files]
        lists = Lists(read)
        rules: dict[str, Rule] = {}
        for file in read:
            for found in _each(file, lists):
                if isinstance(found, DictionaryError):
                    raise found
                rules[found.id] = found
        digest = hashlib.sha256("\0".join(file.text for file in read).encode()).hexdigest()[:12]
        return cls(tuple(rules.values()), digest)

    @staticmethod
    def check(file: Path, others: Sequence[Path] = ()) -> tuple[int, list[DictionaryError]]:
        """Count the rules of a file that are right, and return what is wrong with the rest, one error a rule.

        `others` are read before it: the file may use their lists. A file that can't be read at all gives one error.
        """
        try:
            known = [File.read(path) for path in others]
            read = File.read(file)
            found = list(_each(read, Lists([*known, read])))
        except DictionaryError as error:
            return 0, [error]
        errors = [each for each in found if isinstance(each, DictionaryError)]
        return len(found) - len(errors), errors

    @cached_property
    def matcher(self) -> Matcher:
        """The compiled rules, shared by every call that is judged by them."""
        from edge_agent.nodes.match import Matcher

        parts = (part for rule in self.rules for part in (rule, *rule.members, rule.absent) if part is not None)
        return Matcher([rule for rule in parts if rule.any or rule.all])

    @cached_property
    def watched(self) -> tuple[Rule, ...]:
        """The rules that are judged over the call."""
        return tuple(rule for rule in self.rules if rule.every or rule.members)

    @cached_property
    def across(self) -> tuple[Rule, ...]:
        """The rules that are judged over the customer's calls."""
        return tuple(rule for rule in self.rules if rule.across)


def _each(file: File, lists: Lists) -> Iterator[Rule | DictionaryError]:
    """Read the rules of a file one by one; an error takes the place of a rule that is wrong."""
    seen: dict[str, int] = {}
    for entry in file.entries("rules"):
        try:
            rule = _rule(entry, lists)
        except DictionaryError as error:
            yield error
            continue
        if rule.id in seen:
            yield entry.error(
                f"rule id `{rule.id}` is taken by line {seen[rule.id]}",
                "give each rule of a file an id of its own",
                "id",
            )
            continue
        seen[rule.id] = entry.line
        yield rule


def _rule(entry: Entry, lists: Lists) -> Rule:
    for key in entry.values:
        if key not in _KEYS:
            raise entry.error(f"unknown operator `{key}`", _near(key, _KEYS), key)
    name = entry.text("id")
    if "#" in name:
        raise entry.error(f"rule id `{name}` holds a #", "write letters, digits, dots and underscores", "id")
    if "across" in entry.values:
        return _across(entry, name)
    rule = _sentence(entry, lists, name, _raised(entry, name))
    rule = _together(entry, lists, rule)
    rule = replace(
        rule,
        within_last_s=entry.number("within_last_s", None, 1, _DAY_S),
        nth=int(entry.number("nth", 1, 1, 1000, whole=True) or 1),
        cooldown_s=entry.number("cooldown_s", 0, 0, _DAY_S) or 0.0,
        once=entry.flag("once"),
        weight=entry.number("weight", 1, 0.01, 1) or 1.0,
        version=hashlib.sha256(f"{entry.plain()}{lists.version}".encode()).hexdigest()[:8],
    )
    if "absent" in entry.values:
        rule = _absent(entry, lists, rule)
    elif not (rule.any or rule.all or rule.members):
        raise entry.error(f"rule `{name}` has no phrase to look for", "add `any:` with at least one phrase", "id")
    if rule.raises in SIGNALS and (rule.absent or rule.within_last_s is not None):
        raise entry.error(
            f"rule `{name}` gives a signal too late",
            "with `absent` or `within_last_s` it must raise a `node:`",
            "signal",
        )
    return rule


def _raised(entry: Entry, name: str) -> str:
    """Return the node or the signal that a rule raises."""
    node, signal = entry.text("node", ""), entry.text("signal", "")
    if bool(node) == bool(signal):
        raise entry.error(f"rule `{name}` must say what it raises", "give it either `node:` or `signal:`", "id")
    if node and (node not in CATALOGUE or node.startswith("process.")):
        if ACROSS.fullmatch(node):
            raise entry.error(f"`{node}` is raised across calls only", "say over how many under `across:`", "node")
        raise entry.error(f"unknown node `{node}`", _near(node, [k for k in CATALOGUE if k[:8] != "process."]), "node")
    if signal and signal not in SIGNALS:
        raise entry.error(f"unknown signal `{signal}`", _near(signal, list(SIGNALS)), "signal")
    return node or signal


def _sentence(entry: Entry, lists: Lists, name: str, raises: str) -> Rule:
    """Read what is asked of a sentence and its surroundings."""
    unless, excluded = _unless(entry, lists)
    kind = CATALOGUE.get(raises)
    term = entry.values.get("term", [])
    return Rule(
        id=name,
        name=entry.text("name", ""),
        raises=raises,
        speaker=_who(entry, kind.speaker if kind else None),
        any=lists.phrases(entry, "any", entry.strings("any")),
        all=tuple(lists.phrases(entry, "all", group) for group in entry.groups("all")),
        none=lists.phrases(entry, "none", entry.strings("none")) + excluded,
        none_in_turn=lists.phrases(entry, "none_in_turn", entry.strings("none_in_turn"), terms=False),
        after=lists.phrases(entry, "after", entry.strings("after"), terms=False),
        not_after=lists.phrases(entry, "not_after", entry.strings("not_after"), terms=False),
        unless=unless,
        term=(term,) if isinstance(term, str) else tuple(text for text, _ in entry.strings("term")),
        within_first_s=entry.number("within_first_s", None, 0, _DAY_S),
        confidence=entry.number("confidence", 0.85, 0, 1) or 0.0,
        severity=_severity(entry, kind.severity if kind else "info"),
        common=entry.path.parent.name == COMMON,
    )


def _who(entry: Entry, default: Speaker | None) -> Speaker | None:
    who = entry.text("who", "")
    if who and who not in _SPEAKERS:
        raise entry.error(f"`who` is `{who}`", "who speaks is agent, customer or any", "who")
    return _SPEAKERS[who] if who else default


def _severity(entry: Entry, default: str) -> str:
    severity = entry.text("severity", default)
    if severity not in _SEVERITIES:
        raise entry.error(f"`severity` is `{severity}`", "it is info, warning or alarm", "severity")
    return severity


def _unless(entry: Entry, lists: Lists) -> tuple[tuple[str, ...], tuple[Phrase, ...]]:
    """Return the guards that a rule obeys, and the phrases of the lists it names beside them."""
    guards: list[str] = []
    phrases: list[tuple[str, int]] = []
    for text, line in entry.strings("unless"):
        if text.startswith("<"):
            phrases.append((text, line))
        elif text in GUARDS:
            guards.append(text)
        else:
            remedy = f"{_near(text, list(GUARDS))}; a named list is written <its name>"
            raise entry.error(f"unknown guard `{text}`", remedy, "unless", line)
    return tuple(guards), lists.phrases(entry, "unless", phrases)


def _together(entry: Entry, lists: Lists, rule: Rule) -> Rule:
    """Read `near` or `sequence`: phrases that must stand together, over more than one sentence."""
    chosen = [key for key in ("near", "sequence") if key in entry.values]
    chars = entry.number("within_chars", None, 1, 2000, whole=True)
    seconds = entry.number("within_s", None, 1, _DAY_S)
    if not chosen:
        if chars is not None or seconds is not None:
            key = "within_chars" if chars is not None else "within_s"
            raise entry.error(f"`{key}` without anything it holds for", "it goes with `near` or `sequence`", key)
        return rule
    key = chosen[0]
    if len(chosen) > 1 or rule.any or rule.all:
        raise entry.error(
            f"`{key}` together with any, all or another of its kind",
            f"put the phrases that must stand together under `{key}` alone",
            key,
        )
    if chars is not None and seconds is not None:
        raise entry.error(
            "both `within_chars` and `within_s`", "keep one: characters of a turn, or seconds", "within_s"
        )
    if key == "near" and chars is None and seconds is None:
        raise entry.error("`near` does not say how near", "add `within_chars: 10` or `within_s: 20`", key)
    remedy = "write  - [甲, 乙]  or  - {who: agent, any: [甲, 乙]}  for each"
    items = entry.items(key, "a list of lists", remedy)
    if len(items) < 2:
        raise entry.error(f"`{key}` wants two members or more", remedy, key)
    members = tuple(_member(entry, lists, rule, key, item, line, at) for at, (item, line) in enumerate(items, 1))
    return replace(
        rule,
        members=members,
        ordered=key == "sequence",
        within_chars=int(chars) if chars is not None else None,
        within_s=seconds,
    )


def _member(entry: Entry, lists: Lists, rule: Rule, key: str, item: Any, line: int, number: int) -> Rule:
    """Read one member of `near` or `sequence`, or what must be absent, as a rule of its own."""
    if isinstance(item, list):
        within = Entry(entry.path, line, {"any": item}, {"any": line})
    else:
        within = entry.inner(key, item, line)
    for name in within.values:
        if name not in ("who", "any"):
            raise within.error(f"unknown word `{name}` in `{key}`", "a member has `who:` and `any:`", name)
    phrases = lists.phrases(within, "any", within.strings("any"))
    if not phrases:
        raise within.error(f"a member of `{key}` without a phrase", "give it at least one", line=line)
    return replace(
        rule, id=f"{rule.id}#{number}", any=phrases, speaker=_who(within, rule.speaker), member=True, version=""
    )


def _absent(entry: Entry, lists: Lists, rule: Rule) -> Rule:
    """Read what must be said before a deadline."""
    value = entry.values["absent"]
    within = entry.inner("absent", value, entry.lines.get("absent", entry.line))
    seconds = within.number("within_s", None, 1, _DAY_S)
    if seconds is None:
        raise entry.error("`absent` without a deadline", "add `within_s: 60` to it", "absent")
    if rule.within_last_s is not None or rule.members:
        raise entry.error(
            "`absent` together with near, sequence or within_last_s", "keep `any:` for what starts the clock", "absent"
        )
    rest = {key: value for key, value in within.values.items() if key != "within_s"}
    bare = replace(rule, none=(), none_in_turn=(), after=(), not_after=(), unless=(), term=(), within_first_s=None)
    bare = replace(bare, all=(), absent=None, speaker=None)
    missing = _member(entry, lists, bare, "absent", {**rest, "\0lines": within.lines}, within.line, 0)
    return replace(rule, absent=missing, absent_s=seconds)


def _across(entry: Entry, name: str) -> Rule:
    """Read a rule over the customer's calls."""
    for key in entry.values:
        if key not in _ACROSS_KEYS:
            raise entry.error(f"`{key}` beside `across`", f"a rule across calls has {', '.join(_ACROSS_KEYS)}", key)
    node = entry.text("node")
    if not ACROSS.fullmatch(node):
        raise entry.error(
            f"`{node}` can't be raised across calls", "write customer. and a name in small letters", "node"
        )
    within = entry.inner("across", entry.values["across"], entry.lines["across"])
    for key in within.values:
        if key not in ("calls", "with", "without", "within_days"):
            raise within.error(f"unknown word `{key}` in `across`", "it has calls, with, without, within_days", key)
    calls = within.number("calls", None, 1, 100, whole=True)
    if calls is None:
        raise within.error("`across` without `calls`", "say over how many calls: `calls: 3`")
    named = {key: within.strings(key) for key in ("with", "without")}
    for key, texts in named.items():
        for text, line in texts:
            if text not in CATALOGUE and text not in SIGNALS:
                raise within.error(f"unknown node or signal `{text}`", _near(text, [*CATALOGUE, *SIGNALS]), key, line)
    if not named["with"]:
        raise within.error("`across` without `with`", "say what the calls have in common: `with: [objection.price]`")
    return Rule(
        id=name,
        name=entry.text("name", ""),
        raises=node,
        speaker=None,
        any=(),
        across=Across(
            int(calls),
            tuple(text for text, _ in named["with"]),
            tuple(text for text, _ in named["without"]),
            within.number("within_days", None, 1, 3650),
        ),
        confidence=entry.number("confidence", 0.85, 0, 1) or 0.0,
        severity=_severity(entry, "warning"),
        common=entry.path.parent.name == COMMON,
        version=hashlib.sha256(entry.plain().encode()).hexdigest()[:8],
    )


def _near(word: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else "known are: " + ", ".join(known)

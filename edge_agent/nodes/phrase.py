r"""The language in which phrases are written, and how a phrase finds its words in a text.

    贵了一点        these characters
    贵…点          up to eight characters between, commas included, never across the end of a sentence
    回去……交代      up to sixteen characters between
    (太|有点)贵     one of these
    贵[了]一点      `了` may be left out
    <嫌贵>         one of the named list `嫌贵`
    ^行$           `^` is where a clause begins, `$` where it ends
    /\d+折/        a regular expression (RE2 syntax: no look-around, no back-references)

Every phrase becomes one regular expression. A second one, over sounds instead of characters, finds the phrase through
homophones if four syllables or more stand together in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI, syllables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SENTENCE_ENDS = "。！？!?；;\n"
CLAUSE_ENDS = SENTENCE_ENDS + "，,、：:…—"
_GAPS = {1: 8, 2: 16}
_MIN_SYLLABLES = 4
_SYNTAX = "…()|[]<>^$"
# Python knows more than RE2 does; what RE2 lacks is refused, so that a rule file outlives the engine under it.
_NOT_RE2 = re.compile(r"\(\?[=!<]|\(\?\(|\\[1-9]|[*+?}]\+")


class PhraseError(ValueError):
    """A phrase can't be read; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """These characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Raw:
    """A piece of regular expression: a gap, an edge of a clause, or what the author wrote between slashes."""

    regex: str
    sounds: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these sequences."""

    options: tuple[tuple[Part, ...], ...]


Part = Literal | Raw | Choice

_START = Raw(rf"(?:^|(?<=[{CLAUSE_ENDS}]))")
_END = Raw(rf"(?=$|[{CLAUSE_ENDS}])")


def parse(text: str, lists: Mapping[str, tuple[tuple[Part, ...], ...]]) -> tuple[Part, ...]:
    """Read a phrase; `lists` are the named lists it may use.

    Raises:
        PhraseError: the phrase is empty, a bracket stays open, a list is unknown or a regular expression is wrong.
    """
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        return (Raw(f"(?:{_checked(text[1:-1])})", sounds=False),)
    parts, rest = _sequence(text, lists)
    if rest:
        raise PhraseError(f"“{rest[0]}” without its opening bracket")
    if not any(map(_says_something, parts)):
        raise PhraseError("the phrase is empty")
    return parts


def _says_something(part: Part) -> bool:
    if isinstance(part, Choice):
        return any(any(map(_says_something, option)) for option in part.options)
    return isinstance(part, Literal) or not part.sounds


def _checked(regex: str) -> str:
    if _NOT_RE2.search(regex):
        raise PhraseError("look-around, back-references and possessive repeats are not in RE2 syntax")
    try:
        re.compile(regex)
    except re.error as error:
        raise PhraseError(f"not a regular expression: {error}") from error
    return regex


def _sequence(text: str, lists: Mapping[str, tuple[tuple[Part, ...], ...]]) -> tuple[tuple[Part, ...], str]:
    """Read parts until the text or the bracket around them ends; return them and what is left."""
    parts: list[Part] = []
    while text and text[0] not in "|)]":
        head = text[0]
        if head == "…":
            dots = len(text) - len(text.lstrip("…"))
            if dots not in _GAPS:
                raise PhraseError("a gap is written “…” (8 characters) or “……” (16)")
            parts.append(Raw(rf"[^{SENTENCE_ENDS}]{{0,{_GAPS[dots]}}}?"))
            text = text[dots:]
        elif head in "^$":
            parts.append(_START if head == "^" else _END)
            text = text[1:]
        elif head in "([":
            options, text = _options(text[1:], ")" if head == "(" else "]", lists)
            parts.append(Choice((*options, ()) if head == "[" else options))
        elif head == "<":
            name, closed, text = text[1:].partition(">")
            if not closed:
                raise PhraseError("“<” without “>”")
            if name not in lists:
                raise PhraseError(f"there is no list named “{name}”")
            parts.append(Choice(lists[name]))
        elif head == ">":
            raise PhraseError("“>” without “<”")
        else:
            match = re.match(rf"[^{re.escape(_SYNTAX)}]+", text)
            assert match is not None
            if parts and isinstance(parts[-1], Choice) and text[0] in "?*+":
                raise PhraseError(f"“{text[0]}” after a bracket means nothing here: what may be left out stands in [ ]")
            parts.append(Literal(match.group()))
            text = text[match.end() :]
    return tuple(parts), text


def _options(
    text: str, closing: str, lists: Mapping[str, tuple[tuple[Part, ...], ...]]
) -> tuple[tuple[tuple[Part, ...], ...], str]:
    options: list[tuple[Part, ...]] = []
    while True:
        parts, text = _sequence(text, lists)
        options.append(parts)
        if not text:
            raise PhraseError(f"a bracket is opened and not closed with “{closing}”")
        if text[0] == closing:
            return tuple(options), text[1:]
        if text[0] != "|":
            raise PhraseError(f"“{text[0]}” where “{closing}” was expected")
        text = text[1:]


# Each syllable gets a character of its own (private use area), in the order in which they are met.
_symbols: dict[str, str] = {}


@lru_cache(maxsize=4096)
def sound(text: str) -> str:
    """Return `text` with every Chinese character replaced by a symbol of its canonical syllable; length is kept."""
    return "".join(
        _symbols.setdefault(syllable, chr(0xE000 + len(_symbols))) if HANZI.match(char) else char
        for char, syllable in zip(text, syllables(text), strict=True)
    )


def _regex(parts: Iterable[Part], spell: Callable[[str], str]) -> str:
    out = []
    for part in parts:
        if isinstance(part, Literal):
            out.append(re.escape(spell(part.text)))
        elif isinstance(part, Raw):
            out.append(part.regex)
        else:
            out.append(f"(?:{'|'.join(_regex(option, spell) for option in part.options)})")
    return "".join(out)


def _has_raw(parts: Iterable[Part]) -> bool:
    return any(
        not part.sounds if isinstance(part, Raw) else isinstance(part, Choice) and any(map(_has_raw, part.options))
        for part in parts
    )


def _solid(parts: Iterable[Part]) -> int:
    """Count the Chinese characters of the longest stretch without a gap that every match has at least."""
    longest = run = 0
    for part in parts:
        if isinstance(part, Literal):
            run += len(HANZI.findall(part.text))
        elif isinstance(part, Choice):
            run += min(map(_solid, part.options), default=0)
        elif part not in (_START, _END):
            run = 0
        longest = max(longest, run)
    return longest


def _anchors(parts: Iterable[Part], spell: Callable[[str], str]) -> frozenset[str]:
    """Return pairs of characters (or single ones) of which every match has at least one; empty if there are none."""
    best: frozenset[str] = frozenset()
    for part in parts:
        keys: frozenset[str] = frozenset()
        if isinstance(part, Literal):
            text = spell(part.text)
            keys = frozenset({text[:2]})
        elif isinstance(part, Choice):
            options = [_anchors(option, spell) for option in part.options]
            keys = frozenset().union(*options) if all(options) else keys
        if keys and (not best or _rank(keys) > _rank(best)):
            best = keys
    return best


def _rank(keys: frozenset[str]) -> tuple[int, int]:
    return min(map(len, keys)), -len(keys)


@dataclass(frozen=True)
class Pattern:
    """One spelling of a phrase; compiled when it is first needed."""

    source: str
    anchors: frozenset[str]

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The compiled expression."""
        return re.compile(self.source)


@dataclass(frozen=True)
class Phrase:
    """A phrase as written, ready to be looked for in characters and, if long enough, in sounds."""

    text: str
    parts: tuple[Part, ...] = field(repr=False)

    @cached_property
    def by_characters(self) -> Pattern:
        """The phrase over characters."""
        return self._spelt(lambda text: text)

    @cached_property
    def by_sound(self) -> Pattern | None:
        """The phrase over sounds, for texts that went through `sound`; None if it is too short for that."""
        if _has_raw(self.parts) or _solid(self.parts) < _MIN_SYLLABLES:
            return None
        return self._spelt(sound)

    def _spelt(self, spell: Callable[[str], str]) -> Pattern:
        return Pattern(_regex(self.parts, spell), _anchors(self.parts, spell))

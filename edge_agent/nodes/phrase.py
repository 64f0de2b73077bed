r"""The language in which phrases are written, and how a phrase finds its words in a text.

    贵了一点        these characters
    贵…点          up to eight characters between, commas included, never across the end of a sentence
    回去……交代      up to sixteen characters between
    (太|有点)贵     one of these
    贵[了]一点      `了` may be left out
    <嫌贵>         one of the named list `嫌贵`
    ^行$           `^` is where a clause begins, `$` where it ends
    /\d+折/        a regular expression (RE2 syntax: no look-around, no back-references)
    {competitor}   a term of the dictionary, by its category or its name; stands alone

Every phrase becomes one regular expression. A second one, over sounds instead of characters, finds the phrase through
homophones if four syllables or more stand together in it. What an author wrote between slashes is run by RE2, whose
time grows with the length of the text and nothing else, so that no rule can stall a call; phrases of the language
above have few and short gaps and are run by Python's own engine, which is faster on sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from edge_agent.phonetics import HANZI, syllables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

SENTENCE_ENDS = "。！？!?；;\n"
CLAUSE_ENDS = SENTENCE_ENDS + "，,、：:…—"
_GAPS = {1: 8, 2: 16}
_MIN_SYLLABLES = 4
_SYNTAX = "…()|[]<>^${}"
# Python's engine tries every length of every gap; above so many gaps RE2 runs the phrase.
_MAX_GAPS = 3
# Stretches of a phrase are written out into the strings they may be, up to so many.
_MAX_STRINGS = 64


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


@dataclass(frozen=True)
class Choice:
    """One of these sequences.

    A named list is one choice in all phrases that use it: what is worked out for it is worked out once.
    """

    options: tuple[tuple[Part, ...], ...]

    @cached_property
    def strings(self) -> frozenset[str] | None:
        """Every string that it may be; None if they are many, or it has a gap, an edge or an expression."""
        options = [_written(option) for option in self.options]
        found = None if None in options else frozenset().union(*(one for one in options if one is not None))
        return found if found is None or len(found) <= _MAX_STRINGS else None

    @cached_property
    def needs(self) -> frozenset[str]:
        """Strings of which it has at least one, whichever it is; none if one of the sequences has nothing to go by."""
        options = [_needs(option) for option in self.options]
        return frozenset().union(*(max(each, key=_rank) for each in options)) if all(options) else frozenset()

    @cached_property
    def raw(self) -> bool:
        """An author's expression is in it."""
        return any(map(_has_raw, self.options))

    @cached_property
    def solid(self) -> int:
        """As many Chinese characters stand together in it at least."""
        return min(map(_solid, self.options), default=0)

    @cached_property
    def spelt(self) -> dict[tuple[Callable[[str], str], bool], str]:
        """The regular expressions that were written of it."""
        return {}


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the dictionary: any of this category, or the one of this name."""

    name: str

    def meets(self, category: str, term: str) -> bool:
        """Say whether a term that was found is meant."""
        return self.name in (category, term)


Part = Literal | Raw | Choice | Term

_START = Raw(rf"(?:^|(?<=[{CLAUSE_ENDS}]))")
_END = Raw(rf"(?=$|[{CLAUSE_ENDS}])")
_CONSUMED = {_START: rf"(?:^|[{CLAUSE_ENDS}])", _END: rf"(?:$|[{CLAUSE_ENDS}])"}


def parse(text: str, lists: Mapping[str, Choice]) -> tuple[Part, ...]:
    """Read a phrase; `lists` are the named lists it may use.

    Raises:
        PhraseError: the phrase is empty, a bracket stays open, a list is unknown or a regular expression is wrong.
    """
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        return (Raw(f"(?:{_checked(text[1:-1])})", sounds=False),)
    if text.startswith("{") and text.endswith("}"):
        if not text[1:-1].strip() or set("{}") & set(text[1:-1]):
            raise PhraseError("a term is written {category} or {its name}")
        return (Term(text[1:-1].strip()),)
    parts, rest = _sequence(text, lists)
    if rest:
        raise PhraseError(f"“{rest[0]}” without its opening bracket")
    if not any(map(_says_something, parts)):
        raise PhraseError("the phrase is empty")
    return parts


def _says_something(part: Part) -> bool:
    if isinstance(part, Choice):
        return any(any(map(_says_something, option)) for option in part.options)
    return isinstance(part, (Literal, Term)) or not part.sounds


def _checked(regex: str) -> str:
    import re2

    try:
        re2.compile(regex, options_of_re2())
    except re2.error as error:
        said = error.args[0]
        reason = said.decode() if isinstance(said, bytes) else str(said)
        raise PhraseError(f"not a regular expression of RE2: {reason}{_in_words(reason)}") from error
    return regex


_RE2_SAYS = {
    "invalid perl operator": "look-around does not exist here: what must not stand there goes under `none:`",
    "invalid escape sequence": "back-references do not exist here; a sign like . or ( is written \\. or \\(",
    "missing )": "a bracket is opened and not closed",
    "unexpected )": "a bracket is closed that was not opened",
    "missing ]": "a square bracket is opened and not closed",
    "bad repetition operator": "two of * + ? { } follow each other",
    "no argument for repetition operator": "nothing stands before * + or ?",
    "invalid repetition size": "a repetition counts to 1000 at most",
    "pattern too large": "it is too large: put the words into a list",
}


def _in_words(reason: str) -> str:
    return next((f" ({words})" for begins, words in _RE2_SAYS.items() if reason.startswith(begins)), "")


@lru_cache(maxsize=1)
def options_of_re2() -> Any:
    """Return how RE2 is used: by this code's own errors, not by lines on standard error."""
    import re2

    options = re2.Options()
    options.log_errors = False
    return options


def _sequence(text: str, lists: Mapping[str, Choice]) -> tuple[tuple[Part, ...], str]:
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
            if any(isinstance(part, Term) for option in lists[name].options for part in option):
                raise PhraseError(f"the list “{name}” holds terms {{…}}: use it alone, not inside a phrase")
            parts.append(lists[name])
        elif head == ">":
            raise PhraseError("“>” without “<”")
        elif head in "{}":
            raise PhraseError("a term {…} stands alone, with nothing before or after it")
        else:
            match = re.match(rf"[^{re.escape(_SYNTAX)}]+", text)
            assert match is not None
            if parts and isinstance(parts[-1], Choice) and text[0] in "?*+":
                raise PhraseError(f"“{text[0]}” after a bracket means nothing here: what may be left out stands in [ ]")
            parts.append(Literal(match.group()))
            text = text[match.end() :]
    return tuple(parts), text


def _options(text: str, closing: str, lists: Mapping[str, Choice]) -> tuple[tuple[tuple[Part, ...], ...], str]:
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


def _symbol(syllable: str) -> str:
    return _symbols.setdefault(syllable, chr(0xE000 + len(_symbols)))


class _Readings(dict[int, str]):
    """The symbol of a character's usual reading, looked up once for each character that is met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = _symbol(syllables(char)[0]) if HANZI.match(char) else char
        return self[code]


_READINGS = _Readings()


def plain_sound(text: str) -> str:
    """Return `text` with every Chinese character replaced by a symbol of its canonical syllable; length is kept.

    Each character is read by itself: a hundred times faster than in its word, and as good where both sides do so. A
    character with several readings has its usual one on both sides; it is only where another character was heard
    for it in a rarer reading that the phrase is missed.
    """
    return text.translate(_READINGS)


def _char_class(options: Iterable[tuple[Part, ...]], spell: Callable[[str], str]) -> str | None:
    """Return `[甲乙丙]` where every option is one character: a tenth of the work to compile."""
    out = []
    for option in options:
        if len(option) != 1 or not isinstance(option[0], Literal) or len(option[0].text) != 1:
            return None
        out.append(re.escape(spell(option[0].text)))
    return f"[{''.join(dict.fromkeys(out))}]" if out else None


def _regex(parts: Iterable[Part], spell: Callable[[str], str], edges: Mapping[Raw, str]) -> str:
    out = []
    for part in parts:
        if isinstance(part, Literal):
            out.append(re.escape(spell(part.text)))
        elif isinstance(part, Raw):
            out.append(edges.get(part, part.regex))
        elif isinstance(part, Choice):
            key = spell, bool(edges)
            if key not in part.spelt:
                written = _char_class(part.options, spell)
                every = (_regex(option, spell, edges) for option in part.options)
                part.spelt[key] = written or f"(?:{'|'.join(every)})"
            out.append(part.spelt[key])
    return "".join(out)


def _has_raw(parts: Iterable[Part]) -> bool:
    return any(not part.sounds if isinstance(part, Raw) else isinstance(part, Choice) and part.raw for part in parts)


def _gaps(parts: Iterable[Part]) -> int:
    """Count the gaps that one match may have at most."""
    return sum(
        max(map(_gaps, part.options), default=0)
        if isinstance(part, Choice)
        else isinstance(part, Raw) and part not in (_START, _END)
        for part in parts
    )


def _solid(parts: Iterable[Part]) -> int:
    """Count the Chinese characters of the longest stretch without a gap that every match has at least."""
    longest = run = 0
    for part in parts:
        if isinstance(part, Literal):
            run += len(HANZI.findall(part.text))
        elif isinstance(part, Choice):
            run += part.solid
        elif part not in (_START, _END):
            run = 0
        longest = max(longest, run)
    return longest


def _written(parts: Iterable[Part]) -> frozenset[str] | None:
    """Return every string that the parts may be, if they are few and have no gap, edge or expression."""
    strings = frozenset({""})
    for part in parts:
        if isinstance(part, Literal):
            more: frozenset[str] | None = frozenset({part.text})
        elif isinstance(part, Choice):
            more = part.strings
        else:
            more = None
        if more is None or len(strings) * len(more) > _MAX_STRINGS:
            return None
        strings = frozenset(one + other for one in strings for other in more)
    return strings


def _needs(parts: Sequence[Part]) -> list[frozenset[str]]:
    """Return sets of strings; every match of the parts has at least one string of each set."""
    out: list[frozenset[str]] = []
    run: frozenset[str] = frozenset({""})

    def close() -> None:
        nonlocal run
        if "" not in run:
            out.append(run)
        run = frozenset({""})

    for part in parts:
        strings = _written((part,))
        if strings is None:
            close()
            if isinstance(part, Choice) and part.needs:
                out.append(part.needs)
        elif len(run) * len(strings) <= _MAX_STRINGS:
            run = frozenset(one + other for one in run for other in strings)
        else:
            close()
            run = strings
    close()
    return sorted(out, key=_rank, reverse=True)


def _rank(keys: frozenset[str]) -> tuple[int, int]:
    return min(map(len, keys)), -len(keys)


@dataclass(frozen=True)
class Pattern:
    """One spelling of a phrase; compiled when it is first needed.

    `needs` are sets of strings of which a text must hold one each for the phrase to stand in it, the rarest first.
    `literal` is the phrase where it is nothing but these characters.
    """

    source: str
    needs: tuple[frozenset[str], ...] = ()
    linear: bool = False
    literal: str = ""

    @cached_property
    def _search(self) -> Callable[[str, int], Any]:
        if self.linear:
            import re2

            found: Callable[[str, int], Any] = re2.compile(self.source, options_of_re2()).search
            return found
        return re.compile(self.source).search

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the half-open spans where the phrase stands, from left to right."""
        at = 0
        if self.literal:
            while (at := text.find(self.literal, at)) >= 0:
                yield at, at + len(self.literal)
                at += len(self.literal)
            return
        while at <= len(text) and (match := self._search(text, at)):
            start, end = match.span()
            if self.linear:  # RE2 has no look-around: the edges of clauses are in the match
                start += start < end and text[start] in CLAUSE_ENDS
                end -= start < end and text[end - 1] in CLAUSE_ENDS
            yield start, end
            at = max(end, start + 1)

    def stands(self, text: str) -> bool:
        """Say whether the phrase stands in the text."""
        if self.literal:
            return self.literal in text
        if self.needs and not any(string in text for string in self.needs[0]):
            return False
        return self._search(text, 0) is not None


@dataclass(frozen=True)
class Phrase:
    """A phrase as written, ready to be looked for in characters and, if long enough, in sounds; or a term."""

    text: str
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def term(self) -> Term | None:
        """The term that the phrase is, if it is one."""
        return self.parts[0] if isinstance(self.parts[0], Term) else None

    @cached_property
    def by_characters(self) -> Pattern:
        """The phrase over characters."""
        return self._spelt(str)

    @cached_property
    def by_sound(self) -> Pattern | None:
        """The phrase over sounds, for texts that went through `plain_sound`; None if it is too short for that."""
        if self.term or _has_raw(self.parts) or _solid(self.parts) < _MIN_SYLLABLES:
            return None
        return self._spelt(plain_sound)

    def _spelt(self, spell: Callable[[str], str]) -> Pattern:
        needs = tuple(frozenset(map(spell, need)) for need in _needs(self.parts))
        if len(self.parts) == 1 and isinstance(self.parts[0], Literal):
            return Pattern("", needs, literal=spell(self.parts[0].text))
        if _has_raw(self.parts) or _gaps(self.parts) > _MAX_GAPS:
            return Pattern(_regex(self.parts, spell, _CONSUMED), needs, linear=True)
        return Pattern(_regex(self.parts, spell, {}), needs)

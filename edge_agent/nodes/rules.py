"""Rules: what an operations person wrote in YAML, read, checked and ready to be matched.

A file has two tables, `lists` (named lists of phrases) and `rules`. Several files are read as one: lists of all files
are known to all, and a rule of a later file with the id of an earlier one takes its place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE, SIGNALS
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.phrase import Part, Phrase, PhraseError, parse
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edge_agent.nodes.match import Matcher

# Folder of the rules that the classifier may overrule; what a pack or a site writes stands.
COMMON = "common"
_SEVERITIES = ("info", "warning", "alarm")
_SPEAKERS = {"agent": Speaker.AGENT, "customer": Speaker.CUSTOMER, "any": None}
_KEYS = (
    "id",
    "name",
    "node",
    "signal",
    "who",
    "any",
    "all",
    "none",
    "none_in_turn",
    "after",
    "not_after",
    "unless",
    "term",
    "within_first_s",
    "confidence",
    "severity",
)
_MAX_PHRASES = 20_000


@dataclass(frozen=True)
class Rule:
    """One rule: what it raises, and when.

    It holds in a sentence where one phrase of `any` stands and one phrase of every group in `all`, none of `none` in
    the sentence, none of `none_in_turn` in the turn, no guard of `unless` objects, and the other party's last turn has
    one of `after` and none of `not_after`. `speaker` is who must speak (None: either). `term` is the category a
    dictionary term of the utterance must have. `within_first_s` is seconds of talk since the call began. `common` says
    that the rule is of the common set.
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
    term: str = ""
    within_first_s: float | None = None
    confidence: float = 0.85
    severity: str = "info"
    common: bool = False


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
        read = [_File.read(path) for path in files]
        lists = _Lists(read)
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
            known = [_File.read(path) for path in others]
            read = _File.read(file)
            found = list(_each(read, _Lists([*known, read])))
        except DictionaryError as error:
            return 0, [error]
        errors = [each for each in found if isinstance(each, DictionaryError)]
        return len(found) - len(errors), errors

    @cached_property
    def matcher(self) -> Matcher:
        """The compiled rules, shared by every call that is judged by them."""
        from edge_agent.nodes.match import Matcher

        return Matcher(self.rules)


@dataclass(frozen=True)
class _Entry:
    """One mapping of a file, with the line of every key."""

    path: Path
    line: int
    values: dict[str, Any]
    lines: dict[str, int]

    def error(self, what: str, remedy: str, key: str = "", line: int = 0) -> DictionaryError:
        return DictionaryError(what, where=f"{self.path}:{line or self.lines.get(key, self.line)}", remedy=remedy)

    def strings(self, key: str) -> list[tuple[str, int]]:
        """Return a list of texts with their lines."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"`{key}` must be a list", "write one phrase a line, each after “- ”, or [甲, 乙]", key)
        return self._texts(key, value)

    def _texts(self, key: str, value: list[Any]) -> list[tuple[str, int]]:
        out = []
        for item, line in value:
            if not isinstance(item, str):
                found = "nothing" if item is None else f"`{item}`"
                raise self.error(f"`{key}` holds {found} where a phrase should stand", "put it in quotes", key, line)
            if not item.strip():
                raise self.error(f"`{key}` holds an empty phrase", "write the phrase or delete the line", key, line)
            out.append((item.strip(), line))
        return out

    def groups(self, key: str) -> list[list[tuple[str, int]]]:
        """Return a list of lists of texts."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, list) for item, _ in value):
            raise self.error(f"`{key}` must be a list of lists", "write  - [甲, 乙]  for every group", key)
        return [self._texts(key, item) for item, _ in value]


@dataclass(frozen=True)
class _File:
    path: Path
    text: str
    tables: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _File:
        import yaml

        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DictionaryError("no such rule file", where=str(path), remedy="check the path") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DictionaryError(
                f"can't be read: {error}", where=str(path), remedy="a rule file is a UTF-8 text file"
            ) from error
        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            root = yaml.compose(text, Loader=loader)
            plain = _plain(root, path) if root is not None else {}
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise DictionaryError(
                f"not valid YAML: {error.problem or error.context}",
                where=f"{path}:{mark.line + 1}" if mark else str(path),
                remedy="mind the indentation (blanks, no tabs); put phrases with : # [ ] { } & * ? | > in quotes",
            ) from error
        except yaml.YAMLError as error:
            raise DictionaryError(
                f"not valid YAML: {error}", where=str(path), remedy="save it as UTF-8 text"
            ) from error
        if not isinstance(plain, dict):
            raise DictionaryError("no tables", where=f"{path}:1", remedy="a rule file has `lists:` and `rules:`")
        for key in plain:
            if key not in ("lists", "rules"):
                line = plain.get("\0lines", {}).get(key, 1)
                if key != "\0lines":
                    raise DictionaryError(
                        f"unknown table `{key}`", where=f"{path}:{line}", remedy="a rule file has `lists:` and `rules:`"
                    )
        return cls(path, text, plain)

    def entries(self, table: str) -> Iterable[_Entry]:
        value = self.tables.get(table) or []
        line = self.tables.get("\0lines", {}).get(table, 1)
        if not isinstance(value, list):
            raise DictionaryError(
                f"`{table}` must be a list", where=f"{self.path}:{line}", remedy="begin every rule with “- id: …”"
            )
        for item, at in value:
            if not isinstance(item, dict):
                raise DictionaryError(
                    f"`{table}` holds `{item}`, which is no rule",
                    where=f"{self.path}:{at}",
                    remedy="begin every rule with “- id: …”",
                )
            yield _Entry(self.path, at, {k: v for k, v in item.items() if k != "\0lines"}, item["\0lines"])


def _plain(node: Any, path: Path) -> Any:
    """Turn YAML nodes into values; items of lists carry their line, mappings the lines of their keys."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {"\0lines": {}}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in out:
                raise DictionaryError(
                    f"`{name}` stands twice", where=f"{path}:{line}", remedy="keep one of them, or join the two"
                )
            out[name] = _plain(value, path)
            out["\0lines"][name] = line
        return out
    if isinstance(node, yaml.SequenceNode):
        return [(_plain(item, path), item.start_mark.line + 1) for item in node.value]
    if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and re.fullmatch(r"-?\d+(\.\d+)?", node.value):
        return float(node.value)
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


class _Lists:
    """The named lists of all files; one may use another, but not itself."""

    def __init__(self, files: Sequence[_File]) -> None:
        self._parsed: dict[str, tuple[tuple[Part, ...], ...]] = {}
        self._sources: dict[str, _Entry] = {}
        for file in files:
            table = file.tables.get("lists") or {}
            if not isinstance(table, dict):
                line = file.tables["\0lines"]["lists"]
                raise DictionaryError(
                    "`lists` must be a table",
                    where=f"{file.path}:{line}",
                    remedy="write  名字: [甲, 乙]  on a line each",
                )
            lines = table.get("\0lines", {})
            for name in lines:
                self._sources[name] = _Entry(file.path, lines[name], table, lines)
        for name in self._sources:
            self._resolve(name, ())

    def _resolve(self, name: str, above: tuple[str, ...]) -> None:
        if name in self._parsed:
            return
        entry = self._sources[name]
        if name in above:
            ring = " → ".join([*above[above.index(name) :], name])
            raise entry.error(f"lists use each other in a ring: {ring}", "take one of the references out", name)
        texts = entry.strings(name)
        for text, _ in texts:
            for used in re.findall(r"<([^<>]+)>", text) if not text.startswith("/") else ():
                if used in self._sources:
                    self._resolve(used, (*above, name))
        self._parsed[name] = tuple(self.parse(entry, name, text, line) for text, line in texts)

    def parse(self, entry: _Entry, key: str, text: str, line: int) -> tuple[Part, ...]:
        """Read a phrase, and say where it stands if it is wrong."""
        try:
            return parse(text, self._parsed)
        except PhraseError as error:
            raise entry.error(
                f"phrase “{text}”: {error}", "`docs/rules.md` shows how phrases are written", key, line
            ) from error

    def phrases(self, entry: _Entry, key: str, texts: list[tuple[str, int]]) -> tuple[Phrase, ...]:
        if len(texts) > _MAX_PHRASES:
            raise entry.error(
                f"`{key}` holds {len(texts)} phrases", f"split it: a rule takes {_MAX_PHRASES} at most", key
            )
        return tuple(Phrase(text, self.parse(entry, key, text, line)) for text, line in texts)


def _each(file: _File, lists: _Lists) -> Iterator[Rule | DictionaryError]:
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


def _rule(entry: _Entry, lists: _Lists) -> Rule:
    for key in entry.values:
        if key not in _KEYS:
            raise entry.error(f"unknown operator `{key}`", _near(key, _KEYS), key)
    name = _text(entry, "id")
    node, signal = _text(entry, "node", ""), _text(entry, "signal", "")
    if bool(node) == bool(signal):
        raise entry.error(f"rule `{name}` must say what it raises", "give it either `node:` or `signal:`", "id")
    if node and (node not in CATALOGUE or node.startswith("process.")):
        raise entry.error(f"unknown node `{node}`", _near(node, [k for k in CATALOGUE if k[:8] != "process."]), "node")
    if signal and signal not in SIGNALS:
        raise entry.error(f"unknown signal `{signal}`", _near(signal, list(SIGNALS)), "signal")
    who = _text(entry, "who", "")
    if who and who not in _SPEAKERS:
        raise entry.error(f"`who` is `{who}`", "who speaks is agent, customer or any", "who")
    guards = entry.strings("unless")
    for guard, line in guards:
        if guard not in GUARDS:
            raise entry.error(f"unknown guard `{guard}`", _near(guard, list(GUARDS)), "unless", line)
    kind = CATALOGUE.get(node)
    severity = _text(entry, "severity", kind.severity if kind else "info")
    if severity not in _SEVERITIES:
        raise entry.error(f"`severity` is `{severity}`", "it is info, warning or alarm", "severity")
    rule = Rule(
        id=name,
        name=_text(entry, "name", ""),
        raises=node or signal,
        speaker=_SPEAKERS[who] if who else kind.speaker if kind else None,
        any=lists.phrases(entry, "any", entry.strings("any")),
        all=tuple(lists.phrases(entry, "all", group) for group in entry.groups("all")),
        none=lists.phrases(entry, "none", entry.strings("none")),
        none_in_turn=lists.phrases(entry, "none_in_turn", entry.strings("none_in_turn")),
        after=lists.phrases(entry, "after", entry.strings("after")),
        not_after=lists.phrases(entry, "not_after", entry.strings("not_after")),
        unless=tuple(guard for guard, _ in guards),
        term=_text(entry, "term", ""),
        within_first_s=_number(entry, "within_first_s", None, 0, 86_400),
        confidence=_number(entry, "confidence", 0.85, 0, 1) or 0.0,
        severity=severity,
        common=entry.path.parent.name == COMMON,
    )
    if not rule.any and not rule.all:
        raise entry.error(f"rule `{name}` has no phrase to look for", "add `any:` with at least one phrase", "id")
    return rule


def _text(entry: _Entry, key: str, default: str | None = None) -> str:
    value = entry.values.get(key, default)
    if value is None:
        raise entry.error(f"a rule without `{key}`", f"add `{key}: …`", key)
    if not isinstance(value, str):
        raise entry.error(f"`{key}` must be a text", "put it in quotes", key)
    return value


def _number(entry: _Entry, key: str, default: float | None, least: float, most: float) -> float | None:
    value = entry.values.get(key, default)
    if value is not None and not (isinstance(value, float) and least <= value <= most):
        raise entry.error(f"`{key}` is `{value}`", f"give a number from {least:g} to {most:g}", key)
    return value


def _near(word: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else "known are: " + ", ".join(known)

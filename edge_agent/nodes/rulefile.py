"""Rule files as they are written: YAML with the line of everything in it, so that every error can name its place."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.errors import DictionaryError
from edge_agent.nodes.phrase import Choice, Part, Phrase, PhraseError, Term, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_PHRASES = 20_000
_TOO_MANY = (
    f"a list or a rule takes {MAX_PHRASES} at most: split it, or write the words into a dictionary pack "
    "(terms.csv, made for 100,000) under a category of their own, and say {that category} here"
)


@dataclass(frozen=True)
class Entry:
    """One mapping of a file, with the line of every key."""

    path: Path
    line: int
    values: dict[str, Any]
    lines: dict[str, int]

    def error(self, what: str, remedy: str, key: str = "", line: int = 0) -> DictionaryError:
        """Return the error of a key of this mapping, or of a line in it."""
        return DictionaryError(what, where=f"{self.path}:{line or self.lines.get(key, self.line)}", remedy=remedy)

    def plain(self) -> str:
        """Return what stands in the mapping without its lines."""
        return str(_without_lines(self.values))

    def strings(self, key: str) -> list[tuple[str, int]]:
        """Return a list of texts with their lines."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"`{key}` must be a list", "write one phrase a line, each after “- ”, or [甲, 乙]", key)
        return self._texts(key, value)

    def _texts(self, key: str, value: list[Any]) -> list[tuple[str, int]]:
        if len(value) > MAX_PHRASES:
            raise self.error(f"`{key}` holds {len(value)} phrases", _TOO_MANY, key)
        out = []
        for item, line in value:
            if not isinstance(item, str):
                found = "nothing" if item is None else f"`{item}`"
                raise self.error(f"`{key}` holds {found} where a phrase should stand", "put it in quotes", key, line)
            if not item.strip():
                raise self.error(f"`{key}` holds an empty phrase", "write the phrase or delete the line", key, line)
            out.append((item.strip(), line))
        return out

    def items(self, key: str, what: str, remedy: str) -> list[tuple[Any, int]]:
        """Return the items of a list, with their lines."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"`{key}` must be {what}", remedy, key)
        return value

    def inner(self, key: str, value: Any, line: int) -> Entry:
        """Return a mapping within this one as an entry of its own."""
        if not isinstance(value, dict):
            raise self.error(f"`{key}` must be a table", f"write  {key}: {{who: …, any: […]}}", key, line)
        return Entry(self.path, line, {k: v for k, v in value.items() if k != "\0lines"}, value["\0lines"])

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        value = self.values.get(key, default)
        if value is None:
            raise self.error(f"a rule without `{key}`", f"add `{key}: …`", key)
        if not isinstance(value, str):
            raise self.error(f"`{key}` must be a text", "put it in quotes", key)
        return value

    def number(
        self, key: str, default: float | None, least: float, most: float, *, whole: bool = False
    ) -> float | None:
        """Return a number within limits."""
        value = self.values.get(key, default)
        if value is None:
            return None
        if not (isinstance(value, float | int) and least <= value <= most) or (whole and value != int(value)):
            kind = "whole number" if whole else "number"
            raise self.error(f"`{key}` is `{value}`", f"give a {kind} from {least:g} to {most:g}", key)
        return float(value)

    def flag(self, key: str) -> bool:
        """Return yes or no."""
        value = self.values.get(key, "false")
        if value not in ("true", "false"):
            raise self.error(f"`{key}` is `{value}`", "it is true or false", key)
        return bool(value == "true")

    def groups(self, key: str) -> list[list[tuple[str, int]]]:
        """Return a list of lists of texts."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, list) for item, _ in value):
            raise self.error(f"`{key}` must be a list of lists", "write  - [甲, 乙]  for every group", key)
        return [self._texts(key, item) for item, _ in value]


@dataclass(frozen=True)
class File:
    """A rule file as read: its tables, with the lines of everything in them."""

    path: Path
    text: str
    tables: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> File:
        """Read a file.

        Raises:
            DictionaryError: it can't be read, is no YAML, or has other tables than these two.
        """
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

    def entries(self, table: str) -> Iterable[Entry]:
        """Yield the mappings of a table."""
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
            yield Entry(self.path, at, {k: v for k, v in item.items() if k != "\0lines"}, item["\0lines"])


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


def _without_lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_lines(each) for key, each in value.items() if key != "\0lines"}
    if isinstance(value, list):
        return [_without_lines(each) for each, _ in value]
    return value


class Lists:
    """The named lists of all files; one may use another, but not itself. `version` is a hash of what they hold."""

    def __init__(self, files: Sequence[File]) -> None:
        tables = "".join(str(_without_lines(file.tables.get("lists") or {})) for file in files)
        self.version = hashlib.sha256(tables.encode()).hexdigest()
        self._parsed: dict[str, Choice] = {}
        self._sources: dict[str, Entry] = {}
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
                self._sources[name] = Entry(file.path, lines[name], table, lines)
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
        options: list[tuple[Part, ...]] = []
        for text, line in texts:
            if self._whole(text):
                options += self._parsed[text[1:-1]].options
            else:
                options.append(self.parse(entry, name, text, line))
        self._parsed[name] = Choice(tuple(options))

    def _whole(self, text: str) -> bool:
        """Say whether a phrase is a named list and nothing else."""
        return text[:1] == "<" and text[-1:] == ">" and text[1:-1] in self._parsed

    def parse(self, entry: Entry, key: str, text: str, line: int) -> tuple[Part, ...]:
        """Read a phrase, and say where it stands if it is wrong."""
        try:
            return parse(text, self._parsed)
        except PhraseError as error:
            raise entry.error(
                f"phrase “{text}”: {error}", "`docs/rules.md` shows how phrases are written", key, line
            ) from error

    def phrases(
        self, entry: Entry, key: str, texts: list[tuple[str, int]], *, terms: bool = True
    ) -> tuple[Phrase, ...]:
        """Return phrases; a named list that stands alone gives each of its own."""
        out: list[Phrase] = []
        for text, line in texts:
            if self._whole(text):
                out += (Phrase(text, parts) for parts in self._parsed[text[1:-1]].options)
            else:
                out.append(Phrase(text, self.parse(entry, key, text, line)))
            if not terms and any(isinstance(phrase.parts[0], Term) for phrase in out):
                raise entry.error(
                    f"`{key}` can't ask for a term",
                    "a term {…} stands under any, all, none, near or sequence",
                    key,
                    line,
                )
        return tuple(out)

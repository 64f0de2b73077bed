"""Words grouped by meaning, so that what was learnt of 「领导」 holds for 「院长」 and 「老板娘」 too.

A few thousand examples don't hold every word for the same thing; a list of such words, a line for each meaning,
does. The classifier counts meanings, and pairs of them that stand close together, beside the characters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_AMOUNT = re.compile(r"[一二三四五六七八九十百千万两几半零〇\d]+(个点|点五|块|元|毛|万|千|百|%|折|成)")
_ALIKE = {"块": "元", "毛": "元", "个点": "点"}
_CLOSE = 14


@dataclass(frozen=True)
class Concepts:
    """Which words mean what: a word may belong to several concepts. Never changed, safe to share between threads."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Concepts:
        """Read a list: `name: word word …`, a concept a line; lines that begin with `#` are remarks.

        Raises:
            DictionaryError: the file is missing, or a line holds no name or no words.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DictionaryError(
                f"the list of concepts can't be read: {error}", where=str(path), remedy="a text file in UTF-8"
            ) from error
        words: dict[str, list[str]] = defaultdict(list)
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, rest = line.partition(":")
            if not name.strip() or not rest.split():
                raise DictionaryError("not a concept", where=f"{path}:{number}", remedy="`name: word word …`")
            for word in rest.split():
                if name.strip() not in words[word]:
                    words[word].append(name.strip())
        return cls({word: tuple(names) for word, names in words.items()})

    @cached_property
    def _lengths(self) -> dict[str, list[int]]:
        """How long the words that begin with a character are, the longest first."""
        lengths: dict[str, set[int]] = defaultdict(set)
        for word in self.words:
            lengths[word[0]].add(len(word))
        return {char: sorted(some, reverse=True) for char, some in lengths.items()}

    def find(self, text: str) -> list[tuple[int, str]]:
        """Return where in the text which concepts stand, in order; of words that begin at one place the longest."""
        if not self.words:
            return []
        found = list(self._words(text))
        found += [(match.start(), "#" + _ALIKE.get(match[1], match[1])) for match in _AMOUNT.finditer(text)]
        return sorted(found)

    def _words(self, text: str) -> Iterator[tuple[int, str]]:
        for at, char in enumerate(text):
            for length in self._lengths.get(char, ()):
                if names := self.words.get(text[at : at + length]):
                    for name in names:
                        yield at, name
                    break

    @staticmethod
    def pairs(found: list[tuple[int, str]]) -> set[str]:
        """Return which two concepts follow each other within a few characters, `first>second`."""
        return {
            f"{first}>{second}"
            for number, (at, first) in enumerate(found)
            for further, second in found[number + 1 :]
            if further - at <= _CLOSE and first != second
        }

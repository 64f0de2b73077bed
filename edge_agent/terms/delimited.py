"""Text tables as spreadsheets write them: UTF-8 with or without a mark, UTF-16 with one, or GB18030; read as a stream.

Nothing here fails for one bad line: bytes that are no text, and a double quote that is never closed, are told with the
line they stand in, and reading goes on with the next.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError
from edge_agent.terms.sheet import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LONGEST_LINE = 1 << 20
"""Bytes."""
_CELL_LINES = 20  # a cell that goes over more lines than this is a quote that someone forgot to close
_WIDE = re.compile(rb"[\xe3-\xef][\x80-\xbf]{2}")  # a Chinese character, or a full-width sign, in UTF-8
_JUDGED_BY = 50_000  # lines
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Problem = tuple[str, str]
"""What is wrong, and what to try."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text without its end; `problem` says why it can't be read."""

    number: int
    text: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a text table: the line it begins in, its cells, and why it can't be read."""

    line: int
    cells: list[str]
    problem: Problem | None = None


def encoding_of(file: Path) -> str:
    """Return how a text file is encoded: `utf-8`, `utf-8-sig`, `utf-16` or `gb18030`.

    Where its lines differ, what most of them are.

    Raises:
        DictionaryError: it can't be read, or is no text at all.
    """
    wide = foreign = 0
    start = b""
    for number, line in enumerate(islice(_lines_of_bytes(file), _JUDGED_BY), 1):
        if number == 1:
            start = line[:4]
            if start.startswith(_UTF16):
                return "utf-16"
        if line.isascii():
            if b"\0" in line:
                raise DictionaryError(
                    "holds NUL bytes: it is no text file",
                    where=f"{file}:{number}",
                    remedy="save the table as .xlsx or, in Excel, as `CSV UTF-8`",
                )
            continue
        try:
            line.decode()
            wide += bool(_WIDE.search(line))
        except UnicodeDecodeError:
            foreign += 1
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return "gb18030" if foreign > wide else "utf-8"


def count_lines(file: Path) -> int:
    """Return how many lines a file has, blank ones too.

    Raises:
        DictionaryError: it can't be read.
    """
    try:
        with file.open("rb") as source:
            return sum(piece.count(b"\n") for piece in iter(lambda: source.read(1 << 20), b""))
    except OSError as error:
        raise unreadable(file, error) from error


def lines_of(file: Path, encoding: str) -> Iterator[Line]:
    """Yield the lines of a text file; one in another encoding than the file's has a problem instead of a text.

    Raises:
        DictionaryError: the file can't be read.
    """
    if encoding == "utf-16":
        yield from _lines_of_utf16(file)
        return
    for number, line in enumerate(_lines_of_bytes(file), 1):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        content = content.rstrip(b"\r\n")
        if content.isascii():
            yield Line(number, content.decode())
        elif encoding == "gb18030":
            yield _chinese(number, content)
        else:
            yield _universal(number, content)


def records_of(lines: Iterable[Line], delimiter: str) -> Iterator[Record]:
    """Yield the rows of a text table: a cell in double quotes may hold the delimiter and the end of a line."""
    source = iter(lines)
    again: deque[Line] = deque()
    while True:
        first = again.popleft() if again else next(source, None)
        if first is None:
            return
        if first.problem or '"' not in first.text:
            yield Record(first.number, first.text.split(delimiter), first.problem)
            continue
        held = [first]
        while not _closed(held) and len(held) < _CELL_LINES:
            further = again.popleft() if again else next(source, None)
            if further is None:
                break
            held.append(further)
        whole = _parse("\n".join(line.text for line in held), delimiter) if _closed(held) else None
        problem = next((line.problem for line in held if line.problem), None)
        if whole is None:
            again.extendleft(reversed(held[1:]))
            fault = ("a double quote is not closed", "close it, and write one inside a cell twice")
            yield Record(first.number, first.text.split(delimiter), first.problem or fault)
        else:
            yield Record(first.number, whole, problem)


def delimiter_of(header: str) -> str:
    """Return what separates the cells of a table, judged by its first line."""
    return max(",\t;", key=lambda sign: (header.count(sign), sign == ","))


def _closed(held: list[Line]) -> bool:
    return sum(line.text.count('"') for line in held) % 2 == 0


def _parse(text: str, delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _universal(number: int, content: bytes) -> Line:
    try:
        return Line(number, content.decode())
    except UnicodeDecodeError:
        said = content.decode("gb18030", "replace")[:12]
        problem = ("is not UTF-8 as the rest of the file is", f"it reads {said!r} in GB18030: save all as `CSV UTF-8`")
        return Line(number, content.decode(errors="replace"), problem)


def _chinese(number: int, content: bytes) -> Line:
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        problem = ("is neither GB18030, as the rest of the file is, nor UTF-8", "type the row anew")
        return Line(number, content.decode("gb18030", "replace"), problem)
    # Text in UTF-8 nearly always reads as something in GB18030 too, but as characters that nobody uses.
    if _WIDE.search(content):
        try:
            said = content.decode()
            text.encode("gb2312")
        except UnicodeEncodeError:
            problem = (
                "is UTF-8, and the rest of the file is GB18030",
                f"it reads {said[:12]!r}: save all as `CSV UTF-8`",
            )
            return Line(number, text, problem)
        except UnicodeDecodeError:
            pass
    return Line(number, text)


def _lines_of_bytes(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            number = 0
            while line := source.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DictionaryError(
                        "a line of more than 1 MiB: this is no table of terms",
                        where=f"{file}:{number}",
                        remedy="one term stands in one line",
                    )
                yield line
    except OSError as error:
        raise unreadable(file, error) from error


def _lines_of_utf16(file: Path) -> Iterator[Line]:
    try:
        with file.open(encoding="utf-16", errors="replace", newline=None) as source:
            number = 0
            while line := source.readline(LONGEST_LINE):
                number += 1
                yield Line(number, line.rstrip("\n"))
    except (OSError, UnicodeError) as error:
        failure = error if isinstance(error, OSError) else OSError(str(error))
        raise unreadable(file, failure) from error

"""Rows of terms: what a table holds, wherever it was read from, and every complaint with file, row and column."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from edge_agent.errors import DictionaryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class RowError(DictionaryError):
    """One row is wrong: `line` and `column` say where; the other rows may be right."""

    def __init__(self, row: Row, column: str, what: str, remedy: str) -> None:
        where = f"{row.file}, sheet {row.sheet}, row {row.line}" if row.sheet else f"{row.file}:{row.line}"
        super().__init__(what, where=f"{where}, column {column}", remedy=remedy)
        self.line = row.line
        self.column = column
        self.cells = row.cells


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, without blanks around them, and where it stands.

    `problem` is what was wrong with the row before anybody looked at its cells: column, what, and remedy.
    """

    file: Path
    line: int
    cells: Mapping[str, str]
    sheet: str = ""
    problem: tuple[str, str, str] | None = None

    def __getitem__(self, column: str) -> str:
        """Return the cell of a column; empty where the table has no such column."""
        return self.cells.get(column, "")

    def refuse(self, column: str, what: str, remedy: str) -> NoReturn:
        """Raise the error that names this row's line and a column."""
        raise RowError(self, column, what, remedy)

    def check(self) -> None:
        """Refuse the row if it could not be read, or holds what nobody can say.

        Raises:
            RowError: names the cell.
        """
        if self.problem:
            self.refuse(*self.problem)
        for column, cell in self.cells.items():
            if cell.isprintable():
                continue
            for char in cell:
                # Controls, invisible format marks, private use, halves of surrogate pairs: none is ever spoken.
                if unicodedata.category(char).startswith("C"):
                    self.refuse(
                        column, f"holds the control character U+{ord(char):04X}", "delete it and type the cell anew"
                    )


def read_text(file: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        DictionaryError: it is missing, can't be read, or is not UTF-8.
    """
    content = read_bytes(file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DictionaryError(
            "not UTF-8 text",
            where=f"{file}:{line}",
            remedy="save it as UTF-8 (in Excel: `CSV UTF-8`), or let `edge-agent dict import` read it",
        ) from error


def read_bytes(file: Path) -> bytes:
    """Read a file.

    Raises:
        DictionaryError: it is missing or can't be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: OSError) -> DictionaryError:
    """Say that a file can't be read."""
    what = "no such file" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror or error}"
    return DictionaryError(what, where=str(file), remedy="put the file there, readable for this user")


def read_sheet(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a pack's CSV file that has exactly these columns, in any order; blank rows are skipped.

    Raises:
        DictionaryError: the file can't be read, or its header or its quoting is wrong. What is wrong with one row is in
            its `problem`.
    """
    reader = csv.reader(read_text(file).splitlines(keepends=True), strict=True)
    known = f"the first line names the columns: {','.join(columns)}"
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(file, header, columns, known)
        for cells in reader:
            values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
            if any(values.values()):
                yield Row(file, reader.line_num, values, problem=wrong_count(header, cells))
    except csv.Error as error:
        raise DictionaryError(
            f"not valid CSV: {error}",
            where=f"{file}:{reader.line_num}",
            remedy="close every double quote, and write one inside a cell twice",
        ) from error


def wrong_count(header: Sequence[str], cells: Sequence[str]) -> tuple[str, str, str] | None:
    """Complain of a row with more or fewer cells than the header names."""
    if len(cells) == len(header):
        return None
    return (
        header[min(len(cells), len(header)) - 1],
        f"{len(cells)} cells where the header has {len(header)}",
        "put a cell that holds a comma in double quotes",
    )


def _check_header(file: Path, header: Sequence[str], columns: Sequence[str], remedy: str) -> None:
    for column in columns:
        if column not in header:
            raise DictionaryError("the column is missing", where=f"{file}:1, column {column}", remedy=remedy)
    for index, column in enumerate(header):
        if column not in columns or column in header[:index]:
            what = "the column stands twice" if column in columns else "unknown column"
            raise DictionaryError(what, where=f"{file}:1, column {column or index + 1}", remedy=remedy)

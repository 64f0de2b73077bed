"""A table that an admin keeps: UTF-8 CSV with a header, read strictly, every complaint with file, line and column."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from edge_agent.errors import DictionaryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, without blanks around them, and where it stands."""

    file: Path
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """Return the cell of a column."""
        return self.cells[column]

    def refuse(self, column: str, what: str, remedy: str) -> NoReturn:
        """Raise the error that names this row's line and a column."""
        raise DictionaryError(what, where=f"{self.file}:{self.line}, column {column}", remedy=remedy)


def read_text(file: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        DictionaryError: it is missing, can't be read, or is not UTF-8.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
        raise DictionaryError(what, where=str(file), remedy="put the file there, readable for this user") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DictionaryError(
            "not UTF-8 text", where=f"{file}:{line}", remedy="save it as UTF-8 (in Excel: `CSV UTF-8`)"
        ) from error


def read_sheet(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a CSV file that has exactly these columns, in any order; rows of blank cells are skipped.

    Raises:
        DictionaryError: the file can't be read, or its header or a row is malformed.
    """
    reader = csv.reader(read_text(file).splitlines(keepends=True), strict=True)
    known = f"the first line names the columns: {','.join(columns)}"
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(file, header, columns, known)
        for cells in reader:
            row = Row(file, reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=False)))
            if not any(row.cells.values()):
                continue
            if len(cells) != len(header):
                row.refuse(
                    header[min(len(cells), len(header)) - 1],
                    f"{len(cells)} cells where the header has {len(header)}",
                    "put a cell that holds a comma in double quotes",
                )
            _check_characters(row)
            yield row
    except csv.Error as error:
        raise DictionaryError(
            f"not valid CSV: {error}",
            where=f"{file}:{reader.line_num}",
            remedy="close every double quote, and write one inside a cell twice",
        ) from error


def _check_header(file: Path, header: Sequence[str], columns: Sequence[str], remedy: str) -> None:
    for column in columns:
        if column not in header:
            raise DictionaryError("the column is missing", where=f"{file}:1, column {column}", remedy=remedy)
    for index, column in enumerate(header):
        if column not in columns or column in header[:index]:
            what = "the column stands twice" if column in columns else "unknown column"
            raise DictionaryError(what, where=f"{file}:1, column {column or index + 1}", remedy=remedy)


def _check_characters(row: Row) -> None:
    for column, cell in row.cells.items():
        for char in cell:
            # Controls, invisible format marks, private use, halves of surrogate pairs: none is ever spoken.
            if unicodedata.category(char).startswith("C"):
                row.refuse(column, f"holds the control character U+{ord(char):04X}", "delete it and type the cell anew")

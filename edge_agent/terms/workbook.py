"""Tables of terms in Excel's .xlsx, read as a stream, with what a spreadsheet may do to a word.

A file that unpacks to more than a table of terms can be is refused before it is unpacked; a formula, a date or an error
value is a problem of its row; a merged cell says the same for all rows it covers where that can be meant.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from edge_agent.errors import DictionaryError
from edge_agent.terms.sheet import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_UNPACKED = 200_000_000
"""Bytes of all parts of the file together: ten times what 200,000 terms with notes take."""
_MOST_COLUMNS = 64
_MOST_MERGED = 200_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\b[^>]{0,200}?\bref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
_PIECE = 1 << 20
# What openpyxl, its XML parser (whose errors are SyntaxErrors) and zipfile raise where a part is not what it should be.
_DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, SyntaxError, EOFError, IndexError)

Problem = tuple[int, str, str]
"""Index of the cell, what is wrong, and what to try."""


@dataclass(frozen=True, slots=True)
class Area:
    """Merged cells: rows from 1, columns from 0, both ends inclusive."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of a sheet: its number from 1, its cells as text, and what is wrong with one of them."""

    line: int
    cells: list[str]
    problem: Problem | None = None


@dataclass(slots=True)
class Workbook:
    """An open file; `rows` yields the rows of one sheet."""

    file: Path
    sheet: str
    others: list[str]
    _book: Any
    _page: Any
    merged: list[Area] = field(default_factory=list)

    @classmethod
    def open(cls, file: Path, sheet: str | None = None) -> Workbook:
        """Open a file, at the sheet of that name or the first that is shown.

        Raises:
            DictionaryError: it is no .xlsx, is damaged, unpacks to too much, or has no such sheet.
        """
        _check_size(file)
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException

        damaged = DictionaryError(
            "not a workbook that can be read",
            where=str(file),
            remedy="open it in Excel or LibreOffice and save it as .xlsx again, without a password",
        )
        try:
            book = load_workbook(file, read_only=True, data_only=False, keep_links=False)
        except (InvalidFileException, *_DAMAGE) as error:
            raise damaged from error
        pages = [page for page in book.worksheets if hasattr(page, "reset_dimensions")]
        names = [page.title for page in pages]
        if not pages or (sheet is not None and sheet not in names):
            book.close()
            raise DictionaryError(
                f"no sheet {sheet!r}" if sheet else "holds no sheet",
                where=str(file),
                remedy=f"there is: {', '.join(names)}" if names else "put the table into a sheet",
            )
        shown = [page for page in pages if page.sheet_state == "visible"] or pages
        page = shown[0] if sheet is None else pages[names.index(sheet)]
        page.reset_dimensions()  # the file may say anything of its size; the cells themselves are what counts
        merged = _merged_areas(file, getattr(page, "_worksheet_path", ""))
        others = [each.title for each in shown if each is not page]
        return cls(file, page.title, others, book, page, merged)

    def rows(self) -> Iterator[SheetRow]:
        """Yield the rows that hold anything; merged cells are not spread here.

        Raises:
            DictionaryError: the file is damaged further down.
        """
        try:
            for cells in self._page.iter_rows(max_col=_MOST_COLUMNS):
                filled = [cell for cell in cells if cell.value is not None]
                if filled:
                    yield _row(filled[0].row, cells)
        except (OSError, *_DAMAGE) as error:
            raise DictionaryError(
                f"the sheet {self.sheet!r} is damaged ({error})",
                where=str(self.file),
                remedy="open it in Excel or LibreOffice and save it as .xlsx again",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._book.close()


def _row(line: int, cells: tuple[Any, ...]) -> SheetRow:
    texts: list[str] = []
    problem: Problem | None = None
    for index, cell in enumerate(cells):
        text, fault = _text(cell)
        texts.append(text)
        if fault and problem is None:
            problem = (index, *fault)
    return SheetRow(line, texts, problem)


def _text(cell: Any) -> tuple[str, tuple[str, str] | None]:
    """Return what a person sees in a cell, and why that can't be trusted."""
    value = cell.value
    match value:
        case None:
            return "", None
        case str() if cell.data_type == "f":
            return value, (
                f"holds the formula {value[:40]}",
                "copy the column and paste it as values (in Excel: Paste Special, Values)",
            )
        case str() if cell.data_type == "e":
            return value, (f"holds the error {value}", "mend the formula it came from, and paste its value")
        case str():
            return value, None
        case bool():
            return str(value).upper(), None
        case float() if value.is_integer():
            return str(int(value)), None
        case int() | float():
            return str(value), None
        case datetime() | date() | time() | timedelta():
            return str(value), (
                f"Excel took it for a date ({value})",
                "give the cell the format Text, and type the word anew",
            )
    return str(value), (
        "holds a formula over several cells",
        "copy the column and paste it as values (in Excel: Paste Special, Values)",
    )


def _check_size(file: Path) -> None:
    """Refuse what would fill the memory, by what the archive says of itself (its reader unpacks no more than that)."""
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except zipfile.BadZipFile as error:
        raise DictionaryError(
            "not an .xlsx file, or a damaged one", where=str(file), remedy="save it as .xlsx again, without a password"
        ) from error
    except OSError as error:
        raise unreadable(file, error) from error
    unpacked = sum(part.file_size for part in parts)
    if unpacked > LARGEST_UNPACKED or len(parts) > 10_000:
        raise DictionaryError(
            f"would unpack to {unpacked // 1_000_000} MB in {len(parts)} parts: no table of terms is that large",
            where=str(file),
            remedy="save only the sheet with the terms, or save it as CSV",
        )


def _merged_areas(file: Path, part: str) -> list[Area]:
    """Find the merged cells of a sheet, which openpyxl does not give for a streamed one; they follow its rows."""
    from openpyxl.utils import column_index_from_string

    areas: list[Area] = []
    try:
        with zipfile.ZipFile(file) as archive, archive.open(part.lstrip("/")) as source:
            tail = b""
            while piece := source.read(_PIECE):
                text = tail + piece
                done = 0
                for match in _MERGED.finditer(text):
                    left, top, right, bottom = match.groups()
                    areas.append(
                        Area(
                            int(top),
                            column_index_from_string(left.decode()) - 1,
                            int(bottom),
                            column_index_from_string(right.decode()) - 1,
                        )
                    )
                    done = match.end()
                if len(areas) > _MOST_MERGED:
                    break
                tail = text[max(done, len(text) - 400) :]
    except (OSError, *_DAMAGE):
        return []  # what is wrong with the file is told when its rows are read
    return areas

"""Files of terms as admins keep them: a CSV of any common encoding, an Excel sheet, or a plain list.

Whatever the form, it becomes the same rows, with the columns of `terms.csv`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError
from edge_agent.terms import delimited
from edge_agent.terms.sheet import Row, unreadable, wrong_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edge_agent.terms.workbook import Area, SheetRow, Workbook

MOST_ROWS = 200_000
"""Rows a file may have: more terms than that fit no appliance."""

COLUMNS = ("term", "category", "aliases", "pinyin", "weight", "phonetic", "note")
# What the columns are called in tables that nobody wrote for this program.
_NAMES = {
    "term": "term 术语 词 词条 名称 词语 关键词 热词 word",
    "category": "category 类别 分类 类型 词类",
    "aliases": "aliases alias 别名 同义词 别称 简称 synonyms",
    "pinyin": "pinyin 拼音 读音",
    "weight": "weight 权重",
    "phonetic": "phonetic 音近 语音纠错",
    "note": "note notes 备注 说明 注释 remark",
}
_COLUMN = {name: column for column, names in _NAMES.items() for name in names.split()}
_HEADER_WITHIN = 5  # rows: a title may stand above the header
_WEIGHTED = re.compile(r"(.*?\S)[\s,]+([-+]?\d+(?:\.\d+)?)")
_FILL_DOWN = frozenset({"category", "weight", "phonetic", "note"})


@dataclass(slots=True)
class Table:
    """An open file of terms; `columns` are those of `terms.csv` that it has.

    `form` is `csv`, `xlsx` or `list`; `notes` says what a person should know of how it is read, and may grow while the
    rows are.
    """

    file: Path
    form: str
    encoding: str
    sheet: str
    rows: Iterator[Row]
    columns: tuple[str, ...] = ("term", "weight")
    notes: list[str] = field(default_factory=list)


def read_table(file: Path, sheet: str | None = None) -> Table:
    """Open a file of terms; what it is is told from its content, not from its name.

    Raises:
        DictionaryError: it can't be read, holds no table of terms, or (while its rows are read) has too many of them.
    """
    try:
        with file.open("rb") as source:
            start = source.read(8)
    except OSError as error:
        raise unreadable(file, error) from error
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise DictionaryError(
            "an old Excel file (.xls), or one with a password",
            where=str(file),
            remedy="save it as .xlsx without a password, or as `CSV UTF-8`",
        )
    if start.startswith(b"PK"):
        return _read_workbook(file, sheet)
    if sheet is not None:
        raise DictionaryError("a text file has no sheets", where=str(file), remedy="leave out --sheet")
    return _read_text(file)


def _read_text(file: Path) -> Table:
    if (count := delimited.count_lines(file)) > 3 * MOST_ROWS:  # so many that nobody needs to look into them
        raise _too_many(str(file), f"{count:,} lines")
    encoding = delimited.encoding_of(file)
    lines = delimited.lines_of(file, encoding)
    first = list(islice((line for line in lines if line.text.strip()), _HEADER_WITHIN))
    if first and re.fullmatch(r"sep=.", first[0].text.strip(), re.IGNORECASE):
        del first[0]
    for number, line in enumerate(first):
        delimiter = delimited.delimiter_of(line.text)
        (record,) = delimited.records_of([line], delimiter)
        if header := _header(record.cells):
            table = Table(file, "csv", encoding, "", iter(()))
            records = delimited.records_of(chain(first[number + 1 :], lines), delimiter)
            _note_columns(table, record.cells, header)
            table.rows = _limited(file, _csv_rows(file, header, len(record.cells), records))
            return table
    if first and first[0].text.count(delimited.delimiter_of(first[0].text)) > 1:
        raise _no_header(file)
    table = Table(file, "list", encoding, "", iter(()))
    every = chain(first, lines)
    table.rows = _limited(file, (_listed(file, line.number, line.text, line.problem) for line in every))
    return table


def _read_workbook(file: Path, sheet: str | None) -> Table:
    from edge_agent.terms.workbook import Workbook

    book = Workbook.open(file, sheet)
    rows = book.rows()
    first = list(islice(rows, _HEADER_WITHIN))
    table = Table(file, "xlsx", "", book.sheet, iter(()))
    if book.others and sheet is None:
        table.notes.append(f"reads the sheet {book.sheet!r} alone; --sheet takes another: {', '.join(book.others[:8])}")
    for number, row in enumerate(first):
        if header := _header(row.cells):
            _note_columns(table, row.cells, header)
            table.rows = _limited(file, _sheet_rows(book, table, header, chain(first[number + 1 :], rows)))
            return table
    if any(sum(map(bool, row.cells)) > 2 for row in first):
        raise _no_header(file)
    table.rows = _limited(file, _listed_cells(book, chain(first, rows)))
    return table


def _header(cells: Iterable[str]) -> dict[int, str] | None:
    """Return which cell holds which column, if this is the row that names them."""
    names = [cell.strip().lower() for cell in cells]
    found = {index: _COLUMN[name] for index, name in enumerate(names) if name in _COLUMN}
    return found if "term" in found.values() else None


def _no_header(file: Path) -> DictionaryError:
    return DictionaryError(
        "no row names the columns",
        where=f"{file}:1",
        remedy=f"write above the terms: {','.join(COLUMNS)} (`term` is enough), or keep a list of one term a line",
    )


def _note_columns(table: Table, cells: list[str], header: Mapping[int, str]) -> None:
    columns = list(header.values())
    table.columns = tuple(columns)
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise DictionaryError(
            "the column stands twice", where=f"{table.file}, column {twice[0]}", remedy="keep one of the two columns"
        )
    if unread := [cell.strip() for index, cell in enumerate(cells) if cell.strip() and index not in header]:
        table.notes.append(f"columns that are not read: {', '.join(name[:30] for name in unread[:8])}")


def _csv_rows(
    file: Path, header: Mapping[int, str], width: int, records: Iterable[delimited.Record]
) -> Iterator[Row | None]:
    names = [header.get(index, f"column {index + 1}") for index in range(width)]
    for record in records:
        cells = record.cells
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        values = _named(header, cells)
        problem = ("term", *record.problem) if record.problem else None
        if problem is None and len(cells) > width:
            problem = wrong_count(names, cells)
        yield Row(file, record.line, values, problem=problem) if any(values.values()) or problem else None


def _sheet_rows(
    book: Workbook, table: Table, header: Mapping[int, str], rows: Iterable[SheetRow]
) -> Iterator[Row | None]:
    filler = _Filler(book.merged, header)
    for row in rows:
        cells, problem = filler.fill(row.line, row.cells)
        values = _named(header, cells)
        if row.problem and row.problem[0] in header:
            index, what, remedy = row.problem
            problem = (header[index], what, remedy)
        yield Row(book.file, row.line, values, book.sheet, problem) if any(values.values()) or problem else None
    book.close()
    if filler.filled:
        table.notes.append(f"{filler.filled} cells were taken from the merged cell that covers them")


def _named(header: Mapping[int, str], cells: list[str]) -> dict[str, str]:
    values = {}
    for index, column in header.items():
        cell = cells[index].strip() if index < len(cells) else ""
        # People break lines inside a cell with Alt+Enter; in a note that is no harm, in a term it is refused.
        values[column] = " ".join(cell.split()) if column == "note" else cell
    return values


def _listed(file: Path, number: int, text: str, problem: tuple[str, str] | None, sheet: str = "") -> Row | None:
    """Read a line of a plain list: a term and, if wanted, its weight."""
    text = text.strip()
    if not text:
        return None
    weighted = _WEIGHTED.fullmatch(text)
    cells = {"term": weighted[1], "weight": weighted[2]} if weighted else {"term": text}
    return Row(file, number, cells, sheet, ("term", *problem) if problem else None)


def _listed_cells(book: Workbook, rows: Iterable[SheetRow]) -> Iterator[Row | None]:
    for row in rows:
        text = " ".join(cell.strip() for cell in row.cells if cell.strip())
        yield _listed(book.file, row.line, text, row.problem[1:] if row.problem else None, book.sheet)
    book.close()


def _limited(file: Path, rows: Iterable[Row | None]) -> Iterator[Row]:
    count = 0
    for row in rows:
        if row is None:
            continue
        count += 1
        if count > MOST_ROWS:
            raise _too_many(f"{file}:{row.line}", f"more than {MOST_ROWS:,} rows")
        yield row


def _too_many(where: str, what: str) -> DictionaryError:
    return DictionaryError(
        f"{what}: a pack has {MOST_ROWS:,} terms at most",
        where=where,
        remedy="that is more than an appliance can listen for: keep the terms that are said on the telephone",
    )


class _Filler:
    """Spreads merged cells over the rows they cover, where that can be meant."""

    def __init__(self, areas: Iterable[Area], header: Mapping[int, str]) -> None:
        self._header = header
        self._starts: dict[int, list[Area]] = {}
        for area in areas:
            self._starts.setdefault(area.top, []).append(area)
        self._tops = sorted(self._starts, reverse=True)
        self._open: list[tuple[Area, str]] = []
        self.filled = 0

    def fill(self, line: int, cells: list[str]) -> tuple[list[str], tuple[str, str, str] | None]:
        """Return the cells of a row with what merged cells say, and why the row can't be read."""
        self._open = [(area, value) for area, value in self._open if area.bottom >= line]
        while self._tops and self._tops[-1] <= line:
            for area in self._starts[self._tops.pop()]:
                if area.bottom >= line:
                    self._open.append((area, cells[area.left] if area.top == line and area.left < len(cells) else ""))
        problem: tuple[str, str, str] | None = None
        for area, value in self._open:
            columns = [self._header[index] for index in range(area.left, area.right + 1) if index in self._header]
            if not columns:
                continue
            if len(columns) > 1:
                what = f"is merged over the columns {', '.join(columns)}"
                problem = problem or (columns[0], what, "unmerge the cells and fill each of them")
            elif area.top < line and columns[0] in _FILL_DOWN:
                cells = cells + [""] * (area.left + 1 - len(cells))
                cells[area.left] = value
                self.filled += 1
            elif area.top < line:
                what = f"is merged with row {area.top}"
                problem = problem or (columns[0], what, "unmerge the cells: every term needs a row of its own")
        return cells, problem

"""A pack as a table that spreadsheets open, and that comes back the same."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError
from edge_agent.terms.table import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edge_agent.terms.pack import Pack, Term
    from edge_agent.terms.sheet import RowError

ENCODINGS = ("utf-8-sig", "utf-8", "gb18030")


def write(pack: Pack, to: Path, *, encoding: str = "utf-8-sig", folder: bool = False) -> None:
    """Write a pack to a file whose name says the form, or as a folder.

    Raises:
        DictionaryError: the form or the encoding is unknown, or the file can't be written.
    """
    if encoding.lower() not in ENCODINGS:
        raise DictionaryError(f"unknown encoding {encoding!r}", remedy=f"one of: {', '.join(ENCODINGS)}")
    try:
        if folder:
            _write_folder(pack, to)
            return
        match to.suffix.lower():
            case ".csv":
                to.write_bytes(csv_bytes(pack, encoding.lower()))
            case ".txt":
                lines = (f"{one.term} {one.weight:g}" if one.weight else one.term for one in pack.terms)
                to.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            case ".xlsx":
                _write_workbook(pack, to)
            case _:
                raise DictionaryError(
                    "the name does not say what to write", where=str(to), remedy="end it in .csv, .xlsx or .txt"
                )
    except OSError as error:
        raise DictionaryError(
            f"can't be written: {error.strerror}", where=str(to), remedy="choose a place that this user may write to"
        ) from error


def csv_bytes(pack: Pack, encoding: str) -> bytes:
    """Return `terms.csv` of a pack."""
    return _table(COLUMNS, map(_cells, pack.terms)).encode(encoding)


def refused_bytes(refused: Iterable[RowError]) -> bytes:
    """Return refused rows as CSV that Excel opens: their cells, and why they were refused."""
    rows = ([*(error.cells.get(column, "") for column in COLUMNS), f"{error}; {error.remedy}"] for error in refused)
    text = _table((*COLUMNS, "why"), ([_clean(cell) for cell in row] for row in rows))
    return text.encode("utf-8-sig", "replace")


def _cells(term: Term) -> list[str]:
    weight = f"{term.weight:g}" if term.weight else ""
    return [term.term, term.category, "|".join(term.aliases), term.said, weight, term.phonetic.value, term.note]


def _clean(cell: str) -> str:
    """Keep a spreadsheet from running what a refused cell holds."""
    cell = "".join(char if char.isprintable() else "�" for char in cell[:500])
    return f"'{cell}" if cell.startswith(("=", "@", "+", "-")) else cell


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write_workbook(pack: Pack, to: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("terms")
    sheet.freeze_panes = "A2"
    for letter, width in zip("ABCDEFG", (24, 14, 40, 24, 8, 10, 60), strict=True):
        sheet.column_dimensions[letter].width = width
    sheet.append(list(COLUMNS))
    for term in pack.terms:
        row = []
        for column, text in zip(COLUMNS, _cells(term), strict=True):
            cell = WriteOnlyCell(sheet, float(text) if column == "weight" and text else text or None)
            if column != "weight":
                cell.number_format = "@"  # or Excel makes dates of 3-5 and numbers of 12306
                if text:
                    cell.data_type = "s"
            row.append(cell)
        sheet.append(row)
    book.save(to)


def _write_folder(pack: Pack, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    fields = {**pack.fields, "id": to.resolve().name}
    toml = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())
    (to / "pack.toml").write_text(toml, encoding="utf-8")
    (to / "terms.csv").write_text(_table(COLUMNS, map(_cells, pack.terms)).replace("\r\n", "\n"), encoding="utf-8")
    decoys = _table(("heard", "term", "note"), ([one.heard, one.term, one.note] for one in pack.decoys))
    (to / "decoys.csv").write_text(decoys.replace("\r\n", "\n"), encoding="utf-8")

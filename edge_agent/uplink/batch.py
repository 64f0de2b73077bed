"""From rows of the outbox to the next message. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_agent.wire import OVERHEAD, Events, Urgent, mark, to_line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge_agent.uplink.outbox import Row


def pack(epoch: str, rows: Sequence[Row], max_frame_bytes: int, prev: str = "") -> Events:
    """Make a message of the first rows (at least one) whose sequences follow each other and which fit into a frame.

    An event that no frame can hold is replaced by a note of its id and size. The hub puts the note into its dead
    letters and says so, the event itself stays in the branch's database, and those behind it go on.
    """
    room = max_frame_bytes - OVERHEAD
    lines: list[bytes] = []
    for sequence, row in enumerate(rows, rows[0].sequence):
        line = _line(row, max_frame_bytes)
        room -= len(line) + 1
        if row.sequence != sequence or (lines and room < 0):
            break
        lines.append(line)
    return Events.of(epoch, rows[0].sequence, lines, prev)


def pack_urgent(epoch: str, rows: Sequence[Row], max_frame_bytes: int) -> Urgent | None:
    """Make a message of the rows that fit into a frame; None where not even the first does."""
    room = max_frame_bytes - OVERHEAD
    lines: dict[int, bytes] = {}
    for row in rows:
        line = to_line(row.body)
        room -= len(line) + 10  # its sequence and the line break
        if room < 0:
            break
        lines[row.sequence] = line
    return Urgent.of(epoch, lines) if lines else None


def is_same(row: Row, last_id: str, max_frame_bytes: int) -> bool:
    """Say whether the hub's mark of an event is that of this row, taken in or put aside."""
    return last_id in (row.id, mark(_line(row, max_frame_bytes)))


def known(rows: Sequence[Row], schemas: Collection[str]) -> Sequence[Row]:
    """Return the rows before the first whose data schema the hub does not know."""
    if not schemas:
        return rows
    texts = [f'"dataschema":"{schema}"' for schema in schemas]
    for at, row in enumerate(rows):
        if not any(text in row.body for text in texts) and _schema(row.body) not in (*schemas, ""):
            return rows[:at]
    return rows


def _schema(body: str) -> str:
    try:
        return str(json.loads(body).get("dataschema", ""))
    except (ValueError, AttributeError):
        return ""  # no event at all: for the hub to say


def _line(row: Row, max_frame_bytes: int) -> bytes:
    line = to_line(row.body)
    if len(line) > max_frame_bytes - OVERHEAD:
        line = json.dumps({"id": row.id, "withheld_bytes": len(line)}).encode()
    return line

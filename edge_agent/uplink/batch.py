"""From rows of the outbox to the next EVENTS message. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_agent.wire import OVERHEAD, Events, to_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.uplink.outbox import Row


def pack(epoch: str, rows: Sequence[Row], max_frame_bytes: int) -> Events:
    """Make a message of the first rows (at least one) whose sequences follow each other and which fit into a frame.

    An event that no frame can hold is replaced by a note of its id and size. The hub puts the note into its dead
    letters and says so, the event itself stays in the branch's database, and those behind it go on.
    """
    room = max_frame_bytes - OVERHEAD
    lines: list[bytes] = []
    for sequence, row in enumerate(rows, rows[0].sequence):
        line = to_line(row.body)
        if len(line) > max_frame_bytes - OVERHEAD:
            line = json.dumps({"id": row.id, "withheld_bytes": len(line)}).encode()
        room -= len(line) + 1
        if row.sequence != sequence or (lines and room < 0):
            break
        lines.append(line)
    return Events.of(epoch, rows[0].sequence, lines)

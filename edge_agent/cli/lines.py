"""Standard input line by line: as soon as lines are there, and as many of them at once as there are."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

from edge_agent.errors import TranscriptError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 1 << 18
_LONGEST = 1 << 24


def batches() -> Iterator[list[str]]:
    """Yield lines of standard input without their ends; nobody who types one waits for the next.

    Raises:
        TranscriptError: a line is not UTF-8, or has more than 16 MB; what came before it has been yielded.
    """
    descriptor = sys.stdin.fileno()
    number = 0
    rest = b""
    while True:
        read, ended = _read(descriptor)
        rest += read
        if ended and not rest.endswith(b"\n"):
            whole, found, rest = rest, b"", b""
        else:
            whole, found, rest = rest.rpartition(b"\n")
        if len(rest) > _LONGEST:
            raise TranscriptError(
                "a line of more than 16 MB", where=f"standard input:{number + 1}", remedy="put one sentence on a line"
            )
        lines: list[str] = []
        for raw in whole.split(b"\n") if found or whole else ():
            number += 1
            try:
                lines.append(raw.decode("utf-8").rstrip("\r"))
            except UnicodeDecodeError as error:
                if lines:
                    yield lines
                raise TranscriptError(
                    "not UTF-8 text", where=f"standard input:{number}", remedy="convert it: iconv -f GB18030 -t UTF-8"
                ) from error
        if lines:
            yield lines
        if ended:
            return


def _read(descriptor: int) -> tuple[bytes, bool]:
    """Wait for something, and take what has come by then, which a pipe gives out in pieces; True at the end."""
    pieces: list[bytes] = []
    left = _AT_ONCE
    while left > 0 and (not pieces or select.select([descriptor], [], [], 0)[0]):
        piece = os.read(descriptor, left)
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces), False

"""How long a recording says it is.

FFmpeg's duration is often a guess from the size of the file. A shortfall may only be called damage where the file
itself declares its length.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MICROSECONDS = 1_000_000
# Writers that can't seek back leave a size near 2 or 4 GiB in the header.
UNKNOWN_SIZE = 0x7FFF_0000


def estimated_s(container: Any, stream: Any) -> Fraction | None:
    """Return the length in seconds as FFmpeg sees it, or None."""
    if stream.duration is not None and stream.duration > 0:
        return Fraction(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return Fraction(container.duration, MICROSECONDS)
    return None


def declared_s(path: Path, container: Any, stream: Any) -> Fraction | None:
    """Return the length in seconds that the file's own header declares, or None if it declares none."""
    formats = set(container.format.name.split(","))
    if "wav" in formats:
        return _riff_s(path)
    if formats & {"flac", "mov"}:
        return estimated_s(container, stream)
    # Matroska declares the length of the whole; that of a stream is FFmpeg's guess where the whole has none.
    if "matroska" in formats and stream.duration is None:
        return estimated_s(container, stream)
    # An encoder delay is known only from the Xing/LAME header, which also counts the frames.
    if "mp3" in formats and stream.start_time:
        return estimated_s(container, stream)
    return None


def _riff_s(path: Path) -> Fraction | None:
    """Read the length of a RIFF/WAVE file: bytes of `data` by bytes a second of `fmt `.

    FFmpeg shortens the duration of a truncated file to what is there, and so hides that it is truncated.
    """
    bytes_per_s = 0
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                return Fraction(size, bytes_per_s) if bytes_per_s and 0 < size < UNKNOWN_SIZE else None
            body = file.tell()
            if name == b"fmt " and len(layout := file.read(12)) == 12:
                bytes_per_s = int.from_bytes(layout[8:12], "little")
            file.seek(body + size + size % 2)
    return None

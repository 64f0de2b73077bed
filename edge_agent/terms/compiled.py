"""A compiled dictionary as a file: named arrays behind a header, each with its checksum.

Nothing in it can run (it is no pickle), and whatever is wrong with a file (cut short, overwritten, of another version)
is one `Damaged`, so that a cache can be thrown away and made anew. Reading allocates few and large buffers: no other
thread waits for it, and the garbage collector sees nothing of it.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Parts = Mapping[str, NDArray[Any]]

FORMAT = 2
"""Grows with every change of what a compiled dictionary consists of, so that an older cache is not read."""

_MAGIC = b"EDGEDICT"
_HEAD = struct.Struct("<8sIII")  # magic, format, length and checksum of the header
_LONGEST_HEADER = 1 << 20
_KINDS = frozenset({"|u1", "<i4", "<i8", "<u4", "<f4", "<f8"})


class Damaged(Exception):  # noqa: N818 - it is never shown: who catches it compiles anew
    """The file is no whole compiled dictionary of this version."""


def write(path: Path, parts: Parts) -> None:
    """Write parts as one file; whoever reads meanwhile sees the old file or the new one, never half of one.

    Raises:
        OSError: the file can't be written.
    """
    header = json.dumps(
        [
            {"name": name, "kind": array.dtype.str, "shape": list(array.shape), "crc": zlib.crc32(_bytes(array))}
            for name, array in parts.items()
        ]
    ).encode()
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with aside.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, FORMAT, len(header), zlib.crc32(header)))
            file.write(header)
            for array in parts.values():
                file.write(_bytes(array))
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Read the parts back, each a buffer of its own.

    Raises:
        Damaged: the file is not what `write` wrote in this version.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_HEAD.size)
        if len(start) < _HEAD.size:
            raise Damaged("cut short")
        magic, number, length, crc = _HEAD.unpack(start)
        if magic != _MAGIC or number != FORMAT or length > _LONGEST_HEADER:
            raise Damaged("not of this version")
        header = file.read(length)
        if zlib.crc32(header) != crc:
            raise Damaged("the header is damaged")
        parts: dict[str, NDArray[Any]] = {}
        left = size - _HEAD.size - len(header)
        for entry in json.loads(header):
            kind, shape = str(entry["kind"]), tuple(map(int, entry["shape"]))
            if kind not in _KINDS or int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize > left:
                raise Damaged(f"part {entry['name']} is cut short")
            array: NDArray[Any] = np.empty(shape, kind)
            got = file.readinto(_bytes(array)) if array.size else 0
            if got != array.nbytes or zlib.crc32(_bytes(array)) != entry["crc"]:
                raise Damaged(f"part {entry['name']} is damaged")
            left -= array.nbytes
            parts[entry["name"]] = array
        if left:
            raise Damaged("something follows the last part")
        return parts


def pack_bytes(content: bytes) -> NDArray[np.uint8]:
    """Return bytes as a part."""
    return np.frombuffer(content, np.uint8)


def pack_text(text: str) -> NDArray[np.uint8]:
    """Return a text as a part."""
    return pack_bytes(text.encode())


class Strings:
    """Many texts in one buffer, decoded one by one when they are asked for.

    100,000 terms as `str` objects are 10 MB that the garbage collector walks through; so they are 2 MB that it does not
    see.
    """

    __slots__ = ("_ends", "_text")

    def __init__(self, text: bytes, ends: NDArray[np.int64]) -> None:
        self._text = text
        self._ends = ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Lay texts into one buffer."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(b"".join(encoded), ends)

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Strings:
        """Take the texts that `parts` gave out under a name."""
        return cls(parts[f"{name}.text"].tobytes(), parts[f"{name}.ends"])

    def parts(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the parts of a file that hold the texts."""
        return {f"{name}.text": pack_bytes(self._text), f"{name}.ends": self._ends}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        """Return one text."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text[self._ends[index] : self._ends[index + 1]].decode()


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")


def ragged(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lay lists of numbers into one array; the second array says where each ends, and begins with 0."""
    flat = np.fromiter((number for one in lists for number in one), np.int32)
    return flat, np.cumsum([0, *map(len, lists)], dtype=np.int64)

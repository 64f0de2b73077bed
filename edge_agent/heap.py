"""What the C library holds of memory that nobody uses any more.

glibc gives every thread a heap of its own and keeps what is freed there, up to the most that was ever in use at once.
With a thread for each call that creeps upwards for hours, though nothing leaks. See mallopt(3) and malloc_trim(3); on
another C library nothing is done.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_M_ARENA_MAX = -8


@cache
def _library() -> Any:
    """Return the C library of this process if it is glibc."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def share() -> None:
    """Let the threads that are yet to begin share the first heap, which alone can be given back whole."""
    if library := _library():
        library.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the system what lies free; some milliseconds, in which nothing else is allocated."""
    if library := _library():
        library.malloc_trim(ctypes.c_size_t(0))

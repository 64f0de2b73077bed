"""Standard input line by line: as soon as lines are there, as many of them at once as there are, on all cores."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import deque
from typing import TYPE_CHECKING

from edge_agent.errors import TranscriptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ProcessPoolExecutor

_AT_ONCE = 1 << 17
_MANY = 1 << 14
"""Characters of a batch from which it is worth another process."""
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
    while left > 0 and (not pieces or _more(descriptor)):
        piece = os.read(descriptor, left)
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces), False


def spread(work: Callable[[list[str]], str], batches: Iterable[list[str]]) -> Iterator[str]:
    """Yield what work makes of each batch, in order; once many lines have come at once, all cores share the others.

    Nothing is held back while no further lines are there. What `batches` raises comes after the results before it.
    """
    cores = len(os.sched_getaffinity(0))
    pool: ProcessPoolExecutor | None = None
    waiting: deque[Future[str]] = deque()
    warm = False
    try:
        for batch in batches:
            many = cores > 1 and sum(map(len, batch)) >= _MANY
            if many and warm and pool is None:
                pool = _pool(cores, work)
            if pool is None:
                yield work(batch)
                warm = warm or many
                continue
            waiting.append(pool.submit(_work, batch))
            while waiting and (len(waiting) > 2 * cores or not _more(sys.stdin.fileno())):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except TranscriptError:
        while waiting:
            yield waiting.popleft().result()
        raise
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _pool(cores: int, work: Callable[[list[str]], str]) -> ProcessPoolExecutor:
    """Return processes that have all that this one has loaded: they are its forks, and share its memory."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    fork = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(cores, mp_context=fork, initializer=_begin, initargs=(work,))


_works: list[Callable[[list[str]], str]] = []


def _begin(work: Callable[[list[str]], str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that asked
    _works[:] = [work]


def _work(batch: list[str]) -> str:
    return _works[0](batch)


def _more(descriptor: int) -> bool:
    """Tell whether something, or the end, is there to be read."""
    return bool(select.select([descriptor], [], [], 0)[0])

"""Calls as text: a file of transcripts, read and judged by the same code as a call that is heard."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

from edge_agent.errors import TranscriptError
from edge_agent.judging import Judging
from edge_agent.types import Call, Finding, PastCall, Speaker, Transcript, Versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_agent.config import Config
    from edge_agent.event import Shadowed
    from edge_agent.judging import Knowledge

CHARACTERS_PER_S = 4.5
PAUSE_MS = 600
_SILENT = re.compile(r"[\W_]+")
_TURN = '{"speaker": "customer", "text": "太贵了"}'


@dataclass(frozen=True, slots=True)
class Line:
    """One turn as the file has it: its index among all turns of the call, when it was said, and what."""

    index: int
    speaker: Speaker
    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Script:
    """One call of a file: the turns in which something was said, and the whole object with its labels."""

    call: Call
    lines: tuple[Line, ...]
    labels: dict[str, Any]

    @property
    def end_ms(self) -> int:
        """When the last turn ends, in milliseconds since the call began."""
        return max((line.end_ms for line in self.lines), default=0)

    @property
    def shuffled(self) -> bool:
        """The turns of the file are not in the order in which they were said: they are judged by their rank in it."""
        return any(one.index > then.index for one, then in pairwise(self.lines))

    def back(self, findings: list[Finding]) -> list[Finding]:
        """Give findings the index that their turn has in the file."""
        if not self.shuffled:
            return findings
        return [one if one.turn is None else replace(one, turn=self.lines[one.turn].index) for one in findings]

    def transcripts(self, knowledge: Knowledge) -> Iterator[Transcript]:
        """Yield what was said, in order of time, with the dictionary's terms."""
        for rank, line in enumerate(self.lines):
            recognition = knowledge.dictionary.recognise(line.text)
            yield Transcript(
                call_id=self.call.id,
                channel=0 if line.speaker is Speaker.AGENT else 1,
                speaker=line.speaker,
                turn=rank if self.shuffled else line.index,
                start_ms=line.start_ms,
                end_ms=line.end_ms,
                heard=line.text,
                text=recognition.text,
                terms=recognition.terms,
            )


def choose(config: Config, packs: Sequence[str] | None) -> Config:
    """Return the configuration with other packs, if any are named."""
    if not packs:
        return config
    return config.model_copy(update={"dictionary": config.dictionary.model_copy(update={"packs": tuple(packs)})})


class Customers:
    """Judges calls one after another, and remembers each for the customer's next, as the appliance does."""

    def __init__(self) -> None:
        self._past: dict[str, list[PastCall]] = {}
        self._judging: Judging | None = None

    def judge(self, script: Script, knowledge: Knowledge) -> Iterator[tuple[Transcript | None, list[Finding]]]:
        """Judge a call turn by turn; the last pair has no transcript and holds what only the end shows."""
        past = self._past.get(script.call.customer_id or "", ())
        judging = self._judging = Judging(script.call, knowledge, past)
        for transcript in script.transcripts(knowledge):
            yield transcript, script.back(judging.hear(transcript))
        yield None, script.back(judging.end(script.end_ms))
        if judging.memory is not None:
            self._past.setdefault(judging.memory.customer_id, []).append(judging.memory)

    def shadowed(self, site: str) -> tuple[Shadowed, ...]:
        """Return what candidates would have changed in the call that was judged last."""
        return self._judging.shadowed(site) if self._judging else ()


def judge(script: Script, knowledge: Knowledge) -> Iterator[tuple[Transcript | None, list[Finding]]]:
    """Judge a call by itself (see `Customers.judge`)."""
    return Customers().judge(script, knowledge)


def versions(knowledge: Knowledge) -> Versions:
    """Return the versions that travel with the events of a script; no model had a part in it."""
    return knowledge.versions()


def read(path: Path) -> Iterator[Script]:
    """Read calls one by one, in JSON Lines; `-` is standard input.

    Turns without times follow each other at 4.5 characters a second, punctuation left out, with 0.6 s between them.

    Raises:
        TranscriptError: the file can't be read, or a line is no call; names file and line, and what to do.
    """
    for where, number, value in objects(path, "call", '{"id": …, "turns": […]}'):
        yield _script(value, where, number)


def stored(config: Config, since: datetime | None = None) -> Iterator[Script]:
    """Read the calls that are kept here, in order of their start, as they were heard.

    Raises:
        StoreError: there is no database, or it can't be read.
    """
    from edge_agent import paths
    from edge_agent.store import Store

    with Store.open(paths.under_state(config.store.database), readonly=True) as store:
        for call, _ in store.calls():
            if since is not None and call.started_at < since:
                continue
            lines = [
                Line(said.turn, said.speaker, said.heard, said.start_ms, said.end_ms)
                for said in store.transcripts(call.id)
            ]
            yield Script(call, tuple(lines), {})


def objects(path: Path, noun: str, example: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Read the objects of a file of JSON Lines, each with its place (`file:line`) and line number; empty lines pass.

    `-` is standard input. `noun` says what stands on a line, `example` how it looks.

    Raises:
        TranscriptError: the file can't be read, or a line is no JSON object in UTF-8.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with _opened(path, name) as file:
        for number, raw in enumerate(file, start=1):
            where = f"{name}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise TranscriptError(
                    "not UTF-8 text", where=where, remedy="convert it: iconv -f GB18030 -t UTF-8"
                ) from error
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TranscriptError(
                    f"not JSON: {error}",
                    where=where,
                    remedy=f"write one {noun} a line, as one JSON object without line breaks",
                ) from error
            if not isinstance(value, dict):
                raise TranscriptError("not a JSON object", where=where, remedy=f"begin the line with {example}")
            yield where, number, value


@contextmanager
def _opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise TranscriptError(
            error.strerror or str(error),
            where=name,
            remedy="give a file of JSON Lines, or - for standard input",
        ) from error
    with file:
        yield file


def _script(value: dict[str, Any], where: str, number: int) -> Script:
    turns = value.get("turns")
    if not isinstance(turns, list):
        raise TranscriptError("a call without `turns`", where=where, remedy=f'add "turns": [{_TURN}, …]')
    lines: list[Line] = []
    clock_ms = 0
    for index, turn in enumerate(turns):
        if (said := _line(turn, index, clock_ms, where)) is not None:
            lines.append(said)
            clock_ms = said.end_ms + PAUSE_MS
    call = Call(
        id=str(value.get("id") or f"call-{number}"),
        source="replay",
        started_at=_started_at(value.get("started_at"), where),
        speakers=(Speaker.AGENT, Speaker.CUSTOMER),
        customer_id=str(value["customer_id"]) if value.get("customer_id") else None,
    )
    # Turns that are out of order are judged in the order in which they were said; each keeps its index.
    lines.sort(key=lambda line: line.start_ms)
    return Script(call, tuple(lines), value)


def _started_at(value: Any, where: str) -> datetime:
    if value is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise TranscriptError(
            f"`started_at` is {value!r}", where=where, remedy="write it as 2026-01-05T09:30:00+08:00"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _line(turn: Any, index: int, clock_ms: int, where: str) -> Line | None:
    """Read one turn; None if nothing was said in it."""
    if not isinstance(turn, dict):
        raise TranscriptError(f"turn {index} is no object", where=where, remedy=f"write a turn as {_TURN}")
    text, speaker = turn.get("text"), turn.get("speaker")
    if not isinstance(text, str):
        raise TranscriptError(f"turn {index} has no `text`", where=where, remedy=f"write a turn as {_TURN}")
    if speaker is None:
        raise TranscriptError(f"turn {index} has no `speaker`", where=where, remedy=f"write a turn as {_TURN}")
    if speaker not in tuple(Speaker):
        raise TranscriptError(
            f"turn {index}: `speaker` is {speaker!r}", where=where, remedy="it is agent, customer or unknown"
        )
    if not text.strip():
        return None
    start_ms = _ms(turn, "start_ms", index, where)
    start_ms = clock_ms if start_ms is None else start_ms
    end_ms = _ms(turn, "end_ms", index, where)
    if end_ms is None:
        end_ms = start_ms + round(len(_SILENT.sub("", text)) / CHARACTERS_PER_S * 1000)
    if end_ms < start_ms:
        raise TranscriptError(
            f"turn {index} ends before it starts", where=where, remedy="put `end_ms` after `start_ms`"
        )
    return Line(index, Speaker(speaker), text, start_ms, end_ms)


def _ms(turn: dict[str, Any], key: str, index: int, where: str) -> int | None:
    value = turn.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TranscriptError(
            f"turn {index}: `{key}` is {value!r}", where=where, remedy="write whole milliseconds since the call began"
        )
    return value

"""Is it an event? The one question the hub asks of every line before it is stored. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

from edge_agent.event import Event
from edge_agent.wire import MAX_REASON

MAX_ATTRIBUTE = 512  # characters of an id, a type or a subject


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as the ledger files it; `body` is the line as it came, `schema` that of its data (may be empty)."""

    id: str
    type: str
    time: str
    subject: str
    body: str
    schema: str = ""


def judge(line: bytes) -> Entry | str:
    """Return the entry of a line, or why it is none (a CloudEvents 1.0 envelope in JSON); never raises."""
    try:
        body = line.decode("utf-8")
        value = json.loads(body, parse_constant=_no_constant)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        event = Event.from_dict(value)
        if event.time.tzinfo is None:
            raise ValueError("the time names no zone")
        if not (event.id and event.source and event.type):
            raise ValueError("id, source or type is empty")
        schema = value.get("dataschema", "")
        if not isinstance(schema, str):
            raise ValueError("dataschema is no text")
        entry = Entry(event.id, event.type, event.to_dict()["time"], event.subject, body, schema)
        # JSON can spell half of a surrogate pair, which no database takes as text.
        for text in (entry.id, entry.type, entry.subject, entry.schema):
            text.encode("utf-8")
            if "\x00" in text or len(text) > MAX_ATTRIBUTE:  # no index of a database takes them all
                raise ValueError(f"id, type or subject has a NUL, or more than {MAX_ATTRIBUTE} characters")
    except (ValueError, OverflowError, RecursionError) as error:
        return (str(error) or type(error).__name__)[:MAX_REASON]
    return entry


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

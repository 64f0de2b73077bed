"""From nouns to columns and back: what goes in comes out the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edge_agent.store.rows import State, StoredEvent
from edge_agent.types import Call, Speaker, TermHit, Transcript

if TYPE_CHECKING:
    from edge_agent.event import Event

Row = tuple[Any, ...]


def time(moment: datetime) -> str:
    """Write a time so that the order of texts is the order of times; the form that events have."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def call_row(call: Call) -> Row:
    """Columns of `calls`, but for the end; the start keeps its microseconds."""
    speakers = json.dumps([speaker.value for speaker in call.speakers])
    started_at = call.started_at.astimezone(UTC).isoformat(timespec="microseconds")
    return call.id, call.source, started_at, speakers, call.file, call.customer_id


def call(row: Row) -> Call:
    """Read `call_row` back."""
    name, source, started_at, speakers, file, customer_id = row[:6]
    heard = tuple(Speaker(speaker) for speaker in json.loads(speakers))
    return Call(name, source, datetime.fromisoformat(started_at), heard, file, customer_id)


def transcript_row(said: Transcript) -> Row:
    """Columns of `utterances`; the terms as JSON."""
    terms = json.dumps([asdict(term) for term in said.terms], ensure_ascii=False, separators=(",", ":"))
    place = (said.call_id, said.channel, said.speaker.value, said.turn, said.start_ms, said.end_ms)
    return *place, said.heard, said.text, terms, said.confidence, said.dictionary


def transcript(row: Row) -> Transcript:
    """Read `transcript_row` back."""
    call_id, channel, speaker, turn, start_ms, end_ms, heard, text, terms, confidence, dictionary = row
    place = (call_id, channel, Speaker(speaker), turn, start_ms, end_ms)
    return Transcript(*place, heard, text, hits(terms), confidence, dictionary)


def hits(terms: str) -> tuple[TermHit, ...]:
    """Read the terms of an utterance back."""
    return tuple(
        TermHit(**{**term, "at": tuple(term["at"]), "span_ms": tuple(term.get("span_ms") or ()) or None})
        for term in json.loads(terms)
    )


def event_row(event: Event) -> dict[str, str | None]:
    """Columns of `events`; `node` and `severity` are lifted out of the data to be looked for."""
    return {
        "id": event.id,
        "type": event.type,
        "time": time(event.time),
        "subject": event.subject,
        "node": event.data.get("node"),
        "severity": event.data.get("severity"),
        "body": event.to_json(),
    }


def stored(row: Row) -> StoredEvent:
    """Read sequence, body, state, time of acknowledgement and reason."""
    sequence, body, state, settled, reason = row
    return StoredEvent(sequence, body, State(state), datetime.fromisoformat(settled) if settled else None, reason)

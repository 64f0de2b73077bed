"""The event: what is stored and sent, as CloudEvents 1.0 in JSON.

The envelope follows the CloudEvents 1.0 specification (context attributes, JSON event format). `docs/event.schema.json`
says the same as a JSON Schema, and the tests hold every event against it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_agent.types import Call, Finding, Gap, TermHit, Versions

SPEC_VERSION = "1.0"
SCHEMA = "urn:edge-agent:event:1"


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvents 1.0 envelope; `data` holds JSON values only."""

    id: str
    source: str
    type: str
    time: datetime
    subject: str
    data: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as a dictionary of JSON values, attributes in the usual order."""
        return {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "subject": self.subject,
            "datacontenttype": "application/json",
            "dataschema": SCHEMA,
            "data": self.data,
        }

    def to_json(self) -> str:
        """Return one line of JSON; `from_json` gives the event back."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Event:
        """Read an envelope back.

        Raises:
            ValueError: an attribute is missing or is none of CloudEvents 1.0.
        """
        try:
            if value["specversion"] != SPEC_VERSION:
                raise ValueError(f"specversion is {value['specversion']!r}, not {SPEC_VERSION!r}")
            return cls(
                id=str(value["id"]),
                source=str(value["source"]),
                type=str(value["type"]),
                time=datetime.fromisoformat(value["time"]),
                subject=str(value["subject"]),
                data=dict(value["data"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a CloudEvents envelope: {error!r}") from error

    @classmethod
    def from_json(cls, line: str) -> Event:
        """Read one line of JSON back (see `from_dict`)."""
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return cls.from_dict(value)


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a judge in shadow would have raised (`gained`) or would not have raised; recorded, never sent.

    `who` is the version of the candidate, or `muted` for what raises nothing because reviewers accepted too little of
    it.
    """

    who: str
    gained: bool
    event: Event

    @property
    def node(self) -> str:
        """The node it is about."""
        return str(self.event.data["node"])


# Numbers that identify a person or an account, written in digits or read out one by one: a run of at least seven, with
# the blanks and dashes people put between them.
_DIGITS = "0-9〇零一二三四五六七八九幺两"
_NUMBER = re.compile(rf"[{_DIGITS}](?:[ \-—]?[{_DIGITS}]){{6,}}")


def redact(text: str) -> str:
    """Mask telephone, account and identity numbers (seven digits or more, also read out in Chinese), keeping length."""
    return _NUMBER.sub(lambda match: "*" * len(match.group()), text)


def new_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562): ids sort by when the event was made."""
    import uuid_utils

    return str(uuid_utils.uuid7())


# What makes an event of a recording this one and no other. All else (confidence, quote, versions, what lost) a second
# hearing may see a little otherwise: utterances share other batches, or there is another dictionary.
_IDENTITY = ("node", "speaker", "start_ms", "end_ms", "span", "case", "reason", "channel", "at_ms")


def recorded_id(call: Call, kind: str, time: datetime, data: dict[str, Any]) -> str:
    """Return the UUIDv7 of an event of a recording: the same each time the same call is heard.

    A recording that a crash cut short is heard again under the same call id, and what was stored the first time is
    known by it. The time in the id is that of the event, the rest a hash of what it is about.
    """
    about = {key: data[key] for key in _IDENTITY if key in data}
    said = json.dumps([call.id, kind, about], ensure_ascii=False, sort_keys=True)
    rest = int.from_bytes(hashlib.blake2b(said.encode(errors="replace"), digest_size=10).digest(), "big")
    number = (max(0, int(time.timestamp() * 1000)) & (1 << 48) - 1) << 80 | rest
    # RFC 9562, section 5.7: version 7 in bits 76 to 79, variant 2 in bits 62 and 63.
    number = number & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


def _make(site: str, call: Call, kind: str, at_ms: int, data: dict[str, Any], versions: Versions) -> Event:
    time = call.started_at + timedelta(milliseconds=at_ms)
    stamped = {
        "dictionary": versions.dictionary,
        "rules": versions.rules,
        "model": versions.model,
    }
    return Event(
        id=recorded_id(call, kind, time, data) if call.file is not None else new_id(),
        source=f"/sites/{site}",
        type=f"edge.{kind}",
        time=time,
        subject=call.id,
        data={**data, "versions": stamped},
    )


def node_event(site: str, call: Call, finding: Finding, versions: Versions) -> Event:
    """Make the event of a finding; its time is the call's start plus the end of the evidence."""
    data: dict[str, Any] = {
        "node": finding.node,
        "turn": finding.turn,
        "speaker": finding.speaker.value,
        "quote": redact(finding.quote),
        "start_ms": finding.start_ms,
        "end_ms": finding.end_ms,
        "confidence": round(finding.confidence, 3),
        "by": finding.by,
        "severity": finding.severity,
        "case": finding.case,
        "customer_id": call.customer_id,
        "span": list(finding.span) if finding.span else None,
        "version": finding.version,
        "alternative": None,
    }
    if (lost := finding.alternative) is not None:
        data["alternative"] = {"node": lost.node, "by": lost.by, "confidence": round(lost.confidence, 3)}
    if finding.speaker_confidence is not None:
        data["speaker_confidence"] = round(finding.speaker_confidence, 3)
    if finding.calls:
        data["calls"] = list(finding.calls)
    if finding.terms:
        data["terms"] = [_term(hit) for hit in finding.terms]
    return _make(site, call, f"node.{finding.step.value}", finding.end_ms, data, versions)


def _term(hit: TermHit) -> dict[str, Any]:
    spoken = {"start_ms": hit.span_ms[0], "end_ms": hit.span_ms[1]} if hit.span_ms else {}
    term = {"term": hit.term, "at": list(hit.at), "via": hit.via, "heard": redact(hit.heard), "score": hit.score}
    return term | spoken


def call_started(site: str, call: Call, versions: Versions) -> Event:
    """Make the event that opens a call."""
    data = {
        "origin": call.source,
        "file": call.file.rsplit("/", 1)[-1] if call.file else None,
        "speakers": [speaker.value for speaker in call.speakers],
        "customer_id": call.customer_id,
    }
    return _make(site, call, "call.started", 0, data, versions)


def call_ended(site: str, call: Call, end_ms: int, utterances: int, reason: str, versions: Versions) -> Event:
    """Make the event that closes a call: how long it was, how much was said, and why it ended."""
    data = {"end_ms": end_ms, "utterances": utterances, "reason": reason, "customer_id": call.customer_id}
    return _make(site, call, "call.ended", end_ms, data, versions)


def audio_gap(site: str, call: Call, gap: Gap, versions: Versions) -> Event:
    """Make the event of audio that was not heard."""
    data = {"start_ms": gap.start_ms, "end_ms": gap.end_ms, "reason": gap.reason, "channel": gap.channel}
    return _make(site, call, "audio.gap", gap.end_ms, data, versions)


def audio_paused(site: str, call: Call, at_ms: int, by: str, until: float | None, versions: Versions) -> Event:
    """Make the event that says who asked that a call be not heard; `until` is in seconds since 1970."""
    ends = None if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    data = {"at_ms": at_ms, "by": by, "until": ends.replace("+00:00", "Z") if ends else None}
    return _make(site, call, "audio.paused", at_ms, data, versions)


def audio_resumed(site: str, call: Call, paused_ms: int, at_ms: int, by: str | None, versions: Versions) -> Event:
    """Make the event that says that a call is heard again, and who asked; None where the pause ended by itself."""
    data = {"paused_ms": paused_ms, "at_ms": at_ms, "by": by}
    return _make(site, call, "audio.resumed", at_ms, data, versions)

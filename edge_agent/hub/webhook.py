"""What goes to the CRM and what its answer means. Pure.

A request is a CloudEvent over HTTP (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md)
in structured or binary content mode, signed as Standard Webhooks has it
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). The event's id is the
idempotency key: a CRM that met it before has nothing to do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping as Table
    from collections.abc import Sequence

    from edge_agent.hub.mapping import Mapping
    from edge_agent.hub.rows import Waiting

PREFIX = "whsec_"
LONGEST_WAIT_S = 3600.0  # a Retry-After beyond it is not believed


class Verdict(StrEnum):
    """What an answer means: for this event, or for every event."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """The CRM will never take this event: to the dead letters, and on."""

    AGAIN = "again"
    """It may be this event, it may be the CRM: the customer's events wait, others go on."""

    HOLD = "hold"
    """The CRM takes nothing at the moment: everything waits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request; `retry_after_s` is what the CRM asked for, None where it asked for nothing."""

    verdict: Verdict
    said: str
    retry_after_s: float | None = None


def new_secret() -> str:
    """Return a fresh secret of 256 bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_key(text: str) -> bytes:
    """Return the key in a secret.

    Raises:
        ValueError: it is none, or too short to be one.
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not {PREFIX} and base64") from error
    if len(key) < 24:
        raise ValueError("shorter than 192 bits")
    return key


def sign(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:  # noqa: A002
    """Return the value of `webhook-signature`: one signature for each key, so that keys can be changed in peace."""
    signed = f"{id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)


def compose(
    waiting: Waiting, mapping: Mapping | None, *, binary: bool, keys: Sequence[bytes], now_s: int
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the request for one event."""
    envelope: dict[str, Any] = json.loads(waiting.body)
    added = {
        "customer": waiting.customer or None,
        "branch": waiting.branch,
        "number": waiting.number,
        "received_at": waiting.received_at,
    }
    if mapping is not None:
        envelope["data"] = mapping.apply({**envelope, **added})
        envelope.pop("dataschema", None)  # the schema is of the data as we write it
    # Extensions of CloudEvents: partitioning, sequence; and whose branch it was.
    envelope |= {"partitionkey": waiting.lane, "sequence": f"{waiting.number:016}", "branch": waiting.branch}
    id = str(envelope["id"])  # noqa: A001
    if binary:
        body = _json(envelope.pop("data"))
        headers = {f"ce-{name}": quote(str(value), safe="!#$&'()*+,/:;=?@[]~") for name, value in envelope.items()}
        headers.pop("ce-datacontenttype", None)
        headers["content-type"] = "application/json"
    else:
        body = _json(envelope)
        headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    headers |= {
        "idempotency-key": quote(id, safe="!#$&'()*+,/:;=?@[]~"),
        "webhook-id": quote(id, safe="!#$&'()*+,/:;=?@[]~"),
        "webhook-timestamp": str(now_s),
    }
    headers["webhook-signature"] = sign(keys, headers["webhook-id"], now_s, body)
    return body, headers


def judge(status: int, headers: Table[str, str], said: str, now: datetime) -> Answer:
    """Say what an HTTP answer means; `headers` by names in small letters, `said` is the beginning of its body."""
    wait_s = _retry_after(headers.get("retry-after", ""), now)
    what = f"HTTP {status}" + (f": {said}" if said else "")
    match status:
        case _ if 200 <= status < 300:
            return Answer(Verdict.DELIVERED, what)
        case 429 | 502 | 503 | 504:
            return Answer(Verdict.HOLD, what, wait_s)
        case 408 | 409 | 423 | 425:
            return Answer(Verdict.AGAIN, what, wait_s)
        case 401 | 403 | 404 | 405 | 407 | 410:
            return Answer(Verdict.HOLD, f"{what} (see address and rights in [delivery])", wait_s)
        case _ if 400 <= status < 500:
            return Answer(Verdict.REFUSED, what)
        case _ if status >= 500:
            return Answer(Verdict.AGAIN if wait_s is None else Verdict.HOLD, what, wait_s)
    return Answer(Verdict.HOLD, f"{what} (it points elsewhere: give the CRM's final address as `url` in [delivery])")


def _retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After asks for, in either of its forms (RFC 9110, 10.2.3)."""
    value = value.strip()
    if value.isdecimal():
        return min(float(value), LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT_S)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()

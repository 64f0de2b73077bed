"""What branch and hub say to each other: messages, frames, and their strict decoding. Pure; no sockets here.

A message is one ZeroMQ frame: the MessagePack array `[version, kind, fields]`. The first two elements stay readable in
every version of the protocol, so that an unknown version can be refused with a reason. A field that is not known is
passed over: a later release may add what an earlier one can do without. Anything else that differs from what stands
here is a `FrameError`.

```
branch                                                    hub
HELLO   {epoch, acked, pruned, schemas, clock_ms}     →
                                                      ←   WELCOME {through, last_id, rejected, credit, max_frame_bytes,
                                                                   clock_ms}
EVENTS  {epoch, first, n, sha256, body}               →
                                                      ←   ACK     {through, rejected, credit}
PING    {}                                            →
                                                      ←   PONG    {}
                                                      ←   REFUSED {code, reason}
```
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgpack

from edge_agent.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VERSION = 1
MAX_SEQUENCE = 2**53 - 1  # every whole number up to it is exact in SQLite and in JSON alike
MAX_BATCH = 10_000  # events in one message
MAX_TEXT = 4096  # characters
MIN_FRAME = 4096  # bytes every hub takes
MAX_REPLY = 16_777_216  # bytes of what a hub says, at most
MAX_REASON = 200  # characters
OVERHEAD = 1024  # bytes of an EVENTS frame that are not its body, at most


class Code(StrEnum):
    """Why the hub refused a message."""

    MALFORMED = "malformed"
    VERSION = "version"
    TOO_LARGE = "too-large"
    HASH = "hash"
    GAP = "gap"
    SCHEMA = "schema"
    NOT_ALLOWED = "not-allowed"
    STORAGE = "storage"


class FrameError(WireError):
    """A frame that is no message of this protocol; `code` is what the sender is told."""

    def __init__(self, what: str, code: Code = Code.MALFORMED) -> None:
        super().__init__(what)
        self.code = code


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:  # a bool is an int to isinstance
            raise ValueError(f"not a whole number from {low} to {high}")
        return value

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"not a text of at most {MAX_TEXT} characters")
    return value


def _name(value: Any) -> str:
    if not _text(value):
        raise ValueError("empty")
    return str(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return tuple(_text(item) for item in value)


def _reasons(value: Any) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, list) or any(not isinstance(item, list) or len(item) != 2 for item in value):
        raise ValueError("not a list of pairs")
    return tuple((_sequence(sequence), _text(reason)) for sequence, reason in value)


_sequence = _whole(1, MAX_SEQUENCE)


def _field(check: Callable[[Any], Any]) -> Any:
    return field(metadata={"check": check})


@dataclass(frozen=True, slots=True)
class Hello:
    """The branch begins: which life of its database this is, and how far it has come.

    Every sequence up to `acked` is settled. `pruned` is the highest sequence that the branch can't send any more (0:
    it has whatever the hub may ask for). `schemas` names the data schemas of its events; `clock_ms` is its wall clock
    in milliseconds since 1970.
    """

    epoch: str = _field(_name)
    acked: int = _field(_whole(0, MAX_SEQUENCE))
    pruned: int = _field(_whole(0, MAX_SEQUENCE))
    schemas: tuple[str, ...] = _field(_texts)
    clock_ms: int = _field(_whole(0, MAX_SEQUENCE))


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub answers HELLO: it has everything through this sequence of the epoch, in its database.

    `last_id` is the id of the event at `through`, or empty where there is none to compare. `rejected` holds what was
    put aside above the branch's `acked`, with reasons. At most `credit` events may be under way.
    """

    through: int = _field(_whole(0, MAX_SEQUENCE))
    last_id: str = _field(_text)
    rejected: tuple[tuple[int, str], ...] = _field(_reasons)
    credit: int = _field(_whole(1, MAX_SEQUENCE))
    max_frame_bytes: int = _field(_whole(MIN_FRAME, MAX_SEQUENCE))
    clock_ms: int = _field(_whole(0, MAX_SEQUENCE))


@dataclass(frozen=True, slots=True)
class Events:
    """`n` events with the sequences from `first` on; `body` holds their JSON, a line each, `sha256` is of the body."""

    epoch: str = _field(_name)
    first: int = _field(_sequence)
    n: int = _field(_whole(1, MAX_BATCH))
    sha256: bytes = _field(_bytes)
    body: bytes = _field(_bytes)

    @classmethod
    def of(cls, epoch: str, first: int, lines: Iterable[bytes]) -> Events:
        """Make the message of some lines (see `to_line`)."""
        joined = list(lines)
        body = b"\n".join(joined)
        return cls(epoch, first, len(joined), hashlib.sha256(body).digest(), body)

    @property
    def last(self) -> int:
        """The sequence of the last event."""
        return self.first + self.n - 1

    def lines(self) -> list[bytes]:
        """The events, a line of JSON each, in order."""
        return self.body.split(b"\n")


@dataclass(frozen=True, slots=True)
class Ack:
    """The hub has committed everything through this sequence; `rejected` of it were put aside, with reasons."""

    through: int = _field(_whole(0, MAX_SEQUENCE))
    rejected: tuple[tuple[int, str], ...] = _field(_reasons)
    credit: int = _field(_whole(1, MAX_SEQUENCE))


@dataclass(frozen=True, slots=True)
class Ping:
    """The branch lives."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The hub lives."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub did not do what a message asked; `code` is a `Code` or one of a later version."""

    code: str = _field(_name)
    reason: str = _field(_text)


Message = Hello | Welcome | Events | Ack | Ping | Pong | Refused

_KINDS: dict[str, type[Message]] = {
    kind.__name__.upper(): kind for kind in (Hello, Welcome, Events, Ack, Ping, Pong, Refused)
}


def is_loopback(address: str) -> bool:
    """Say whether an address such as `tcp://127.0.0.1:7420` can be reached from this machine only."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def to_line(body: str) -> bytes:
    """Return an event's JSON as one line: outside its strings, a line break in JSON is but white space."""
    return body.replace("\n", " ").encode("utf-8", "replace")


def encode(message: Message) -> bytes:
    """Return the frame of a message; `decode` gives the message back."""
    kind = type(message)
    content = {item.name: getattr(message, item.name) for item in fields(kind)}
    frame: bytes = msgpack.packb([VERSION, kind.__name__.upper(), content])
    return frame


def decode(frame: bytes, *, limit: int) -> Message:
    """Read a frame of at most `limit` bytes.

    Raises:
        FrameError: it is longer, of another version, malformed, or damaged. No other exception, whatever the bytes.
    """
    if len(frame) > limit:
        raise FrameError(f"the frame has {len(frame)} bytes, {limit} are taken", Code.TOO_LARGE)
    try:
        value = msgpack.unpackb(frame)
    except Exception as error:  # msgpack has many ways to say no, and none of them concerns the peer
        raise FrameError(f"not MessagePack ({type(error).__name__})") from error
    match value:
        case [int() as version, *_] if version != VERSION:
            raise FrameError(f"the frame is of protocol {version}, {VERSION} is spoken here", Code.VERSION)
        case [int(), str() as name, dict() as content] if name in _KINDS:
            return _checked(_KINDS[name], content)
    raise FrameError("not [version, kind, fields] of a known kind")


def _checked(kind: type[Message], content: dict[Any, Any]) -> Message:
    values = {}
    for item in fields(kind):
        try:
            values[item.name] = item.metadata["check"](content[item.name])
        except KeyError:
            raise FrameError(f"{kind.__name__.upper()} without `{item.name}`") from None
        except ValueError as error:
            raise FrameError(f"{kind.__name__.upper()}: `{item.name}`: {error}") from error
    message = kind(**values)
    if isinstance(message, Events):
        _whole_batch(message)
    return message


def _whole_batch(message: Events) -> None:
    if hashlib.sha256(message.body).digest() != message.sha256:
        raise FrameError("the body does not have the hash that the message names", Code.HASH)
    if message.body.count(b"\n") + 1 != message.n:
        raise FrameError(f"the body does not have {message.n} lines")
    if message.last > MAX_SEQUENCE:
        raise FrameError("the sequences end beyond the last number")

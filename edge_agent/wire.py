"""What branch and hub say to each other: messages, frames, and their strict decoding. Pure; no sockets here.

A message is one ZeroMQ frame: the MessagePack array `[version, kind, fields]`. The first two elements stay readable in
every version of the protocol, so that an unknown version can be refused with a reason. A field that is not known is
passed over: a later release may add what an earlier one can do without. Anything else that differs from what stands
here is a `FrameError`.

```
branch                                                    hub
HELLO   {epoch, acked, pruned, schemas, clock_ms,     →
         begins, mono_ms, boot_id, about, takes}
                                                      ←   WELCOME {through, last_id, rejected, credit, max_frame_bytes,
                                                                   clock_ms, schemas, takes}
EVENTS  {epoch, first, n, sha256, body, prev, coding} →
                                                      ←   ACK     {through, rejected, credit}
URGENT  {epoch, sequences, sha256, body, coding}      →
                                                      ←   NOTED   {sequences}
PING    {clock_ms}                                    →
                                                      ←   PONG    {}
REPORT  {waiting, about, installed}                   →
                                                      ←   OFFER   {manifest, signature}, or PONG
FETCH   {sha256, offset}                              →
                                                      ←   PIECE   {sha256, offset, body}
                                                      ←   REFUSED {code, reason}
```

What stands behind `clock_ms` in HELLO and WELCOME, and `prev`, `coding` and PING's `clock_ms`, may be missing: the
first release did not have it. `takes` names what an end understands beyond that; the other end sends nothing else.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args

import msgpack

from edge_agent.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

VERSION = 1
MAX_SEQUENCE = 2**53 - 1  # every whole number up to it is exact in SQLite and in JSON alike
MAX_BATCH = 10_000  # events in one message
MAX_TEXT = 4096  # characters
MIN_FRAME = 4096  # bytes every hub takes
MAX_REPLY = 16_777_216  # bytes of what a hub says, at most
MAX_REASON = 200  # characters
OVERHEAD = 1024  # bytes of an EVENTS frame that are not its body, at most
MAX_ABOUT = 16  # entries of `about`
ZSTD = "zstd"  # in `takes`: bodies may be compressed (RFC 8878)
URGENT = "urgent"  # in `takes`: the URGENT message is understood
PUBLISH = "publish"  # in `takes`: REPORT and FETCH are understood
MAX_PIECE = 1_048_576  # bytes of what is published in one PIECE
MAX_INSTALLED = 200  # entries of `installed`

_SMALL = 512  # bytes of a body below which compression is not worth its header
_MAX_WINDOW = 8_388_608  # bytes of memory that a compressed body may ask for while it is read
_PAYS = 0.9  # compression must make this of a body, or less


class Code(StrEnum):
    """Why the hub refused a message."""

    MALFORMED = "malformed"
    VERSION = "version"
    TOO_LARGE = "too-large"
    HASH = "hash"
    GAP = "gap"
    FORKED = "forked"
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


def _pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_ABOUT:
        raise ValueError(f"not a map of at most {MAX_ABOUT} entries")
    return {_name(key): _text(item) for key, item in value.items()}


def _installed(value: Any) -> tuple[tuple[str, str, int, str, str], ...]:
    if not isinstance(value, list) or len(value) > MAX_INSTALLED:
        raise ValueError(f"not a list of at most {MAX_INSTALLED} entries")
    made = []
    for entry in value:
        match entry:
            case [str(kind), str(name), int(serial), str(sha256), str(error)]:
                made.append((_text(kind), _text(name), _whole(0, MAX_SEQUENCE)(serial), _text(sha256), _text(error)))
            case _:
                raise ValueError("not kind, name, serial, sha256 and error")
    return tuple(made)


def _sequences(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_BATCH:
        raise ValueError(f"not a list of 1 to {MAX_BATCH} sequences")
    return tuple(_sequence(item) for item in value)


def _reasons(value: Any) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, list) or any(not isinstance(item, list) or len(item) != 2 for item in value):
        raise ValueError("not a list of pairs")
    return tuple((_sequence(sequence), _text(reason)) for sequence, reason in value)


_sequence = _whole(1, MAX_SEQUENCE)


def _field(check: Callable[[Any], Any], *, default: Any = MISSING) -> Any:
    """Make a field that is checked when a frame is read; with a default it may be missing there."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"check": check})
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, slots=True)
class Hello:
    """The branch begins: which life of its database this is, and how far it has come.

    Every sequence up to `acked` is settled. `pruned` is the highest sequence that the branch can't send any more (0:
    it has whatever the hub may ask for). `schemas` names the data schemas of its events; `clock_ms` is its wall clock
    in milliseconds since 1970, `mono_ms` the one that only goes forward, from the boot that `boot_id` names. Sequences
    up to `begins` belong to an earlier epoch of the database. `about` says what runs there: versions, by name.
    """

    epoch: str = _field(_name)
    acked: int = _field(_whole(0, MAX_SEQUENCE))
    pruned: int = _field(_whole(0, MAX_SEQUENCE))
    schemas: tuple[str, ...] = _field(_texts)
    clock_ms: int = _field(_whole(0, MAX_SEQUENCE))
    begins: int = _field(_whole(0, MAX_SEQUENCE), default=0)
    mono_ms: int = _field(_whole(0, MAX_SEQUENCE), default=0)
    boot_id: str = _field(_text, default="")
    about: Mapping[str, str] = _field(_pairs, default={})
    takes: tuple[str, ...] = _field(_texts, default=())


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub answers HELLO: it has everything through this sequence of the epoch, in its database.

    `last_id` is the `mark` of what was sent as `through`, or empty where there is none to compare. `rejected` holds
    what was put aside above the branch's `acked`, with reasons. At most `credit` events may be under way. Events of
    other `schemas` than these are refused; none are named by hubs that take any.
    """

    through: int = _field(_whole(0, MAX_SEQUENCE))
    last_id: str = _field(_text)
    rejected: tuple[tuple[int, str], ...] = _field(_reasons)
    credit: int = _field(_whole(1, MAX_SEQUENCE))
    max_frame_bytes: int = _field(_whole(MIN_FRAME, MAX_SEQUENCE))
    clock_ms: int = _field(_whole(0, MAX_SEQUENCE))
    schemas: tuple[str, ...] = _field(_texts, default=())
    takes: tuple[str, ...] = _field(_texts, default=())


@dataclass(frozen=True, slots=True)
class Events:
    """`n` events with the sequences from `first` on; `body` holds their JSON, a line each, `sha256` is of the body.

    `prev` is the `mark` of the event before the first, or empty where the branch does not know it any more.
    """

    epoch: str = _field(_name)
    first: int = _field(_sequence)
    n: int = _field(_whole(1, MAX_BATCH))
    sha256: bytes = _field(_bytes)
    body: bytes = _field(_bytes)
    prev: str = _field(_text, default="")

    @classmethod
    def of(cls, epoch: str, first: int, lines: Iterable[bytes], prev: str = "") -> Events:
        """Make the message of some lines (see `to_line`)."""
        joined = list(lines)
        body = b"\n".join(joined)
        return cls(epoch, first, len(joined), hashlib.sha256(body).digest(), body, prev)

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
class Urgent:
    """Events that do not wait for their turn: a copy of each goes ahead, in order of `sequences`.

    They move no watermark: each comes again in its turn, and the hub knows it by its id. So nothing rests on this
    message; it only lets head office know sooner.
    """

    epoch: str = _field(_name)
    sequences: tuple[int, ...] = _field(_sequences)
    sha256: bytes = _field(_bytes)
    body: bytes = _field(_bytes)

    @classmethod
    def of(cls, epoch: str, events: Mapping[int, bytes]) -> Urgent:
        """Make the message of lines by sequence."""
        body = b"\n".join(events.values())
        return cls(epoch, tuple(events), hashlib.sha256(body).digest(), body)

    def lines(self) -> list[bytes]:
        """The events, a line of JSON each, in the order of `sequences`."""
        return self.body.split(b"\n")


@dataclass(frozen=True, slots=True)
class Noted:
    """The hub has committed these urgent events."""

    sequences: tuple[int, ...] = _field(_sequences)


@dataclass(frozen=True, slots=True)
class Ping:
    """The branch lives; `clock_ms` is its wall clock in milliseconds since 1970, 0 where it isn't told."""

    clock_ms: int = _field(_whole(0, MAX_SEQUENCE), default=0)


@dataclass(frozen=True, slots=True)
class Report:
    """How the branch does, told now and then: events that wait there, versions that run, what it took of publications.

    `installed` has kind, name, serial, SHA-256 in hexadecimal, and an error (empty: it is in force) for each.
    """

    waiting: int = _field(_whole(0, MAX_SEQUENCE))
    about: Mapping[str, str] = _field(_pairs)
    installed: tuple[tuple[str, str, int, str, str], ...] = _field(_installed)


@dataclass(frozen=True, slots=True)
class Offer:
    """The hub has something newer for this branch: a signed manifest (see `edge_agent.manifest`)."""

    manifest: bytes = _field(_bytes)
    signature: bytes = _field(_bytes)


@dataclass(frozen=True, slots=True)
class Fetch:
    """The branch asks for the content of an offer, from an offset on."""

    sha256: str = _field(_name)
    offset: int = _field(_whole(0, MAX_SEQUENCE))


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of what was asked for, of at most `MAX_PIECE` bytes; empty where the hub has it no more."""

    sha256: str = _field(_name)
    offset: int = _field(_whole(0, MAX_SEQUENCE))
    body: bytes = _field(_bytes)


@dataclass(frozen=True, slots=True)
class Pong:
    """The hub lives."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub did not do what a message asked; `code` is a `Code` or one of a later version."""

    code: str = _field(_name)
    reason: str = _field(_text)


Message = Hello | Welcome | Events | Ack | Urgent | Noted | Ping | Report | Offer | Fetch | Piece | Pong | Refused

_KINDS: dict[str, type[Message]] = {kind.__name__.upper(): kind for kind in get_args(Message)}


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


def mark(line: bytes, id: str = "") -> str:  # noqa: A002
    """Tell an event apart from any other: by its id, or by its line's hash where it has none."""
    return id or f"sha256:{hashlib.sha256(line).hexdigest()}"


def encode(message: Message, *, compress: bool = False) -> bytes:
    """Return the frame of a message; `decode` gives the message back.

    With `compress` (where the other end takes `ZSTD`) a body is compressed if that pays; its hash is of the plain one.
    """
    kind = type(message)
    content = {item.name: getattr(message, item.name) for item in fields(kind)}
    if compress and isinstance(message, Events | Urgent) and len(message.body) >= _SMALL:
        packed = _compress(message.body)
        if len(packed) <= _PAYS * len(message.body):
            content |= {"body": packed, "coding": ZSTD}
    frame: bytes = msgpack.packb([VERSION, kind.__name__.upper(), content])
    return frame


def decode(frame: bytes, *, limit: int) -> Message:
    """Read a frame of at most `limit` bytes; a compressed body may have as many once it is plain.

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
            return _checked(_KINDS[name], content, limit)
    raise FrameError("not [version, kind, fields] of a known kind")


def _checked(kind: type[Message], content: dict[Any, Any], limit: int) -> Message:
    coding = content.get("coding", "")
    if coding and kind in (Events, Urgent):
        content = content | {"body": _plain(coding, content.get("body"), limit)}
    values = {}
    for item in fields(kind):
        if item.name not in content:
            if item.default is MISSING and item.default_factory is MISSING:
                raise FrameError(f"{kind.__name__.upper()} without `{item.name}`")
            continue
        try:
            values[item.name] = item.metadata["check"](content[item.name])
        except ValueError as error:
            raise FrameError(f"{kind.__name__.upper()}: `{item.name}`: {error}") from error
    message = kind(**values)
    if isinstance(message, Events | Urgent):
        _whole_batch(message)
    return message


def _plain(coding: Any, body: Any, limit: int) -> bytes:
    if coding != ZSTD or not isinstance(body, bytes):
        raise FrameError("the body is coded in a way that is not known here")
    try:
        return _decompress(body, limit)
    except OverflowError as error:
        raise FrameError(f"{error} once it is plain, {limit} are taken", Code.TOO_LARGE) from error
    except ValueError as error:
        raise FrameError(f"the body can't be decompressed: {error}", Code.HASH) from error


def _compress(body: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(body)


def _decompress(body: bytes, limit: int) -> bytes:
    """Return the plain bytes; the size that a frame claims is looked at before any memory is taken."""
    import zstandard

    try:
        size = zstandard.frame_content_size(body)
        if size > limit:
            raise OverflowError(f"the body has {size} bytes")
        if size < 0:
            raise ValueError("it does not say how long it is")
        return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompress(body)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _whole_batch(message: Events | Urgent) -> None:
    if hashlib.sha256(message.body).digest() != message.sha256:
        raise FrameError("the body does not have the hash that the message names", Code.HASH)
    n = message.n if isinstance(message, Events) else len(message.sequences)
    if message.body.count(b"\n") + 1 != n:
        raise FrameError(f"the body does not have {n} lines")
    if isinstance(message, Events) and message.last > MAX_SEQUENCE:
        raise FrameError("the sequences end beyond the last number")

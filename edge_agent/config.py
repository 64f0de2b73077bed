"""Every setting of the appliance on one page: name, unit, default and what it is for.

The file is TOML. Unknown keys are refused, and every error names the file, the line and the field. This is the only
module that uses pydantic; the rooms get plain values.
"""

from __future__ import annotations

import json
import re
import tomllib
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from edge_agent.errors import ConfigError
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo


def _setting(default: Any, sentence: str, *, unit: str = "", **limits: Any) -> Any:
    return Field(default, description=sentence, json_schema_extra={"unit": unit}, **limits)


class Section(BaseModel):
    """A table of the file; frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _address(value: str) -> str:
    port = re.fullmatch(r"tcp://[^\s/]+:(\d{1,5})", value)
    if not port or not 0 < int(port[1]) < 65_536:
        raise ValueError("an address looks like tcp://host:port, with a port of 1 to 65535")
    return value


class Site(Section):
    """This box."""

    id: str = _setting(
        "branch", "Name of this branch server; stands in every event.", pattern=r"^[A-Za-z0-9._-]{1,64}$"
    )


class Store(Section):
    """Where calls and events are kept."""

    database: str = _setting(
        "edge-agent.db", "SQLite file; a relative path counts from the state folder (EDGE_AGENT_STATE)."
    )
    keep_acknowledged_days: int = _setting(
        7, "How long events are kept after head office acknowledged them.", unit="days", ge=0, le=3650
    )
    min_free_mib: int = _setting(
        512,
        "Room that should stay free on its disk; below it there is an alarm, and acknowledged events go early.",
        unit="MiB",
        ge=0,
        le=1_048_576,
    )


class Hear(Section):
    """From the source to the queue that recognition reads."""

    chunk_ms: int = _setting(20, "Length of the pieces of audio that are passed on.", unit="ms", ge=10, le=500)
    queue_utterances: int = _setting(
        256,
        "Utterances that may wait for recognition in memory; above it those of live calls wait on disk, in `spool`.",
        unit="utterances",
        ge=1,
        le=100_000,
    )
    gain: Literal["auto", "off"] = _setting(
        "auto", "Bring a party that is too quiet to the level of a telephone, and take away a constant offset."
    )
    behind_ms: int = _setting(
        400,
        "Recognition is behind if an utterance of a live call waits so long for the model; the first measure is taken"
        " then, and one more for each half of it.",
        unit="ms",
        ge=50,
        le=60_000,
    )
    spool: str = _setting(
        "spool", "Folder for utterances that wait on disk; a relative path counts from the state folder."
    )
    spool_mib: int = _setting(
        512,
        "Utterances that may wait on disk; when it is full, new live calls are refused.",
        unit="MiB",
        ge=1,
        le=1_000_000,
    )


class Vad(Section):
    """Where an utterance begins and ends."""

    threshold: float = _setting(0.5, "Probability of speech above which speech begins.", ge=0.05, le=0.95)
    release: float = _setting(
        0.35, "Probability of speech below which silence is counted; not above `threshold`.", ge=0.01, le=0.95
    )
    min_speech_ms: int = _setting(160, "Shorter bursts of speech are dropped.", unit="ms", ge=0, le=2000)
    end_silence_ms: int = _setting(450, "Silence that ends an utterance.", unit="ms", ge=100, le=5000)
    guess_silence_ms: int = _setting(
        200,
        "Silence after which an utterance of a live call is recognized already; if speech goes on, that is discarded."
        " 0: wait for `end_silence_ms`.",
        unit="ms",
        ge=0,
        le=5000,
    )
    pre_roll_ms: int = _setting(300, "Audio kept from before speech began.", unit="ms", ge=0, le=2000)
    max_utterance_ms: int = _setting(
        8000, "An utterance longer than this is cut at its quietest moment.", unit="ms", ge=2000, le=28_000
    )
    overlap_ms: int = _setting(
        400,
        "Audio before such a cut that the next utterance hears again; what is written twice is taken out.",
        unit="ms",
        ge=0,
        le=1000,
    )

    @model_validator(mode="after")
    def _release_below_threshold(self) -> Vad:
        if self.release > self.threshold:
            raise ValueError("`release` must not be above `threshold`")
        return self


class Model(Section):
    """The recognizer."""

    path: str = _setting("", "Folder of a CTranslate2 Whisper model; empty: the one that is shipped.")
    smaller: str = _setting(
        "", "Folder of a smaller model that stands in while recognition is far behind; empty: none."
    )
    workers: int = _setting(
        0, "Utterances are recognized on so many threads at once; 0: one for each physical core.", ge=0, le=256
    )
    threads: int = _setting(
        1, "Threads that each of them uses; more than one pays only for larger models.", unit="threads", ge=1, le=64
    )
    batch: int = _setting(
        4,
        "Utterances recognized in one call at most; the more, the less each costs, and the longer all of them wait.",
        unit="utterances",
        ge=1,
        le=64,
    )
    gather_ms: int = _setting(
        40, "How long an utterance waits for others to share a call with.", unit="ms", ge=0, le=1000
    )
    beam: int = _setting(0, "Beam size; 0: what the model's card says.", ge=0, le=20)
    compute_type: Literal["int8", "int8_float32", "float32", "auto"] = _setting(
        "int8", "Arithmetic of the recognizer on the CPU."
    )


class Dictionary(Section):
    """The trade's own terms."""

    packs: tuple[str, ...] = _setting(
        ("pharma", "manufacturing", "education"), "Packs that are loaded; the first wins where two disagree."
    )
    folder: str = _setting("", "Folder that holds the packs; empty: `dictionaries/` as shipped.")
    database: str = _setting(
        "dictionary.db", "SQLite file of the packs' versions; a relative path counts from the state folder."
    )
    cache: str = _setting(
        "dictionary-cache",
        "Folder of compiled dictionaries, which may be deleted; relative to the state folder.",
    )
    segmenter: str = _setting(
        "", "Folder of the pkuseg model that cuts texts into words; empty: the shipped one; off: a word list alone."
    )


class Nodes(Section):
    """The moments that matter."""

    rules: tuple[str, ...] = _setting((), "Further rule files, besides the common set and those of the packs.")
    classifier: str = _setting(
        "", "File of the classifier beside the rules; empty: the shipped one, or that of `nodes use`; off: rules alone."
    )
    answer_within_s: int = _setting(
        120, "An agent's answer to an objection counts within this time.", unit="s", ge=1, le=3600
    )
    recording_notice_within_s: int = _setting(
        30, "The notice of the recording must come within this time of talk.", unit="s", ge=1, le=600
    )
    discovery_after_s: int = _setting(
        120, "From this length of call on the agent must have asked about the customer's need.", unit="s", ge=1, le=3600
    )
    candidate: str = _setting(
        "",
        "Judges in shadow beside what is in force: a rule file, a folder, a classifier (.npz), a version that is kept.",
    )
    review_floor: float = _setting(
        0.5,
        "A rule or class of which reviewers accepted a smaller share raises nothing until someone looks; 0: never.",
        ge=0,
        le=1,
    )
    review_least: int = _setting(
        10,
        "So many verdicts are wanted before a rule or class is judged by its share.",
        unit="verdicts",
        ge=1,
        le=10_000,
    )


class SourceKind(StrEnum):
    """What a source reads from."""

    FILE = "file"
    WATCH = "watch"
    DEVICE = "device"
    RTP = "rtp"


class Source(Section):
    """Where audio comes from; one `[[sources]]` table each."""

    name: str = _setting("recordings", "Name of the source, in events and in `status`.", pattern=r"^[\w.-]{1,64}$")
    kind: SourceKind = _setting(
        SourceKind.FILE,
        "What it reads: `file` plays one recording, once; `watch` hears every recording that comes into a folder;"
        " `device` hears one or two sound devices; `rtp` hears what a telephone system forks to a UDP port.",
    )
    path: str = _setting("", "`file`: the recording. `watch`: the folder; folders within it count too.")
    speakers: tuple[Speaker, ...] = _setting(
        (Speaker.AGENT, Speaker.CUSTOMER),
        "Who speaks on each channel, in order: agent, customer or unknown. A mono recording is `unknown`.",
        min_length=1,
        max_length=8,
    )
    realtime: bool = _setting(False, "`file`: play at the speed of speech instead of as fast as possible.")
    customer_id: str = _setting("", "The customer's number in the CRM, if it is known.", max_length=128)
    about: tuple[str, ...] = _setting(
        (),
        "What its calls are about: packs and categories of terms, which come first among the hotwords of a model that"
        " takes prompts.",
        max_length=32,
    )
    pattern: str = _setting(
        "",
        "`watch`: what the names of files tell, such as `{started_at:%Y%m%d-%H%M%S}_{customer_id}_{}`; fields are"
        " `call_id`, `customer_id`, `started_at` with a strptime format, and `{}` for anything.",
    )
    settle_s: float = _setting(
        3.0, "`watch`: a file is taken when its size has not changed for this long.", unit="s", ge=0.1, le=3600
    )
    sidecar_wait_s: float = _setting(
        0.0, "`watch`: how long a settled file waits for its side-car (`NAME.json`).", unit="s", ge=0, le=86_400
    )
    poll_s: float = _setting(
        2.0, "`watch`: how often the folder is looked through; a share tells of no changes.", unit="s", ge=0.1, le=3600
    )
    at_once: int = _setting(2, "`watch`: recordings that are heard at the same time.", unit="files", ge=1, le=64)
    quarantine: str = _setting(
        "quarantine", "`watch`: folder within the folder that takes what is no audio; empty: it stays where it is."
    )
    device: str = _setting(
        "",
        "`device`: id or name from `edge-agent devices`; empty: the system's default. Its channels are the speakers.",
    )
    second_device: str = _setting(
        "", "`device`: another device whose first channel is the second speaker (a microphone and a line)."
    )
    channels: tuple[int, ...] = _setting(
        (), "`device`: which of the device's channels are heard, from 1; empty: the first ones.", max_length=8
    )
    rate_hz: int = _setting(0, "`device`: sampling rate; 0: the device's own.", unit="Hz", ge=0, le=384_000)
    call: Literal["voice", "always"] = _setting(
        "voice", "`device`: a call begins with speech and ends after `quiet_s`, or there always is one."
    )
    quiet_s: float = _setting(30.0, "`device`: silence that ends a call.", unit="s", ge=1, le=3600)
    longest_call_s: float = _setting(
        14_400.0, "`device`: a call is ended after this time, and the next one begins.", unit="s", ge=10, le=86_400
    )
    bind: str = _setting("0.0.0.0", "`rtp`: address to listen on.")  # noqa: S104 - a telephone system is another machine
    port: int = _setting(5004, "`rtp`: first UDP port; even ports are used, upwards.", ge=1, le=65_534)
    lines: int = _setting(1, "`rtp`: calls that can be heard at the same time.", unit="calls", ge=1, le=200)
    legs: Literal["ports", "ssrc"] = _setting(
        "ports",
        "`rtp`: how the parties are told apart: each has a port of its own, or they share one and the first that is"
        " heard is the first speaker.",
    )
    payloads: tuple[str, ...] = _setting(
        ("96 L16/16000", "97 L16/8000"),
        "`rtp`: further payload types, besides 0 (PCMU), 8 (PCMA), 10 and 11 (L16): number and PCMU, PCMA or L16 with"
        " its rate and, if it is not 1, its channels.",
    )
    reorder_ms: int = _setting(80, "`rtp`: how long a packet that is missing is waited for.", unit="ms", ge=0, le=1000)
    senders: tuple[str, ...] = _setting((), "`rtp`: addresses that may send; empty: any.")
    hangup_s: float = _setting(5.0, "`rtp`: time without packets that ends a call.", unit="s", ge=0.2, le=3600)

    @field_validator("payloads")
    @classmethod
    def _payloads(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            found = re.fullmatch(r"(\d{1,3}) (?:PCM[UA](?:/8000)?|L16/\d{4,6}(?:/[12])?)", text)
            if not found or int(found[1]) > 127:
                raise ValueError(f"{text!r} is not like `96 L16/16000`, `97 L16/44100/2` or `98 PCMU`")
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        fields = re.findall(r"\{(\w*)(?::([^{}]+))?\}", value)
        if re.search(r"[{}]", re.sub(r"\{(\w*)(?::([^{}]+))?\}", "", value)):
            raise ValueError("fields stand in braces, such as {customer_id}")
        names = [name for name, _ in fields if name]
        for name, form in fields:
            if name not in ("", "call_id", "customer_id", "started_at") or names.count(name) > 1:
                raise ValueError(f"`{{{name}}}`: fields are call_id, customer_id, started_at and {{}}, each once")
            if bool(form) != (name == "started_at"):
                raise ValueError(
                    "started_at needs a format, such as {started_at:%Y%m%d-%H%M%S}, and no other field has one"
                )
        return value

    @field_validator("channels")
    @classmethod
    def _channels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= channel <= 64 for channel in value) or len(set(value)) < len(value):
            raise ValueError("channels are counted from 1, and each is heard once")
        return value

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Source:
        if self.kind in (SourceKind.FILE, SourceKind.WATCH) and not self.path:
            raise PydanticCustomError("path_missing", "`path` is missing")
        foreign = [
            name
            for name, kinds in OF_KIND.items()
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default
        ]
        if foreign:
            raise ValueError(f"`{foreign[0]}` is no setting of a source of kind `{self.kind.value}`")
        if self.kind == SourceKind.RTP and (self.port % 2 or self.port + 2 * self.ports > 65_536):
            raise ValueError(f"`port` must be even and leave room for {self.ports} ports below 65536")
        if self.kind == SourceKind.RTP and len(self.speakers) > 2:
            raise ValueError("an RTP call has one or two speakers")
        if self.second_device and (self.channels or len(self.speakers) != 2):
            raise ValueError("with `second_device` there are two speakers, each on the first channel of a device")
        if self.channels and len(self.channels) != len(self.speakers):
            raise ValueError("`channels` and `speakers` must be of the same number")
        return self

    @property
    def ports(self) -> int:
        """How many RTP ports it listens on."""
        return self.lines * (len(self.speakers) if self.legs == "ports" else 1)


OF_KIND: dict[str, tuple[SourceKind, ...]] = {
    "path": (SourceKind.FILE, SourceKind.WATCH),
    "realtime": (SourceKind.FILE,),
    **dict.fromkeys(("pattern", "settle_s", "sidecar_wait_s", "poll_s", "at_once", "quarantine"), (SourceKind.WATCH,)),
    **dict.fromkeys(
        ("device", "second_device", "channels", "rate_hz", "call", "quiet_s", "longest_call_s"), (SourceKind.DEVICE,)
    ),
    **dict.fromkeys(
        ("bind", "port", "lines", "legs", "payloads", "reorder_ms", "senders", "hangup_s"), (SourceKind.RTP,)
    ),
}
"""Settings of a source that only some kinds have."""


class Uplink(Section):
    """The branch's end of the line to head office."""

    hub: str = _setting("", "Address of the hub, such as tcp://hub.example:7420; empty: events wait in the database.")
    hub_key: str = _setting("", "The hub's public CURVE key (40 characters, from `edge-agent keys show` there).")
    hub_key_next: str = _setting(
        "", "The key that the hub will have next, while head office changes it; tried where `hub_key` does not fit."
    )
    key_file: str = _setting("branch.key", "This branch's own CURVE key; a relative path counts from the state folder.")
    publisher_key: str = _setting(
        "",
        "Whose packs and rules this branch takes from head office (`hub publisher-key` shows it); empty: nobody's.",
    )
    batch: int = _setting(500, "Events in one message at most.", unit="events", ge=1, le=5000)
    heartbeat_s: float = _setting(1.0, "How often both ends say that they live.", unit="s", gt=0, le=60)
    dead_after_s: float = _setting(3.0, "Silence after which the connection is made anew.", unit="s", gt=0, le=600)
    retry_min_s: float = _setting(1.0, "First pause before connecting again (with jitter).", unit="s", gt=0, le=60)
    retry_max_s: float = _setting(60.0, "Longest pause before connecting again.", unit="s", gt=0, le=3600)
    drain_s: float = _setting(5.0, "How long a stopping daemon goes on sending what waits.", unit="s", ge=0, le=600)
    insecure: bool = _setting(False, "Plain text without keys; on loopback only, for tests.")

    @field_validator("hub_key", "hub_key_next")
    @classmethod
    def _z85(cls, value: str) -> str:
        if value and len(value) != 40:
            raise ValueError("a CURVE public key has 40 characters")
        return value

    @field_validator("publisher_key")
    @classmethod
    def _ed25519(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9+/]{43}=", value):
            raise ValueError("a publisher's key has 44 characters and ends in =")
        return value

    @field_validator("hub")
    @classmethod
    def _tcp(cls, value: str) -> str:
        return _address(value) if value else value

    @model_validator(mode="after")
    def _retry_in_order(self) -> Uplink:
        if self.retry_min_s > self.retry_max_s:
            raise ValueError("`retry_min_s` must not be above `retry_max_s`")
        if self.heartbeat_s >= self.dead_after_s:
            raise ValueError("`heartbeat_s` must be below `dead_after_s`")
        return self


class Hub(Section):
    """Head office's end of the line."""

    bind: str = _setting("tcp://127.0.0.1:7420", "Address the hub listens on; port * takes any free one.")
    database: str = _setting(
        "hub.db",
        "SQLite file of the hub, relative to the state folder; or postgresql://user@host/database, "
        "which several hubs may share.",
    )
    key_file: str = _setting("hub.key", "The hub's CURVE key; a relative path counts from the state folder.")
    allow_file: str = _setting(
        "allowed-branches",
        "Which branches may connect: one public key and a name a line; relative to the state folder.",
    )
    credit: int = _setting(5000, "Events a branch may have under way unacknowledged.", unit="events", ge=1, le=100_000)
    max_frame_bytes: int = _setting(8_388_608, "A longer message is refused.", unit="bytes", ge=65_536, le=268_435_456)
    publisher_file: str = _setting(
        "publisher.key", "Ed25519 key that signs what is published; a relative path counts from the state folder."
    )
    insecure: bool = _setting(False, "Plain text without keys; on loopback only, for tests.")

    @field_validator("bind")
    @classmethod
    def _tcp(cls, value: str) -> str:
        return value if re.fullmatch(r"tcp://[^\s/]+:\*", value) else _address(value)


class Delivery(Section):
    """From the hub into the CRM."""

    url: str = _setting("", "Where the CRM takes events (https://…); empty: nothing is delivered.")
    secret_file: str = _setting(
        "webhook.secret", "Secret that signs every request (`hub secret` makes one); relative to the state folder."
    )
    authorization_file: str = _setting(
        "", "File with what goes into the Authorization header, such as `Bearer …`; empty: no such header."
    )
    content: Literal["structured", "binary"] = _setting(
        "structured", "CloudEvents content mode: the whole envelope as body, or `data` alone and the rest as headers."
    )
    mapping: str = _setting("", "TOML file that gives the CRM's own names to fields; empty: fields as they are.")
    types: tuple[str, ...] = _setting(
        ("edge.*",), "Which events are delivered, by type; * stands for anything.", min_length=1
    )
    customers_at_once: int = _setting(
        4, "Customers served side by side; each gets its events one by one.", unit="customers", ge=1, le=64
    )
    timeout_s: float = _setting(10.0, "How long the CRM may take to answer.", unit="s", gt=0, le=300)
    retry_min_s: float = _setting(1.0, "First pause after a failure (with jitter).", unit="s", gt=0, le=60)
    retry_max_s: float = _setting(300.0, "Longest pause after failures.", unit="s", gt=0, le=86_400)
    tries: int = _setting(
        10,
        "Failures while other events got through; then an event goes to the dead letters.",
        unit="tries",
        ge=1,
        le=1000,
    )
    give_up_h: float = _setting(
        72.0,
        "An event that failed for so long goes to the dead letters in any case; 0: never.",
        unit="h",
        ge=0,
        le=8760,
    )
    ca_file: str = _setting("", "Certificates (PEM) that the CRM's is checked against; empty: the system's.")
    proxy: str = _setting("", "HTTP proxy on the way to the CRM; empty: none.")
    insecure: bool = _setting(False, "Allow plain http:// to another machine.")

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            raise ValueError("an address looks like https://crm.example/events")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Delivery:
        if self.retry_min_s > self.retry_max_s:
            raise ValueError("`retry_min_s` must not be above `retry_max_s`")
        if self.url.startswith("http://") and not self.insecure:
            host = re.sub(r"^http://([^/]*@)?|:\d+$", "", "/".join(self.url.split("/")[:3]))
            if host not in ("localhost", "[::1]") and not re.fullmatch(r"127(\.\d+){3}", host):
                raise ValueError("`url` must begin with https://, for what customers said travels there")
        return self


class Control(Section):
    """The local socket that `edge-agent status` asks."""

    socket: str = _setting("control.sock", "Unix socket; a relative path counts from the state folder.")


class Log(Section):
    """What is written to the journal: ids and figures, never what was said."""

    level: Literal["debug", "info", "warning", "error"] = _setting("info", "Least severe message that is written.")
    format: Literal["text", "json"] = _setting("text", "How a line looks.")


class Config(Section):
    """The whole file."""

    site: Site = Site()
    store: Store = Store()
    hear: Hear = Hear()
    vad: Vad = Vad()
    model: Model = Model()
    dictionary: Dictionary = Dictionary()
    nodes: Nodes = Nodes()
    sources: tuple[Source, ...] = ()
    uplink: Uplink = Uplink()
    hub: Hub = Hub()
    delivery: Delivery = Delivery()
    control: Control = Control()
    log: Log = Log()

    @field_validator("sources")
    @classmethod
    def _names(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [source.name for source in value if source.kind != SourceKind.FILE]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named `{twice[0]}`; give each a name of its own")
        return value


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file is missing, is no TOML, or a setting is unknown, missing or wrong; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors begin a file with a byte-order mark
    except FileNotFoundError as error:
        raise ConfigError(
            "no such configuration file", where=str(path), remedy="`edge-agent config show` prints one to start from"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read: {error}", where=str(path), remedy="it must be a UTF-8 text file") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigError(
            f"not valid TOML: {error}",
            where=f"{path}:{line.group(1)}" if line else str(path),
            remedy="text values stand in double quotes, a table begins with [name]",
        ) from error
    try:
        # As JSON, because pydantic's strict mode (no "20" for 20, no 1 for true) then takes lists for tuples and text
        # for enumerations. A date or a time, which JSON lacks and no setting is, becomes a list and is refused as one.
        return Config.model_validate_json(json.dumps(table, default=lambda value: [str(value)]), strict=True)
    except ValidationError as error:
        raise _explain(path, text, error) from error


def _explain(path: Path, text: str, error: ValidationError) -> ConfigError:
    """Turn pydantic's first complaint into one with file, line, field and remedy."""
    # A misspelt name is why another is missing.
    first = min(error.errors(), key=lambda each: each["type"] == "missing")
    place = tuple(first["loc"])
    name = _dotted(place)
    match first["type"]:
        case "extra_forbidden":
            what, remedy = f"unknown setting `{name}`", _closest(place)
        case "path_missing":
            what, remedy = f"`{name}.path` is missing", "add `path = …` to this table"
        case "missing":
            what, remedy = f"`{name}` is missing", f"add `{place[-1]} = …` to this table"
        case "model_type" | "tuple_type" if len(place) == 1:
            many = get_origin(Config.model_fields[str(place[0])].annotation) is tuple
            what = f"`{name}` is not {'a list of tables' if many else 'a table'} (found {first['input']!r})"
            remedy = f"write {'[[' + name + ']] above each' if many else '[' + name + '] above its settings'}"
        case _:
            message = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input ")
            found = "" if isinstance(first["input"], dict) else f" (found {first['input']!r})"
            what = f"`{name}`: {message}{found}"
            remedy = "`edge-agent config show` lists every setting with its unit and default"
    more = len(error.errors()) - 1
    if more:
        what += f" (and {more} more)"
    return ConfigError(what, where=f"{path}:{_line_of(text, place)}", remedy=remedy)


def _dotted(place: tuple[int | str, ...]) -> str:
    """Write a place as a person counts: `sources[2].kind` is in the second table."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _section(table: str) -> type[Section]:
    annotation: Any = Config.model_fields[table].annotation
    model: type[Section] = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    return model


def _closest(place: tuple[int | str, ...]) -> str:
    """Suggest the setting that was probably meant."""
    import difflib

    wrong = str(place[-1])
    home = [table for table in Config.model_fields if wrong in _section(table).model_fields]
    if home and wrong not in Config.model_fields:
        return f"it belongs in [{home[0]}]"
    known = list((_section(str(place[0])) if len(place) > 1 else Config).model_fields)
    if near := difflib.get_close_matches(wrong, known, n=1):
        return f"did you mean `{near[0]}`?"
    return f"{'settings' if len(place) > 1 else 'tables'} here: " + ", ".join(known)


_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def _keys(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]


def _line_of(text: str, place: tuple[int | str, ...]) -> int:
    """Return the line (from 1) on which a setting stands, or where its table begins, or 1."""
    table: list[int | str] = []
    counts: dict[str, int] = {}
    best, depth = 1, 0
    for number, line in enumerate(text.split("\n"), 1):
        here = table
        if header := re.match(rf"\s*\[\[\s*({_KEYS})\s*\]\]", line):
            name = header[1]
            counts[name] = counts.get(name, -1) + 1
            here = table = [*_keys(name), counts[name]]
        elif header := re.match(rf"\s*\[\s*({_KEYS})\s*\]\s*(?:#|\r?$)", line):
            here = table = [*_keys(header[1])]
        elif key := re.match(rf"\s*({_KEYS})\s*=", line):
            here = [*table, *_keys(key[1])]
        if len(here) > depth and list(place[: len(here)]) == here:
            best, depth = number, len(here)
    return best


def settings() -> list[tuple[str, str, str, Any, str]]:
    """List every setting as (table, name, unit, default, sentence), in the order of the page."""
    rows: list[tuple[str, str, str, Any, str]] = []
    for table in Config.model_fields:
        for name, info in _section(table).model_fields.items():
            default = None if info.is_required() else info.get_default()
            rows.append((table, name, _unit(info), default, info.description or ""))
    return rows


def to_toml(config: Config | None = None) -> str:
    """Write a configuration as commented TOML that `load` reads back to the same values.

    Without one, writes every default. Required settings without a value are shown as comments.
    """
    given = config or Config()
    lines: list[str] = []
    for table in Config.model_fields:
        model = _section(table)
        about = (model.__doc__ or "").strip()
        values = getattr(given, table)
        if isinstance(values, Section):
            lines += ["", f"[{table}]  # {about}", *_rows(model, values)]
            continue
        for value in values:
            lines += ["", f"[[{table}]]  # {about}", *_rows(model, value)]
        if not values:
            lines += ["", f"# [[{table}]]  # {about}", *(f"# {row.removeprefix('# ')}" for row in _rows(model, None))]
    return "\n".join(lines).strip() + "\n"


def _unit(info: FieldInfo) -> str:
    return str(info.json_schema_extra.get("unit", "")) if isinstance(info.json_schema_extra, dict) else ""


def _rows(model: type[Section], section: Section | None) -> list[str]:
    rows = []
    for name, info in model.model_fields.items():
        if isinstance(section, Source) and section.kind not in OF_KIND.get(name, (section.kind,)):
            continue
        default = None if info.is_required() else info.get_default()
        value = getattr(section, name) if section is not None else default
        unit = f" [{_unit(info)}]" if _unit(info) else ""
        note = "required" if info.is_required() else f"default {_toml(default)}"
        rows.append(f"# {info.description}{unit} ({note})")
        rows.append(f"{name} = {_toml(value) if value is not None else '…'}")
    return rows


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)

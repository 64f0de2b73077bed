"""What the name of a recording and the side-car beside it tell of the call."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

EPOCH = "epoch"
_LONGEST_ID = 128
_LONGEST_SIDECAR = 1 << 20


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of a call before it is heard; None where it is not known."""

    call_id: str | None = None
    customer_id: str | None = None
    started_at: datetime | None = None
    speakers: tuple[Speaker, ...] | None = None


class NamePattern:
    """Reads file names such as `20260105-091244_10086_out.wav` by `{started_at:%Y%m%d-%H%M%S}_{customer_id}_{}`.

    The pattern stands for the name without its ending. A field takes as little as it can. A time without a zone is
    local; `{started_at:epoch}` is in seconds since 1970.
    """

    def __init__(self, pattern: str) -> None:
        self._format = EPOCH
        parts: list[str] = []
        at = 0
        for field in re.finditer(r"\{(\w*)(?::([^}]*))?\}", pattern):
            parts.append(re.escape(pattern[at : field.start()]))
            parts.append(f"(?P<{field[1]}>.+?)" if field[1] else ".*?")
            if field[2]:
                self._format = field[2]
            at = field.end()
        parts.append(re.escape(pattern[at:]))
        self._expression = re.compile("".join(parts))

    def read(self, stem: str) -> Metadata:
        """Return what a name tells; nothing if it is made in another way."""
        found = self._expression.fullmatch(stem)
        if found is None:
            return Metadata()
        fields = found.groupdict()
        started_at = None
        if text := fields.get("started_at"):
            try:
                started_at = (
                    datetime.fromtimestamp(float(text), UTC)
                    if self._format == EPOCH
                    else datetime.strptime(text, self._format).astimezone(UTC)
                )
            except (ValueError, OverflowError, OSError):
                return Metadata()
        return Metadata(_id(fields.get("call_id")), _id(fields.get("customer_id")), started_at)


def sidecars(path: Path) -> tuple[Path, Path]:
    """Return where the side-car of a recording may lie: `call.json` or `call.wav.json`."""
    return path.with_suffix(".json"), path.with_name(path.name + ".json")


def read_sidecar(path: Path, known: Metadata) -> Metadata:
    """Add what a side-car tells; it has the last word. What is wrong in it is passed over, with a warning.

    Raises:
        OSError, ValueError: it can't be read, or is no JSON object.
    """
    with path.open("rb") as file:
        value = json.loads(file.read(_LONGEST_SIDECAR).decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    changes: dict[str, Any] = {}
    for key, read in _READERS.items():
        if value.get(key) is None:
            continue
        try:
            changes[key] = read(value[key])
        except (ValueError, TypeError, OverflowError, OSError) as error:
            log.warning("%s: `%s` is passed over: %s", path, key, error)
    return replace(known, **changes)


def _id(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("it must be a text or a number")
    return re.sub(r"[^\w.:@+-]+", "-", str(value))[:_LONGEST_ID] or None


def _time(value: object) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(str(value)).astimezone(UTC)


def _speakers(value: object) -> tuple[Speaker, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 8:
        raise TypeError("it must be a list of one to eight speakers")
    return tuple(Speaker(each) for each in value)


_READERS: Mapping[str, Any] = {"call_id": _id, "customer_id": _id, "started_at": _time, "speakers": _speakers}

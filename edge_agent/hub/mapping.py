"""From our field names to a CRM's, by a small TOML table. Pure, but for reading the file.

```toml
[fields]                       # the CRM's name = ours, dots lead inwards on both sides
"Note.Text" = "data.quote"
AccountId = "customer"

[constants]
Channel = "telephone"

[values."data.node"]           # what our values are called there; others stay as they are
"objection.price" = "Price"
```
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping as Table
    from pathlib import Path

ENVELOPE = ("id", "source", "type", "time", "subject", "data")
ADDED = ("customer", "branch", "number", "received_at")  # what the hub knows beside the envelope
_TABLES = ("fields", "constants", "values")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which of our fields become which of the CRM's."""

    fields: Table[str, str] = field(default_factory=dict)
    constants: Table[str, Any] = field(default_factory=dict)
    values: Table[str, Table[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read the table.

        Raises:
            ConfigError: the file is missing, is no TOML, or something in it is wrong; names file and line.
        """
        remedy = 'it needs [fields] with lines such as AccountId = "customer"; docs/hub.md shows one'
        try:
            text = path.read_text(encoding="utf-8-sig")
            table = tomllib.loads(text)
        except OSError as error:
            raise ConfigError(
                f"the mapping can't be read: {error.strerror}", where=str(path), remedy="see `mapping` in [delivery]"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            line = re.search(r"at line (\d+)", str(error))
            where = f"{path}:{line[1]}" if line else str(path)
            raise ConfigError(f"not valid TOML: {error}", where=where, remedy=remedy) from error

        def refuse(what: str, key: str) -> ConfigError:
            at = next((n for n, line in enumerate(text.splitlines(), 1) if key.strip("\"'") in line), 1)
            return ConfigError(what, where=f"{path}:{at}", remedy=remedy)

        for name, value in table.items():
            if name not in _TABLES or not isinstance(value, dict):
                raise refuse(f"unknown entry `{name}` (tables here: {', '.join(_TABLES)})", name)
        fields = table.get("fields", {})
        if not fields:
            raise refuse("no fields are named", "fields")
        for theirs, ours in fields.items():
            if not isinstance(ours, str):
                raise refuse(f"`{theirs}` is given no name of a field (quote names with dots)", theirs)
            if ours.partition(".")[0] not in ENVELOPE + ADDED or not all(ours.split(".")):
                raise refuse(f"no field `{ours}`; fields begin with {', '.join(ENVELOPE + ADDED)}", ours)
        for ours, names in table.get("values", {}).items():
            if not isinstance(names, dict) or ours not in fields.values():
                raise refuse(f'[values."{ours}"] is for a field that [fields] does not use', ours)
        mapping = cls(fields, table.get("constants", {}), table.get("values", {}))
        places = [place.split(".") for place in (*mapping.fields, *mapping.constants)]
        for one in places:
            for other in places:
                if one is not other and other[: len(one)] == one:
                    raise refuse(f"`{'.'.join(one)}` can't be a field and hold `{'.'.join(other)}`", ".".join(one))
        return mapping

    def apply(self, source: Table[str, Any]) -> dict[str, Any]:
        """Return the CRM's object; a field that this event does not have is null."""
        made: dict[str, Any] = {}
        for theirs, ours in self.fields.items():
            value = _find(source, ours)
            names = self.values.get(ours, {})
            _put(made, theirs, names.get(value, value) if isinstance(value, str) else value)
        for theirs, value in self.constants.items():
            _put(made, theirs, value)
        return made


def _find(source: Any, path: str) -> Any:
    for part in path.split("."):
        source = source.get(part) if isinstance(source, dict) else None
    return source


def _put(made: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for part in outer:
        made = made.setdefault(part, {})
    made[last] = value

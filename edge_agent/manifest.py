"""What head office says of a pack or a rule set that it publishes: both ends read and write it here. Pure.

The manifest travels as the JSON that was signed, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

PACK = "pack"
RULES = "rules"
HUB_KEY = "hub-key"
MAX_BYTES = 67_108_864  # of a pack or a rule set
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A publication: `name` of `kind` in the `version` that its author gave it (empty for rules and keys).

    `serial` grows with every publication of a hub and is what a replayed one is told by. `sha256` and `size` are of the
    content. `force` lets an older version in. `branches` are the public keys it is for; none means every branch.
    """

    kind: str
    name: str
    version: str
    serial: int
    sha256: str
    size: int
    force: bool = False
    branches: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return what is signed."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read it back.

        Raises:
            ValueError: it is none.
        """
        try:
            value = json.loads(data)
            value["branches"] = tuple(value["branches"])
            made = cls(**value)
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a manifest: {error}") from error
        texts = (made.kind, made.name, made.version, made.sha256, *made.branches)
        if not all(isinstance(text, str) for text in texts) or made.kind not in (PACK, RULES, HUB_KEY):
            raise ValueError(f"not a manifest of a {PACK}, of {RULES} or of a {HUB_KEY}")
        if not _NAME.fullmatch(made.name):
            raise ValueError(f"no good name: {made.name!r}")
        if type(made.serial) is not int or type(made.size) is not int or type(made.force) is not bool:
            raise ValueError("serial, size or force is of the wrong type")
        if not 0 < made.size <= MAX_BYTES:
            raise ValueError(f"{made.size} bytes; 1 to {MAX_BYTES} are taken")
        return made

    def fits(self, content: bytes) -> bool:
        """Say whether this is the content."""
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def is_older(version: str, than: str) -> bool:
    """Compare two versions as people count: by their numbers, 1.10 after 1.9."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d{1,18}", text)]

    return numbers(version) < numbers(than)

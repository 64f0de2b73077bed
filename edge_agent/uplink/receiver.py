"""What the uplink needs of whoever takes in what head office publishes, and the fetching of it piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_agent import wire

if TYPE_CHECKING:
    import threading

    from edge_agent.manifest import Manifest


class Receiver(Protocol):
    """Takes in packs and rules; called from the uplink's thread, it must not keep it waiting."""

    changed: threading.Event
    """Set whenever `report` has something new to say."""

    def report(self) -> wire.Report:
        """Say how the branch does, what runs and what it took of publications."""

    def wants(self, manifest: bytes, signature: bytes) -> Manifest | None:
        """Judge an offer: the manifest if its content is wanted, None if not (`report` says why)."""

    def hub_keys(self) -> tuple[str, ...]:
        """Return the public keys by which head office says that its hub can be known, beside those configured."""

    def give_up(self) -> None:
        """Forget what `wants` wanted: it did not come whole, and is offered again."""

    def take(self, manifest: Manifest, content: bytes) -> None:
        """Take a whole content to be applied; it is checked and applied on another thread."""


class Fetching:
    """One publication on its way, a piece at a time."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._content = bytearray()

    def ask(self) -> wire.Fetch:
        """Return the question for the next piece."""
        return wire.Fetch(self.manifest.sha256, len(self._content))

    def add(self, piece: wire.Piece) -> bool:
        """Take a piece; True while more is to come. One that is not the next, or none, ends it."""
        if piece.sha256 != self.manifest.sha256 or piece.offset != len(self._content) or not piece.body:
            return False
        self._content += piece.body
        return len(self._content) < self.manifest.size

    @property
    def content(self) -> bytes | None:
        """The content once it is whole, None before."""
        return bytes(self._content) if len(self._content) == self.manifest.size else None

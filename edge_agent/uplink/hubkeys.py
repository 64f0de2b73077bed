"""Which key the hub may have: the present one, and the next one while head office changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.config import Uplink as Settings

PRESENT, NEXT, PUBLISHED = "hub_key", "hub_key_next", "published"


class HubKeys:
    """The keys by which a hub is believed to be head office's, and the one that is tried now.

    `published` returns those that came from head office itself, signed by its publisher. In plain text the only key is
    the empty one. It belongs to the uplink's thread.
    """

    def __init__(self, settings: Settings, published: Callable[[], tuple[str, ...]]) -> None:
        self._settings = settings
        self._published = published
        self._using = self.all[0]
        self._tried: set[str] = set()

    @property
    def all(self) -> tuple[str, ...]:
        """Return every key that counts, each once, the one in the configuration first."""
        if self._settings.insecure:
            return ("",)
        given = (self._settings.hub_key, self._settings.hub_key_next, *self._published())
        return tuple(dict.fromkeys(key for key in given if key))

    @property
    def now(self) -> str:
        """Return the key to connect with."""
        return self._using

    def use(self, key: str) -> None:
        """Stay with a key that worked; the others are tried when it fails."""
        self._using = key
        self._tried.clear()

    def another(self) -> bool:
        """Turn to a key that was not tried since one worked or all had failed; False if there is none left."""
        self._tried.add(self._using)
        left = [key for key in self.all if key not in self._tried]
        if not left:
            self._tried.clear()
            return False
        self._using = left[0]
        return True

    def source(self) -> str:
        """Say where the key in use comes from: `hub_key`, `hub_key_next` or `published`; empty in plain text."""
        if self._settings.insecure:
            return ""
        given = {self._settings.hub_key_next: NEXT, self._settings.hub_key: PRESENT}
        return given.get(self._using, PUBLISHED)

"""Where things lie: what the product ships, and what a site keeps."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_agent.errors import SetupError


def shipped() -> Path:
    """Return the folder that holds `models/` and `dictionaries/`.

    `EDGE_AGENT_HOME` wins; then the checkout this package lies in; then what an installed wheel put beside its
    environment.

    Raises:
        SetupError: none of them holds the two folders.
    """
    candidates = [Path(__file__).resolve().parent.parent, Path(sys.prefix) / "share" / "edge-agent"]
    if home := os.environ.get("EDGE_AGENT_HOME"):
        candidates.insert(0, Path(home))
    for folder in candidates:
        if (folder / "models").is_dir() and (folder / "dictionaries").is_dir():
            return folder
    raise SetupError(
        "models/ and dictionaries/ were not found",
        where=", ".join(map(str, candidates)),
        remedy="set EDGE_AGENT_HOME to the folder that holds both, or run from the checkout",
    )


def state() -> Path:
    """Return the folder for what a site keeps (database, keys, sockets); it may not exist yet.

    `EDGE_AGENT_STATE` wins, then systemd's `STATE_DIRECTORY`, then the user's own state folder.
    """
    for name in ("EDGE_AGENT_STATE", "STATE_DIRECTORY"):
        if value := os.environ.get(name):
            return Path(value.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "edge-agent"


def under_state(name: str) -> Path:
    """Return where a configured file lies: a relative name counts from `state()`, and `~` is the home folder."""
    return state() / Path(name).expanduser()

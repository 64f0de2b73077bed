"""A model held against recordings, through `edge-agent eval asr`, as an admin does it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from train_recognizer.grammar import TOP

if TYPE_CHECKING:
    from pathlib import Path

EDGE_AGENT = TOP / ".venv" / "bin" / "edge-agent"


def run(folder: Path, model: Path, *more: str) -> dict[str, dict[str, Any]]:
    """Return the rows of `edge-agent eval asr` by set."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write("[model]\nthreads = 1\nbatch = 1\n")
        config.flush()
        command = [str(EDGE_AGENT), "eval", "asr", str(folder), "--json", "-m", str(model), "-c", config.name, *more]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["name"]: row for row in rows}

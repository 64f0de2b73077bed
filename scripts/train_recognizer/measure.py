"""A model held against recordings, through `edge-agent eval asr`, as an admin does it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from train_recognizer.grammar import TOP

EDGE_AGENT = TOP / ".venv" / "bin" / "edge-agent"


def run(folder: Path, model: Path, *more: str, sets: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the rows of `edge-agent eval asr` by set; naming `sets` leaves all others of the folder out."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        config = place / "config.toml"
        config.write_text("[model]\nthreads = 1\nbatch = 1\n", encoding="utf-8")
        for chosen in sets:
            for file in folder.glob(f"{chosen}[.-]*"):
                (place / file.name).symlink_to(file.resolve())
        source = place if sets else folder
        command = [str(EDGE_AGENT), "eval", "asr", str(source), "--json", "-m", str(model), "-c", str(config), *more]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["name"]: row for row in rows}

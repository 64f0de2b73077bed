"""Go on with the Python of the checkout where a script was called with the system's.

For the effect of importing it, which has to come before the import of anything that is installed.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PYTHON = TOP / ".venv" / "bin" / "python"
NEEDED = ("av", "ctranslate2", "faster_whisper", "numpy", "pypinyin", "re2", "typer")

sys.path.insert(1, str(TOP))
if any(find_spec(name) is None for name in NEEDED):
    if sys.prefix == str(TOP / ".venv") or not PYTHON.exists():
        sys.exit("Error: the appliance isn't installed\nTry: scripts/setup-env scripts/constraints.txt")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])

import edge_agent  # noqa: E402, F401 - it says how numpy shall work, before anything imports that

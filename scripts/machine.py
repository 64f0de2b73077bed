"""The machine that figures come from, in a line."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def described() -> str:
    """Name the processor and what it can, Python, and the day and load of now."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    what = f"{cores} cores of {model} ({sets()}), Python {platform.python_version()}"
    return f"{what}, {datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f} at the end"


def sets() -> str:
    """Say which of the instruction sets the processor has that make integer arithmetic fast."""
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features")):
            flags.update(line.partition(":")[2].split())
    names = {"avx2": "AVX2", "avx512bw": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI"}
    has = [name for flag, name in names.items() if flag in flags]
    lacks = [name for flag, name in names.items() if flag not in flags]
    said = [", ".join(has)] if has else []
    said += ["without " + ", ".join(lacks)] if lacks else []
    return "; ".join(said)

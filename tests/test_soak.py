"""The soak in short, and the models of real geometry in small: what scripts/bench and scripts/soak stand on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path


def test_a_short_soak_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    command: list[str | Path] = [
        sys.executable,
        TOP / "scripts/soak",
        "--minutes",
        "0.4",
        "--call-s",
        "8",
        "--channels",
        "2",
    ]
    done = subprocess.run([*command, "--json", report], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["utterances"] >= 6
    assert found["lost"] == found["threads_left"] == found["files_left"] == found["spool_left"] == 0
    assert found["recognition"]["refused_calls"] == 0


def test_a_model_of_any_geometry_is_made_and_costs_the_same_tokens(tmp_path: Path) -> None:
    made = (
        "import json, sys; sys.path[:0] = sys.argv[2:4]; from pathlib import Path; import live;"
        "folder = live.random_whisper(Path(sys.argv[1]) / 'tiny', 2, 64, 2, live.TOP / 'models/zh-starter');"
        "print(json.dumps(live.geometry(folder, 1, tokens=10, calls=2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", made, tmp_path, TOP, TOP / "scripts"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["times"].keys() == found["ours"].keys() == {"10", "6"}
    assert min(found["times"].values()) > 0
    assert [len(costs) for costs in (*found["ours"].values(), found["theirs"])] == [1, 1, 1]


def test_the_page_takes_in_a_soak_and_keeps_the_rest(tmp_path: Path) -> None:
    report, page = tmp_path / "soak.json", tmp_path / "BENCHMARKS.md"
    before = (TOP / "BENCHMARKS.md").read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    command: list[str | Path] = [sys.executable, TOP / "scripts/bench", "--out", page, "--soak", report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, page.read_text(encoding="utf-8")) == (1, before)
    assert done.stderr.startswith(f"Error: {report} doesn't hold what a soak found")
    report.write_text(
        '{"machine": "two cores of sand",'
        '"audio_minutes": 7, "channels": 3, "speed": 4.25, "lost": 0, "utterances": 1234, "threads_left": 0,'
        '"files_left": 0, "memory_mb": 321.5, "slope_mb_an_hour": 0.25, "slope_mb_an_hour_of_the_run": 1.0625}',
        encoding="utf-8",
    )
    subprocess.run(command, timeout=60, check=True)
    written = page.read_text(encoding="utf-8")
    assert written.partition("## Soak")[0] == before.partition("## Soak")[0]
    assert "| 7 min of audio on each of 3 channels; to reach: ≥ 5 |" in written
    assert "| of 1,234 |" in written
    assert "Machine: two cores of sand\n" in written.partition("## Soak")[2]

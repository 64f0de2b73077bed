"""`edge-agent demo`: the main job from end to end, as a newcomer sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.conftest import TOP, Cli
from tests.test_cli_analyze import write_wav

if TYPE_CHECKING:
    from pathlib import Path


def test_every_event_of_the_demo_is_acknowledged_by_the_hub(cli: Cli) -> None:
    lines = cli.lines("demo", "--json")
    summary = lines[-1]
    assert summary["type"] == "demo"
    events = [line for line in lines if line["type"].startswith("edge.")]
    assert summary["acknowledged"] is True
    assert summary["events_stored"] == summary["events_acknowledged"] == len(events)
    assert summary["utterances"] == sum(line["type"] == "utterance" for line in lines)
    states = {node["node"]: node["state"] for node in summary["nodes"]}
    assert states["objection.price"] == "closed"
    assert states["compliance.rebate"] == "raised"
    assert "objection.competitor" in states
    assert summary["real_time_factor"] > 0
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]


def test_people_see_the_transcript_the_nodes_and_the_acknowledgements(cli: Cli) -> None:
    shown = cli.run("demo", "--audio", TOP / "tests/data/calls/tutoring.opus").stdout
    assert "CURVE" in shown
    assert "customer" in shown
    assert "虚构库存" in shown or "夸大承诺" in shown
    assert "events acknowledged by the hub" in shown
    assert "real-time factor" in shown


def test_a_recording_without_speech_is_a_call_too(cli: Cli, tmp_path: Path) -> None:
    silence = write_wav(tmp_path / "silence.wav", np.zeros((32_000, 2)))
    summary = cli.lines("demo", "--audio", silence, "--json")[-1]
    assert summary["utterances"] == 0
    assert summary["acknowledged"] is True


def test_the_demo_leaves_nothing_behind(cli: Cli) -> None:
    cli.run("demo", "--audio", TOP / "tests/data/calls/tutoring.opus", "--json")
    assert not cli.state.exists()


def test_what_is_no_recording_is_refused(cli: Cli) -> None:
    assert "README.md" in cli.run("demo", "--audio", TOP / "README.md", code=3).stderr

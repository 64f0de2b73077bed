"""`transcribe` and `analyze` as a user meets them."""

from __future__ import annotations

import json
import subprocess
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import TOP, Cli

if TYPE_CHECKING:
    from pathlib import Path

DEMO = TOP / "edge_agent/data/demo.opus"
TUTORING = TOP / "tests/data/calls/tutoring.opus"
UTTERANCE = {
    "type",
    "file",
    "call_id",
    "channel",
    "speaker",
    "turn",
    "start_ms",
    "end_ms",
    "heard",
    "text",
    "terms",
    "confidence",
    "dictionary",
}


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Write int16 samples of shape (n, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_transcribe_prints_the_documented_lines_in_order_of_start(cli: Cli) -> None:
    lines = cli.lines("transcribe", DEMO, "--json")
    assert len(lines) >= 14
    assert {frozenset(line) for line in lines} == {frozenset(UTTERANCE)}
    assert [line["start_ms"] for line in lines] == sorted(line["start_ms"] for line in lines)
    assert {line["speaker"] for line in lines} == {"agent", "customer"}
    assert all(line["end_ms"] > line["start_ms"] and 0 <= line["confidence"] <= 1 for line in lines)
    terms = [(line, term) for line in lines for term in line["terms"]]
    assert {"GMP认证", "集采目录编码"} <= {term["term"] for _, term in terms}
    for line, term in terms:
        start, end = term["at"]
        assert 0 <= start < end <= len(line["text"])
    assert "返点" in "".join(line["text"] for line in lines)


def test_swapped_channels_swap_the_speakers(cli: Cli) -> None:
    straight = cli.lines("transcribe", TUTORING, "--json")
    swapped = cli.lines("transcribe", TUTORING, "--json", "--speakers", "customer,agent")
    other = {"agent": "customer", "customer": "agent"}
    assert [other[line["speaker"]] for line in straight] == [line["speaker"] for line in swapped]


def test_a_pack_is_chosen_by_name(cli: Cli) -> None:
    with_pack = cli.lines("transcribe", DEMO, "--json", "--pack", "pharma")
    assert {term["pack"] for line in with_pack for term in line["terms"]} == {"pharma"}
    assert "pharma" in cli.run("transcribe", DEMO, "--pack", "nosuch", code=6).stderr


def test_analyze_prints_utterances_and_events_as_they_come(cli: Cli) -> None:
    lines = cli.lines("analyze", TUTORING, "--json")
    kinds = [line["type"] for line in lines]
    assert kinds[0] == "edge.call.started"
    assert kinds[-1] == "edge.call.ended"
    assert "utterance" in kinds
    nodes = [line["data"]["node"] for line in lines if line["type"] == "edge.node.raised"]
    assert {"objection.need", "objection.timing", "process.next_step_missing"} <= set(nodes)
    assert {line["subject"] for line in lines if "subject" in line} == {lines[0]["subject"]}


def test_people_see_times_speakers_terms_and_nodes(cli: Cli) -> None:
    shown = cli.run("analyze", DEMO).stdout
    assert "customer" in shown
    assert "objection.price" in shown
    assert "价格异议" in shown
    assert "compliance.rebate" in shown


def test_one_bad_file_does_not_keep_the_others_from_being_heard(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "notes.wav"
    bad.write_text("no sound in here\n" * 20, encoding="utf-8")
    done = cli.run("transcribe", bad, TUTORING, "--json", code=3)
    assert "notes.wav" in done.stderr
    assert len(done.stdout.splitlines()) >= 6


@pytest.mark.parametrize("name", ["missing.wav", "text.wav", "empty.wav"])
def test_what_is_no_audio_is_refused_in_words(cli: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text.wav":
        path.write_text("这不是录音\n" * 50, encoding="utf-8")
    elif name == "empty.wav":
        path.touch()
    done = cli.run("transcribe", path, "--json", code=3)
    assert name in done.stderr
    assert "Try: " in done.stderr
    assert done.stdout == ""


def test_a_second_of_silence_says_nothing(cli: Cli, tmp_path: Path) -> None:
    silence = write_wav(tmp_path / "silence.wav", np.zeros((16_000, 1)))
    assert cli.lines("transcribe", silence, "--json") == []
    kinds = [line["type"] for line in cli.lines("analyze", silence, "--json")]
    assert "utterance" not in kinds
    assert kinds[-1] == "edge.call.ended"


def test_eight_channels_are_heard(cli: Cli, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "eight.wav", np.zeros((16_000, 8)), 16_000)
    assert cli.lines("analyze", path, "--json")[0]["data"]["speakers"] == ["agent", "customer"] + ["unknown"] * 6


def test_a_truncated_recording_is_heard_as_far_as_it_goes(cli: Cli, tmp_path: Path) -> None:
    cut = tmp_path / "cut.opus"
    cut.write_bytes(DEMO.read_bytes()[:150_000])
    lines = cli.lines("transcribe", cut, "--json")
    assert len(lines) >= 3
    assert lines[-1]["end_ms"] < 40_000


def test_a_reader_that_leaves_early_ends_the_command_quietly(cli: Cli) -> None:
    with subprocess.Popen(
        cli.command("analyze", DEMO, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment,
        cwd=TOP,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["type"] == "edge.call.started"
        process.stdout.close()
        complaint = process.stderr.read()
        assert process.wait(60) != 0
    assert complaint == ""


def test_an_unknown_speaker_is_wrong_usage(cli: Cli) -> None:
    assert "agent, customer and unknown" in cli.run("transcribe", DEMO, "--speakers", "seller", code=2).stderr


def test_a_damaged_model_does_not_start(cli: Cli, tmp_path: Path) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(TOP / "models/zh-starter", model)
    with (model / "model.bin").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\xff" * 64)
    assert "model.bin" in cli.run("transcribe", TUTORING, "--model", model, code=5).stderr
    (model / "model.bin").unlink()
    assert "model.bin" in cli.run("transcribe", TUTORING, "--model", model, code=5).stderr
    assert "nowhere" in cli.run("transcribe", TUTORING, "--model", tmp_path / "nowhere", code=5).stderr

"""`edge-agent eval asr`: references and recordings in, error rates out."""

from __future__ import annotations

import json
import re
import shutil
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.asr import Card
from edge_agent.cli import clips
from edge_agent.errors import EdgeError, TranscriptError
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Cli

SPEECH = TOP / "tests/data/asr"
CALL = TOP / "tests/data/speech.flac"
MODEL = TOP / "models/zh-starter"
ROW: dict[str, Any] = {
    "type": str,
    "name": str,
    "clips": int,
    "audio_s": float,
    "characters": int,
    "cer": (float, type(None)),
    "substitutions": int,
    "deletions": int,
    "insertions": int,
    "terms": int,
    "terms_found": int,
    "term_recall": (float, type(None)),
    "wrong_terms": int,
    "non_speech": int,
    "non_speech_text": int,
    "prompted": int,
    "recognition_s": float,
    "real_time_factor": float,
    "threads": int,
    "model": str,
}
DISCOUNT = {"audio": "discount.flac", "text": "如果一次采购500台，可以给您打九折。", "terms": ["采购", "九折"]}
GMP = {"audio": "gmp.flac", "text": "我们的车间今年通过了ＧＭＰ 认证", "hotwords": ["GMP认证", "车间"], "set": "trade"}
WRONG = {"audio": "short.flac", "text": "好，没有题。", "terms": ["没有"], "hotwords": ["问题", "没有"], "set": "trade"}
SILENCE = {"audio": "silence.wav", "text": "", "set": "trade"}
NO_SPEECH = {"audio": "price.flac", "text": "。", "set": "trade"}


def write_wav(path: Path, samples: np.ndarray[Any, Any], channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def model(folder: Path, line: str) -> Path:
    """Copy the shipped model, with another line in its card."""
    shutil.copytree(MODEL, folder)
    card = folder / "card.toml"
    text, times = re.subn(rf"^{line.split()[0]} = .*$", line, card.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert times == 1
    card.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "clips"
    path.mkdir()
    for clip in SPEECH.glob("*.flac"):
        shutil.copy(clip, path)
    write_wav(path / "silence.wav", np.zeros(16_000))
    return path


def write(folder: Path, *lines: object, name: str = "refs.jsonl") -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_sets_and_their_total_are_reported(cli: Cli, folder: Path) -> None:
    write(folder, DISCOUNT, "", GMP, WRONG, SILENCE, NO_SPEECH)
    *rows, first, second = cli.lines("eval", "asr", folder, "--json", "--errors")
    assert all(set(row) == set(ROW) for row in rows)
    assert all(isinstance(row[key], kind) for row in rows for key, kind in ROW.items())
    assert [(row["type"], row["name"]) for row in rows] == [("set", "refs"), ("set", "trade"), ("total", "all")]
    refs, trade, total = rows
    assert (refs["clips"], refs["characters"], refs["cer"]) == (1, 17, 0.0)
    assert (refs["terms"], refs["terms_found"], refs["term_recall"]) == (2, 2, 1.0)
    # 好，没有题 → 好的，没问题
    assert (trade["substitutions"], trade["deletions"], trade["insertions"]) == (1, 0, 1)
    assert (trade["clips"], trade["non_speech"], trade["non_speech_text"]) == (4, 2, 1)
    assert (trade["terms"], trade["term_recall"], trade["wrong_terms"]) == (1, 0.0, 1)
    for key in ("clips", "characters", "substitutions", "insertions", "terms", "non_speech"):
        assert total[key] == refs[key] + trade[key]
    assert total["cer"] == 2 / total["characters"]
    assert total["audio_s"] == pytest.approx(refs["audio_s"] + trade["audio_s"], abs=0.002)
    assert total["real_time_factor"] > 0
    assert (total["threads"], total["prompted"], total["model"]) == (1, 0, Card.load(MODEL).title)
    assert first == {
        "type": "error",
        "set": "trade",
        "audio": "short.flac",
        "reference": WRONG["text"],
        "hypothesis": "好的，没问题。",
        "characters": 4,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 1,
        "terms": 1,
        "terms_found": 0,
        "wrong_terms": 1,
    }
    assert (second["audio"], second["reference"], second["substitutions"]) == ("price.flac", "。", 0)


def test_people_get_tables_and_what_is_wrong(cli: Cli, folder: Path) -> None:
    write(folder, DISCOUNT, WRONG, SILENCE)
    shown = cli.run("eval", "asr", folder, "--errors").stdout
    assert f"{Card.load(MODEL).title}, 1 thread" in shown
    assert "0 of 1" in shown
    assert "short.flac  sub 1 del 0 ins 1  terms missed 1  wrong terms 1" in shown
    assert "heard  好的，没问题。" in shown
    assert "discount.flac" not in shown


def test_the_recordings_of_the_tests_are_such_a_folder(cli: Cli) -> None:
    total = cli.lines("eval", "asr", SPEECH, "--json", "--limit", "3", "--beam", "1", "--bucket", "20")[-1]
    assert (total["clips"], total["prompted"]) == (3, 0)
    assert total["cer"] < 0.1


def test_what_is_too_long_for_one_utterance_is_cut_as_a_call_is(cli: Cli, folder: Path, tmp_path: Path) -> None:
    from tests.test_asr_engine import read

    short = model(tmp_path / "short", "buckets_s = [6]")
    call = folder / "long.wav"
    write_wav(call, (np.tile(read(CALL), 2) * 30_000).astype(np.int16), 1)
    heard = cli.lines("transcribe", call, "--json", "--model", short, "--speakers", "unknown")
    spoken = "".join(line["heard"] for line in heard)
    assert len(heard) > 1
    write(folder, {"audio": str(call), "text": spoken}, DISCOUNT)
    long, fitting = (
        cli.lines("eval", "asr", folder, "--json", "--errors", "--model", short, *more)
        for more in ((), ("--bucket", "30"))
    )
    assert (long[0]["clips"], long[0]["cer"]) == (2, 0.0)
    assert len(long) == 2
    assert fitting[0]["audio_s"] == long[0]["audio_s"]


def test_channels_are_mixed(cli: Cli, folder: Path) -> None:
    from tests.test_asr_engine import read

    speech = (read(folder / "short.flac") * 20_000).astype(np.int16)
    apart = np.zeros((len(speech), 2), np.int16)
    half = len(speech) // 2
    apart[:half, 0], apart[half:, 1] = speech[:half], speech[half:]
    write_wav(folder / "stereo.wav", apart, 2)
    write(folder, {"audio": "stereo.wav", "text": "好的，没问题。"})
    assert cli.lines("eval", "asr", folder, "--json")[-1]["cer"] == 0.0


def test_hotwords_are_told_only_to_a_model_that_was_taught(cli: Cli, folder: Path, tmp_path: Path) -> None:
    write(folder, DISCOUNT, GMP, WRONG)
    untaught = model(tmp_path / "untaught", "prompt_tokens = 0")
    # Neither is there a second pass that could look for them.
    (untaught / "language.npz").unlink()
    card = untaught / "card.toml"
    card.write_text(re.sub('"language.npz".*\n', "", card.read_text(encoding="utf-8")), encoding="utf-8")
    plain = cli.run("eval", "asr", folder, "--json", "--hotwords", "listed", "--model", untaught)
    assert "was not taught" in plain.stderr
    assert json.loads(plain.stdout.splitlines()[-1])["prompted"] == 0
    taught = ("eval", "asr", folder, "--json", "--model", model(tmp_path / "taught", "prompt_tokens = 64"))
    told = cli.lines(*taught, "--hotwords", "listed")
    assert [row["prompted"] for row in told] == [0, 2, 2]
    assert cli.lines(*taught)[-1]["prompted"] == 0


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("{", 10, "not JSON"),
        ("[1]", 10, "not a JSON object"),
        ({"text": "好"}, 10, "a recording without `audio`"),
        ({"audio": "short.flac"}, 10, "a recording without `text`"),
        ({"audio": "short.flac", "text": 7}, 10, "`text` is 7"),
        ({**WRONG, "set": None}, 10, "`set` is None"),
        ({**WRONG, "terms": "没有"}, 10, "`terms` is '没有'"),
        ({**WRONG, "hotwords": [1]}, 10, "`hotwords` is [1]"),
        ({**WRONG, "terms": ["问题"]}, 10, "the term '问题' doesn't occur in `text`"),
        ({**WRONG, "audio": "gone.wav"}, 3, "gone.wav: no such file"),
    ],
)
def test_a_bad_reference_is_named_with_its_line(folder: Path, line: object, code: int, complaint: str) -> None:
    with pytest.raises(EdgeError) as caught:
        clips.read(write(folder, SILENCE, line))
    assert str(caught.value).startswith(str(folder / "refs.jsonl:2: "))
    assert complaint in str(caught.value)
    assert caught.value.exit_code == code
    assert caught.value.remedy


def test_an_undecodable_recording_is_named_with_its_line(cli: Cli, folder: Path) -> None:
    (folder / "text.wav").write_text("no sound", encoding="utf-8")
    whole = write_wav(folder / "cut.wav", np.full(32_000, 99)).read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    for name, complaint in (("text.wav", "not an audio file"), ("cut.wav", "file is damaged")):
        write(folder, SILENCE, {"audio": name, "text": "好"})
        done = cli.run("eval", "asr", folder, "--json", code=3)
        assert f"refs.jsonl:2: {folder / name}: {complaint}" in done.stderr
        assert not done.stdout


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"", "no references"), (b" \n\n", "no references"), (b"\xba\xc3", ":1: not UTF-8")]
)
def test_a_file_without_references_is_refused(folder: Path, content: bytes, complaint: str) -> None:
    (folder / "refs.jsonl").write_bytes(content)
    with pytest.raises(TranscriptError, match=complaint):
        clips.read(folder)


def test_a_folder_without_references_is_refused(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert "no references" in cli.run("eval", "asr", folder, code=10).stderr
    assert "no such folder" in cli.run("eval", "asr", tmp_path / "gone", code=10).stderr


def test_every_key_is_documented() -> None:
    page = (TOP / "docs/json.md").read_text(encoding="utf-8")
    section = page.partition("## `eval asr`")[2].partition("\n## ")[0]
    assert [key for key in ROW if f"`{key}`" not in section] == []

"""A folder of recordings: each is heard once and whole, whatever the telephone system, the share or a crash do."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import wave
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.audio import folder as folder_module
from edge_agent.audio.folder import FolderIntake
from edge_agent.audio.ledger import Entry, Ledger, Step
from edge_agent.audio.metadata import Metadata, NamePattern
from edge_agent.errors import AudioError, StoreError
from edge_agent.types import Chunk, Speaker
from tests.conftest import TOP
from tests.test_daemon import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.audio import FileSource
    from edge_agent.types import Call, Samples
    from tests.conftest import Cli

BOTH = (Speaker.AGENT, Speaker.CUSTOMER)
SPEECH = TOP / "tests/data/speech.flac"


def tone(seconds: float, seed: int = 1) -> Samples:
    return np.random.default_rng(seed).integers(-9000, 9000, int(8000 * seconds)).astype(np.float32)


def wav(path: Path, seconds: float = 0.5, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone(seconds, seed).astype("<i2").tobytes())
    return path


def wait_for(what: Callable[[], Any], patience_s: float = 15) -> Any:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if value := what():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come")


class Room:
    """Hears what a folder announces, as the appliance does; `gate` holds back what is told of the end of a call."""

    def __init__(
        self, intake: FolderIntake, gate: threading.Event | None = None, reason: str = "end of source"
    ) -> None:
        self.intake = intake
        self.calls: list[Call] = []
        self.heard_ms: dict[str, int] = {}
        self._gate = gate
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for source in self.intake:
            self.calls.append(source.call)
            self._threads.append(threading.Thread(target=self._hear, args=(source,), daemon=True))
            self._threads[-1].start()

    def _hear(self, source: FileSource) -> None:
        end = 0
        for item in source:
            end = item.start + item.samples.shape[1] if isinstance(item, Chunk) else item.end_ms * 16
        self.heard_ms[source.call.id] = end // 16
        if self._gate is not None:
            self._gate.wait(20)
        self.intake.settled(source.call, "end of source", None)

    def names(self) -> list[str]:
        return sorted(Path(call.file or "").name for call in self.calls)

    def close(self) -> None:
        self.intake.close()
        self.join()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the intake did not end"
        for thread in self._threads:
            thread.join(20)


def intake(tmp_path: Path, **settings: Any) -> FolderIntake:
    given: dict[str, Any] = {"speakers": BOTH, "settle_s": 0.15, "poll_s": 0.1, **settings}
    return FolderIntake("pbx", tmp_path / "calls", tmp_path / "state" / "heard.jsonl", **given)


@contextmanager
def watching(tmp_path: Path, gate: threading.Event | None = None, **settings: Any) -> Iterator[Room]:
    (tmp_path / "calls").mkdir(exist_ok=True)
    room = Room(intake(tmp_path, **settings), gate)
    try:
        yield room
    finally:
        if gate is not None:
            gate.set()
        room.close()


def once(tmp_path: Path, **settings: Any) -> Room:
    room = Room(intake(tmp_path, once=True, **settings))
    room.join()
    return room


def entries(tmp_path: Path) -> dict[str, dict[str, Any]]:
    lines = (tmp_path / "state" / "heard.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def test_recordings_are_heard_once_also_after_a_restart(tmp_path: Path) -> None:
    wav(tmp_path / "calls/one.wav")
    with watching(tmp_path) as room:
        wait_for(lambda: room.names() == ["one.wav"])
        wav(tmp_path / "calls/2026/01/two.wav", seed=2)
        shutil.copy(SPEECH, tmp_path / "calls/three.flac")
        wait_for(lambda: room.intake.status()["files"]["heard"] == 3)
    assert room.names() == ["one.wav", "three.flac", "two.wav"]
    assert len({call.id for call in room.calls}) == 3
    again = once(tmp_path)
    assert not again.calls
    assert {entry["step"] for entry in entries(tmp_path).values()} == {"done"}


def test_a_copy_and_another_name_are_not_heard_again(tmp_path: Path) -> None:
    first = wav(tmp_path / "calls/one.wav")
    once(tmp_path)
    shutil.copy(first, tmp_path / "calls/copy.wav")
    first.rename(tmp_path / "calls/renamed.wav")
    assert not once(tmp_path).calls


def test_a_file_that_grows_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav", 3).read_bytes()
    with watching(tmp_path, settle_s=0.4) as room, (tmp_path / "calls/grows.wav").open("wb") as file:
        for at in range(0, len(whole), len(whole) // 8):
            file.write(whole[at : at + len(whole) // 8])
            file.flush()
            time.sleep(0.08)
            assert not room.calls
        wait_for(lambda: room.intake.status()["files"]["heard"] == 1)
        assert list(room.heard_ms.values()) == [3000]


def test_a_file_that_goes_on_growing_after_it_was_heard_is_the_same_call(tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav", 3).read_bytes()
    path = tmp_path / "calls/grows.wav"
    path.parent.mkdir()
    path.write_bytes(whole[:20_000])
    with watching(tmp_path) as room:
        wait_for(lambda: room.intake.status()["files"]["heard"] == 1)
        with path.open("ab") as file:
            file.write(whole[20_000:])
        wait_for(lambda: room.intake.status()["files"]["heard"] == 2)
    assert room.calls[0].id == room.calls[1].id
    assert room.calls[0].started_at == room.calls[1].started_at
    assert list(room.heard_ms.values()) == [3000]


def test_a_file_that_grows_while_it_is_heard_is_heard_to_its_end(tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav", 3).read_bytes()
    path = tmp_path / "calls/grows.wav"
    path.parent.mkdir()
    path.write_bytes(whole[:20_000])
    gate = threading.Event()
    with watching(tmp_path, gate) as room:
        wait_for(lambda: room.heard_ms)
        with path.open("ab") as file:
            file.write(whole[20_000:])
        gate.set()
        wait_for(lambda: list(room.heard_ms.values()) == [3000])
    assert {call.id for call in room.calls} == {room.calls[0].id}


def test_a_file_renamed_while_it_is_heard_is_heard_once(tmp_path: Path) -> None:
    gate = threading.Event()
    path = wav(tmp_path / "calls/tmp-1.wav")
    with watching(tmp_path, gate) as room:
        wait_for(lambda: room.heard_ms)
        path.rename(tmp_path / "calls/final.wav")
        time.sleep(0.5)
        gate.set()
        wait_for(lambda: "final.wav" in entries(tmp_path))
    assert len(room.calls) == 1


def test_what_a_crash_cut_short_is_heard_again_as_the_same_call(tmp_path: Path) -> None:
    wav(tmp_path / "calls/one.wav")
    announced = next(iter(intake(tmp_path, once=True)))  # and nobody tells of its end: the process died
    announced.close()
    with (tmp_path / "state/heard.jsonl").open("a", encoding="utf-8") as ledger:
        ledger.write('{"v": 1, "path": "one.wav", "dig')
    again = once(tmp_path)
    assert [call.id for call in again.calls] == [announced.call.id]
    assert again.calls[0].started_at == announced.call.started_at
    assert not once(tmp_path).calls


def test_what_ends_the_process_again_and_again_is_put_aside(tmp_path: Path) -> None:
    wav(tmp_path / "calls/poison.wav")
    for _ in range(folder_module.MOST_ATTEMPTS + 1):
        assert not (tmp_path / "calls/quarantine").exists()
        next(iter(intake(tmp_path, once=True))).close()
    room = once(tmp_path)
    assert not room.calls
    assert (tmp_path / "calls/quarantine/poison.wav").exists()


def test_a_stop_in_order_does_not_count_against_a_recording(tmp_path: Path) -> None:
    wav(tmp_path / "calls/long.wav")
    for _ in range(folder_module.MOST_ATTEMPTS + 2):
        source_intake = intake(tmp_path, once=True)
        source = next(iter(source_intake))
        source_intake.settled(source.call, "stopped", None)
        source.close()
    assert len(once(tmp_path).calls) == 1


def test_what_is_no_audio_goes_to_quarantine_with_the_reason(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "text.wav").write_text("this is no recording\n" * 100, encoding="utf-8")
    (calls / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (calls / "empty.wav").touch()
    (calls / "head.wav").write_bytes(wav(tmp_path / "w.wav").read_bytes()[:44])
    (calls / "quarantine").mkdir()
    (calls / "quarantine/text.wav").write_text("one of yesterday", encoding="utf-8")
    wav(calls / "good.wav")
    room = once(tmp_path)
    assert room.names() == ["good.wav"]
    aside = {path.name for path in (calls / "quarantine").iterdir()}
    assert {"picture.wav", "empty.wav", "head.wav", "text.wav"} < aside
    assert sum(name.startswith("text") and name.endswith(".wav") for name in aside) == 2
    reason = json.loads((calls / "quarantine/empty.wav.reason.json").read_text(encoding="utf-8"))
    assert "0 bytes" in reason["reason"]
    assert room.intake.status()["files"]["refused"] == 4


def test_an_empty_file_is_waited_for_because_a_call_may_begin_so(tmp_path: Path) -> None:
    with watching(tmp_path) as room:
        path = tmp_path / "calls/begins.wav"
        path.touch()
        time.sleep(0.6)
        assert room.intake.status()["files"] == {"heard": 0, "refused": 0, "waiting": 1, "unreadable": 0}
        path.write_bytes(wav(tmp_path / "w.wav").read_bytes())
        wait_for(lambda: room.intake.status()["files"]["heard"] == 1)


def test_a_wrong_ending_and_a_truncated_file_are_heard_all_the_same(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    wav(calls / "a.wav", 2).rename(calls / "a.txt")
    shutil.copy(SPEECH, calls / "b.mp3")
    (calls / "c.wav").write_bytes(wav(tmp_path / "w.wav", 2, seed=5).read_bytes()[:17_000])
    room = once(tmp_path)
    assert room.names() == ["a.txt", "b.mp3", "c.wav"]
    (truncated,) = [call for call in room.calls if (call.file or "").endswith("c.wav")]
    assert room.heard_ms[truncated.id] == 2000  # what is missing is a gap


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    os.mkfifo(calls / "pipe.wav")
    (calls / "nowhere.wav").symlink_to(tmp_path / "none")
    (calls / "loop.wav").symlink_to(calls / "loop.wav")
    (calls / ".hidden.wav").write_bytes(b"x")
    assert not once(tmp_path).calls


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can step down to a user that may not read")
def test_an_unreadable_file_is_told_and_tried_again() -> None:
    """As the service's own user meets a file that the telephone system made for itself alone."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        path = wav(top / "calls/private.wav")
        path.chmod(0o600)
        for folder in (top, top / "calls", top / "state"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, 65_534, -1)
        os.seteuid(65_534)
        try:
            with watching(top) as room:
                wait_for(lambda: room.intake.status()["files"]["unreadable"] == 1)
                assert not room.intake.status()["ok"]
                assert not room.calls
                os.seteuid(0)
                path.chmod(0o644)
                os.seteuid(65_534)
                wait_for(lambda: room.intake.status()["files"]["heard"] == 1)
                assert room.intake.status()["ok"]
        finally:
            os.seteuid(0)


def test_a_share_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with watching(tmp_path) as room:
        wav(tmp_path / "calls/one.wav")
        wait_for(lambda: room.intake.status()["files"]["heard"] == 1)
        (tmp_path / "calls").rename(tmp_path / "away")
        wait_for(lambda: not room.intake.status()["ok"])
        (tmp_path / "away").rename(tmp_path / "calls")
        wav(tmp_path / "calls/two.wav", seed=2)
        wait_for(lambda: room.intake.status()["files"]["heard"] == 2)
        assert room.intake.status()["ok"]
    with pytest.raises(OSError, match="No such file"):
        FolderIntake("x", tmp_path / "none", tmp_path / "l.jsonl", speakers=BOTH, once=True)


def test_not_more_are_heard_at_once_than_is_said(tmp_path: Path) -> None:
    for number in range(5):
        wav(tmp_path / f"calls/{number}.wav", seed=number)
    gate = threading.Event()
    with watching(tmp_path, gate, at_once=2) as room:
        wait_for(lambda: len(room.calls) == 2)
        time.sleep(0.4)
        assert len(room.calls) == 2
        gate.set()
        wait_for(lambda: room.intake.status()["files"]["heard"] == 5)


def test_the_ledger_stays_short_and_remembers_by_content(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file)
    entry = Entry("a.wav", "d1", 10, 20, 30, Step.BEGUN, "c1", attempts=1)
    for step in (Step.BEGUN, Step.GROWN, Step.DONE):
        ledger.note(replace(entry, step=step))
    again = Ledger(file)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1
    found = again.of_content("d1")
    assert found is not None
    assert (found.step, found.call_id) == (Step.DONE, "c1")
    assert again.owner("c1") == "a.wav"
    with pytest.raises(AudioError, match="ledger"):
        Ledger(tmp_path / "ledger.jsonl" / "x")


# ---- what names and side-cars tell


@pytest.mark.parametrize(
    ("pattern", "stem", "expected"),
    [
        ("{customer_id}_{call_id}", "10086_77", Metadata("77", "10086")),
        ("{}-{customer_id}", "out-10086", Metadata(None, "10086")),
        ("q[1]_{customer_id}", "q[1]_5", Metadata(None, "5")),
        ("{started_at:epoch}.{}", "1767604364.12", Metadata(started_at=datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC))),
        ("{customer_id}_{call_id}", "no such form", Metadata()),
        ("{started_at:%Y%m%d}_{customer_id}", "2026xx05_7", Metadata()),
        ("通话{customer_id}", "通话7 8/9", Metadata(None, "7-8-9")),
    ],
)
def test_names_tell(pattern: str, stem: str, expected: Metadata) -> None:
    assert NamePattern(pattern).read(stem) == expected


def test_a_time_in_a_name_is_local() -> None:
    read = NamePattern("{started_at:%Y%m%d-%H%M%S}_{customer_id}_{}").read("20260105-091244_10086_out")
    assert read.customer_id == "10086"
    assert read.started_at == datetime(2026, 1, 5, 9, 12, 44).astimezone(UTC)


def test_a_side_car_has_the_last_word_and_its_faults_are_passed_over(tmp_path: Path) -> None:
    wav(tmp_path / "calls/5_a.wav")
    (tmp_path / "calls/5_a.json").write_text(
        json.dumps(
            {
                "customer_id": 10_086,
                "call_id": "crm 1",
                "started_at": "2026-01-05T09:12:44+08:00",
                "speakers": ["customer"],
                "queue": "sales",
            }
        ),
        encoding="utf-8-sig",
    )
    wav(tmp_path / "calls/6_b.wav", seed=2)
    (tmp_path / "calls/6_b.wav.json").write_text('{"customer_id": ["x"], "speakers": ["boss"], "call_id": "crm 1"}')
    wav(tmp_path / "calls/7_c.wav", seed=3)
    (tmp_path / "calls/7_c.json").write_text("{not json")
    room = once(tmp_path, pattern="{customer_id}_{}")
    first, second, third = sorted(room.calls, key=lambda call: call.file or "")
    assert (first.id, first.customer_id, first.speakers) == ("crm-1", "10086", (Speaker.CUSTOMER,))
    assert first.started_at == datetime(2026, 1, 5, 1, 12, 44, tzinfo=UTC)
    assert second.customer_id == "6"
    assert second.id.startswith("crm-1-"), "two recordings must not become one call"
    assert third.customer_id == "7"


def test_a_side_car_is_waited_for(tmp_path: Path) -> None:
    with watching(tmp_path, sidecar_wait_s=30) as room:
        wav(tmp_path / "calls/one.wav")
        time.sleep(0.6)
        assert not room.calls
        (tmp_path / "calls/one.json").write_text('{"customer_id": "9"}')
        wait_for(lambda: room.calls)
        assert room.calls[0].customer_id == "9"


# ---- the whole way


def stored_by_now(cli: Cli) -> int:
    try:
        return len(stored(cli))
    except StoreError:
        return 0  # not made yet, or being made


def test_a_watched_folder_through_the_daemon_and_a_kill(cli: Cli, tmp_path: Path) -> None:
    """Killed in the middle of a recording: all of its events are there once, in the end, and the ledger says done."""
    calls = tmp_path / "calls"
    calls.mkdir()
    shutil.copy(TOP / "tests/data/calls/tutoring.opus", calls / "20260105-091244_10086.opus")
    (calls / "broken.wav").write_text("nothing to hear", encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[sources]]\nname = "pbx"\nkind = "watch"\npath = "{calls}"\nsettle_s = 0.2\n'
        'pattern = "{started_at:%Y%m%d-%H%M%S}_{customer_id}"\n[dictionary]\npacks = ["education"]\n',
        encoding="utf-8",
    )
    with cli.start("run", "-c", config) as process:
        try:
            wait_for(lambda: stored_by_now(cli) >= 2, 90)
        finally:
            process.kill()
    cli.run("run", "--once", "-c", config)
    events = stored(cli)
    assert [event["type"] for event in events].count("edge.call.started") == 1
    assert [event["type"] for event in events].count("edge.call.ended") == 1
    keys = [(event["type"], event["data"].get("node"), event["data"].get("start_ms")) for event in events]
    assert len(keys) == len(set(keys))
    assert {event["data"].get("customer_id") for event in events} == {"10086"}
    assert events[0]["time"].startswith(
        datetime(2026, 1, 5, 9, 12, 44).astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    )
    assert (calls / "quarantine/broken.wav").exists()

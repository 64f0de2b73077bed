"""The appliance hears live: RTP and a sound device become calls, whose events are stored from beginning to end."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.audio import FileSource
from edge_agent.errors import StoreError
from edge_agent.store import Store
from edge_agent.types import Chunk
from tests.conftest import TOP
from tests.sound import Pulse, needs_pulse
from tests.telephone import Stream, free_ports, send
from tests.test_daemon import Start, status_of, stored, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from edge_agent.types import Samples
    from tests.conftest import Cli


def _tutoring(seconds: float) -> Samples:
    source = FileSource(TOP / "tests/data/calls/tutoring.opus", chunk_ms=500)
    pieces: list[Samples] = []
    for item in source:
        if isinstance(item, Chunk):
            pieces.append(item.samples)
        if len(pieces) * 0.5 >= seconds:
            break
    source.close()
    out: Samples = np.concatenate(pieces, axis=1)
    return out


def _events(cli: Cli, kind: str) -> list[dict[str, Any]]:
    try:
        return [event for event in stored(cli) if event["type"] == kind]
    except StoreError:
        return []


def _paced(port: int, samples: Samples, ssrc: int) -> Iterator[None]:
    """Send L16 in real time, a packet at a time."""
    stream = Stream(ssrc, kind=96)
    for datagram in stream.packets((samples * 32_767).astype(">i2").tobytes(), size=640, count=320):
        send(port, [datagram])
        yield


@needs_pulse
def test_a_telephone_and_a_sound_card_at_once(
    cli: Cli, started: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = Pulse()
    try:
        for name, value in pulse.environment.items():
            monkeypatch.setenv(name, value)
        device = pulse.plug("line")
        port = free_ports(2)
        config = tmp_path / "config.toml"
        config.write_text(
            f'[dictionary]\npacks = ["education"]\n'
            f'[[sources]]\nname = "pbx"\nkind = "rtp"\nbind = "127.0.0.1"\nport = {port}\nhangup_s = 1.0\n'
            f'[[sources]]\nname = "desk"\nkind = "device"\ndevice = "{device}"\nquiet_s = 2.0\n',
            encoding="utf-8",
        )
        process = started("run", "-c", config)
        ready = wait_for(
            lambda: (
                (status := status_of(cli, config))
                and [one["ok"] for one in status["sources"]] == [True, True]
                and status
            ),
            120,
        )
        assert [one["kind"] for one in ready["sources"]] == ["rtp", "device"]
        assert not ready["calls"], "a device where nobody speaks is no call"

        samples = _tutoring(8)
        pulse.play("line", (samples.T * 32_767).astype(np.int16))
        began = time.monotonic()
        legs = [_paced(port, samples[0], 1), _paced(port + 2, samples[1], 2)]
        for number, _ in enumerate(zip(*legs, strict=True)):
            time.sleep(max(0.0, began + number * 0.02 - time.monotonic()))
        ended = wait_for(lambda: len(found := _events(cli, "edge.call.ended")) == 2 and found, 120)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=90)
        assert process.returncode == 0, log
    finally:
        pulse.close()
    begun = {event["data"]["origin"]: event["subject"] for event in _events(cli, "edge.call.started")}
    assert set(begun) == {"pbx", "desk"}
    reasons = {event["subject"]: event["data"]["reason"] for event in ended}
    assert reasons == {begun["pbx"]: "no packets for 1 s", begun["desk"]: "quiet for 2 s"}
    with Store.open(cli.state / "edge-agent.db", readonly=True) as store:
        for call in begun.values():
            lines = list(store.transcripts(call))
            assert lines, call
            assert {line.speaker.value for line in lines} <= {"agent", "customer"}

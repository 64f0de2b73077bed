"""`demo`: the whole appliance on one recorded call, with head office's hub in a second process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, console, emit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from edge_agent.config import Uplink
    from edge_agent.pipeline import Outcome
    from edge_agent.types import Finding

CALL = Path(__file__).resolve().parent.parent / "data" / "demo.opus"
_PATIENCE_S = 30.0


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.command()(demo)


def demo(
    audio: Annotated[
        Path | None, typer.Option("--audio", help="Your own recording instead of the shipped call.")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play at the speed of speech.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play a call through the whole appliance: transcript, terms, nodes, events, and a hub that acknowledges them.

    A hub is started in a second process on this machine, with keys made on the spot; all of it lives in a temporary
    folder and is gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as folder:
        _play(Path(folder), audio or CALL, realtime, as_json)


def _play(folder: Path, audio: Path, realtime: bool, as_json: bool) -> None:
    from edge_agent import rooms
    from edge_agent.config import Config, Site, Source, Store
    from edge_agent.daemon import Appliance
    from edge_agent.errors import UplinkError

    # What an appliance keeps for later (compiled dictionary, versions of its rules) goes with the rest.
    os.environ["EDGE_AGENT_STATE"] = str(folder)
    config = Config(
        site=Site(id="demo"),
        store=Store(database=str(folder / "branch.db")),
        sources=(Source(name="demo", path=str(audio), realtime=realtime),),
    )
    source = rooms.open_source(config, config.sources[0])
    screen = _Screen(as_json)
    screen.note(f"Playing {audio.name}, {(source.duration_ms or 0) / 1000:.0f} s")
    with local_hub(folder) as hub:
        screen.note(f"Head office's hub runs in process {hub.process} at {hub.uplink.hub} (CURVE)")
        appliance = Appliance(config.model_copy(update={"uplink": hub.uplink}), observe=screen.observe)
        try:
            started, cpu = time.monotonic(), time.process_time()
            appliance.start()
            appliance.attach(source)
            appliance.finish()
            wall, cpu = time.monotonic() - started, time.process_time() - cpu
            acknowledged = appliance.drain(_PATIENCE_S)
            status = appliance.status()
        finally:
            appliance.close()
    screen.summary(status, wall_s=wall, cpu_s=cpu, realtime=realtime)
    if screen.error is not None:
        raise screen.error
    events = status["events"]
    if not acknowledged or events["acknowledged"] != events["stored"]:
        raise UplinkError(
            f"the hub acknowledged {events['acknowledged']} of {events['stored']} events",
            remedy="run it again with EDGE_AGENT_DEBUG=1; `edge-agent doctor` checks this machine",
        )


@dataclass(frozen=True)
class LocalHub:
    """A hub that runs in a process of its own, and how a branch reaches it."""

    process: int
    uplink: Uplink


@contextmanager
def local_hub(folder: Path) -> Iterator[LocalHub]:
    """Run a hub in a second process on loopback, with keys made on the spot; all of it lives in `folder`."""
    from edge_agent import keys
    from edge_agent.config import Uplink
    from edge_agent.errors import SetupError

    hub, branch = keys.new(folder / "hub.key"), keys.new(folder / "branch.key")
    keys.allow(folder / "allowed-branches", branch.public, "demo")
    settings = folder / "hub.toml"
    settings.write_text('[hub]\nbind = "tcp://127.0.0.1:*"\n[log]\nlevel = "warning"\n', encoding="utf-8")
    command = [sys.executable, "-m", "edge_agent", "hub", "run", "--json", "-c", str(settings)]
    environment = {**os.environ, "EDGE_AGENT_STATE": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready:
                raise SetupError("the hub did not start", remedy="its own message stands above")
            address = json.loads(ready)["endpoint"]
            yield LocalHub(process.pid, Uplink(hub=address, hub_key=hub.public, key_file=str(folder / "branch.key")))
        finally:
            process.terminate()


@dataclass
class _Screen:
    """What the demo shows while it runs, and the table at the end."""

    as_json: bool
    findings: list[Finding] = field(default_factory=list)
    utterances: int = 0
    end_ms: int = 0
    error: Exception | None = None

    def note(self, text: str) -> None:
        if not self.as_json:
            console().print(text, style="dim")

    def observe(self, outcome: Outcome) -> None:
        from edge_agent.cli import show
        from edge_agent.hearing import Closed

        self.findings += outcome.findings
        self.utterances += outcome.transcript is not None
        if isinstance(outcome.item, Closed):
            self.end_ms, self.error = outcome.item.end_ms, outcome.item.error
        if self.as_json:
            show.emit_outcome(outcome)
        else:
            show.show(console(), outcome)

    def summary(self, status: dict[str, Any], *, wall_s: float, cpu_s: float, realtime: bool) -> None:
        from edge_agent.cli import show

        audio_s = self.end_ms / 1000
        events, latency = status["events"], status["latency_ms"] or {"p50": None, "p95": None}
        # At the speed of speech the wall clock says nothing about the cost: there the processor's time does.
        factor = (cpu_s if realtime else wall_s) / audio_s if audio_s else 0.0
        if self.as_json:
            emit(
                {
                    "type": "demo",
                    "audio_s": round(audio_s, 1),
                    "utterances": self.utterances,
                    "nodes": show.node_states(self.findings),
                    "events_stored": events["stored"],
                    "events_acknowledged": events["acknowledged"],
                    "real_time_factor": round(factor, 4),
                    "latency_ms": latency,
                    "acknowledged": events["acknowledged"] == events["stored"],
                }
            )
            return
        console().print(self._table(events, latency, factor, audio_s, realtime))

    def _table(
        self, events: dict[str, int], latency: dict[str, Any], factor: float, audio_s: float, realtime: bool
    ) -> Table:
        from rich.table import Table

        from edge_agent.cli import show

        table = Table(title="The call", title_justify="left", show_header=False)
        table.add_row("audio", f"{audio_s:.1f} s")
        table.add_row("utterances", str(self.utterances))
        nodes = show.node_states(self.findings)
        table.add_row(
            "nodes", "\n".join(f"{show.node_name(n['node'])} {n['node']}: {n['state']}" for n in nodes) or "none"
        )
        table.add_row("events stored", str(events["stored"]))
        table.add_row("events acknowledged by the hub", str(events["acknowledged"]))
        kind = "processor time" if realtime else "wall clock, as fast as possible"
        table.add_row("real-time factor", f"{factor:.3f} ({kind})")
        table.add_row("end of speech → committed event", f"p50 {latency['p50']} ms, p95 {latency['p95']} ms")
        return table

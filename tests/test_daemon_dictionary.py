"""A new version of a pack takes effect in a running appliance, and one that is wrong does not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from edge_agent.store import Store
from tests.test_daemon import status_of, stored, wait_for, write_config
from tests.test_terms_pack import write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Cli
    from tests.test_daemon import Start


def test_a_version_takes_effect_while_calls_run(cli: Cli, started: Start, tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    pack = write(tmp_path / "packs")
    more = f'[dictionary]\nfolder = "{tmp_path / "packs"}"\npacks = ["tiny"]'
    config = write_config(tmp_path, realtime=True, more=more)
    process = started("run", "-c", config)
    first = wait_for(lambda: (now := status_of(cli, config)) and now["utterances"] >= 1 and now, 120)["dictionary"]

    (change,) = cli.lines("dict", "add", "质检云台", "-p", "tiny", "-c", config, "--json")
    second = change["running"]
    assert second not in (None, first)
    now = status_of(cli, config)
    assert now is not None
    assert now["dictionary"] == second
    wait_for(lambda: (after := status_of(cli, config)) and after["utterances"] > now["utterances"], 120)

    # What can't be compiled leaves the old one at work, and says why.
    cli.run("dict", "activate", "folder", "-p", "tiny", "-c", config)
    (pack / "terms.csv").write_text("term,category\nx,y\n", encoding="utf-8")
    said = cli.run("reload", "-c", config, code=11).stderr
    assert "terms.csv:1" in said
    assert "Try: " in said
    kept = status_of(cli, config)
    assert kept is not None
    assert kept["dictionary"] == first

    (back,) = cli.lines("dict", "rollback", "-p", "tiny", "-c", config, "--json")
    assert (back["version"], back["running"]) == (change["version"], second)

    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    events = stored(cli)
    assert not [event for event in events if event["type"] == "edge.audio.gap"], "no audio was lost"
    assert events[0]["data"]["versions"]["dictionary"] == first
    assert {event["data"]["versions"]["dictionary"] for event in events} <= {first, second}
    with Store.open(cli.state / "edge-agent.db", readonly=True) as store:
        judged = [said.dictionary for said in store.transcripts(events[0]["subject"])]
    assert judged[0] == first
    assert second in judged

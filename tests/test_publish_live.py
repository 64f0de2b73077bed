"""What head office publishes and how it changes its key, told by commands to real processes on both ends."""

from __future__ import annotations

import json
import signal
import socket
import wave
from typing import TYPE_CHECKING, Any

from edge_agent import keys
from edge_agent.config import Config
from edge_agent.control import ask
from edge_agent.errors import ControlError, DictionaryError
from edge_agent.hub import Ledger
from edge_agent.hub.publications import Publications
from edge_agent.packs import Packs
from edge_agent.signing import Signer

from .conftest import TOP
from .test_daemon import stored, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from .conftest import Cli

RULE = """
rules:
  - {id: site.tender, name: 招标, node: opportunity.tender, who: customer, any: [准备招标]}
"""


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def write_pack(folder: Path, version: str) -> Path:
    """Write the beginning of a shipped pack as another version of it: small, so that it is read in no time."""
    shipped = TOP / "dictionaries" / "education"
    folder.mkdir(exist_ok=True)
    told = (shipped / "pack.toml").read_text(encoding="utf-8")
    (folder / "pack.toml").write_text(told.replace('version = "1"', f'version = "{version}"'), encoding="utf-8")
    terms = (shipped / "terms.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "terms.csv").write_text("".join(terms[:20]), encoding="utf-8")
    return folder


def test_one_command_reaches_a_running_appliance_and_so_does_a_new_key(
    cli: Cli, started: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(cli.state))
    hub_key, branch_key = keys.new(cli.state / "hub.key"), keys.new(cli.state / "branch.key")
    keys.allow(cli.state / "allowed-branches", branch_key.public, "b1")
    publisher = Signer.new(cli.state / "publisher.key")
    calls = tmp_path / "calls"
    calls.mkdir()
    config = tmp_path / "config.toml"
    config.write_text(
        f'[site]\nid = "b1"\n[dictionary]\npacks = ["education"]\nsegmenter = "off"\n[nodes]\nclassifier = "off"\n'
        f'[hub]\nbind = "tcp://127.0.0.1:{(port := free_port())}"\n'
        f'[uplink]\nhub = "tcp://127.0.0.1:{port}"\nhub_key = "{hub_key.public}"\nretry_max_s = 1.0\n'
        f'publisher_key = "{publisher.public}"\nheartbeat_s = 0.3\n'
        f'[[sources]]\nname = "pbx"\nkind = "watch"\npath = "{calls}"\nsettle_s = 0.2\n',
        encoding="utf-8",
    )
    hub = started("hub", "run", "-c", config)
    branch = started("run", "-c", config)

    def status() -> dict[str, Any]:
        try:
            return ask(cli.state / "control.sock", "status")
        except ControlError:
            return {}

    def answer(manifest: dict[str, Any]) -> tuple[str, str]:
        """Return hash and error that the branch acknowledges a publication with, once it does."""

        def told() -> tuple[str, str] | None:
            with Ledger.open(cli.state / "hub.db", readonly=True) as ledger:
                rows = Publications(ledger.base).installed().get(branch_key.public, [])
            return next(((row[3], row[4]) for row in rows if row[2] == manifest["serial"]), None)

        found: tuple[str, str] = wait_for(told)
        return found

    before = wait_for(lambda: (now := status()) and now["uplink"]["connected"] and now["dictionary"] and now)

    # A pack and rules are in force, under the hash of their content, and the appliance names what now judges.
    pack = write_pack(tmp_path / "education", "9000.1")
    rules = tmp_path / "site.yaml"
    rules.write_text(RULE, encoding="utf-8")
    (as_pack,) = cli.lines("hub", "publish", pack, "-c", config, "--json")
    (as_rules,) = cli.lines("hub", "publish", rules, "-c", config, "--json")
    for manifest in (as_pack, as_rules):
        assert answer(manifest) == (manifest["sha256"], "")
    (row,) = cli.lines("hub", "branches", "-c", config, "--json")
    assert {one["name"]: one["sha256"] for one in row["published"]} == {
        "education": as_pack["sha256"],
        "site": as_rules["sha256"],
    }
    after = status()
    assert after["dictionary"] != before["dictionary"]
    assert Packs(Config().dictionary).load("education").version == "9000.1"
    assert after["rules"] != before["rules"]

    # An older one is refused.
    write_pack(pack, "9000.0")
    assert "older than 9000.1" in cli.run("hub", "publish", pack, "-c", config, code=DictionaryError.exit_code).stderr
    assert status()["dictionary"] == after["dictionary"]

    # The hub's next key goes the same way. While the hub is away for the change a call is judged by what was published.
    following = keys.new(cli.state / "hub.key.next")
    (as_key,) = cli.lines("hub", "publish-key", "-c", config, "--json")
    assert answer(as_key)[1] == ""
    hub.send_signal(signal.SIGTERM)
    assert hub.wait(30) == 0
    keys.switch(cli.state / "hub.key")
    with wave.open(str(calls / "one.wav"), "wb") as call:
        call.setparams((1, 2, 16_000, 0, "NONE", ""))
        call.writeframes(bytes(2 * 16_000))
    wait_for(lambda: any(event["type"] == "edge.call.ended" for event in stored(cli)))
    versions = stored(cli)[-1]["data"]["versions"]
    assert (versions["dictionary"], versions["rules"]) == (after["dictionary"], after["rules"])
    assert status()["events"]["waiting"] == len(stored(cli))
    started("hub", "run", "-c", config)
    wait_for(lambda: status()["events"]["waiting"] == 0)
    uplink = status()["uplink"]
    assert (uplink["hub_key"], uplink["hub_key_from"]) == (following.public, "published")
    assert following.public in cli.run("status", "-c", config).stdout.replace("\n", "")

    (forced,) = cli.lines("hub", "publish", pack, "--force", "-c", config, "--json")
    assert answer(forced)[1] == ""
    assert Packs(Config().dictionary).load("education").version == "9000.0"
    assert status()["dictionary"] not in (before["dictionary"], after["dictionary"])
    branch.send_signal(signal.SIGTERM)
    assert branch.wait(30) == 0
    with Ledger.open(cli.state / "hub.db", readonly=True) as ledger:
        assert [json.loads(row.body) for row in ledger.events()] == stored(cli)

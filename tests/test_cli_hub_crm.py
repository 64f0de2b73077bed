"""The commands of head office that lead on, into a CRM or a spreadsheet, in a process of their own."""

from __future__ import annotations

import csv
import io
import json
import signal
import tomllib
from typing import TYPE_CHECKING

import pytest

from edge_agent import wire
from edge_agent.errors import ConfigError, KeyFileError, StoreError
from edge_agent.hub import Ledger
from edge_agent.hub.deliveries import Deliveries

from .crm import Crm
from .line import NOW_MS, event, hello, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Cli
    from .postgres import Server


@pytest.fixture
def crm() -> Iterator[Crm]:
    crm = Crm()
    yield crm
    crm.close()


def test_from_the_ledger_into_the_crm_and_back_from_the_dead(
    cli: Cli, started: Callable[..., subprocess.Popen[str]], crm: Crm
) -> None:
    cli.state.mkdir()
    where = cli.state / "hub.db"
    settings = cli.state / "hub.toml"
    settings.write_text(
        f'[hub]\nbind = "tcp://127.0.0.1:*"\ndatabase = "{where}"\n[delivery]\nurl = "{crm.url}"\nretry_max_s = 1.0\n'
    )
    cli.run("keys", "new", "--for", "hub", "-c", settings)
    said = cli.run("hub", "run", "-c", settings, code=KeyFileError.exit_code).stderr
    assert "hub secret" in said
    (made,) = cli.lines("hub", "secret", "-c", settings, "--json")
    assert made["secret"].startswith("whsec_")

    crm.answer = lambda request: 400 if request.event["data"]["number"] == 1 else 204
    process = started("hub", "run", "--json", "-c", settings)
    assert process.stdout is not None
    process.stdout.readline()
    sent = [event(number) for number in range(3)]
    with Ledger.open(where) as ledger, ledger.transaction():
        lines = [wire.to_line(one.to_json()) for one in sent]
        ledger.take("k1", "b1", wire.Events.of("e1", 1, [*lines, b"poison"]), NOW_MS)
    until(lambda: len(crm.requests) == 3)
    with Ledger.open(where, readonly=True) as ledger:
        until(lambda: Deliveries(ledger.base).waiting()[0] == 0)
    *_, total = cli.lines("hub", "status", "-c", settings, "--json")
    assert (total["delivery"]["undelivered"], total["dead_letters"], total["delivery"]["delivered"]) == (1, 1, 2)

    first, second = cli.lines("hub", "deadletters", "-c", settings, "--json")
    assert (first["ref"], first["body"], second["ref"], second["id"]) == ("r1", "poison", "d2", sent[1].id)
    assert second["reason"].startswith("HTTP 400")
    assert "no dead letter d9" in cli.run("hub", "requeue", "d9", "-c", settings, code=2).stderr
    crm.answer = lambda request: 204
    (done,) = cli.lines("hub", "requeue", "--all", "-c", settings, "--json")
    assert done == {"type": "hub.requeued", "delivery": 1, "filed": 0, "no_event": 1}
    until(lambda: len(crm.taken) == 3)
    (done,) = cli.lines("hub", "replay", "--since", "2026-01-01", "-c", settings, "--json")
    assert done["events"] == 3
    until(lambda: len(crm.taken) == 6)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_export_gives_back_what_came(cli: Cli, tmp_path: Path) -> None:
    cli.state.mkdir()
    sent = [event(number) for number in range(3)]
    sent[1].data["quote"] = '=HYPERLINK("x"),太贵'
    with Ledger.open(cli.state / "hub.db") as ledger, ledger.transaction():
        for number, one in enumerate(sent, 1):
            batch = wire.Events.of("e1", number, [wire.to_line(one.to_json())])
            ledger.take("k1", "b1", batch, NOW_MS + 86_400_000 * number)
    rows = cli.lines("hub", "export", "--json")
    assert [row["event"] for row in rows] == [one.to_dict() for one in sent]
    assert [row["number"] for row in cli.lines("hub", "export", "--since", "2026-01-07T00:00:00Z")] == [2, 3]
    cli.run("hub", "export", "--excel", "-o", tmp_path / "out.csv", "--until", "2026-01-08T00:00:00Z")
    text = (tmp_path / "out.csv").read_text(encoding="utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert [json.loads(row["data"]) for row in table] == [one.data for one in sent[:2]]
    assert table[1]["quote"].startswith("'=")  # a spreadsheet must not run it


def test_what_can_not_be_done_is_said(cli: Cli) -> None:
    cli.state.mkdir()
    assert "[delivery]" in cli.run("hub", "replay", "--since", "1d", code=ConfigError.exit_code).stderr
    cli.run("hub", "requeue", code=2)


def test_people_look_into_postgresql_too(cli: Cli, postgres: Server) -> None:
    cli.state.mkdir()
    settings = cli.state / "hub.toml"
    settings.write_text(f'[hub]\ndatabase = "{postgres.address()}"\n')
    assert "hub run" in cli.run("hub", "status", "-c", settings, code=StoreError.exit_code).stderr
    with Ledger.open(tomllib.loads(settings.read_text())["hub"]["database"]) as ledger, ledger.transaction():
        ledger.greet("k1", "b1", hello(), NOW_MS)
        ledger.take("k1", "b1", wire.Events.of("e1", 1, [wire.to_line(event(1).to_json())]), NOW_MS)
    branch, total = cli.lines("hub", "status", "-c", settings, "--json")
    assert (branch["name"], branch["events"], total["database"], total["events"]) == ("b1", 1, "postgresql", 1)

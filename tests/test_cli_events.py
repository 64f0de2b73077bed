"""`edge-agent events`: lists, shows and exports what is kept, to people, programs and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from edge_agent.cli import events as command
from edge_agent.errors import StoreError
from edge_agent.event import Event, call_started, node_event
from edge_agent.store import Store
from edge_agent.types import Call, Finding, Speaker, Step, Versions

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
CALL = Call("c1", "line 1", START, (Speaker.AGENT, Speaker.CUSTOMER), customer_id="K-7")

app = typer.Typer()
command.register(app)


def _event(second: int, quote: str = "太贵了", *, step: Step = Step.RAISED, node: str = "objection.price") -> Event:
    severity = "alarm" if node.startswith("compliance") else "info"
    at = (second * 1000 - 900, second * 1000)
    finding = Finding(step, node, Speaker.CUSTOMER, quote, *at, 0.9, "rule:x", turn=second, severity=severity)
    return node_event("branch", CALL, finding, Versions("d", "r", "m"))


EVENTS = [
    call_started("branch", CALL, Versions()),
    _event(10),
    _event(20, '=HYPERLINK("http://x"), 还有\n第二行', node="compliance.rebate"),
    _event(30, "-5 度", step=Step.ANSWERED),
    _event(40, step=Step.CLOSED),
]


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "state" / "edge-agent.db"
    with Store.open(path) as store:
        store.keep(events=EVENTS)
        store.acknowledge(2, {2: "no such schema"})
    return path


def _run(*words: str) -> str:
    result = CliRunner().invoke(app, ["events", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _lines(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _run(*words).splitlines()]


def test_json_lines_are_the_envelopes() -> None:
    assert _lines("list", "--json") == [event.to_dict() for event in EVENTS]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--type edge.node.raised", [1, 2]),
        ("--type raised", [1, 2]),
        ("--type node.closed", [4]),
        ("--type call.started", [0]),
        ("--node compliance.rebate", [2]),
        ("--severity alarm", [2]),
        ("--call c1 --node objection.price", [1, 3, 4]),
        ("--call c2", []),
        ("--since 2026-03-01T09:30:20Z", [2, 3, 4]),
        ("--until 2026-03-01T09:30:20+00:00", [0, 1]),
        ("--since 2026-03-01T17:30:20+08:00 --until 2026-03-01T17:30:40+08:00", [2, 3]),
        ("--since 1s", []),
        ("--limit 2", [3, 4]),
        ("--limit 0", []),
        ("--type raised --limit 1", [2]),
    ],
)
@pytest.mark.parametrize("verb", ["list --json", "export"])
def test_filters(verb: str, words: str, expected: list[int]) -> None:
    assert [line["id"] for line in _lines(*verb.split(), *words.split())] == [EVENTS[n].id for n in expected]


def test_the_table_shows_what_was_said_and_who_knows() -> None:
    rows = [line for line in _run("list").splitlines() if "objection.price" in line]
    assert len(rows) == 3
    assert "太贵了" in rows[0]
    assert "rejected" in rows[0]
    assert "waiting" in rows[1]
    assert "answered" in rows[1]
    assert "no events match" in _run("list", "--node", "none.such")


@pytest.mark.parametrize("name", [EVENTS[1].id, "2"], ids=["id", "number"])
def test_show_finds_by_id_and_by_number(name: str) -> None:
    shown = _run("show", name)
    for part in (EVENTS[1].id, "objection.price", "太贵了", "rejected", "no such schema", "K-7"):
        assert part in shown
    assert _lines("show", name, "--json") == [EVENTS[1].to_dict()]


@pytest.mark.parametrize("name", ["0", "6", "x", "-", "²"])
def test_show_says_when_there_is_none(name: str) -> None:
    with pytest.raises(StoreError, match="no event") as caught:
        _run("show", name)
    assert "events list" in caught.value.remedy


def _table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_header_and_comes_back_the_same() -> None:
    rows = _table(_run("export", "--format", "csv"))
    assert [row["id"] for row in rows] == [event.id for event in EVENTS]
    assert rows[1] == {
        "sequence": "2",
        "time": "2026-03-01T09:30:10.000Z",
        "type": "edge.node.raised",
        "call": "c1",
        "node": "objection.price",
        "severity": "info",
        "speaker": "customer",
        "turn": "10",
        "start_ms": "9100",
        "end_ms": "10000",
        "confidence": "0.9",
        "quote": "太贵了",
        "by": "rule:x",
        "case": "",
        "customer_id": "K-7",
        "state": "rejected",
        "id": EVENTS[1].id,
    }


def test_csv_without_events_is_its_header() -> None:
    assert _run("export", "--format", "csv", "--call", "none").startswith("sequence,time,type,call,")
    assert _table(_run("export", "--format", "csv", "--call", "none")) == []


def test_no_cell_is_a_formula() -> None:
    quotes = [row["quote"] for row in _table(_run("export", "--format", "csv"))]
    assert quotes == ["", "太贵了", '\'=HYPERLINK("http://x"), 还有\n第二行', "'-5 度", "太贵了"]


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "＝1"])
def test_a_text_that_a_spreadsheet_would_run_is_guarded(value: str) -> None:
    assert command.harmless(value) == f"'{value}"


@pytest.mark.parametrize("value", ["a=1", "太贵了", "", -1, 0.5, None])
def test_all_else_is_left_alone(value: object) -> None:
    assert command.harmless(value) == value


def test_excel_reads_the_file_as_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    assert _run("export", "--excel", "--output", str(file)) == ""
    content = file.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfsequence,")
    assert content.count(b"\r\n") == len(EVENTS) + 1
    assert _table(content.decode("utf-8-sig"))[1]["quote"] == "太贵了"


def test_an_export_gives_every_event_back_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    _run("export", "--output", str(file))
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines == [event.to_json() for event in EVENTS]
    assert [Event.from_json(line) for line in lines] == EVENTS


def test_an_export_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be written") as caught:
        _run("export", "--output", str(tmp_path / "none" / "events.csv"))
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "5 fortnights", "0001-01-01T00:00+23:59"])
def test_a_time_that_is_none(text: str) -> None:
    result = CliRunner().invoke(app, ["events", "list", "--since", text])
    assert result.exit_code == 2
    assert "is no time" in result.stderr


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)])
def test_a_time_may_be_so_long_ago(text: str, ago: int) -> None:
    assert abs((datetime.now(UTC) - command.moment(text)) - timedelta(seconds=ago)) < timedelta(minutes=1)


def test_a_time_without_a_zone_is_local() -> None:
    assert command.moment("2026-03-01T09:30") == datetime(2026, 3, 1, 9, 30).astimezone()
    assert command.moment("2026-03-01") == datetime(2026, 3, 1).astimezone()


def test_the_configuration_says_which_database(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with Store.open(tmp_path / "state" / "other.db") as store:
        store.keep(events=EVENTS[:1])
    for database in ("other.db", str(tmp_path / "state" / "other.db")):
        config.write_text(f'[store]\ndatabase = "{database}"\n')
        assert len(_lines("list", "--json", "-c", str(config))) == 1


def _process(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "events", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_no_database_yet_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "nowhere"))
    with _process("list") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (StoreError.exit_code, "")
    assert err.splitlines()[0] == f"Error: {tmp_path}/nowhere/edge-agent.db: no such database"
    assert err.splitlines()[1].startswith("Try: ")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("form", [["--json"], []])
def test_follow_shows_new_events_until_it_is_interrupted(database: Path, form: list[str]) -> None:
    late = [_event(50, "稍后", node="objection.timing"), _event(60), _event(70, "再说", node="objection.timing")]
    with _process("list", "--follow", "--node", "objection.timing", *form) as process, Store.open(database) as store:
        assert process.stdout is not None
        store.keep(events=late[:1])
        first = process.stdout.readline()
        store.keep(events=late[1:])
        second = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    if form:
        assert [json.loads(line) for line in (first, second)] == [late[0].to_dict(), late[2].to_dict()]
    else:
        assert "稍后" in first
        assert "再说" in second

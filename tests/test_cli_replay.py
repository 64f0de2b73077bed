"""`edge-agent replay`, `rules lint` and `eval nodes`: calls as text, from a file to events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.cli import script
from edge_agent.config import Config
from edge_agent.errors import TranscriptError
from edge_agent.rooms import rule_files
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Cli

RULES = """
rules:
  - {id: test.price, node: objection.price, any: [一二三松果]}
  - {id: test.answer, signal: answer, who: agent, any: [甲乙丙九折]}
  - {id: test.accept, signal: accept, who: customer, any: [^丁戊行$]}
"""
CALL: dict[str, Any] = {
    "id": "t1",
    "started_at": "2026-03-01T09:30:00+08:00",
    "customer_id": "K-7",
    "turns": [
        {"speaker": "agent", "text": "您好。"},
        {"speaker": "customer", "text": " "},
        {"speaker": "customer", "text": "一二三松果，电话13800138000。"},
        {"speaker": "agent", "text": "甲乙丙九折。", "start_ms": 20_000},
        {"speaker": "customer", "text": "丁戊行。"},
    ],
}


def _write(folder: Path, *calls: Any) -> Path:
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(call, ensure_ascii=False) + "\n" for call in calls), encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    path = tmp_path / "config.toml"
    path.write_text(f'[site]\nid = "branch-7"\n[nodes]\nrules = ["{tmp_path}/rules.yaml"]\n', encoding="utf-8")
    return path


def test_events_are_envelopes_with_the_evidence(cli: Cli, tmp_path: Path, config: Path) -> None:
    events = cli.lines("replay", _write(tmp_path, CALL), "--json", "-c", config)
    price = [event for event in events if event["data"]["node"] == "objection.price"]
    assert [event["type"].removeprefix("edge.node.") for event in price] == ["raised", "answered", "closed"]
    raised, answered, closed = price
    assert (raised["source"], raised["subject"]) == ("/sites/branch-7", "t1")
    data = raised["data"]
    assert {key: data[key] for key in ("turn", "speaker", "quote", "confidence", "by", "case", "customer_id")} == {
        "turn": 2,
        "speaker": "customer",
        "quote": "一二三松果，电话***********。",
        "confidence": 0.85,
        "by": "rule:test.price",
        "case": "t1/objection.price/1",
        "customer_id": "K-7",
    }
    assert data["versions"]["rules"]
    assert data["versions"]["dictionary"]
    # 2 characters, a pause, 18 characters; the empty turn takes no time and keeps its index.
    assert (data["start_ms"], data["end_ms"]) == (444 + 600, 444 + 600 + 4000)
    assert raised["time"] == "2026-03-01T01:30:05.044Z"
    assert (answered["data"]["turn"], answered["data"]["start_ms"], closed["data"]["turn"]) == (3, 20_000, 4)


def test_process_nodes_are_raised_at_the_end_of_each_call(cli: Cli, tmp_path: Path) -> None:
    silent = {"turns": [{"speaker": "agent", "text": "喂。", "nodes": ["objection.price"]}]}
    events = cli.lines("replay", _write(tmp_path, silent, silent), "--json")
    assert [(event["subject"], event["type"], event["data"]["turn"]) for event in events] == [
        (name, "edge.node.raised", None) for name in ("call-1", "call-2") for _ in range(2)
    ]
    assert {event["data"]["node"] for event in events} == {
        "process.recording_notice_missing",
        "process.next_step_missing",
    }


def test_standard_input_and_empty_lines(cli: Cli) -> None:
    text = "\n" + json.dumps(CALL) + "\n\n"
    assert {event["subject"] for event in cli.lines("replay", "-", "--json", stdin=text)} == {"t1"}


def test_a_person_sees_the_transcript_the_nodes_and_a_table(cli: Cli, tmp_path: Path, config: Path) -> None:
    shown = cli.run("replay", _write(tmp_path, CALL), "-c", config).stdout
    order = [
        "t1",
        "您好。",
        "一二三松果",
        "▲ 价格异议 objection.price raised",
        "甲乙丙九折",
        "answered",
        "closed",
        "Nodes",
    ]
    places = [shown.index(word) for word in order]
    assert places == sorted(places)


def test_another_pack_may_be_named(cli: Cli, tmp_path: Path) -> None:
    path = _write(tmp_path, CALL)
    versions = {
        cli.lines("replay", path, "--json", "--pack", pack)[0]["data"]["versions"]["dictionary"]
        for pack in ("pharma", "finance")
    }
    assert len(versions) == 2


def test_turns_out_of_order_are_judged_in_the_order_of_their_times(cli: Cli, tmp_path: Path, config: Path) -> None:
    shuffled = {
        "id": "t2",
        "turns": [
            {"speaker": "customer", "text": "丁戊行。", "start_ms": 9000, "end_ms": 9500},
            {"speaker": "customer", "text": "一二三松果。", "start_ms": 1000, "end_ms": 2000},
            {"speaker": "agent", "text": "甲乙丙九折。", "start_ms": 4000, "end_ms": 5000},
        ],
    }
    events = cli.lines("replay", _write(tmp_path, shuffled), "--json", "-c", config)
    price = [event for event in events if event["data"]["node"] == "objection.price"]
    assert [(event["type"].rpartition(".")[2], event["data"]["turn"]) for event in price] == [
        ("raised", 1),
        ("answered", 2),
        ("closed", 0),
    ]


def test_a_turn_of_fifty_thousand_characters_and_other_scripts_are_judged(
    cli: Cli, tmp_path: Path, config: Path
) -> None:
    words = "".join(f"这个第{number}项我们再看看，" for number in range(5000))[:49_990] + "一二三松果。"
    scripts = [
        "Das ist mir zu teuer, ehrlich.",
        "это слишком дорого",
        "السعر مرتفع جدا",
        "価格が高すぎます",
        "😀👍🏽 ok?",
        "\u0000\u200b",
    ]
    turns = [{"speaker": "customer", "text": text} for text in (words, *scripts)]
    events = cli.lines("replay", _write(tmp_path, {"id": "long", "turns": turns}), "--json", "-c", config)
    price = [event for event in events if event["data"]["by"] == "rule:test.price"]
    assert [event["data"]["turn"] for event in price] == [0, 0]  # raised, and unresolved at the end
    assert len(price[0]["data"]["quote"]) <= 200


TURN = {"speaker": "agent", "text": "喂"}
BROKEN = {
    "no JSON": ("{", "not JSON", "one call a line"),
    "no object": ("[]", "not a JSON object", "begin the line"),
    "no turns": ('{"id": "x"}', "without `turns`", '"turns"'),
    "a turn that is no object": ('{"turns": ["喂"]}', "turn 0 is no object", "speaker"),
    "no text": ('{"turns": [{"speaker": "agent"}]}', "turn 0 has no `text`", "text"),
    "no speaker": ('{"turns": [{"text": "喂"}]}', "turn 0 has no `speaker`", "speaker"),
    "another speaker": ('{"turns": [{"text": "喂", "speaker": "boss"}]}', "'boss'", "agent, customer or unknown"),
    "a speaker that is a list": ('{"turns": [{"text": "喂", "speaker": []}]}', "[]", "agent, customer or unknown"),
    "a time in words": (json.dumps({"turns": [{**TURN, "start_ms": "now"}]}), "`start_ms` is 'now'", "milliseconds"),
    "an end before the start": (
        json.dumps({"turns": [{**TURN, "start_ms": 9, "end_ms": 1}]}),
        "ends before it starts",
        "end_ms",
    ),
    "a day in words": ('{"started_at": "today", "turns": []}', "`started_at` is 'today'", "2026-"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named_with_its_remedy(tmp_path: Path, name: str) -> None:
    line, what, remedy = BROKEN[name]
    path = tmp_path / "calls.jsonl"
    path.write_text(f'{{"turns": []}}\n{line}\n', encoding="utf-8")
    with pytest.raises(TranscriptError) as caught:
        list(script.read(path))
    assert caught.value.where == f"{path}:2"
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_what_was_read_before_a_broken_line_is_judged(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(f"{json.dumps(CALL)}\n{{\n", encoding="utf-8")
    done = cli.run("replay", path, "--json", code=10)
    assert done.stdout.count("edge.node.raised") >= 2
    assert done.stderr.startswith(f"Error: {path}:2: not JSON")


def test_a_missing_file_and_bytes_that_are_no_text(cli: Cli, tmp_path: Path) -> None:
    assert "No such file" in cli.run("replay", tmp_path / "none.jsonl", code=10).stderr
    (tmp_path / "gbk.jsonl").write_bytes("贵".encode("gb18030"))
    assert "iconv" in cli.run("replay", tmp_path / "gbk.jsonl", code=10).stderr


def test_lint_counts_what_is_right(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("rules:\n  - {id: own, node: objection.price, any: [<会话·日子>太贵]}\n", encoding="utf-8")
    assert cli.run("rules", "lint", file).stdout == f"{file}: ok, 1 rules\n"
    assert cli.lines("rules", "lint", file, "--json") == [
        {"type": "rules", "file": str(file), "ok": True, "rules": 1, "errors": []}
    ]


def test_lint_names_every_error_and_fails(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("rules:\n  - {id: a, node: objection.prise, any: [贵]}\n  - {id: b}\n", encoding="utf-8")
    done = cli.run("rules", "lint", file, code=6)
    assert done.stderr.splitlines() == [
        f"Error: {file}:2: unknown node `objection.prise`",
        "Try: did you mean `objection.price`?",
        f"Error: {file}:3: rule `b` must say what it raises",
        "Try: give it either `node:` or `signal:`",
    ]
    (line,) = cli.lines("rules", "lint", file, "--json", code=6)
    assert [error["where"] for error in line["errors"]] == [f"{file}:2", f"{file}:3"]


def test_the_shipped_rules_are_clean(cli: Cli) -> None:
    files = rule_files(Config())
    assert TOP / "dictionaries" / "common" / "conversation.yaml" in files
    assert len(cli.lines("rules", "lint", *files, "--json")) == len(files)


LABELLED: dict[str, Any] = {
    "id": "t1",
    "turns": [
        {"speaker": "customer", "text": "一二三松果。", "nodes": ["objection.price", "risk.churn"]},
        {"speaker": "agent", "text": "甲乙丙九折。", "nodes": []},
        {"speaker": "customer", "text": "丁戊行。一二三松果。", "nodes": []},
    ],
    "states": {"objection.price": "closed", "risk.churn": "closed"},
    "process": ["process.next_step_missing"],
    "hard_negatives": [{"turn": 2, "node": "objection.price"}, {"turn": 0, "node": "objection.need"}],
}


def test_eval_counts_right_wrong_and_missed(cli: Cli, tmp_path: Path, config: Path) -> None:
    lines = cli.lines("eval", "nodes", _write(tmp_path, LABELLED), "--json", "--errors", "-c", config)
    by_name = {line["name"]: line for line in lines if "name" in line}
    price = by_name["objection.price"]
    assert (price["right"], price["wrong"], price["missed"]) == (1, 1, 0)
    assert (price["precision"], price["recall"]) == (0.5, 1.0)
    assert (by_name["risk"]["recall"], by_name["risk"]["precision"]) == (0.0, None)
    total = by_name["turn nodes"]
    assert (total["right"], total["wrong"], total["missed"], total["f1"]) == (1, 1, 1, 0.5)
    shares = {line["type"]: (line["right"], line["of"]) for line in lines if "of" in line}
    assert shares == {"hard_negatives": (1, 2), "states": (0, 2), "process": (2, 3)}
    errors = {(line["kind"], line["node"], line["turn"]) for line in lines if line["type"] == "error"}
    assert errors == {
        ("miss", "risk.churn", 0),
        ("false alarm", "objection.price", 2),
        ("hard negative", "objection.price", 2),
        ("state", "objection.price", None),
        ("state", "risk.churn", None),
        ("process", "process.recording_notice_missing", None),
    }


def test_eval_shows_people_a_table_and_the_errors(cli: Cli, tmp_path: Path, config: Path) -> None:
    shown = cli.run("eval", "nodes", _write(tmp_path, LABELLED), "--errors", "-c", config).stdout
    assert "hard negatives refused: 1 of 2 (0.500)" in shown
    assert "false alarm  t1:2 objection.price rule:test.price  丁戊行。一二三松果。" in shown


def test_a_node_noticed_one_turn_late_counts(cli: Cli, tmp_path: Path, config: Path) -> None:
    late = {
        "turns": [
            {"speaker": "customer", "text": "嗯。", "nodes": ["objection.price"]},
            {"speaker": "customer", "text": "一二三松果。", "nodes": []},
        ]
    }
    lines = cli.lines("eval", "nodes", _write(tmp_path, late), "--json", "-c", config)
    assert next(line["f1"] for line in lines if line.get("name") == "objection.price") == 1.0

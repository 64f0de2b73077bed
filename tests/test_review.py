"""Past calls, shadow, review and versions: what is kept beside events, and what people and later calls do with it."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent import archive, event
from edge_agent.errors import DictionaryError
from edge_agent.judging import MUTED, Judging, Knowledge
from edge_agent.nodes import Limits, Rules, training
from edge_agent.nodes.classifier import encoder_in
from edge_agent.nodes.customers import conclude
from edge_agent.store import Store, Verdict, Word, muted, salvage, source
from edge_agent.terms import Dictionary
from edge_agent.types import Call, Finding, OpenCase, PastCall, Speaker, Step, Transcript, Versions
from tests.conftest import TOP

if TYPE_CHECKING:
    from tests.conftest import Cli

BEGAN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RULES = """
rules:
  - {id: dear, node: objection.price, any: [一二三松果]}
  - {id: rival, node: objection.competitor, any: [四五六松果]}
  - {id: answer, signal: answer, who: agent, any: [甲乙丙九折]}
  - {id: accept, signal: accept, who: customer, any: [^丁戊行$]}
"""
OTHER = RULES.replace("四五六松果", "七八九松果")


def _rules(folder: Path, text: str = RULES, name: str = "rules.yaml") -> Rules:
    (folder / name).write_text(text, encoding="utf-8")
    return Rules.load([folder / name])


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return Dictionary.load(TOP / "dictionaries", ("retail",))


def _call(number: int = 1, customer: str | None = "K-7") -> Call:
    speakers = (Speaker.AGENT, Speaker.CUSTOMER)
    return Call(f"c{number}", "test", BEGAN + timedelta(days=number), speakers, customer_id=customer)


def _said(call: Call, *texts: str) -> list[Transcript]:
    """Turns of the customer, and of the agent where a text begins with `A:`."""
    return [
        Transcript(
            call.id,
            1,
            Speaker.AGENT if text.startswith("A:") else Speaker.CUSTOMER,
            turn,
            turn * 3000,
            turn * 3000 + 2000,
            text.removeprefix("A:"),
            text.removeprefix("A:"),
        )
        for turn, text in enumerate(texts)
    ]


def _judged(judging: Judging, *texts: str) -> list[Finding]:
    found = [finding for said in _said(judging.call, *texts) for finding in judging.hear(said)]
    return found + judging.end(10_000)


def _steps(findings: list[Finding], node: str = "objection.price") -> list[tuple[str, str | None]]:
    return [(finding.step.value, finding.case) for finding in findings if finding.node == node]


# ---- the customer's next call


def test_an_open_objection_goes_on_in_the_customers_next_call(tmp_path: Path, dictionary: Dictionary) -> None:
    knowledge = Knowledge(dictionary, _rules(tmp_path), Limits())
    first = Judging(_call(1), knowledge)
    case = "c1/objection.price/1"
    assert _steps(_judged(first, "一二三松果。")) == [("raised", case), ("unresolved", case)]
    assert first.memory is not None
    assert first.memory.cases == (OpenCase(case, "objection.price", False, "warning"),)

    quiet = Judging(_call(2), knowledge, (first.memory,))
    assert _steps(_judged(quiet, "喂。")) == []
    assert quiet.memory is not None
    assert quiet.memory.cases == first.memory.cases

    last = Judging(_call(3), knowledge, (first.memory, quiet.memory))
    found = _judged(last, "一二三松果。", "A:甲乙丙九折。", "丁戊行。")
    assert _steps(found) == [("repeated", case), ("answered", case), ("closed", case)]
    assert last.memory is not None
    assert last.memory.cases == ()


def test_what_was_put_off_is_reopened_and_a_denial_lets_it_sleep_again(tmp_path: Path, dictionary: Dictionary) -> None:
    knowledge = Knowledge(dictionary, _rules(tmp_path), Limits())
    past = PastCall("c0", "K-7", BEGAN, frozenset(), (OpenCase("c0/x/1", "objection.price", True, "warning"),))
    judging = Judging(_call(), knowledge, (past,))
    assert _steps(_judged(judging, "一二三松果。"))[0] == ("reopened", "c0/x/1")


def test_a_caller_without_a_number_is_not_remembered(tmp_path: Path, dictionary: Dictionary) -> None:
    judging = Judging(_call(customer=None), Knowledge(dictionary, _rules(tmp_path), Limits()))
    _judged(judging, "一二三松果。")
    assert judging.memory is None


ACROSS = """
rules:
  - {id: dear, node: objection.price, any: [一二三松果]}
  - id: often
    name: 三次嫌贵
    node: customer.often
    across: {calls: 3, with: [objection.price], without: [objection.need], within_days: 2}
"""


def test_a_rule_across_calls_names_the_calls_and_forgets_old_ones(tmp_path: Path) -> None:
    from edge_agent.nodes import CallJudge

    rules = _rules(tmp_path, ACROSS)

    def end(call: Call, past: list[PastCall]) -> list[Finding]:
        judge = CallJudge(rules)
        judge.hear(_said(call, "一二三松果。")[0])
        findings, memory = conclude(judge, rules, call, past, 9000)
        assert memory is not None
        past.append(memory)
        return [finding for finding in findings if finding.node == "customer.often"]

    past: list[PastCall] = []
    assert end(_call(1), past) == end(_call(2), past) == []
    (found,) = end(_call(3), past)
    assert (found.quote, found.calls, found.turn) == ("三次嫌贵", ("c1", "c2", "c3"), None)
    assert end(_call(9), past) == []


def test_three_calls_without_an_offer_raise_the_shipped_rule(cli: Cli, tmp_path: Path) -> None:
    ask = {"speaker": "customer", "text": "你们这个多少钱一台，给我报个价吧？"}
    calls = [
        {"id": f"q{number}", "customer_id": "K-9", "started_at": f"2026-03-0{number}T09:00:00+08:00", "turns": turns}
        for number, turns in enumerate(
            ([ask], [ask, {"speaker": "agent", "text": "单价是三千八百元。"}], [ask], [ask], [ask]), 1
        )
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(call, ensure_ascii=False) + "\n" for call in calls), encoding="utf-8")
    raised = [one for one in cli.lines("replay", path, "--json") if one["data"]["node"].startswith("customer.")]
    assert [(one["subject"], one["data"]["node"], one["data"]["calls"]) for one in raised] == [
        ("q5", "customer.quotes_unanswered", ["q3", "q4", "q5"])
    ]
    assert raised[0]["data"]["quote"] == "近三次询价均未进入报价阶段"


# ---- shadow


def test_what_is_muted_raises_nothing_and_is_recorded(tmp_path: Path, dictionary: Dictionary) -> None:
    knowledge = Knowledge(dictionary, _rules(tmp_path), Limits(), muted=frozenset({"rule:dear"}))
    judging = Judging(_call(), knowledge)
    found = _judged(judging, "一二三松果。四五六松果。")
    assert {finding.node for finding in found if finding.turn is not None} == {"objection.competitor"}
    (shadowed,) = judging.shadowed("s")
    assert (shadowed.who, shadowed.gained, shadowed.node) == (MUTED, True, "objection.price")
    assert shadowed.event.data["by"] == "rule:dear"


def test_a_candidate_judges_beside_and_changes_nothing(tmp_path: Path, dictionary: Dictionary) -> None:
    plain = Knowledge(dictionary, _rules(tmp_path), Limits())
    candidate = Knowledge(dictionary, _rules(tmp_path, OTHER, "other.yaml"), Limits())
    texts = ("一二三松果。", "四五六松果。", "七八九松果。")
    alone = _judged(Judging(_call(), plain), *texts)
    judging = Judging(_call(), Knowledge(dictionary, plain.rules, Limits(), candidates=(candidate,)))
    assert _judged(judging, *texts) == alone
    told = [(each.gained, each.node, each.event.data["turn"]) for each in judging.shadowed("s")]
    assert told == [(True, "objection.competitor", 2), (False, "objection.competitor", 1)]
    assert {each.who for each in judging.shadowed("s")} == {candidate.version}


# ---- the store


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "state" / "edge-agent.db") as opened:
        yield opened


def _raise(store: Store, by: str = "rule:dear", call: Call | None = None, text: str = "一二三松果。") -> event.Event:
    call = call or _call()
    finding = Finding(Step.RAISED, "objection.price", Speaker.CUSTOMER, text, 0, 2000, 0.9, by, turn=1)
    made = event.node_event("s", call, finding, Versions())
    said = _said(call, "A:您看多少合适？", text)
    store.keep(calls=[call], transcripts=said, events=[made])
    return made


def test_past_calls_come_back_as_they_were_oldest_first(store: Store) -> None:
    calls = [
        PastCall(
            f"c{number}",
            "K-7",
            BEGAN + timedelta(days=number),
            frozenset({"quote"}),
            (OpenCase("i", "n", True, "info"),),
        )
        for number in (2, 1, 3)
    ]
    store.keep(remembered=[*calls, PastCall("d", "K-8", BEGAN, frozenset())])
    store.keep(remembered=calls)
    assert store.reviews.past_calls("K-7") == (calls[1], calls[0], calls[2])
    assert store.reviews.past_calls("K-0") == ()


def test_what_runs_in_shadow_has_no_place_in_the_outbox(store: Store) -> None:
    made = _raise(store)
    seen = event.Shadowed("v2", True, event.node_event("s", _call(), _finding(), Versions()))
    lost = event.Shadowed("v2", False, event.node_event("s", _call(), _finding(), Versions()))
    store.keep(shadowed=[seen, lost])
    assert store.reviews.shadowed("v2") == [seen, lost]
    assert store.reviews.shadowed("v1") == []
    assert [row.id for row in store.pending(0, 10)] == [made.id]
    assert {each.event.id: each.shadow for each in store.reviews.waiting()} == {made.id: None, seen.event.id: "v2"}


def _finding() -> Finding:
    return Finding(Step.RAISED, "objection.need", Speaker.CUSTOMER, "用不上", 0, 2000, 0.9, "rule:x", turn=1)


def test_a_rule_of_which_too_little_is_accepted_is_muted_until_it_is_released(store: Store) -> None:
    for number in range(10):
        made = _raise(store, call=_call(number + 1))
        word, label = (Word.ACCEPTED, "objection.price") if number < 4 else (Word.REJECTED, "none")
        store.reviews.judge(
            Verdict(made.id, made.subject, word, "objection.price", label, "rule:dear", "t", "", "customer", BEGAN)
        )
        expected = frozenset({"rule:dear"}) if number == 9 else frozenset()
        assert muted(store.reviews.shares(), 0.5, 10) == expected
    assert muted(store.reviews.shares(), 0.4, 10) == frozenset()
    store.reviews.release("rule:dear")
    assert store.reviews.shares() == []
    assert len(store.reviews.verdicts()) == 10


def test_verdicts_and_past_calls_are_saved_from_a_damaged_database(store: Store, tmp_path: Path) -> None:
    made = _raise(store)
    verdict = Verdict(made.id, "c1", Word.REJECTED, "objection.price", "none", "rule:dear", "t", "b", "customer", BEGAN)
    store.reviews.judge(verdict)
    store.reviews.release("rule:other")
    past = PastCall("c1", "K-7", BEGAN, frozenset({"quote"}))
    store.reviews.remember([past])
    with Store.open(tmp_path / "new.db") as new:
        salvage(new, store.database.path)
        assert (new.reviews.verdicts(), new.reviews.past_calls("K-7")) == ([verdict], (past,))


def test_a_class_is_counted_whatever_the_version_of_the_classifier() -> None:
    assert source("classifier:abc", "risk.churn") == "classifier:risk.churn"
    assert source("rule:dear", "objection.price") == "rule:dear"


# ---- the commands


def test_review_lists_accepts_rejects_and_relabels(cli: Cli, store: Store) -> None:
    ids = [_raise(store, call=_call(number)).id for number in (1, 2, 3)]
    assert {line["event"]["id"] for line in cli.lines("events", "review", "--json")} == set(ids)
    assert "一二三松果" in cli.run("events", "review").stdout
    cli.run("events", "review", ids[0], "--accept")
    (told,) = cli.lines("events", "review", ids[1], "--reject", "--note", "玩笑", "--json")
    assert (told["verdict"], told["label"], told["note"], told["by"]) == ("rejected", "none", "玩笑", "rule:dear")
    assert "as objection.budget" in cli.run("events", "review", "3", "--relabel", "objection.budget").stdout
    assert cli.lines("events", "review", "--json") == []
    (share,) = cli.lines("eval", "verdicts", "--json")
    assert (share["by"], share["accepted"], share["of"], share["shadow"]) == ("rule:dear", 1, 3, False)
    words = [(verdict.text, verdict.before) for verdict in store.reviews.verdicts()]
    assert words == [("一二三松果。", "您看多少合适？")] * 3


def test_review_refuses_what_it_cannot_judge(cli: Cli, store: Store) -> None:
    made = _raise(store)
    assert "no event nothing" in cli.run("events", "review", "nothing", "--accept", code=7).stderr
    assert (
        "did you mean objection.price"
        in cli.run("events", "review", made.id, "--relabel", "objection.prise", code=2).stderr
    )
    assert cli.run("events", "review", made.id, "--accept", "--reject", code=2)
    assert cli.run("events", "review", "--accept", code=2)


def test_what_reviewers_reject_goes_to_shadow_and_release_lets_it_go(cli: Cli, store: Store, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[nodes]\nreview_least = 2\n", encoding="utf-8")
    ids = [_raise(store, call=_call(number)).id for number in (1, 2)]
    cli.run("events", "review", *ids, "--reject", "-c", config)
    assert cli.lines("nodes", "shadow", "--json", "-c", config) == [
        {"type": "muted", "by": "rule:dear", "accepted": 0, "of": 2}
    ]
    assert "in shadow" in cli.run("eval", "verdicts", "-c", config).stdout
    cli.run("nodes", "release", "rule:dear", "-c", config)
    assert "nothing is in shadow" in cli.run("nodes", "shadow", "-c", config).stdout
    assert "rule:dear is not in shadow" in cli.run("nodes", "release", "rule:dear", "-c", config, code=7).stderr


def test_reviews_are_learned_from_and_the_classifier_is_put_in_force(cli: Cli, store: Store, tmp_path: Path) -> None:
    examples = tmp_path / "packs" / "nodes" / "examples"
    examples.mkdir(parents=True)
    rows = [f"第{number}次觉得贵\t\tcustomer\tobjection.price" for number in range(40)]
    rows += [f"第{number}次天气好\t\tcustomer\tnone" for number in range(40)]
    (examples / "a.tsv").write_text("\n".join([training.COLUMNS, *rows]) + "\n", encoding="utf-8")
    config = tmp_path / "c.toml"
    config.write_text(f'[dictionary]\nfolder = "{tmp_path}/packs"\n', encoding="utf-8")
    made = _raise(store, text="松果要掉了吧")
    cli.run("events", "review", made.id, "--relabel", "objection.price")
    (told,) = cli.lines("nodes", "retrain", "--json", "-c", config)
    assert (told["examples"], told["reviewed"], told["right_after"]) == (83, 1, 1)
    cli.run("nodes", "use", told["file"], "-c", config)
    own = cli.state / "classifier.npz"
    assert own.exists()
    assert encoder_in(own) is not None
    own.write_bytes(b"damaged")
    (told,) = cli.lines("nodes", "retrain", "--json", "-c", config)
    assert (told["right_before"], told["right_after"]) == (None, 1)
    assert encoder_in(Path(told["file"])) is not None
    cli.run("nodes", "use", "shipped", "-c", config)
    assert not (cli.state / "classifier.npz").exists()


# ---- before and after


def _calls(folder: Path) -> Path:
    texts = ("一二三松果。", "四五六松果。", "七八九松果。")
    call = {"id": "t1", "turns": [{"speaker": "customer", "text": text} for text in texts]}
    path = folder / "calls.jsonl"
    path.write_text(json.dumps(call, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _config(folder: Path, text: str) -> Path:
    """A site with one small pack and these rules alone: it is opened in a moment."""
    packs = folder / "packs"
    for name in ("common", "retail"):
        (packs / name).mkdir(parents=True)
    for name in ("pack.toml", "terms.csv", "decoys.csv"):
        lines = (TOP / "dictionaries" / "retail" / name).read_text(encoding="utf-8").splitlines()
        few = lines if name == "pack.toml" else lines[: 4 if name == "terms.csv" else 1]
        (packs / "retail" / name).write_text("\n".join(few) + "\n", encoding="utf-8")
    (packs / "common" / "rules.yaml").write_text(text, encoding="utf-8")
    path = folder / "config.toml"
    nodes = '[nodes]\nclassifier = "off"\n'
    path.write_text(nodes + f'[dictionary]\npacks = ["retail"]\nfolder = "{packs}"\n', encoding="utf-8")
    return path


def test_against_prints_what_is_gained_and_lost_call_by_call(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "before" / "common"
    other.mkdir(parents=True)
    (other / "rules.yaml").write_text(RULES, encoding="utf-8")
    config = _config(tmp_path, OTHER)
    lines = cli.lines("replay", _calls(tmp_path), "--against", other / "rules.yaml", "--json", "-c", config)
    assert [(line["type"], line["turn"], line["quote"]) for line in lines if "turn" in line] == [
        ("gained", 2, "七八九松果。"),
        ("lost", 1, "四五六松果。"),
    ]
    assert {key: lines[-2][key] for key in ("type", "call", "gained", "lost")} == {
        "type": "call",
        "call": "t1",
        "gained": 1,
        "lost": 1,
    }
    assert (lines[-1]["type"], lines[-1]["gained"], lines[-1]["lost"], lines[-1]["calls"]) == ("total", 1, 1, 1)
    assert lines[-1]["before"] != lines[-1]["after"]
    shown = cli.run("replay", _calls(tmp_path), "--against", other / "rules.yaml", "-c", config).stdout
    assert "+ 竞品替代 objection.competitor turn 2" in shown
    assert "- 竞品替代 objection.competitor turn 1" in shown


def test_shadow_tells_what_a_candidate_would_change_after_the_events(cli: Cli, tmp_path: Path) -> None:
    config = _config(tmp_path, RULES)
    other = tmp_path / "next" / "common"
    other.mkdir(parents=True)
    (other / "rules.yaml").write_text(OTHER, encoding="utf-8")
    plain = cli.lines("replay", _calls(tmp_path), "--json", "-c", config)
    lines = cli.lines("replay", _calls(tmp_path), "--shadow", other / "rules.yaml", "--json", "-c", config)
    told = [(line["change"], line["event"]["data"]["turn"]) for line in lines if line.get("type") == "shadow"]
    assert told == [("gained", 2), ("lost", 1)]
    assert len(lines) == len(plain) + 2


def test_a_kept_version_can_be_held_against_and_a_wrong_name_is_explained(cli: Cli, tmp_path: Path) -> None:
    config = _config(tmp_path, OTHER)
    before = _rules(tmp_path, RULES, "old.yaml")
    archive.keep(cli.state / "versions", before.version, [tmp_path / "old.yaml"], None)
    (version,) = cli.lines("nodes", "versions", "--json")
    assert version["name"] == before.version
    lines = cli.lines("replay", _calls(tmp_path), "--against", before.version[:6], "--json", "-c", config)
    assert lines[-1]["before"] == before.version
    wrong = cli.run("replay", _calls(tmp_path), "--against", "0000", "-c", config, code=6).stderr
    assert "no version `0000` is kept here" in wrong
    assert before.version in wrong


def test_calls_that_are_kept_are_replayed_without_a_file(cli: Cli, store: Store, tmp_path: Path) -> None:
    _raise(store)
    (found,) = [
        line
        for line in cli.lines("replay", "--json", "-c", _config(tmp_path, RULES))
        if line["data"]["node"] == "objection.price" and line["type"] == "edge.node.raised"
    ]
    assert (found["subject"], found["data"]["turn"], found["data"]["customer_id"]) == ("c1", 1, "K-7")


def test_versions_are_kept_once_whole_and_in_order(tmp_path: Path) -> None:
    files = []
    for folder, text in (("common", RULES), ("pharma", OTHER)):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "rules.yaml")
        files[-1].write_text(text, encoding="utf-8")
    rules = Rules.load(files)
    kept = archive.keep(tmp_path / "v", rules.version, files, None)
    assert archive.keep(tmp_path / "v", rules.version, [], None) == kept
    version = archive.find(tmp_path / "v", rules.version)
    again = Rules.load(version.rule_files)
    assert again == rules
    assert version.classifier is None
    with pytest.raises(DictionaryError, match="no version"):
        archive.find(tmp_path / "v", "x")


def test_the_commands_that_the_page_shows_exist_with_their_options() -> None:
    from typer.main import get_command

    from edge_agent.cli import app

    page = (TOP / "docs" / "review.md").read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(shown) > 10
    for line in shown:
        command: Any = get_command(app)
        words = shlex.split(line)[1:]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("x", words).close()  # an option or argument that isn't there is refused

"""Every example of docs/rules.md does what the page says, and every operator has one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from edge_agent.nodes import CallJudge, Rules
from edge_agent.nodes.catalogue import SIGNALS
from edge_agent.nodes.customers import patterns
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.match import Context
from edge_agent.nodes.rules import _KEYS
from edge_agent.types import PastCall, Speaker, Step, TermHit, Transcript
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (TOP / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
_LATER = re.compile(r"(\d+) s (later|of talk), ")
_TERM = re.compile(r"\{(\w+):(.+?)\}")
_NOTICED = (Step.RAISED, Step.REPEATED, Step.REOPENED)
_SAID = {"询价": "opportunity.quote_request", "报价": "quote"}
_DAY = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Turn:
    """A turn of an example line."""

    speaker: Speaker
    text: str
    terms: tuple[TermHit, ...]
    later_s: int
    lasts_s: int

    @classmethod
    def read(cls, written: str) -> _Turn:
        later = _LATER.match(written)
        speaker, _, text = _LATER.sub("", written).partition(": ")
        marked = _TERM.search(text)
        terms: tuple[TermHit, ...] = ()
        if marked:
            span = (marked.start(), marked.start() + len(marked[2]))
            terms = (TermHit(marked[2], span, "exact", marked[2], 1.0, category=marked[1]),)
        seconds = int(later[1]) if later else 0
        waits = bool(later and later[2] == "later")
        return cls(
            Speaker(speaker), _TERM.sub(r"\2", text), terms, seconds if waits else 0, 2 if waits else seconds or 2
        )


def _holds(rules: Rules, line: str) -> bool:
    """Say whether a rule of the example holds in the last turn of a line, or at the end of the call."""
    if line.startswith("calls: "):
        return _holds_across(rules, line.removeprefix("calls: "))
    turns = [_Turn.read(written) for written in line.split(" / ")]
    if any(rule.raises in SIGNALS for rule in rules.rules):  # a signal leaves no finding
        last, before = turns[-1], turns[-2].text if len(turns) > 1 else ""
        context = Context(before, last.later_s * 1000, last.terms)
        return bool(rules.matcher.hits(last.text, last.speaker, context))
    judge, now, found = CallJudge(rules), 0, []
    for number, turn in enumerate(turns):
        start = now + turn.later_s * 1000
        now = start + turn.lasts_s * 1000
        found = judge.hear(Transcript("c", 0, turn.speaker, number, start, now, turn.text, turn.text, turn.terms))
    found += judge.end(now)
    ids = {f"rule:{rule.id}" for rule in rules.rules}
    return any(finding.by in ids and finding.step in _NOTICED for finding in found)


def _holds_across(rules: Rules, line: str) -> bool:
    calls = [
        PastCall(str(number), "k", _DAY, frozenset(node for word, node in _SAID.items() if word in said))
        for number, said in enumerate(line.split(" / "))
    ]
    return bool(patterns(rules, calls[:-1], calls[-1], 1000))


@pytest.mark.parametrize(("rule", "lines"), EXAMPLES, ids=[re.findall(r"id: (\S+)", rule)[0] for rule, _ in EXAMPLES])
def test_example_does_what_the_page_says(tmp_path: Path, rule: str, lines: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rule, encoding="utf-8")
    rules = Rules.load([file])
    for line in lines.splitlines():
        marked = line if line[0] in "✓✗" else f"{line[-1]} {line[:-2]}"
        assert _holds(rules, marked[2:]) == (marked[0] == "✓"), line


def test_every_operator_guard_and_signal_is_shown() -> None:
    shown = {key for rule, _ in EXAMPLES for key in re.findall(r"^\s+(?:- )?(\w+):", rule, flags=re.MULTILINE)}
    assert set(_KEYS) <= shown
    assert all(f"| `{name}` |" in PAGE for name in [*GUARDS, *SIGNALS])


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_alone_refuses_a_sentence_of_the_page(tmp_path: Path, guard: str) -> None:
    rule, lines = next(example for example in EXAMPLES if "id: guarded" in example[0])
    refused = {}
    for unless in (f"[{guard}]", "[]"):
        file = tmp_path / "rules.yaml"
        file.write_text(re.sub(r"unless: .*", f"unless: {unless}", rule), encoding="utf-8")
        rules = Rules.load([file])
        refused[unless] = [line for line in lines.splitlines() if not _holds(rules, line[2:])]
    assert refused["[]"] == []
    assert refused[f"[{guard}]"]

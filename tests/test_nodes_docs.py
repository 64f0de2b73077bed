"""Every example of docs/rules.md does what the page says, and every operator has one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from edge_agent.nodes import Rules
from edge_agent.nodes.catalogue import SIGNALS
from edge_agent.nodes.guard import GUARDS
from edge_agent.nodes.match import Context
from edge_agent.nodes.rules import _KEYS
from edge_agent.types import Speaker, TermHit
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (TOP / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
_LATER = re.compile(r"(\d+) s later, ")
_TERM = re.compile(r"\{(\w+):(.+?)\}")


def _holds(rules: Rules, line: str) -> bool:
    """Judge the last turn of an example line."""
    later = _LATER.match(line)
    turns = _LATER.sub("", line).split(" / ")
    speaker, _, text = turns[-1].partition(": ")
    marked = _TERM.search(text)
    terms = (TermHit(marked[2], (0, 0), "exact", marked[2], 1.0, category=marked[1]),) if marked else ()
    before = turns[-2].partition(": ")[2] if len(turns) > 1 else ""
    context = Context(before, int(later[1]) * 1000 if later else 0, terms)
    return bool(rules.matcher.hits(_TERM.sub(r"\2", text), Speaker(speaker), context))


@pytest.mark.parametrize(("rule", "lines"), EXAMPLES, ids=[re.findall(r"id: (\S+)", rule)[0] for rule, _ in EXAMPLES])
def test_example_does_what_the_page_says(tmp_path: Path, rule: str, lines: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rule, encoding="utf-8")
    rules = Rules.load([file])
    for line in lines.splitlines():
        assert _holds(rules, line[2:]) == (line[0] == "✓"), line


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

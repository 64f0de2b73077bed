"""Whole calls with labels on every turn: what the classifier learns most from, and what a person can write by hand.

A file holds calls with an empty line between them:

    # saas | 考勤系统续费电话
    A 上次您说门店打卡老出岔子，现在还是三十几个人在用？ || discovery
    C 可不嘛，前天又有两个人的记录没了，叫我怎么敢再续一年。 || objection.quality, risk.churn
    A 那两条是手机没联网，我让后台补回来了。 || answer
    C 哦，能补回来那还行。 || accept
    = objection.quality:closed

`A` is the agent, `C` the customer; after `||` stand the nodes that the turn raises and what it does (signals), often
nothing: whatever isn't named does not hold. `=` gives the state in which each objection of the call ends.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError
from edge_agent.nodes.catalogue import CATALOGUE, SIGNALS
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TURN = re.compile(r"([AC]) (.*\S) *\|\|(.*)")
_SAYS = {"A": Speaker.AGENT, "C": Speaker.CUSTOMER}
_STATES = ("closed", "deferred", "unresolved")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one party says until the other speaks, the nodes it raises and what it does."""

    speaker: Speaker
    text: str
    nodes: frozenset[str]
    signals: frozenset[str]


@dataclass(frozen=True, slots=True)
class LabelledCall:
    """A call in turns; `states` is the final state of every objection that it has."""

    industry: str
    title: str
    turns: tuple[Turn, ...]
    states: dict[str, str]

    @property
    def held_out(self) -> bool:
        """Whether the call is one of the tenth that nothing learns from; by its title, so that it stays there."""
        return hashlib.sha256(self.title.encode()).digest()[0] % 10 == 0


def read_calls(files: Iterable[Path]) -> list[LabelledCall]:
    """Read files of labelled calls.

    Raises:
        DictionaryError: a file or a line is wrong; names file and line.
    """
    return [call for path in files for call in _calls(path)]


def read_held(path: Path) -> list[LabelledCall]:
    """Read calls in the form in which they are evaluated, JSON Lines, whose turns have `signals` beside `nodes`.

    Raises:
        DictionaryError: the file is missing or a line is wrong.
    """
    calls = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            call = json.loads(line)
            turns = tuple(
                Turn(Speaker(one["speaker"]), one["text"], frozenset(one["nodes"]), frozenset(one["signals"]))
                for one in call["turns"]
            )
            calls.append(LabelledCall(call["industry"], call["title"], turns, call["states"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DictionaryError(
            f"the calls held back can't be read: {error!r}", where=str(path), remedy="`scripts/take_calls` makes it"
        ) from error
    return calls


def _calls(path: Path) -> list[LabelledCall]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DictionaryError(
            f"the calls can't be read: {error}", where=str(path), remedy="a text file in UTF-8"
        ) from error
    calls: list[LabelledCall] = []
    turns: list[Turn] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.startswith("# "):
                industry, bar, title = line[2:].partition("|")
                if not bar or not title.strip():
                    raise ValueError("a call begins with `# industry | title`")
                turns = []
                calls.append(LabelledCall(industry.strip(), title.strip(), (), {}))
            elif line.strip() and not calls:
                raise ValueError("a call begins with `# industry | title`")
            elif line.startswith("= "):
                calls[-1].states.update(_states(line[2:]))
            elif line.strip():
                turns.append(_turn(line))
                calls[-1] = LabelledCall(calls[-1].industry, calls[-1].title, tuple(turns), calls[-1].states)
        except ValueError as error:
            raise DictionaryError(
                f"not a labelled call: {error}",
                where=f"{path}:{number}",
                remedy="`A what is said || node, signal`, `C …`, or `= objection.price:closed`",
            ) from error
    return calls


def _turn(line: str) -> Turn:
    match = _TURN.fullmatch(line)
    if match is None:
        raise ValueError("no `A` or `C` at the beginning, no text, or no `||`")
    labels = frozenset(label.strip() for label in match[3].split(",") if label.strip())
    for label in labels - CATALOGUE.keys() - SIGNALS.keys():
        raise ValueError(f"unknown node or signal `{label}`")
    return Turn(_SAYS[match[1]], match[2], labels & CATALOGUE.keys(), labels & SIGNALS.keys())


def _states(text: str) -> dict[str, str]:
    states = {}
    for part in text.split(","):
        node, _, state = part.strip().partition(":")
        if node not in CATALOGUE or state not in _STATES:
            raise ValueError(f"`{part.strip()}` is no objection with its state (one of {', '.join(_STATES)})")
        states[node] = state
    return states

"""Nodes: the moments of a call that matter, and whether they were dealt with.

`Rules` are data (YAML); a `CallJudge` applies them to one call. See `docs/rules.md` for how rules are written.
"""

from __future__ import annotations

from edge_agent.nodes.catalogue import CATALOGUE as catalogue  # noqa: N811 - the public name is a word of the field
from edge_agent.nodes.catalogue import Family, Kind
from edge_agent.nodes.classifier import Classifier
from edge_agent.nodes.judge import CallJudge, Limits
from edge_agent.nodes.rules import Rule, Rules

__all__ = ["CallJudge", "Classifier", "Family", "Kind", "Limits", "Rule", "Rules", "catalogue"]

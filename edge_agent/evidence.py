"""When terms were said: the spans of a text in characters become spans of the call in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from edge_agent.asr.overlap import without_lead as _without_lead

if TYPE_CHECKING:
    from edge_agent.terms import Recognition
    from edge_agent.types import Hypothesis, TermHit, Utterance


def without_lead(before: str, hypothesis: Hypothesis, utterance: Utterance) -> Hypothesis:
    """Return a hypothesis without what the utterance before it has heard already (`edge_agent.asr.overlap`)."""
    if not utterance.lead_ms:
        return hypothesis
    text = _without_lead(before, hypothesis.text)
    cut = len(hypothesis.text) - len(text)
    if not cut:
        return hypothesis
    readings = tuple(
        replace(one, start=one.start - cut, end=one.end - cut) for one in hypothesis.readings if one.start >= cut
    )
    return replace(hypothesis, text=text, readings=readings, times_ms=hypothesis.times_ms[cut:])


def timed(recognition: Recognition, hypothesis: Hypothesis, utterance: Utterance) -> tuple[TermHit, ...]:
    """Return the hits of a text with when they were said, in ms of the call.

    The recognizer says when each character was heard, if it knows; otherwise the characters share the utterance evenly.
    """
    begin = utterance.start_ms - utterance.lead_ms
    count = len(hypothesis.text)
    times = hypothesis.times_ms
    if len(times) != count:
        length = utterance.end_ms - utterance.start_ms
        edges = [utterance.lead_ms + length * at // max(1, count) for at in range(count + 1)]
        times = tuple(pairwise(edges))
    hits = []
    longer = 0  # by how much the text has grown before a hit
    for hit in recognition.terms:
        start = hit.at[0] - longer
        end = start + len(hit.heard)
        longer += hit.at[1] - hit.at[0] - len(hit.heard)
        span = begin + times[start][0], begin + times[end - 1][1]
        hits.append(replace(hit, span_ms=(max(utterance.start_ms, span[0]), min(utterance.end_ms, span[1]))))
    return tuple(hits)

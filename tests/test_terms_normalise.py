"""Normalising forgets width, case and blanks, and never where a character came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.terms.normalise import normalise

TEXT = st.text(alphabet=st.one_of(st.sampled_from("GgＭｐ12３ \u3000\t认证做，。ßŉé"), st.characters()))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("ＧＭＰ认证", "GMP认证"),
        ("g m p 认证", "GMP认证"),
        ("做 G M P 认证 吗", "做GMP认证 吗"),
        ("３\u3000０ 天", "30天"),
        ("好 的", "好 的"),
        ("GMP ，对", "GMP ,对"),
        ("straße", "STRAßE"),
        ("", ""),
        ("  ", "  "),
    ],
)
def test_what_is_forgotten_and_what_is_not(said: str, text: str) -> None:
    assert normalise(said).text == text


@given(TEXT)
def test_every_character_knows_where_it_came_from(said: str) -> None:
    normal = normalise(said)
    assert len(normal.origin) == len(normal.text)
    assert all(a < b for a, b in zip(normal.origin, normal.origin[1:], strict=False))
    for char, at in zip(normal.text, normal.origin, strict=True):
        assert normalise(said[at]).text == char
    dropped = set(range(len(said))) - set(normal.origin)
    assert all(said[at] in " \t\u3000" for at in dropped)


@given(TEXT)
def test_normalising_again_changes_nothing(said: str) -> None:
    once = normalise(said).text
    assert normalise(once).text == once


@given(TEXT, st.data())
def test_a_span_holds_what_it_stands_for(said: str, data: st.DataObject) -> None:
    normal = normalise(said)
    if not normal.text:
        return
    start = data.draw(st.integers(0, len(normal.text) - 1))
    end = data.draw(st.integers(start + 1, len(normal.text)))
    first, last = normal.span(start, end)
    assert normalise(said[first:last]).text == normal.text[start:end]


@pytest.mark.parametrize(
    ("said", "part", "whole"),
    [
        ("ENTERPRISE", "ERP", False),
        ("enter ERP now", "ERP", True),
        ("用ERP系统", "ERP", True),
        ("15G网络", "5G", False),
        ("5mg一片", "MG", True),
        ("ｘERP", "ERP", False),
    ],
)
def test_no_word_and_no_number_is_cut_in_two(said: str, part: str, whole: bool) -> None:
    normal = normalise(said)
    start = normal.text.index(part)
    assert normal.whole(start, start + len(part)) is whole

"""Noise that is made on purpose: every kind does what its name says, and the seed decides."""

from __future__ import annotations

import pytest

from edge_agent.phonetics import syllables
from edge_agent.terms.noise import HOMOPHONES, KINDS, NEAR, Noise, draw, held_out

TERMS = ("集采目录编码", "GMP认证", "一致性评价", "深沟球轴承", "房地产热能", "双减政策", "女装呢料", "饭后服用")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_befalls_some_term(kind: str) -> None:
    lines = list(draw(TERMS, ["我要{}"], [kind], 20, 3))
    assert len(lines) == 20
    assert all(line.heard != line.said and line.kind == kind and line.terms[0] in line.said for line in lines)
    if kind in HOMOPHONES + NEAR:  # what the house takes for one sound
        assert all(syllables(line.heard) == syllables(line.said) for line in lines)
    elif kind in ("aspiration", "vowel", "random"):
        assert all(syllables(line.heard) != syllables(line.said) for line in lines)
    longer = {len(line.heard) - len(line.said) for line in lines}
    assert longer == {"dropped": {-1}, "inserted": {1}}.get(kind, longer)


def test_the_seed_decides() -> None:
    assert list(draw(TERMS, ["{}"], KINDS, 5, 3)) == list(draw(TERMS, ["{}"], KINDS, 5, 3))
    assert list(draw(TERMS, ["{}"], KINDS, 5, 3)) != list(draw(TERMS, ["{}"], KINDS, 5, 4))


def test_a_transcript_is_spoilt_to_the_wanted_share() -> None:
    text = "我们过了认证以后再谈价格的事情你看可以吗" * 100
    spoilt = Noise(1).spoil(text, 0.1)
    assert Noise(1).spoil(text, 0.0) == text
    kept = sum(a == b for a, b in zip(text, Noise(2).spoil(text, 0.0), strict=True))
    assert kept == len(text)
    from edge_agent.asr.score import score

    assert 0.07 < score(text, spoilt).cer < 0.13  # type: ignore[operator]


def test_half_of_the_terms_is_held_out() -> None:
    names = [f"词{number}" for number in range(1000)]
    assert 400 < sum(map(held_out, names)) < 600


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind of noise"):
        Noise().hurt("集采", "echo")

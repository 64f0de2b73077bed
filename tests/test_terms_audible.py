"""What the dictionary makes of what the audio suggests, and when it was said."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent import evidence
from edge_agent.terms import Decoy, Dictionary, Pack, Phonetic, Term
from edge_agent.types import Hypothesis, Reading, Speaker, Utterance

HEARD = "听说寒酸酯练最近在抢这个单子"


def dictionary(*terms: Term, decoys: tuple[Decoy, ...] = ()) -> Dictionary:
    return Dictionary.compile([Pack("a", terms=terms or (Term("瀚川智联", "company"),), decoys=decoys)])


def reading(heard: str, piece: str, put: str, evidence: float = 0.0, near: float = 0.7) -> Reading:
    start = heard.index(piece)
    return Reading(start, start + len(piece), put, evidence, near, len(put))


def said(heard: str, *readings: Reading, of: Dictionary | None = None) -> list[tuple[str, str, str]]:
    recognition = (of or dictionary()).recognise(heard, readings)
    assert recognition.heard == heard
    return [(hit.term, hit.via, hit.heard) for hit in recognition.terms]


def test_a_reading_is_believed_where_plain_language_makes_no_sense() -> None:
    recognition = dictionary().recognise(HEARD, [reading(HEARD, "寒酸酯练", "瀚川智联")])
    assert recognition.text == "听说瀚川智联最近在抢这个单子"
    (hit,) = recognition.terms
    assert (hit.via, hit.heard, hit.at, hit.score, hit.category) == ("audio", "寒酸酯练", (2, 6), 0.7, "company")


@pytest.mark.parametrize(
    ("heard", "one"),
    [
        ("我们这个月可以", reading("我们这个月可以", "这个月", "哲歌岳")),  # plain language
        (HEARD, reading(HEARD, "寒酸酯练", "瀚川智联", evidence=-25)),  # the audio speaks against it
        (HEARD, reading(HEARD, "寒酸酯练", "瀚川智联", near=0.05)),  # too far from what was heard
        ("听说寒酸，酯练最近", reading("听说寒酸，酯练最近", "寒酸，酯练", "瀚川智联", near=0.4)),  # across a pause
        (HEARD, reading(HEARD, "寒酸酯练", "汉川制联")),  # of another dictionary
    ],
)
def test_what_is_not_believed(heard: str, one: Reading) -> None:
    assert said(heard, one, of=dictionary(Term("瀚川智联"), Term("哲歌岳"))) == []


def test_a_decoy_stops_it_for_good() -> None:
    one = reading(HEARD, "寒酸酯练", "瀚川智联")
    for decoy in (Decoy("寒酸酯练", "瀚川智联"), Decoy("寒酸", "")):
        assert said(HEARD, one, of=dictionary(Term("瀚川智联"), decoys=(decoy,))) == []
    assert said(HEARD, one, of=dictionary(Term("瀚川智联"), decoys=(Decoy("寒酸酯练", "汉川"),))) != []


def test_a_term_that_must_not_be_corrected_is_left_alone_by_the_audio_too() -> None:
    assert (
        said(HEARD, reading(HEARD, "寒酸酯练", "瀚川智联"), of=dictionary(Term("瀚川智联", phonetic=Phonetic.OFF)))
        == []
    )


def test_of_two_readings_the_likelier_one_counts_and_none_if_both_are_far_off_and_as_likely() -> None:
    both = dictionary(Term("瀚川智联"), Term("韩川制链"))
    one, other = (reading(HEARD, "寒酸酯练", put) for put in ("瀚川智联", "韩川制链"))
    assert said(HEARD, one, reading(HEARD, "寒酸酯练", "韩川制链", evidence=2), of=both)[0][0] == "韩川制链"
    assert len(said(HEARD, one, other, of=both)) == 1
    far = [reading(HEARD, "寒酸酯练", put, evidence=6, near=0.2) for put in ("瀚川智联", "韩川制链")]
    assert said(HEARD, *far, of=both) == []
    assert said(HEARD, far[0], of=both) == [("瀚川智联", "audio", "寒酸酯练")]


def test_what_is_a_term_already_stays() -> None:
    heard = "做一致性评价的事"
    both = dictionary(Term("一致性评价"), Term("易质性凭价"))
    assert said(heard, reading(heard, "一致性评价", "易质性凭价", evidence=1), of=both) == [
        ("一致性评价", "exact", "一致性评价")
    ]


def test_what_the_text_alone_shows_is_said_to_be_phonetic() -> None:
    heard = "听说翰川直联最近"
    assert said(heard, reading(heard, "翰川直联", "瀚川智联", evidence=2)) == [("瀚川智联", "phonetic", "翰川直联")]


def test_where_the_decoder_weighed_both_the_better_one_wins() -> None:
    heard = "听说寒酸酯练最近在抢这个单子"
    better, worse = (Reading(2, 6, "瀚川智联", evidence, 0.4, 4, "decoder") for evidence in (0.5, -0.5))
    assert said(heard, better) == [("瀚川智联", "audio", "寒酸酯练")]
    assert said(heard, worse) == []


def test_the_text_hints_at_more_than_it_shows() -> None:
    both = dictionary(Term("重疾险", "product"), Term("一致性评价"))
    (doubt,) = both.doubts("那份重疾办到期")
    assert (doubt.put, doubt.by, "那份重疾办到期"[doubt.start : doubt.end]) == ("重疾险", "decoder", "重疾办")
    assert both.doubts("做一致性平价") == []  # that is sure
    assert both.mentions("做一致性评价")
    assert not both.mentions("做一致性平价")


def test_a_term_of_two_syllables_is_put_only_where_the_audio_has_it() -> None:
    heard = "跟寒穿的人"
    two = dictionary(Term("瀚川"))
    assert said(heard, of=two) == []
    assert said(heard, reading(heard, "寒穿", "瀚川", near=0.9), of=two) == [("瀚川", "audio", "寒穿")]
    assert said(heard, reading(heard, "寒穿", "瀚川", near=0.5), of=two) == []
    plain = "跟传统的人"
    assert said(plain, reading(plain, "传统", "瀚川", near=0.9), of=two) == []


# ---- when it was said


def utterance(lead_ms: int = 0) -> Utterance:
    return Utterance("c", 0, Speaker.AGENT, 10_000, 12_000, np.zeros(1, np.float32), lead_ms=lead_ms)


def spans(hypothesis: Hypothesis, of: Utterance, *readings: Reading) -> list[tuple[int, int] | None]:
    both = dictionary(Term("瀚川智联"), Term("单子"))
    return [hit.span_ms for hit in evidence.timed(both.recognise(hypothesis.text, readings), hypothesis, of)]


def test_hits_are_timed_by_what_was_heard_though_the_text_grows() -> None:
    heard = "听说寒酸练抢单子"
    times = tuple((100 * at, 100 * at + 80) for at in range(len(heard)))
    one = Reading(2, 5, "瀚川智联", 4.0, 0.6, 4)
    assert spans(Hypothesis(heard, 0.9, times_ms=times), utterance(), one) == [(10_200, 10_480), (10_600, 10_780)]
    assert spans(Hypothesis(heard, 0.9, times_ms=times), utterance(300), one)[1] == (10_300, 10_480)


def test_without_times_the_characters_share_the_utterance() -> None:
    assert spans(Hypothesis("听说单子", 0.9), utterance()) == [(11_000, 12_000)]
    assert spans(Hypothesis("听说单子", 0.9), utterance(400)) == [(11_000, 12_000)]


def test_what_two_utterances_heard_moves_readings_and_times() -> None:
    heard = "最近在抢单子寒酸酯练"
    times = tuple((100 * at, 100 * at + 100) for at in range(len(heard)))
    one = reading(heard, "寒酸酯练", "瀚川智联")
    cut = evidence.without_lead("他们最近在抢", Hypothesis(heard, 0.9, readings=(one,), times_ms=times), utterance(400))
    assert cut.text == "单子寒酸酯练"
    assert cut.times_ms[0] == (400, 500)
    assert cut.readings[0].start == 2
    assert evidence.without_lead("他们最近在抢", Hypothesis(heard, 0.9), utterance()).text == heard


def test_a_hit_from_text_alone_has_no_time() -> None:
    (hit,) = dictionary(Term("单子")).recognise("这个单子").terms
    assert hit.span_ms is None

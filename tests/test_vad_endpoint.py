"""The endpointer judged by probabilities alone: 32 ms windows, no audio."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.vad import EndpointSettings
from edge_agent.vad.endpoint import TAIL_MS, Endpointer, Segment

WINDOW = 512
MS = 16


def cut(probabilities: list[float], settings: EndpointSettings | None = None) -> list[Segment]:
    endpointer = Endpointer(settings)
    found = [
        endpointer.push(probability, index * WINDOW, (index + 1) * WINDOW)
        for index, probability in enumerate(probabilities)
    ]
    return [segment for segment in [*found, endpointer.flush()] if segment]


def windows(*runs: tuple[float, int]) -> list[float]:
    return [probability for probability, count in runs for _ in range(count)]


def test_settings_are_those_of_the_configuration() -> None:
    assert asdict(EndpointSettings()) == config.Vad().model_dump()


def test_silence_yields_nothing() -> None:
    assert cut(windows((0.1, 500))) == []


def test_an_utterance_has_pre_roll_and_tail() -> None:
    assert cut(windows((0.0, 20), (0.9, 20), (0.0, 30))) == [
        Segment(20 * WINDOW - 300 * MS, 40 * WINDOW + TAIL_MS * MS),
    ]


def test_pre_roll_and_tail_stay_within_the_stream() -> None:
    assert cut(windows((0.9, 10))) == [Segment(0, 10 * WINDOW)]
    assert cut(windows((0.0, 2), (0.9, 10), (0.0, 2))) == [Segment(0, 14 * WINDOW)]


def test_it_ends_with_the_window_that_completes_the_silence() -> None:
    endpointer = Endpointer()
    found = [endpointer.push(p, i * WINDOW, (i + 1) * WINDOW) for i, p in enumerate(windows((0.9, 10), (0.0, 16)))]
    assert [bool(segment) for segment in found] == [False] * 24 + [True, False]  # 15 windows are 480 ms
    assert not endpointer.speaking


def test_a_short_pause_does_not_end_it() -> None:
    assert cut(windows((0.9, 10), (0.0, 14), (0.9, 10), (0.0, 20))) == [Segment(0, 34 * WINDOW + TAIL_MS * MS)]


def test_between_release_and_threshold_speech_lasts_but_does_not_begin() -> None:
    assert cut(windows((0.4, 100))) == []
    assert cut(windows((0.9, 8), (0.4, 50), (0.0, 20))) == [Segment(0, 58 * WINDOW + TAIL_MS * MS)]
    assert cut(windows((0.9, 8), (0.3, 1), (0.4, 50))) == [Segment(0, 8 * WINDOW + TAIL_MS * MS)]


def test_a_burst_too_short_is_dropped_and_may_be_pre_roll_of_the_next() -> None:
    assert cut(windows((0.0, 20), (0.9, 4), (0.0, 30))) == []
    assert cut(windows((0.0, 20), (0.9, 5), (0.0, 30))) != []
    late = cut(windows((0.9, 2), (0.0, 15), (0.9, 20)), EndpointSettings(pre_roll_ms=1000))
    assert late == [Segment(0, 37 * WINDOW)]


def test_pre_roll_never_reaches_into_the_utterance_before() -> None:
    first, second = cut(windows((0.9, 10), (0.0, 15), (0.9, 10)), EndpointSettings(pre_roll_ms=2000))
    assert first == Segment(0, 10 * WINDOW + TAIL_MS * MS)
    assert second == Segment(first.end, 35 * WINDOW)


def test_an_overlong_utterance_is_cut_at_its_quietest_moment() -> None:
    probabilities = windows((0.9, 600))
    probabilities[100] = 0.2  # in the first half: an utterance should not be cut that short
    probabilities[190] = 0.6
    segments = cut(probabilities)
    assert segments[0] == Segment(0, 190 * WINDOW + WINDOW // 2, forced=True)
    assert all(a.end == b.start for a, b in pairwise(segments))
    assert [segment.forced for segment in segments] == [True] * (len(segments) - 1) + [False]
    assert segments[-1].end == 600 * WINDOW
    assert segments[0].lead == 0
    assert segments[1].lead == 400 * MS, "somebody speaks at the cut: the next one hears it again"


def test_after_a_cut_in_a_pause_nothing_is_heard_again() -> None:
    first, second, *_ = cut(windows((0.9, 200), (0.1, 4), (0.9, 200)))
    assert first.forced
    assert 200 * WINDOW < first.end < 204 * WINDOW
    assert (second.start, second.lead) == (first.end, 0)


def test_a_guess_is_what_the_utterance_will_be_if_nobody_goes_on() -> None:
    endpointer = Endpointer()
    guesses, found = [], []
    for index, probability in enumerate(windows((0.9, 10), (0.0, 10), (0.9, 10), (0.0, 16))):
        found.append(endpointer.push(probability, index * WINDOW, (index + 1) * WINDOW))
        guesses.append(endpointer.guess)
    first, second = Segment(0, 10 * WINDOW + TAIL_MS * MS), Segment(0, 30 * WINDOW + TAIL_MS * MS)
    # 7 windows are 224 ms, 15 are 480 ms.
    assert guesses == [None] * 16 + [first] * 4 + [None] * 16 + [second] * 8 + [None] * 2
    assert [segment for segment in found if segment] == [second]


def test_too_little_speech_is_not_guessed_at() -> None:
    endpointer = Endpointer()
    for index, probability in enumerate(windows((0.9, 4), (0.0, 13))):
        endpointer.push(probability, index * WINDOW, (index + 1) * WINDOW)
        assert endpointer.guess is None
    silent = Endpointer(EndpointSettings(guess_silence_ms=0))
    for index, probability in enumerate(windows((0.9, 10), (0.0, 13))):
        silent.push(probability, index * WINDOW, (index + 1) * WINDOW)
        assert silent.guess is None


def test_a_pause_is_cut_rather_than_the_closure_of_a_consonant() -> None:
    probabilities = windows((0.9, 600))
    probabilities[150:156] = [0.2] * 6
    probabilities[200] = 0.05
    assert 150 * WINDOW <= cut(probabilities)[0].end <= 156 * WINDOW


def test_what_is_left_of_a_forced_cut_is_kept_however_short() -> None:
    probabilities = windows((0.9, 248), (0.1, 1), (0.9, 1), (0.0, 40))
    first, second = cut(probabilities)
    assert first.forced
    assert (second.start, second.end) == (first.end, 250 * WINDOW + TAIL_MS * MS)


def test_a_long_murmur_is_kept_on_both_sides_of_the_cut() -> None:
    settings = EndpointSettings(min_speech_ms=1000, pre_roll_ms=0, max_utterance_ms=2000)
    first, second = cut(windows((0.9, 10), (0.4, 60), (0.0, 30)), settings)
    assert first.forced
    assert (second.start, second.end) == (first.end, 70 * WINDOW + TAIL_MS * MS)


def test_nothing_is_left_after_a_cut_in_the_closing_silence() -> None:
    assert cut(windows((0.9, 245), (0.0, 40))) == [Segment(0, 249 * WINDOW + WINDOW // 2, forced=True)]


def test_a_pre_roll_as_long_as_the_utterance_leaves_room_for_speech() -> None:
    settings = EndpointSettings(pre_roll_ms=2000, max_utterance_ms=2000)
    segments = cut(windows((0.0, 100), (0.9, 30), (0.0, 30)), settings)
    assert segments[0].start == 100 * WINDOW - 1000 * MS
    assert segments[-1].end >= 130 * WINDOW


def test_flush_in_the_middle_ends_the_utterance_and_the_next_begins_after_it() -> None:
    endpointer = Endpointer()
    for index in range(20):
        endpointer.push(0.9, index * WINDOW, (index + 1) * WINDOW)
    assert endpointer.flush() == Segment(0, 20 * WINDOW)
    assert endpointer.flush() is None
    for index in range(20, 40):
        endpointer.push(0.9, index * WINDOW, (index + 1) * WINDOW)
    assert endpointer.flush() == Segment(20 * WINDOW, 40 * WINDOW)


settings_of_any_kind = st.builds(
    lambda threshold, share, speech, silence, roll, most: EndpointSettings(
        threshold, threshold * share, speech, silence, roll, most
    ),
    st.floats(0.05, 0.95),
    st.floats(0.2, 1.0),
    st.integers(0, 2000),
    st.integers(100, 5000),
    st.integers(0, 2000),
    st.integers(2000, 28_000),
)
# Runs, because independent windows hardly ever make an utterance.
streams = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 120)), max_size=25).map(lambda runs: windows(*runs))


@given(streams, settings_of_any_kind)
def test_whatever_comes(probabilities: list[float], settings: EndpointSettings) -> None:
    endpointer = Endpointer(settings)
    segments: list[Segment] = []
    for index, probability in enumerate(probabilities):
        needed_from = endpointer.needed_from
        segment = endpointer.push(probability, index * WINDOW, (index + 1) * WINDOW)
        if segment:
            assert segment.start >= needed_from
            segments.append(segment)
        assert endpointer.needed_from >= needed_from
        kept = endpointer.position - endpointer.needed_from
        assert kept <= max(settings.max_utterance_ms + settings.overlap_ms, settings.pre_roll_ms) * MS + WINDOW
    end = len(probabilities) * WINDOW
    if last := endpointer.flush():
        segments.append(last)

    for before, after in pairwise([Segment(0, 0), *segments]):
        assert before.end <= after.start < after.end <= end
        if before.forced and probabilities[before.end // WINDOW] >= settings.threshold:
            assert after.start == before.end
    for segment in segments:
        assert segment.end - segment.start <= settings.max_utterance_ms * MS + WINDOW
        inside = probabilities[segment.start // WINDOW : -(-segment.end // WINDOW)]
        assert any(probability >= settings.release for probability in inside)
    for start, stop in loud_runs(probabilities, settings):
        assert covered(start * WINDOW, stop * WINDOW, segments)


def loud_runs(probabilities: list[float], settings: EndpointSettings) -> list[tuple[int, int]]:
    """Runs of windows above the threshold that last for `min_speech_ms`."""
    runs, start = [], None
    for index, probability in enumerate([*probabilities, 0.0]):
        if probability >= settings.threshold and index < len(probabilities):
            start = index if start is None else start
        elif start is not None:
            if (index - start) * WINDOW >= settings.min_speech_ms * MS:
                runs.append((start, index))
            start = None
    return runs


def covered(start: int, end: int, segments: list[Segment]) -> bool:
    for segment in segments:
        if segment.start <= start < segment.end:
            start = segment.end
    return start >= end

"""Where an utterance begins and ends: a state machine over the probability of speech, without audio or clock.

Positions are sample indices at 16 kHz since the call began.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.types import SAMPLES_PER_MS

# The last sound of a sentence fades below the threshold before it is over.
TAIL_MS = 200
# How many windows on either side make a moment quiet, rather than one window (32 ms each).
QUIET_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """What counts as an utterance; the same names and defaults as the table `[vad]` of the configuration."""

    threshold: float = 0.5
    release: float = 0.35
    min_speech_ms: int = 160
    end_silence_ms: int = 450
    pre_roll_ms: int = 300
    max_utterance_ms: int = 8000
    guess_silence_ms: int = 200
    overlap_ms: int = 400


@dataclass(frozen=True, slots=True)
class Segment:
    """An utterance's place: the half-open span [start, end); `forced` if it was cut because it grew too long.

    `lead` samples before `start` belong to the utterance before and are heard again, because it was cut within speech.
    `voiced` samples of it were above the threshold.
    """

    start: int
    end: int
    forced: bool = False
    lead: int = 0
    voiced: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class _Window:
    start: int
    end: int
    probability: float
    speech: bool


class Endpointer:
    """Cuts the stream of one channel into utterances.

    Speech begins with a window at or above `threshold` and lasts until one is below `release` (a Schmitt trigger). When
    `end_silence_ms` have passed without speech the utterance is over; it reaches from `pre_roll_ms` before its speech,
    but never into the one before, to `TAIL_MS` after it. After `guess_silence_ms` there is a `guess` at it already.
    An utterance that reaches `max_utterance_ms` is cut in the quietest moment of its second half, and what follows the
    cut begins the next one; if somebody speaks there, the next one hears the last `overlap_ms` before the cut again.
    """

    def __init__(self, settings: EndpointSettings | None = None) -> None:
        settings = settings or EndpointSettings()
        self._threshold = settings.threshold
        self._release = settings.release
        self._min_speech = settings.min_speech_ms * SAMPLES_PER_MS
        self._end_silence = settings.end_silence_ms * SAMPLES_PER_MS
        self._guess_silence = settings.guess_silence_ms * SAMPLES_PER_MS
        self._tail = min(TAIL_MS, settings.end_silence_ms) * SAMPLES_PER_MS
        # More than half would leave no room for the speech itself.
        self._pre_roll = min(settings.pre_roll_ms, settings.max_utterance_ms // 2) * SAMPLES_PER_MS
        self._most = settings.max_utterance_ms * SAMPLES_PER_MS
        self._overlap = min(settings.overlap_ms, settings.max_utterance_ms // 2) * SAMPLES_PER_MS
        self.position = 0
        """End of the last window."""
        self.speaking = False
        """Whether an utterance has begun and is not over."""
        self._floor = 0  # end of the utterance before: what lies before it is spoken for
        self._start = 0
        self._speech_end = 0
        self._lead = 0
        self._spoken = 0  # samples above the threshold since the utterance began, or `min_speech` after a forced cut
        self._in_speech = False
        self._windows: list[_Window] = []

    @property
    def needed_from(self) -> int:
        """The earliest sample that a later segment may still contain."""
        return self._start - self._lead if self.speaking else max(self._floor, self.position - self._pre_roll)

    @property
    def guess(self) -> Segment | None:
        """The utterance under way as it will be if nobody goes on, once `guess_silence_ms` have passed in silence."""
        silence = self.position - self._speech_end
        if not self.speaking or self._in_speech or not self._guess_silence or silence < self._guess_silence:
            return None
        return self._segment(min(self.position, self._speech_end + self._tail)) if self._enough else None

    def push(self, probability: float, start: int, end: int) -> Segment | None:
        """Take the next window [start, end), which begins where the last one ended.

        Returns:
            The utterance that this window shows to be over, or None.
        """
        self.position = end
        self._in_speech = probability >= (self._release if self._in_speech else self._threshold)
        if not self.speaking:
            if not self._in_speech:
                return None
            self.speaking = True
            self._start = max(self._floor, start - self._pre_roll)
            self._spoken = self._lead = 0
            self._windows = []
        if probability >= self._threshold:
            self._spoken += end - start
        self._windows.append(_Window(start, end, probability, self._in_speech))
        if self._in_speech:
            self._speech_end = end
        elif end - self._speech_end >= self._end_silence:
            return self.flush()
        return self._cut() if end - self._start >= self._most else None

    def flush(self) -> Segment | None:
        """End the utterance under way, if there is one; the stream may go on after it.

        Returns:
            The utterance, or None if there was none or it held too little speech.
        """
        if not self.speaking:
            return None
        self.speaking = self._in_speech = False
        if not self._enough:
            return None
        return self._keep(min(self.position, self._speech_end + self._tail), forced=False)

    @property
    def _enough(self) -> bool:
        return self._spoken >= self._min_speech

    def _cut(self) -> Segment | None:
        """Cut at the quietest moment of the second half (the latest one, if several are); the rest goes on."""
        middle = self._start + self._most // 2
        places = [place for place, window in enumerate(self._windows) if window.start >= middle]
        quietest = self._windows[min(reversed(places or range(len(self._windows))), key=self._around)]
        at = (quietest.start + quietest.end) // 2
        segment = self._keep(at, forced=True)
        # Where nobody speaks at the cut, no syllable is divided, and nothing need be heard again.
        self._lead = min(self._overlap, at - self._start) if segment and quietest.speech else 0
        self._start = self._floor = at
        self._windows = [window for window in self._windows if window.end > at]
        # What went on for so long is no short burst, however little of it is left.
        self._spoken = self._min_speech
        return segment

    def _around(self, place: int) -> tuple[float, float]:
        """Return how loud it is about a window and in it: the closure of a consonant is quiet too, but short."""
        near = self._windows[max(0, place - QUIET_WINDOWS) : place + QUIET_WINDOWS + 1]
        return round(sum(window.probability for window in near) / len(near), 6), self._windows[place].probability

    def _keep(self, end: int, *, forced: bool) -> Segment | None:
        """Return the segment up to `end` if there is speech in it."""
        segment = self._segment(end, forced=forced)
        if segment is not None:
            self._floor = end
        return segment

    def _segment(self, end: int, *, forced: bool = False) -> Segment | None:
        within = [window for window in self._windows if window.start < end]
        if not any(window.speech for window in within):
            return None
        voiced = sum(min(end, one.end) - one.start for one in within if one.probability >= self._threshold)
        return Segment(self._start, end, forced, self._lead, voiced)

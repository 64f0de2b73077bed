"""From the chunks of one call to its utterances: a judge and an endpointer for each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.types import SAMPLES_PER_MS, Utterance
from edge_agent.vad.endpoint import Endpointer
from edge_agent.vad.silero import WINDOW, Silero
from edge_agent.vad.tape import Tape

if TYPE_CHECKING:
    from edge_agent.types import Call, Chunk, Samples
    from edge_agent.vad.endpoint import EndpointSettings, Segment


class Segmenter:
    """Cuts one call into utterances, holding only the audio of those that are not over.

    A jump in `Chunk.start` (a gap) counts as silence: the timeline goes on, the judges begin anew, and zeros stand for
    what is missing if a short gap lies within an utterance. Of an utterance, `samples` are exactly those of the stream
    from `lead_ms` before `start_ms` to `end_ms`.

    Args:
        call: whose speakers name the channels.
        settings: what counts as an utterance; None takes the defaults.

    Raises:
        SetupError: the voice activity model is missing.
    """

    def __init__(self, call: Call, settings: EndpointSettings | None = None) -> None:
        self._call = call
        self._judges = [Silero() for _ in call.speakers]
        self._endpointers = [Endpointer(settings) for _ in call.speakers]
        self._tape = Tape()
        self._end = 0
        self._guessed: dict[int, Segment] = {}

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way on any channel."""
        return any(endpointer.speaking for endpointer in self._endpointers)

    @property
    def position_ms(self) -> int:
        """How far into the call the audio has been taken in."""
        return self._end // SAMPLES_PER_MS

    def feed(self, chunk: Chunk) -> list[Utterance]:
        """Take the next chunk, with a row for every speaker of the call; its samples are kept and never changed.

        Returns:
            The utterances found to be over, in the order of their ends. One that is cut because it grew too long may
            end before one that was returned earlier for another channel.

        Raises:
            ValueError: the chunk has other channels than the call, or overlaps the one before.
        """
        if chunk.samples.ndim != 2 or len(chunk.samples) != len(self._judges) or chunk.start < self._end:
            raise ValueError(
                f"chunk of shape {chunk.samples.shape} at {chunk.start} does not follow {self._end} on"
                f" {len(self._judges)} channels"
            )
        found = self._skip(chunk.start) if chunk.start > self._end else []
        self._tape.add(chunk.start, chunk.samples)
        self._end = chunk.start + chunk.samples.shape[1]
        for channel, samples in enumerate(chunk.samples):
            found += self._push(channel, self._judges[channel].feed(samples))
        return self._settle(found)

    def guesses(self) -> dict[int, Utterance | None]:
        """Return what has changed, by channel, since this was last asked, of the utterances that are probably over.

        An utterance may be recognized at once: if nobody goes on, exactly it will be returned by `feed` or `flush`.
        None says that the one before was wrong, or that it is over now.
        """
        news: dict[int, Utterance | None] = {}
        for channel, endpointer in enumerate(self._endpointers):
            guess = endpointer.guess
            if guess == self._guessed.get(channel):
                continue
            if guess is None:
                del self._guessed[channel]
                news[channel] = None
            else:
                self._guessed[channel] = guess
                news[channel] = self._utterance(channel, guess)
        return news

    def flush(self) -> list[Utterance]:
        """End what is under way, at the end of the call or before a pause; returns the last utterances."""
        found = []
        for channel, endpointer in enumerate(self._endpointers):
            found += self._finish(channel)
            if segment := endpointer.flush():
                found.append((channel, segment))
        return self._settle(found)

    def _finish(self, channel: int) -> list[tuple[int, Segment]]:
        return self._push(channel, self._judges[channel].finish())

    def _push(self, channel: int, probabilities: Samples) -> list[tuple[int, Segment]]:
        endpointer = self._endpointers[channel]
        found = []
        for probability in probabilities.tolist():
            start = endpointer.position
            if segment := endpointer.push(probability, start, min(start + WINDOW, self._end)):
                found.append((channel, segment))
        return found

    def _skip(self, to: int) -> list[tuple[int, Segment]]:
        """Count what is missing up to `to` as silence."""
        found = []
        for channel, endpointer in enumerate(self._endpointers):
            found += self._finish(channel)
            while endpointer.position < to:
                start = endpointer.position
                end = min(start + WINDOW, to) if endpointer.speaking else to
                if segment := endpointer.push(0.0, start, end):
                    found.append((channel, segment))
        return found

    def _settle(self, found: list[tuple[int, Segment]]) -> list[Utterance]:
        """Cut the audio of what was found, and let go of what nobody needs any more."""
        utterances = [
            self._utterance(channel, segment) for channel, segment in sorted(found, key=lambda one: one[1].end)
        ]
        needed_from = min(endpointer.needed_from for endpointer in self._endpointers)
        self._tape.forget(needed_from // SAMPLES_PER_MS * SAMPLES_PER_MS)
        return utterances

    def _utterance(self, channel: int, segment: Segment) -> Utterance:
        # Both ends fall to the whole millisecond before, so that neighbours still touch and never overlap.
        start_ms, end_ms = segment.start // SAMPLES_PER_MS, segment.end // SAMPLES_PER_MS
        lead_ms = segment.lead // SAMPLES_PER_MS
        return Utterance(
            call_id=self._call.id,
            channel=channel,
            speaker=self._call.speakers[channel],
            start_ms=start_ms,
            end_ms=end_ms,
            samples=self._tape.cut(channel, (start_ms - lead_ms) * SAMPLES_PER_MS, end_ms * SAMPLES_PER_MS),
            forced=segment.forced,
            lead_ms=lead_ms,
            voiced_ms=segment.voiced // SAMPLES_PER_MS,
        )

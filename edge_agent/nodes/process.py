"""What should have been said and was not: the three nodes that hold for a call as a whole.

Time is time of talk: pauses do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.types import Finding, Speaker, Step

_CONFIDENCE = 0.8
# Within so many turns of the proposal a refusal still undoes what was agreed.
_SECOND_THOUGHTS = 3


@dataclass(slots=True)
class Process:
    """Watches one call; times in milliseconds of talk."""

    notice_within_ms: int
    discovery_after_ms: int
    talk_ms: int = 0
    noticed: bool = False
    discovered: bool = False
    agreed_in: int | None = None
    _proposed: tuple[Speaker, int] | None = None

    def hear(self, duration_ms: int) -> None:
        """Count the talk of one utterance."""
        self.talk_ms += duration_ms

    def notice(self, at_talk_ms: float) -> None:
        """Note that the agent tells of the recording."""
        self.noticed = self.noticed or at_talk_ms <= self.notice_within_ms

    def turn_ends(self, speaker: Speaker, turn: int, *, proposes: bool, refuses: bool) -> None:
        """Follow the next step: proposed by one side, it is agreed unless the other side refuses it."""
        if self._proposed and (self._proposed[0] is not speaker or speaker is Speaker.UNKNOWN):
            if not refuses:
                self.agreed_in = self._proposed[1]
            self._proposed = None
        if refuses and not proposes and self.agreed_in is not None and turn - self.agreed_in <= _SECOND_THOUGHTS:
            self.agreed_in = None
        if proposes:
            self._proposed = (speaker, turn)

    @property
    def dated(self) -> bool:
        """A next step is agreed or on the table."""
        return self.agreed_in is not None or self._proposed is not None

    def end(self, end_ms: int) -> list[Finding]:
        """Name what is missing; nothing of a call in which nobody spoke."""
        if not self.talk_ms:
            return []
        missing = {
            "recording_notice_missing": not self.noticed,
            "next_step_missing": not self.dated,
            "discovery_missing": self.talk_ms > self.discovery_after_ms and not self.discovered,
        }
        return [
            Finding(
                step=Step.RAISED,
                node=f"process.{name}",
                speaker=Speaker.AGENT,
                quote="",
                start_ms=0,
                end_ms=end_ms,
                confidence=_CONFIDENCE,
                by=f"rule:process.{name}",
                severity="warning" if name == "recording_notice_missing" else "info",
            )
            for name, holds in missing.items()
            if holds
        ]

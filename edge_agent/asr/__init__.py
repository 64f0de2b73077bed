"""The recognizer: Whisper in CTranslate2's form, and the card that says what its model may be trusted with."""

from edge_agent.asr.card import Card, Decoding, verify
from edge_agent.asr.engine import Engine

__all__ = ["Card", "Decoding", "Engine", "verify"]

"""Texts that nobody said: what Whisper writes over noise and silence, taken out before anybody judges it.

Whisper learned from subtitles, and where it hears nothing it writes what stands in those: credits (字幕由…), requests
(请不吝点赞), one phrase over and over, or the prompt it was given. A short answer that was said (嗯, 好, 谢谢) must
stay: none of the filters looks at a text only because it is short.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.types import Hypothesis

NEVER_SAID = re.compile(
    "|".join(
        (
            r"请?不吝点赞.*",
            r"(?:请)?(?:点赞)?\W*订阅\W*转发\W*打赏.*",
            r"支持明镜.*",
            r"明镜与?点点.*",
            r".*字幕志愿者.*",
            r"(?:中文)?字幕(?:由|提供|制作|製作|校对|by|BY|：|:).*",
            r".*(?:Amara\.?org|amara\.?org|AMARA\.?ORG).*",
            r"(?:本)?(?:字幕|视频)由.{0,20}(?:提供|制作|翻译).*",
            r"(?:优优独播剧场|YoYo Television).*",
            r"(?:词曲?|作词|作曲|编曲)\W*[：:]?\W*李宗盛.*",
        )
    )
)
"""First tier: credits that no caller says. They are dropped, whatever the model thinks of them."""

HARDLY_SAID = re.compile(
    r"(?:谢谢|感谢)(?:大家|您|你们)?的?(?:观看|收看|收听|聆听)|(?:我们)?下(?:期|集|次)(?:再见|见)|"
    r"(?:请|记得)?(?:点赞|订阅|关注)(?:我的频道|频道|一下)?|未完待续|全剧终|"
    r"(?:thanks?|thank you) for watching|please subscribe",
    re.IGNORECASE,
)
"""Second tier: what subtitles end with and a caller might say. Dropped if it is the whole text and not certain."""

SURE = 0.6
"""Confidence from which a text of the second tier is believed if enough voice was there."""
FASTEST = 12.0
"""Characters in a second of voice; nobody speaks faster for long."""
SLACK = 6
"""So many characters more are believed: voice is measured in windows, and its edges are soft."""
_MARKS = re.compile(r"[\W_]+")
_AGAIN = re.compile(r"(.{1,12}?)\1{3,}")
_ECHO = 3
"""From so many hotwords in the order in which they were told, and nothing else, a text is an echo."""


def believed(hypothesis: Hypothesis, *, voiced_ms: int = 0, told: Sequence[str] = ()) -> Hypothesis:
    """Return the hypothesis without what nobody said; its text is empty if nothing is left.

    `voiced_ms` is for how long speech was probable (0: not known), `told` the hotwords the model was given.
    """
    text = without_repetition(without_credits(hypothesis.text))
    said = _MARKS.sub("", text)
    hardly = HARDLY_SAID.fullmatch(said) or HARDLY_SAID.fullmatch(text.strip(" ，。！？,.!?"))
    fast = voiced_ms and len(said) > FASTEST * voiced_ms / 1000 + SLACK and not said.isascii()
    if (
        not said
        or is_echo(text, told)
        or (hardly and (hypothesis.confidence < SURE or fast))
        # The voice gate: more was written than can be said in so little voice.
        or fast
    ):
        return replace(hypothesis, text="", confidence=0.0)
    return hypothesis if text == hypothesis.text else replace(hypothesis, text=text)


def without_credits(text: str) -> str:
    """Return a text without the sentences that are credits of the first tier."""
    parts = re.split(r"(?<=[。！？!?])", text)
    kept = [part for part in parts if not NEVER_SAID.fullmatch(part.strip(" ，,。！？!?"))]
    return text if len(kept) == len(parts) else "".join(kept).strip()


def without_repetition(text: str) -> str:
    """Return a text in which what is written four times and more in a row, and can't be an emphasis, stands once.

    People say 好好好好 and 对对对对对, so one or two characters may stand up to eight times; digits and letters may be
    read out (8888) and are left.
    """

    def once(match: re.Match[str]) -> str:
        unit, whole = match[1], match[0]
        word = _MARKS.sub("", unit)
        often = len(whole) // len(unit)
        if not word or word.isascii() or (len(word) <= 2 and often <= 8):
            return whole
        return unit

    return _AGAIN.sub(once, text)


def is_echo(text: str, told: Sequence[str]) -> bool:
    """Whether a text is nothing but a run of hotwords in the order in which they were told."""
    said = _MARKS.sub("", text)
    words = [word for word in (_MARKS.sub("", term) for term in told) if word]
    for first in range(len(words) - _ECHO + 1):
        run = ""
        for number, word in enumerate(words[first:], 1):
            run += word
            if number >= _ECHO and run == said:
                return True
            if len(run) >= len(said):
                break
    return False

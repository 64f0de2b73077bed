"""The synthesizer espeak-ng, called through its C library: one voice, one sentence, samples out.

The library keeps its state in global variables and crashes now and then, so it runs in short-lived processes of its own
(`make_speech`).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYNCHRONOUS = 2
CHARS_UTF8 = 1
RATE, PITCH, RANGE, WORDGAP = 1, 3, 4, 7
"""Numbers of espeak-ng's parameters (speak_lib.h)."""

HELD_OUT = ("f4", "m5", "Annie", "Michael", "steph2", "paul", "linda", "Gene", "benjamin", "iven2")
"""Voice variants that no training utterance is spoken in."""

UNLIKE_PEOPLE = frozenset(
    "whisper whisperf croak Demonic Storm UniRobot fast klatt klatt2 klatt3 klatt4 klatt5 klatt6 anikaRobot robosoft "
    "robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 robosoft8 Tweaky kaukovalta "
    "zac iven3 david edward2".split()
)
"""Whispers, robots and effects: they cost more than they teach."""


class Espeak:
    """The library, opened once in a process."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise SystemExit("Error: espeak-ng is not installed\nTry: sudo apt install espeak-ng")
        self._library = ctypes.CDLL(name)
        self._parts: list[NDArray[np.int16]] = []
        self.rate_hz = int(self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0))
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

        def take(samples: Any, count: int, _events: Any) -> int:
            if samples and count > 0:
                self._parts.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
            return 0

        self._callback = kind(take)
        self._library.espeak_SetSynthCallback(self._callback)
        self.variants = self._variants()

    def _variants(self) -> list[str]:
        self._library.espeak_Info.restype = ctypes.c_char_p
        place = ctypes.c_char_p()
        self._library.espeak_Info(ctypes.byref(place))
        folder = Path((place.value or b"").decode()) / "voices" / "!v"
        return sorted(v.name for v in folder.iterdir() if " " not in v.name and v.name not in UNLIKE_PEOPLE)

    def training_variants(self) -> list[str]:
        """Return the variants that training may use; the empty one is the plain voice."""
        return ["", *(name for name in self.variants if name not in HELD_OUT)]

    def say(
        self,
        text: str,
        variant: str = "",
        *,
        voice: str = "cmn-latn-pinyin",
        rate: int = 175,
        pitch: int = 50,
        spread: int = 50,
        gap: int = 0,
    ) -> NDArray[np.int16]:
        """Return samples of shape (n,) at `rate_hz`.

        The voice `cmn-latn-pinyin` reads Chinese characters and pinyin with tone digits; `cmn` (espeak-ng 1.51) reads
        both as English. `rate` is in words a minute,
        `pitch` and `spread` (of the pitch) are 0…100, `gap` is a pause between words in units of 10 ms.
        """
        name = f"{voice}+{variant}" if variant else voice
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name}")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, spread), (WORDGAP, gap)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._parts.clear()
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, CHARS_UTF8, None, None)
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)


def spaced(text: str) -> str:
    """Return text with the letters of acronyms apart, so that they are read as letters."""
    return re.sub(r"[A-Za-z]+", lambda m: " " + " ".join(m.group(0).upper()) + " ", text)


def pinyin(text: str) -> str:
    """Return text as toned pinyin that the voice `cmn-latn-pinyin` reads; punctuation stays, for the pauses."""
    from pypinyin import Style, lazy_pinyin

    syllables = lazy_pinyin(spaced(text), style=Style.TONE3, neutral_tone_with_five=True, v_to_u=False)
    line = " ".join(" ".join(s.split()) for s in syllables)
    return line.translate(str.maketrans("，。？！、；：", ",.?!,;:"))

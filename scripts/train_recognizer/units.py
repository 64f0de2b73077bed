"""The units of the CTC heads: initials, finals with tone, letters."""

from __future__ import annotations

import re
from functools import cache

from train_recognizer.espeak import pinyin

INITIAL = re.compile(r"^(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(.*)$")
FINALS = (
    "a ai an ang ao e ei en eng er i ia ian iang iao ie in ing iong iu o ong ou u ua uai uan uang ue ui un uo v ve"
).split()
INITIALS = "b p m f d t n l g k h j q x r z c s y w zh ch sh".split()
UNITS = [
    "<blank>",
    *INITIALS,
    *(f"_{final}{tone}" for final in FINALS for tone in range(1, 6)),
    *(f"={letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
]
"""Index 0 is CTC's blank (Graves et al. 2006)."""
INDEX = {unit: index for index, unit in enumerate(UNITS)}


@cache
def _syllable(text: str) -> tuple[int, ...]:
    if re.fullmatch("[A-Z]", text):
        return (INDEX[f"={text}"],)
    if not re.fullmatch("[a-z]+[1-5]?", text):
        return ()
    match = INITIAL.match(text)
    assert match
    initial, final = match.groups()
    final = final if final[-1:].isdigit() else f"{final}5"
    return tuple(INDEX[unit] for unit in (initial, f"_{final}") if unit in INDEX)


def units(text: str) -> list[int]:
    """Return the indices of the units that a text is read with."""
    return [unit for syllable in pinyin(text).split() for unit in _syllable(syllable.strip(",.?!;:"))]

"""How Mandarin text sounds, with the differences that recognition and accents blur taken away.

A canonical syllable drops the tone and merges zh/z, ch/c, sh/s, n/l, r/l, f/h, an/ang, en/eng and in/ing: what sounds
alike on a telephone becomes equal. Terms use it to find what was misheard, nodes to find a phrase through homophones.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_INITIALS = {"zh": "z", "ch": "c", "sh": "s", "n": "l", "r": "l", "f": "h"}
_FINALS = {"ang": "an", "eng": "en", "ing": "in", "iang": "ian", "uang": "uan", "ueng": "uen"}
_SYLLABLE = re.compile(r"(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?([a-zêü]+)")
HANZI = re.compile(r"[\u3400-\u9fff\U00020000-\U0002a6df]")


@lru_cache(maxsize=2048)
def canonical(syllable: str) -> str:
    """Return the canonical form of a pinyin syllable without tone (`zhang` → `zan`, `nü` → `lv`)."""
    plain = syllable.lower().replace("u:", "ü").replace("v", "ü")
    match = _SYLLABLE.fullmatch(plain)
    if match is None:
        return plain
    initial, final = match.group(1) or "", match.group(2)
    final = _FINALS.get(final, final).replace("ü", "v")
    return _INITIALS.get(initial, initial) + final


def _each(unread: str) -> Any:
    """Give rare characters without a reading back one by one (pypinyin takes a list, though its types don't say so)."""
    return list(unread)


def syllables(text: str) -> list[str]:
    """Return one canonical symbol for each character of `text`, so that positions stay the same.

    A Chinese character gives its syllable, read in its context; a letter or digit gives itself in upper case; anything
    else gives the empty string.
    """
    from pypinyin import Style, lazy_pinyin

    out: list[str] = []
    for run in re.findall(rf"(?:{HANZI.pattern})+|.", text, flags=re.DOTALL):
        if HANZI.match(run):
            readings = lazy_pinyin(run, style=Style.NORMAL, v_to_u=False, errors=_each)
            out += [canonical(reading) for reading in readings]
        else:
            out.append(run.upper() if run.isalnum() else "")
    return out

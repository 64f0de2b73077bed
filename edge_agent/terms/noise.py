"""What recognition does to a text, made on purpose: to measure a dictionary, rules and reports without a recording.

Sixteen kinds of mishearing are done to a term (`Noise.hurt`), and a whole transcript is spoilt to a wanted share of
wrong characters (`Noise.spoil`). Everything follows from the seed. Readings are pypinyin's; characters that are put in
are the 3,755 common ones of GB 2312, for recognizers write common characters.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from edge_agent.phonetics import HANZI
from edge_agent.terms.pinyin import Syllable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KINDS = (
    "homophone",  # one character, same syllable and tone
    "tone",  # one character, another tone
    "retroflex",  # zh/z, ch/c, sh/s
    "n_l",
    "r_l",
    "f_h",
    "an_ang",
    "en_eng",
    "in_ing",
    "several",  # half of the characters by homophones of any tone
    "aspiration",  # b/p, d/t, g/k, j/q, zh/ch, z/c
    "vowel",  # one final by a near one: u/ü, ie/ei, uo/ou, o/e, ai/ei, ao/ou …
    "dropped",  # a syllable is missing
    "inserted",  # a syllable is said twice, a filler or a small word slips in
    "random",  # any other syllable
    "letters",  # Latin letters as their Chinese readings, or one letter as another that rhymes
)
HOMOPHONES = ("homophone", "tone", "several")
NEAR = ("retroflex", "n_l", "r_l", "f_h", "an_ang", "en_eng", "in_ing")

_SWAPS = {
    "retroflex": (("zh", "z"), ("ch", "c"), ("sh", "s")),
    "n_l": (("n", "l"),),
    "r_l": (("r", "l"),),
    "f_h": (("f", "h"),),
    "aspiration": (("b", "p"), ("d", "t"), ("g", "k"), ("j", "q"), ("zh", "ch"), ("z", "c")),
}
_FINALS = {
    "an_ang": (("an", "ang"), ("ian", "iang"), ("uan", "uang")),
    "en_eng": (("en", "eng"),),
    "in_ing": (("in", "ing"),),
    "vowel": (
        ("u", "ü"),
        ("ie", "ei"),
        ("uo", "ou"),
        ("o", "e"),
        ("ai", "ei"),
        ("ao", "ou"),
        ("iao", "iu"),
        ("ui", "uai"),
        ("an", "en"),
        ("ang", "ong"),
        ("a", "e"),
        ("uo", "e"),
        ("i", "ei"),
        ("ün", "un"),
        ("uan", "un"),
    ),
}
_SLIPS = "嗯呃啊那的了是这"
_RHYMES = ("BCDEGPTV", "FSX", "MN", "AHJK", "IY", "UQ")
LETTERS = {
    "A": ("诶",),
    "B": ("必", "比"),
    "C": ("西", "吸"),
    "D": ("地", "弟"),
    "E": ("一", "衣"),
    "F": ("艾弗", "爱福"),
    "G": ("寄", "鸡"),
    "H": ("艾尺",),
    "I": ("爱", "艾"),
    "J": ("杰", "接"),
    "K": ("凯", "开"),
    "L": ("艾勒",),
    "M": ("艾姆",),
    "N": ("恩",),
    "O": ("欧", "哦"),
    "P": ("皮", "屁"),
    "Q": ("丘", "求"),
    "R": ("阿尔", "啊"),
    "S": ("艾斯", "爱死"),
    "T": ("提", "踢"),
    "U": ("优", "有"),
    "V": ("维", "微"),
    "W": ("达不溜",),
    "X": ("艾克斯", "爱克斯"),
    "Y": ("歪", "外"),
    "Z": ("贼", "贼德"),
}
"""How Latin letters are written by a recognizer that knows only Chinese characters."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to judge a dictionary by: what was said, how it was heard, and the terms in what was said."""

    heard: str
    said: str
    terms: tuple[str, ...]
    kind: str


@cache
def _common() -> dict[tuple[str, str], dict[int, tuple[str, ...]]]:
    """Return the common characters by initial and final, then tone."""
    from pypinyin.constants import PINYIN_DICT

    found: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for code, written in PINYIN_DICT.items():
        try:
            lead = chr(code).encode("gb2312")[0]
        except UnicodeEncodeError:
            continue
        syllable = _read(written.split(",", 1)[0])
        if 0xB0 <= lead <= 0xD7 and syllable:
            found[syllable.initial, syllable.final][syllable.tone].append(chr(code))
    return {sound: {tone: tuple(chars) for tone, chars in tones.items()} for sound, tones in found.items()}


def _read(written: str) -> Syllable | None:
    try:
        return Syllable.parse(written)
    except ValueError:
        return None


@cache
def _syllables(text: str) -> tuple[Syllable | None, ...]:
    """Return the syllable of every character, read in its context; None for what is no Chinese character."""
    from pypinyin import Style, lazy_pinyin

    out: list[Syllable | None] = []
    for run in re.findall(rf"(?:{HANZI.pattern})+|.", text, flags=re.DOTALL):
        if not HANZI.match(run):
            out.append(None)
            continue
        given = lazy_pinyin(run, style=Style.TONE3, neutral_tone_with_five=True, errors=lambda rare: list(rare))  # type: ignore[arg-type,return-value]
        out += [_read(one) for one in given]
    return tuple(out)


class Noise:
    """A source of mishearings; the same seed gives the same ones."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - must give the same again

    def hurt(self, term: str, kind: str) -> str | None:
        """Return a term as it is misheard, or None where this kind can't befall it.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"no kind of noise {kind!r}; there is: {', '.join(KINDS)}")
        if kind == "letters":
            return self._letters(term)
        sounds = _syllables(term)
        places = [index for index, sound in enumerate(sounds) if sound]
        if not places:
            return None
        if kind == "dropped":
            at = self._random.choice(places)
            return (term[:at] + term[at + 1 :]) or None
        if kind == "inserted":
            if len(places) < 2:
                return None
            at = self._random.choice(places[1:])
            slip = term[at] if self._random.random() < 0.4 else self._random.choice(_SLIPS)
            return term[:at] + slip + term[at:]
        if kind == "several":
            chosen = self._random.sample(places, max(1, (len(places) + 1) // 2))
            return self._replaced(term, {at: self._like(term[at], sounds[at], "any") for at in chosen})
        self._random.shuffle(places)
        for at in places:
            char = self._like(term[at], sounds[at], kind)
            if char:
                return term[:at] + char + term[at + 1 :]
        return None

    def spoil(self, text: str, share: float) -> str:
        """Return a transcript in which about this share of the Chinese characters is wrong.

        Of the errors 45 % are homophones, 25 % near sounds, 10 % any character, 12 % are missing, 8 % too many: about
        what is seen in transcripts of telephone calls.
        """
        sounds = _syllables(text)
        out: list[str] = []
        for char, sound in zip(text, sounds, strict=True):
            if sound is None or self._random.random() >= share:
                out.append(char)
                continue
            kind = self._random.choices(("any", "near", "random", "dropped", "inserted"), (45, 25, 10, 12, 8))[0]
            if kind == "dropped":
                continue
            if kind == "inserted":
                out.append(char + (char if self._random.random() < 0.5 else self._random.choice(_SLIPS)))
                continue
            if kind == "near":
                kinds = [*NEAR, "aspiration", "vowel"]
                self._random.shuffle(kinds)
                found = next((new for one in kinds if (new := self._like(char, sound, one))), None)
            else:
                found = self._like(char, sound, kind)
            out.append(found or char)
        return "".join(out)

    def _replaced(self, term: str, chars: dict[int, str | None]) -> str | None:
        if not any(chars.values()):
            return None
        return "".join(chars.get(at) or char for at, char in enumerate(term))

    def _like(self, char: str, sound: Syllable | None, kind: str) -> str | None:
        """Return another character that is misheard so for one; None if there is none."""
        if sound is None:
            return None
        table = _common()
        tones = table.get((sound.initial, sound.final), {})
        if kind == "homophone":
            pool = [one for one in tones.get(sound.tone, ()) if one != char]
        elif kind == "tone":
            pool = [one for tone, chars in tones.items() if tone != sound.tone for one in chars]
        elif kind == "any":
            pool = [one for chars in tones.values() for one in chars if one != char]
        elif kind == "random":
            target = self._random.choice([key for key in table if key != (sound.initial, sound.final)])
            pool = [one for chars in table[target].values() for one in chars]
        else:
            pool = []
            for initial, final in self._near(sound, kind):
                there = table.get((initial, final), {})
                pool += there.get(sound.tone) or [one for chars in there.values() for one in chars]
        return self._random.choice(pool) if pool else None

    @staticmethod
    def _near(sound: Syllable, kind: str) -> Iterator[tuple[str, str]]:
        for one, other in _SWAPS.get(kind, ()):
            if sound.initial in (one, other):
                yield (other if sound.initial == one else one), sound.final
        for one, other in _FINALS.get(kind, ()):
            if sound.final in (one, other):
                yield sound.initial, (other if sound.final == one else one)

    def _letters(self, term: str) -> str | None:
        places = [index for index, char in enumerate(term) if char.upper() in LETTERS]
        if not places:
            return None
        if self._random.random() < 0.7:
            return "".join(self._random.choice(LETTERS.get(char.upper(), (char,))) for char in term)
        at = self._random.choice(places)
        rhymes = [
            other for group in _RHYMES if term[at].upper() in group for other in group if other != term[at].upper()
        ]
        return term[:at] + self._random.choice(rhymes) + term[at + 1 :] if rhymes else None


def held_out(term: str) -> bool:
    """Tell whether a term belongs to the half that nothing is chosen on."""
    return bool(zlib.crc32(term.encode()) & 1)


def draw(terms: Sequence[str], sentences: Sequence[str], kinds: Sequence[str], count: int, seed: int) -> Iterator[Line]:
    """Yield `count` lines for each kind: a term in a sentence (where it says `{}`), said and misheard.

    A kind that can befall none of the terms gives no lines.
    """
    for kind in kinds:
        own = seed ^ zlib.crc32(kind.encode())
        noise, chance = Noise(own), random.Random(own + 1)  # noqa: S311
        given = tried = 0
        while given < count and tried < 60 * count:
            tried += 1
            term, sentence = chance.choice(terms), chance.choice(sentences)
            heard = noise.hurt(term, kind)
            if heard and heard != term:
                given += 1
                yield Line(sentence.replace("{}", heard), sentence.replace("{}", term), (term,), kind)

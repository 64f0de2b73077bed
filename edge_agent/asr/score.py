"""How well text was recognized: what is written is brought to one form, aligned, and counted.

What may differ without being an error, in this order: width and other ways to encode a character (NFKC), case,
punctuation and blanks, and how a number is written (`_NUMBER` and below). Nothing else may, and where it is not
certain that two spellings are of one number (三四 is three or four, not 34) they stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGITS = "零一二三四五六七八九"
UNITS = {"亿": 10**8, "万": 10**4, "千": 1000, "百": 100, "十": 10}
_LOWER = {"亿": "千万", "万": "千", "千": "百", "百": "十"}
_VALUE = {ord(character): str(value) for value, character in enumerate(DIGITS)} | {ord("幺"): "1"}
_NUMERALS = f"0-9{DIGITS}{''.join(UNITS)}两幺"
# The 百 of 百分之 belongs to no number.
_RUN = f"(?:(?!百分之)[{_NUMERALS}])+"
_NUMBER = re.compile(f"(百分之)?({_RUN})(?:([点.])({_RUN}))?")
_FRACTION = re.compile(f"([0-9]+|[{DIGITS}]+)([万亿]?)")
# After 点 and one of these it is a time of day or a manner of speech, not a decimal.
_NO_DECIMAL = ("分", "刻", "点")
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])")
_SILENT = {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf", "Sk"}
"""Categories of Unicode: punctuation, blanks, control characters and marks that stand alone."""
_MINUS = re.compile(r"(?<![0-9A-Z])-(?=[0-9])")


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over one clip, or over many by adding up.

    `characters` is the length of the references in their one form, `clips` counts those with speech; the errors are
    over these. A clip without a reference text is `silent`; `made_up` counts those for which text was written all the
    same, which is no part of the errors. `terms` counts the occurrences of listed terms, `terms_found` those that the
    hypothesis has too, `wrong_terms` the hotwords that a hypothesis has and its reference has not.
    """

    clips: int = 0
    characters: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    terms: int = 0
    terms_found: int = 0
    wrong_terms: int = 0
    silent: int = 0
    made_up: int = 0

    def __add__(self, other: Score) -> Score:
        """Add another score to this one."""
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def cer(self) -> float | None:
        """Errors over characters of reference; above 1 if more was made up than said, None if nothing was said."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.characters if self.characters else None

    @property
    def term_recall(self) -> float | None:
        """Share of the listed terms that was found; None if none is listed."""
        return self.terms_found / self.terms if self.terms else None

    @property
    def perfect(self) -> bool:
        """Whether nothing is wrong."""
        wrong = self.substitutions, self.deletions, self.insertions, self.wrong_terms, self.made_up
        return not any(wrong) and self.terms == self.terms_found


def score(reference: str, hypothesis: str, terms: Iterable[str] = (), hotwords: Iterable[str] = ()) -> Score:
    """Hold what was recognized against what was said; `terms` occur in the reference, `hotwords` may or may not."""
    said = normalise(reference)
    if not said:
        wrong = sum(count(hotword, hypothesis) > 0 for hotword in set(hotwords))
        return Score(silent=1, made_up=int(bool(normalise(hypothesis))), wrong_terms=wrong)
    substitutions, deletions, insertions = align(said, normalise(hypothesis))
    listed = [(count(term, reference), count(term, hypothesis)) for term in set(terms)]
    return Score(
        clips=1,
        characters=len(said),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        terms=sum(there for there, _ in listed),
        terms_found=sum(min(there, found) for there, found in listed),
        wrong_terms=sum(count(word, hypothesis) > 0 and not count(word, reference) for word in set(hotwords)),
    )


def align(reference: str, hypothesis: str) -> tuple[int, int, int]:
    """Return the fewest substitutions, deletions and insertions that make the hypothesis out of the reference.

    Of several ways with equally few, the one with the most substitutions counts.
    """
    said, heard = (np.array([ord(character) for character in text], dtype=np.int64) for text in (reference, hypothesis))
    # A deletion or insertion costs a little more than a substitution: the remainder of the total counts them.
    one = len(said) + len(heard) + 1
    columns = np.arange(len(heard) + 1) * (one + 1)
    costs = columns
    for character in said:
        row = costs + one + 1
        row[1:] = np.minimum(row[1:], costs[:-1] + one * (heard != character))
        costs = np.minimum.accumulate(row - columns) + columns
    edits, gaps = divmod(int(costs[-1]), one)
    longer = len(heard) - len(said)
    return edits - gaps, (gaps - longer) // 2, (gaps + longer) // 2


def count(term: str, text: str) -> int:
    """Return how often a term occurs in a text, both in one form; no number is cut in two.

    How numbers are read depends on what stands around them, so the term may also occur as the numbers are written.
    """
    return max(_occurrences(form(term), form(text)) for form in (_plain, normalise))


def normalise(text: str) -> str:
    """Return the one form in which texts are compared; empty if nothing in it is ever said."""
    return _NUMBER.sub(_number, _plain(text))


def _occurrences(term: str, text: str) -> int:
    before = r"(?<![0-9])" if term[:1].isdigit() else ""
    after = r"(?![0-9])" if term[-1:].isdigit() else ""
    return len(re.findall(before + re.escape(term) + after, text)) if term else 0


def _plain(text: str) -> str:
    """Bring a text to one form but for its numbers: width, case, no punctuation."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = unicodedata.normalize("NFKC", text).upper().replace("〇", "零").replace("\u2212", "-")
    text = _MINUS.sub("负", text)
    pieces = ["", *("".join(run) for _, run in groupby(text, key=_silent)), ""]
    for place, piece in enumerate(pieces):
        if piece and _silent(piece[0]):
            pieces[place] = _kept(piece, pieces[place - 1][-1:], pieces[place + 1][:1])
    return "".join(pieces)


def _silent(character: str) -> bool:
    """Tell whether a character is punctuation or blank: it is heard only beside digits, if at all."""
    return character == "~" or unicodedata.category(character) in _SILENT


def _kept(marks: str, before: str, after: str) -> str:
    """Return what has to stay of the punctuation between two characters: 3-4 isn't 34, 1.5 isn't 15, and 5% isn't 5."""
    marks = "".join(marks.split())
    if re.match(f"[0-9][{_NUMERALS}]|[{_NUMERALS}][0-9]", before + after):
        # Neither a sign of thousands nor a minus, should the form be brought to its form again.
        return marks.replace(",", "、").replace("-", "~") or " "
    return marks[0] if marks[:1] in ("%", "‰") and re.match(f"[{_NUMERALS}]", before) else ""


def _number(match: re.Match[str]) -> str:
    """Write a number in Arabic digits, if it is certain which one it is."""
    percent, whole, point, fraction = match.groups()
    found: str | None
    if point is None:
        found = "100" if percent and whole == "百" else _integer(whole)
    elif (found := _decimal(whole, point, fraction, match.string[match.end() :])) is None:
        found = (_integer(whole) or whole) + point + (_integer(fraction) or fraction)
        percent, found = None, (percent or "") + found
    if not percent:
        return found or whole
    # 一百分之五 is no 15%: what stands before must not become part of the number.
    joined = re.match(f"[{_NUMERALS}]", match.string[match.start() - 1 : match.start()])
    return f"{found}%" if found and not joined else percent + (found or whole)


def _decimal(whole: str, point: str, fraction: str, rest: str) -> str | None:
    """Return a decimal number (三点八万, 3.8万) in Arabic digits, or None if it is none."""
    parts, ahead = _FRACTION.fullmatch(fraction), _integer(whole)
    if parts is None or ahead is None:
        return None
    if point == "点" and (re.search("[0-9]", whole + fraction) or rest.startswith(_NO_DECIMAL)):
        return None
    written = f"{ahead}.{parts[1].translate(_VALUE)}"
    if not parts[2]:
        return written
    value = Decimal(written) * UNITS[parts[2]]
    return str(int(value)) if value == int(value) else f"{value.normalize():f}"


def _integer(run: str) -> str | None:
    """Return a whole number in Arabic digits, or None if it isn't certain which one it is."""
    if re.fullmatch("[0-9]+", run):
        return run
    if re.fullmatch(f"[{DIGITS}]|[{DIGITS}幺]{{3,}}", run):  # read out digit by digit
        return run.translate(_VALUE)
    if run == "两":
        return "2"
    form = re.sub("0|[1-9][0-9]{0,3}", lambda match: _spelt(int(match[0])), run)  # 3万8千
    form = re.sub("两(?=[百千万亿])", "二", form)
    form = re.sub("(?<=零)十|^十", "一十", form)
    if left_out := re.search(f"([百千万亿])[{DIGITS[1:]}]$", form):  # 三万八
        form += _LOWER[left_out[1]]
    value = _sum(form)
    # Only what is spelt as it should be is a number: 三四百 and 十七八 add up too.
    return str(value) if value is not None and _spelt(value) == form else None


def _sum(form: str) -> int | None:
    """Add up a number by its units; None if there is something else in it."""
    total = section = digit = 0
    for character in form:
        if character in DIGITS:
            digit = DIGITS.index(character)
        elif character not in UNITS:
            return None
        elif (unit := UNITS[character]) < UNITS["万"]:
            section, digit = section + digit * unit, 0
        elif character == "万":
            total, section, digit = total + (section + digit) * unit, 0, 0
        else:
            total, section, digit = (total + section + digit) * unit, 0, 0
    return total + section + digit


def _spelt(number: int) -> str:
    """Spell a number in full (10 is 一十)."""
    for unit, size in UNITS.items():
        if number >= size:
            many, rest = divmod(number, size)
            gap = "零" if 0 < rest < size // 10 else ""
            return _spelt(many) + unit + gap + (_spelt(rest) if rest else "")
    return DIGITS[number]

"""Tuning on site: which terms can be taught, in what sentences, and whether a tuned model may replace the old one."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.asr.score import count as count_term
from edge_agent.errors import DictionaryError
from edge_agent.terms.pack import LONGEST_TERM, Pack
from edge_agent.terms.pinyin import Syllable
from edge_agent.terms.sheet import read_sheet, read_text
from train_recognizer.espeak import pinyin
from train_recognizer.sentences import one_round, unbanned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from train_recognizer.grammar import Grammar, Sentence

COLUMNS = ("term", "category", "aliases", "pinyin", "weight", "phonetic", "note")
"""Of a pack's `terms.csv`."""
EACH, MOST = 30, 6_000
"""Sentences for a term, and for all of them."""
FEWEST = 1_000
"""General sentences at least: a few dozen would be learned by heart."""
TESTED, CLIPS = 60, 60
"""Terms that are measured, and sentences for it; each is heard twice."""
SHORTEST, LONGEST = 2, 12
KEPT = 5
"""One in so many templates, written sentences and recordings is kept for measuring."""
OLD, NEW, OWN = ("template", "free"), ("terms", "terms_telephone"), ("own",)
"""Sets of recordings: what the model could do before, the new terms, the site's own transcripts."""


@dataclass(frozen=True, slots=True)
class Word:
    """A term as it is written and, where the dictionary says so, how it is read: a syllable a character (chong2)."""

    text: str
    reading: tuple[str, ...] = ()


def read_terms(given: Path) -> list[Word]:
    """Read the terms and aliases of a pack's folder, of a `terms.csv`, or of a list with one term a line.

    Raises:
        DictionaryError: the file is missing, or malformed; names file and line.
    """
    if given.is_dir():
        pack = Pack.load(given)
        return [
            word
            for term in pack.terms
            for word in (Word(term.term, _reading(term.pinyin)), *(Word(alias) for alias in term.aliases))
        ]
    if given.suffix.lower() == ".csv":
        return [word for row in read_sheet(given, COLUMNS) for word in _words(row)]
    lines = enumerate(read_text(given).splitlines(), 1)
    words = [(number, line.strip()) for number, line in lines if line.strip() and not line.strip().startswith("#")]
    for number, line in words:
        if len(line) > LONGEST_TERM:
            raise DictionaryError(
                f"a line of {len(line)} characters is no term",
                where=f"{given}:{number}",
                remedy="give a pack's folder, its terms.csv, or a text with one term a line",
            )
    return [Word(line) for _, line in words]


def sayable(words: Iterable[Word]) -> tuple[list[Word], list[tuple[str, str]]]:
    """Return the terms that can be spoken, each once and in capitals, and the others with the reason."""
    good: dict[str, Word] = {}
    refused: list[tuple[str, str]] = []
    for word in words:
        text = re.sub(r"[\s·・\-‐–—_/]", "", unicodedata.normalize("NFKC", word.text)).upper()
        if why := _why_not(text):
            refused.append((word.text, why))
        elif text not in good or (word.reading and not good[text].reading):
            good[text] = Word(text, word.reading)
    return list(good.values()), refused


def is_kept(text: str) -> bool:
    """Say whether something is kept for measuring: one in five, by its hash."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % KEPT == 0


def to_train(grammar: Grammar, words: Sequence[Word], lines: Sequence[str]) -> list[Sentence]:
    """Return sentences with the terms and, so that nothing is forgotten, as many without; shuffled."""
    r = grammar.random
    templates = [t for t in grammar.naming_templates if not is_kept(t)]
    taught = [line for line in lines if not is_kept(line)]
    drawn = list(words) if len(words) <= MOST else r.sample(list(words), MOST)
    new = [
        sentence
        for word in drawn
        for sentence in _with_term(grammar, word.text, templates, taught, min(EACH, MOST // len(drawn)))
    ]
    count = max(FEWEST, len(new))
    general = unbanned(one_round(grammar, r.sample(taught, min(len(taught), count))))[:count]
    return r.sample(new + general, len(new) + len(general))


def to_measure(grammar: Grammar, words: Sequence[Word], lines: Sequence[str]) -> list[Sentence]:
    """Return sentences with the terms in templates and written sentences that `to_train` leaves out."""
    r = grammar.random
    templates = [t for t in grammar.naming_templates if is_kept(t)]
    kept = [line for line in lines if is_kept(line)]
    drawn = r.sample(list(words), min(len(words), TESTED))
    each = max(1, min(8, CLIPS // len(drawn)))
    return [sentence for word in drawn for sentence in _with_term(grammar, word.text, templates, kept, each)]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model reached: occurrences of the new terms, and errors over characters of each kind of test."""

    terms: int
    found: int
    new: tuple[int, int]
    old: tuple[int, int]
    own: tuple[int, int]

    @classmethod
    def of(cls, rows: Mapping[str, Mapping[str, Any]]) -> Figures:
        """Add up the sets that `edge-agent eval asr --json` measured."""

        def counts(names: Iterable[str]) -> tuple[int, int]:
            there = [rows[name] for name in names if name in rows]
            kinds = ("substitutions", "deletions", "insertions")
            return sum(row[kind] for row in there for kind in kinds), sum(row["characters"] for row in there)

        new = [rows[name] for name in NEW if name in rows]
        terms, found = (sum(row[key] for row in new) for key in ("terms", "terms_found"))
        return cls(terms, found, counts(NEW), counts(OLD), counts(OWN))

    @property
    def recall(self) -> float:
        return self.found / self.terms if self.terms else 0.0


def verdict(before: Figures, after: Figures) -> tuple[bool, str]:
    """Say whether the tuned model is to be kept, and why.

    It must find more of the new terms, and make no more errors in what the old one could do, and in the site's own
    recordings if there are any.
    """
    reasons = []
    if after.found <= before.found:
        reasons.append("it finds no more of the new terms")
    if after.old[0] > before.old[0]:
        reasons.append("it makes more errors in the old test")
    if after.own[0] > before.own[0]:
        reasons.append("it makes more errors in your own recordings")
    if reasons:
        return False, "; ".join(reasons)
    return True, "it finds more of the new terms and makes no more errors elsewhere"


def table(before: Figures, after: Figures | None = None) -> str:
    """Return the figures in columns, for people."""
    rows = [("", "before", "after" if after else "")]
    for name, kind in KINDS.items():
        one, two = (_figure(figures, kind) if figures else "" for figures in (before, after))
        if one != "-":
            rows.append((name, one, two))
    return "\n".join(f"{name:<34}{one:>16}{two:>16}".rstrip() for name, one, two in rows)


KINDS = {
    "new terms found": "recall",
    "CER, sentences with the new terms": "new",
    "CER, old test": "old",
    "CER, own recordings": "own",
}


def version(old: str, words: Iterable[Word]) -> str:
    """Return the version of a tuned model: the old one's, and a hash of it and the terms."""
    text = "\n".join([old, *sorted(word.text for word in words)])
    return f"{old.split('+')[0]}+tuned-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def new_card(card: str, wanted: str, measured: str = "") -> str:
    """Return the card of a tuned model: the old one's with another version, other figures, and no hashes yet."""
    card = re.sub(r"^\[(measured|sha256)\].*?(?=^\[|\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    line = f'version = "{wanted}"'
    if re.search(r"^version *=", card, re.MULTILINE):
        card = re.sub(r"^version *=.*$", line, card, count=1, flags=re.MULTILINE)
    else:
        card = f"{line}\n{card}"
    return f"{card.rstrip()}\n\n{measured}".rstrip() + "\n"


def measured(before: Figures, after: Figures, terms: int) -> str:
    """Return the figures for a card."""
    return (
        f"[measured] # by `scripts/tune_recognizer` with {terms} terms: before and after\n"
        f"new_terms_found = [{before.recall:.3f}, {after.recall:.3f}]\n"
        f"cer_new_terms = [{_rate(before.new):.3f}, {_rate(after.new):.3f}]\n"
        f"cer_old_test = [{_rate(before.old):.3f}, {_rate(after.old):.3f}]\n"
    )


def readings(words: Iterable[Word]) -> dict[str, list[list[str]]]:
    """Return the readings that the dictionary gives, for `pypinyin.load_phrases_dict`."""
    from pypinyin.contrib.tone_convert import to_tone

    found: dict[str, list[list[str]]] = {}
    for word in words:
        syllables = iter(word.reading)
        runs = re.findall("[\u4e00-\u9fff]+", word.text)
        if len(word.reading) == sum(map(len, runs)):
            found |= {run: [[to_tone(next(syllables))] for _ in run] for run in runs if len(run) > 1}
    return found


ADVICE = """
{count} recordings ({hours:.1f} h) are in {out}: wav/, and metadata.jsonl with a line {{"file_name", "text"}} for each.
test/ holds sentences that are not among them, for `edge-agent eval asr`.

{model} is none of the models that are trained here, and too large to be trained on a CPU. What it takes, with a GPU
(published experience; not measured here):

  model      all weights    LoRA      a pass over 10 h of speech
  tiny       4 GB           4 GB      minutes
  base       6 GB           4 GB      minutes
  small      12 GB          6 GB      half an hour
  medium     24 GB          8 GB      an hour or two
  large-v3   40 GB          8–16 GB   two to four hours

On such a machine: fine-tune with Hugging Face's transformers (and peft for LoRA; merge the adapter into the weights
afterwards). The recordings are synthetic: mix in recordings of people, or the model forgets how they sound. Then bring
the result back:

  ct2-transformers-converter --model TUNED --output_dir FOLDER --quantization int8 \\
      --copy_files tokenizer.json preprocessor_config.json
  scripts/make_card FOLDER
  edge-agent eval asr {out}/test -m FOLDER     # and the same with the old model
  edge-agent eval asr YOUR_RECORDINGS -m FOLDER
"""


def _reading(syllables: Iterable[Syllable]) -> tuple[str, ...]:
    """Return a reading if every tone is in it: espeak-ng would say a syllable without one in the neutral tone."""
    given = list(syllables)
    return tuple(f"{s.initial}{s.final}{s.tone}" for s in given) if all(s.tone for s in given) else ()


def _words(row: Any) -> list[Word]:
    if not row["term"]:
        row.refuse("term", "the term is empty", "write the word as it is spelled, or delete the row")
    try:
        reading = _reading(Syllable.parse(syllable) for syllable in row["pinyin"].split())
    except ValueError as error:
        row.refuse("pinyin", str(error), "write it as zhong4, zhòng or zhong")
    return [Word(row["term"], reading), *(Word(alias.strip()) for alias in row["aliases"].split("|") if alias.strip())]


def _why_not(text: str) -> str:
    if strange := re.search("[^A-Z\u4e00-\u9fff]", text):
        if strange[0].isdigit():
            return "it holds digits: write them as they are said (九零零一)"
        return f"it holds {strange[0]!r}: only Chinese characters and the letters A to Z can be read out"
    if not SHORTEST <= len(text) <= LONGEST:
        return f"it has {len(text)} characters: {SHORTEST} to {LONGEST} can be taught"
    if unread := re.search("[\u4e00-\u9fff]", pinyin(text)):
        return f"no reading of {unread[0]} is known"
    return ""


def _with_term(
    grammar: Grammar, term: str, templates: Sequence[str], lines: Sequence[str], count: int
) -> list[Sentence]:
    """Return different sentences with a term, from templates and written sentences in turn."""
    found: dict[str, Sentence] = {}
    for number in range(4 * count):
        if len(found) >= count:
            break
        by_template = number % 2 == 0
        drawn = grammar.random.choice(lines)
        made = grammar.pack_term(term, templates) if by_template else grammar.swapped(drawn, term)
        # Of a term of letters that meets other letters nobody could say where it begins.
        if made and count_term(term, made.text) and len(made.text) <= 40:
            found[made.text] = made
    return list(found.values())


def _rate(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1] if counts[1] else 0.0


def _figure(figures: Figures, kind: str) -> str:
    if kind == "recall":
        return f"{figures.recall:.3f} of {figures.terms}"
    errors, characters = getattr(figures, kind)
    return f"{errors / characters:.3f} of {characters}" if characters else "-"

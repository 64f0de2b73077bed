"""The written sentences, those that the evaluation keeps for itself, and rounds of sentences to train on."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from train_recognizer.grammar import HERE, TOP, Sentence, finished

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from train_recognizer.grammar import Grammar

SAYABLE = re.compile("[A-Za-z\u4e00-\u9fff，。？！、]{1,60}")


def written() -> list[str]:
    """Return every sentence that was written by hand and can be read out."""
    lines: dict[str, None] = {}
    for file in sorted((HERE / "text").glob("*-*.txt")):
        lines.update(dict.fromkeys(file.read_text(encoding="utf-8").splitlines()))
    for file in sorted((TOP / "dictionaries" / "nodes" / "examples").glob("*.tsv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                lines[row["text"]] = None
                if row.get("previous"):
                    lines[row["previous"]] = None
    cleaned = (re.sub("[……—；：“”「」\\s]+", "，", line.strip()).strip("，").upper() for line in lines)
    whole = (finished(line) for line in cleaned if SAYABLE.fullmatch(line))
    return [line for line in whole if SAYABLE.fullmatch(line)]


def banned() -> tuple[set[str], list[str]]:
    """Return the evaluation's sentences (without punctuation) and its names."""
    folder = HERE / "evaluation"
    rows = [
        line.split("\t")
        for name in ("terms.tsv", "call-1.tsv", "call-2.tsv", "final-call.tsv")
        for line in _lines(folder / name)
    ]
    sentences = {bare(row[-1]) for row in rows}
    sentences |= {bare(line) for name in ("free.txt", "template.txt", "final.txt") for line in _lines(folder / name)}
    names = [line.split("\t")[0] for line in _lines(folder / "terms.tsv")] + _lines(folder / "distractors.txt")
    return {s for s in sentences if len(s) > 4}, names


def unbanned(found: Iterable[Sentence]) -> list[Sentence]:
    """Leave out what is a sentence of the evaluation or holds one of its names."""
    sentences, names = banned()
    name = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "$.")
    return [s for s in found if bare(s.text) not in sentences and not name.search(s.text)]


def bare(text: str) -> str:
    return re.sub("[^A-Z\u4e00-\u9fff]", "", text.upper())


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line] if file.exists() else []


def one_round(grammar: Grammar, lines: list[str]) -> list[Sentence]:
    """Return a shuffled round: the written sentences, and new ones in proportion."""
    r = grammar.random
    clauses = [c for line in lines for c in re.split("[，。？！、]", line) if 2 <= len(c) <= 14]
    n = len(lines)
    out = [Sentence(line, (), "written") for line in lines]
    out += [grammar.template() for _ in range(n // 7)]
    out += [grammar.naming() for _ in range(n // 9)]
    out += [grammar.acronym() for _ in range(n // 9)]
    out += [grammar.salad() for _ in range(n // 8)]
    out += [grammar.recombined(clauses) for _ in range(n // 3)]
    out += [s for s in (grammar.swapped(r.choice(lines)) for _ in range(n // 7)) if s]
    out += [grammar.pack_term(term) for term in grammar.packs]
    r.shuffle(out)
    return out

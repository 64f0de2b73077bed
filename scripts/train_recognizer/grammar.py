"""Sentences out of bracket templates, the dictionaries' terms, invented names and random words."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from train_recognizer import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
HANZI = re.compile("[\u4e00-\u9fff]+")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([\w.]+)\}")
QUESTION = ("多少", "什么", "怎么", "哪", "能不能", "有没有", "是不是", "可不可以", "行不行", "要不要", "会不会")
OPENERS = (
    "嗯， 对， 好的， 那个， 是这样的， 其实 然后 但是 不过 所以 我觉得 就是说 那 您看， 说实话， 这个 因为 "
    "如果 而且 另外， 还有 首先 那么 可能 行， 哦， 啊， 对对对， 没问题， 明白， "
    "呃， 哎， 喂， 主要是 反正 关键是 再说 老实讲， 不瞒您说， 怎么说呢，"
).split()
PRONOUNS = (
    "我 你 您 他 我们 你们 他们 咱们 客户 公司 领导 老板 大家 对方 厂家 医院 学校 门店 自己 这个 那个 这边 那边 有些人"
).split()
AUXILIARIES = [
    "",
    "",
    *"要 会 能 可以 想 应该 需要 已经 还没有 没有 不 不能 正在 一直 必须 准备 希望 觉得 打算".split(),
]
ENDINGS = ["", "", "", "", *"了 吗 吧 呢 的 啊 过 的时候 这件事 之后再说 的话".split()]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
AFTER_LETTERS = (
    "认证 标准 系统 平台 接口 型 级 版 轮 款 检测 报告 编码 证书 协议 模块 方案 机 类 端 区 座 盘 线 店 单 群".split()
)
KINDS = {"n": "n", "v": "v", "a": "a", "d": "d"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said, and the rare terms in it that a list of hotwords may offer. `source` says how it was made."""

    text: str
    terms: tuple[str, ...] = ()
    source: str = ""


class Lexicon:
    """Words of jieba's lexicon (MIT) drawn by a flattened frequency, by part of speech."""

    def __init__(self, size: int = 26_000) -> None:
        import jieba

        rows = []
        for line in (Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
            word, count, tag = line.split()
            if len(word) <= 4 and HANZI.fullmatch(word):
                rows.append((word, int(count), tag))
        rows.sort(key=lambda row: -row[1])
        self.tags = {word: tag for word, _, tag in rows}
        groups: dict[str, list[tuple[str, float]]] = {}
        characters: dict[str, int] = {}
        for word, times, tag in rows[:size]:
            kind = "nr" if tag.startswith("nr") else "ns" if tag == "ns" else KINDS.get(tag[0], "o")
            groups.setdefault(kind, []).append((word, times**0.4))
            groups.setdefault("all", []).append((word, times**0.4))
            for character in word:
                characters[character] = characters.get(character, 0) + times
        self._words = {
            kind: ([w for w, _ in pairs], list(itertools.accumulate(weight for _, weight in pairs)))
            for kind, pairs in groups.items()
        }
        self.characters = sorted(characters, key=lambda c: -characters[c])[:2600]

    def draw(self, random: Random, kind: str = "all") -> str:
        """Draw a word; `kind` is n, v, a, d, ns, nr, o or all."""
        words, weights = self._words[kind]
        return random.choices(words, cum_weights=weights)[0]

    def rare(self, random: Random, length: int | None = None) -> str:
        """Return characters that make no word, as product and company names are."""
        return "".join(random.choice(self.characters) for _ in range(length or random.choice([2, 2, 3, 3, 4])))


def pack_terms() -> list[str]:
    """Return the terms and aliases of the shipped packs that can be spoken."""
    terms: dict[str, None] = {}
    for file in sorted((TOP / "dictionaries").glob("*/terms.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                for term in (row["term"], *filter(None, (row.get("aliases") or "").split("|"))):
                    if re.fullmatch("[A-Za-z\u4e00-\u9fff]{2,12}", term):
                        terms[term.upper()] = None
    return list(terms)


class Grammar:
    """Draws sentences. Everything random comes from the one `random` given, so that a seed gives the same text."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lexicon = Lexicon()
        self._slots = {row.split()[0]: row.split()[1:] for row in _rows(HERE / "text" / "slots.txt")}
        self._templates = _rows(HERE / "text" / "templates.txt")
        self.naming_templates = [t for t in self._templates if "{X" in t]
        self._packs = pack_terms()

    def template(self) -> Sentence:
        """Fill a template of the sales domain."""
        return self._fill(self.random.choice(self._templates), "template")

    def naming(self) -> Sentence:
        """Fill a template with a name or term that can't be guessed from its sound."""
        return self._fill(self.random.choice(self.naming_templates), "naming")

    def pack_term(self, term: str, templates: Sequence[str] = ()) -> Sentence:
        """Say a dictionary's term in one of the templates given, or of all that name something."""
        template = self.random.choice(templates or self.naming_templates)
        names = SLOT.findall(template)
        chosen = self.random.choice([i for i, name in enumerate(names) if name.startswith("X")])
        terms: list[str] = [term]
        count = itertools.count()
        text = SLOT.sub(
            lambda m: term if next(count) == chosen else self._slot(m.group(1), terms), self._choose(template)
        )
        return Sentence(finished(text), tuple(terms), "pack")

    def acronym(self) -> Sentence:
        """Say letters, alone or before a word or a number, in a template that names something."""
        r = self.random
        letters = "".join(r.choice(LETTERS) for _ in range(r.choice([1, 2, 2, 3, 3, 3, 4])))
        after = r.choice(["", r.choice(AFTER_LETTERS), r.choice(AFTER_LETTERS), spoken.number(r.randint(1, 20))])
        return replace(self.pack_term(letters + after), source="acronym")

    @cached_property
    def packs(self) -> list[str]:
        """All terms of the shipped packs, in a random order."""
        return self.random.sample(self._packs, len(self._packs))

    def salad(self) -> Sentence:
        """Join random words, so that the decoder has to listen."""
        r = self.random

        def lex(kind: str) -> str:
            return self.lexicon.draw(r, kind)

        kind = r.random()
        if kind < 0.25:
            text = (
                r.choice(["", *OPENERS])
                + r.choice(PRONOUNS)
                + r.choice(AUXILIARIES)
                + lex("v")
                + lex("n")
                + r.choice(ENDINGS)
            )
        elif kind < 0.4:
            link = r.choice("的 这个 对 跟 把 给 和 在 从".split())
            text = (
                r.choice(PRONOUNS)
                + link
                + lex("n")
                + r.choice(AUXILIARIES)
                + r.choice(["", "很", "比较", "最"])
                + lex(r.choice("va"))
                + r.choice(ENDINGS)
            )
        elif kind < 0.55:
            text = (
                lex("n") + r.choice("的 和 跟 或者 是 在".split()) + lex("n") + lex("d") + lex("v") + r.choice(ENDINGS)
            )
        elif kind < 0.7:
            start = r.choice("关于 对于 按照 根据 通过 除了 包括 因为 为了".split())
            text = start + lex("n") + lex("n") + "，" + r.choice(PRONOUNS) + lex("d") + lex("v") + r.choice(ENDINGS)
        else:
            text = "".join(lex("all") for _ in range(r.randint(2, 6)))
        return Sentence(finished(text), (), "salad")

    def recombined(self, clauses: list[str]) -> Sentence:
        """Join clauses of written sentences that never stood together."""
        r = self.random
        count = r.choice([1, 2, 2, 2, 3])
        opener = r.choice(OPENERS) if r.random() < 0.3 else ""
        return Sentence(finished(opener + "，".join(r.choice(clauses) for _ in range(count))), (), "recombined")

    def swapped(self, sentence: str, term: str = "") -> Sentence | None:
        """Put a term, or an invented name, in the place of a noun of a written sentence; None if it has no noun."""
        import jieba

        words = list(jieba.cut(sentence))
        nouns = [i for i, w in enumerate(words) if 2 <= len(w) <= 4 and self.lexicon.tags.get(w, "x")[0] == "n"]
        if not nouns:
            return None
        terms: list[str] = [term] if term else []
        words[self.random.choice(nouns)] = term or self._slot(self.random.choice(["XCOMP", "XTERM", "XNAME"]), terms)
        return Sentence(finished("".join(words)), tuple(terms), "swapped")

    def _fill(self, template: str, source: str) -> Sentence:
        terms: list[str] = []
        text = SLOT.sub(lambda m: self._slot(m.group(1), terms), self._choose(template))
        if self.random.random() < 0.12 and len(text) < 16:
            text = self.random.choice(OPENERS) + text
        return Sentence(finished(text), tuple(terms), source)

    def _choose(self, template: str) -> str:
        while match := CHOICE.search(template):
            chosen = self.random.choice(match.group(1).split("|"))
            template = template[: match.start()] + chosen + template[match.end() :]
        return template

    def _slot(self, name: str, terms: list[str]) -> str:
        r = self.random
        if name.startswith("w."):
            return self.lexicon.draw(r, name[2:])
        if name.startswith("X"):
            term = self._invented(name)
            terms.append(term)
            return term
        if name == "IND":
            term = (
                r.choice(self._packs)
                if r.random() < 0.6
                else r.choice(self._slots[r.choice(["PHARMA", "MANU", "EDU", "RETAIL", "TERM"])])
            )
            if r.random() < 0.3:
                terms.append(term)
            return term
        if name == "PERSON":
            surname = r.choice(self._slots["SURNAME"])
            title = r.choice("总 总 总 工 姐 哥 经理 主任 老师 校长 院长 先生 女士 主管".split())
            return r.choice([surname + title, surname + title, r.choice("小老") + surname])
        simple = {
            "N": lambda: spoken.number(
                r.choice(
                    [r.randint(1, 20), r.randint(1, 99), r.randint(10, 999), r.choice([100, 200, 300, 500, 800, 150])]
                )
            ),
            "n": lambda: r.choice(["两", spoken.number(r.randint(2, 12))]),
            "PCT": lambda: spoken.percent(r),
            "DISC": lambda: spoken.discount(r),
            "MONEY": lambda: spoken.money(r),
            "DIG": lambda: spoken.digits(r),
            "DATE": lambda: spoken.date(r),
            "YEAR": lambda: spoken.year(r),
        }
        return simple[name]() if name in simple else r.choice(self._slots[name])

    def _invented(self, name: str) -> str:
        r = self.random
        if name == "XNAME":
            return r.choice(self._slots["SURNAME"]) + "".join(
                r.choice(self.lexicon.characters) for _ in range(r.choice([1, 2, 2]))
            )
        kind = r.random()
        if name == "XCOMP":
            suffix = r.choice(["", "", "", "", "", *self._slots["CSUF"]])
            if kind < 0.2:
                return r.choice(self._slots["COMP"]) + r.choice(["", *self._slots["CSUF"]])
            if kind < 0.6:
                return "".join(r.choice(self._slots["NAMECHAR"]) for _ in range(r.choice([2, 2, 2, 3]))) + suffix
            return self.lexicon.rare(r, r.choice([2, 2, 3])) + suffix
        if kind < 0.6:
            return self.lexicon.rare(r)
        if kind < 0.8:
            return self.lexicon.draw(r) + r.choice(self._slots["PROD"] + self._slots["TERM"])
        return r.choice(self._packs)


def finished(text: str) -> str:
    """Return a sentence with its commas in order and a mark at its end."""
    text = re.sub("[，、]{2,}", "，", text).strip("，、")
    if text and text[-1] in "。？！":
        return text
    asks = text[-1:] in "吗呢" or any(word in text for word in QUESTION)
    return text + ("？" if asks else "。")


def _rows(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]

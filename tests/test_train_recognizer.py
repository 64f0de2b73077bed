"""The pure parts of training and tuning the recognizer: text, targets, shards, weights. No PyTorch, no synthesizer."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.asr import prompt
from edge_agent.asr.card import Card
from edge_agent.asr.rescore import Rescorer
from edge_agent.errors import DictionaryError, ModelError
from tests.conftest import TOP

sys.path.insert(0, str(TOP / "scripts"))

from train_recognizer import language, restore, sentences, shards, spoken, tuning, units, vocabulary
from train_recognizer.grammar import Sentence, finished
from train_recognizer.samples import IGNORED, Maker, Segment, batches
from train_recognizer.shards import Utterance

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

MODEL = TOP / "models" / "zh-starter"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.open_tokenizer()


# Numbers, units, text


@pytest.mark.parametrize(
    ("number", "reading"),
    [
        (0, "零"),
        (9, "九"),
        (10, "十"),
        (17, "十七"),
        (20, "二十"),
        (105, "一百零五"),
        (110, "一百一十"),
        (117, "一百一十七"),
        (320, "三百二十"),
        (1005, "一千零五"),
        (1050, "一千零五十"),
        (10_010, "一万零一十"),
        (38_000, "三万八千"),
        (200_005, "二十万零五"),
        (12_000_000, "一千二百万"),
        (99_999_999, "九千九百九十九万九千九百九十九"),
    ],
)
def test_numbers_are_read_as_they_are_said(number: int, reading: str) -> None:
    assert spoken.number(number) == reading


def test_units_are_initials_finals_with_tone_and_letters() -> None:
    def named(text: str) -> list[str]:
        return [units.UNITS[index] for index in units.units(text)]

    assert named("你好。") == ["n", "_i3", "h", "_ao3"]
    assert named("我们通过了GMP认证，安。") == [
        *("w", "_o3", "m", "_en5", "t", "_ong1", "g", "_uo4", "l", "_e5"),
        *("=G", "=M", "=P", "r", "_en4", "zh", "_eng4", "_an1"),
    ]
    assert named("gmp") == named("GMP")
    assert units.UNITS[0] == "<blank>"
    assert named("，。？") == []


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("价格太高了", "价格太高了。"),
        ("能便宜吗", "能便宜吗？"),
        ("你们用什么系统", "你们用什么系统？"),
        ("，好的，，那、，就这样、", "好的，那，就这样。"),
        ("行！", "行！"),
    ],
)
def test_sentences_are_finished(text: str, whole: str) -> None:
    assert finished(text) == whole


def test_no_sentence_of_the_evaluation_is_taught() -> None:
    held, names = sentences.banned()
    assert len(held) > 300
    assert "翊澄" in names
    folder = TOP / "scripts" / "train_recognizer" / "evaluation"
    free = (folder / "free.txt").read_text(encoding="utf-8").splitlines()
    assert {sentences.bare(line) for line in free if len(sentences.bare(line)) > 4} <= held
    assert sentences.bare("好，GMP认证！") == sentences.bare("好gmp认证")


def test_sentences_and_names_of_the_evaluation_are_left_out() -> None:
    _, names = sentences.banned()
    said = (TOP / "scripts/train_recognizer/evaluation/free.txt").read_text(encoding="utf-8").splitlines()[0]
    good = Sentence("我们过了XRF认证吗？", ("XRF认证",), "acronym")
    assert sentences.unbanned([good, Sentence(f"听说过{names[0]}吗？"), Sentence(said)]) == [good]


def test_the_language_file_learns_terms_and_keeps_the_ear(tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    lines = ["这个药进了医保目录。", "患者自付多少？"] * 3
    ear = {
        **language.ear(
            np.eye(len(units.UNITS), 4, dtype=np.float32), np.zeros(len(units.UNITS), np.float32), units.UNITS
        ),
        **language.confusions(language.Confusion()),
    }
    language.write(old, lines, {"患者": 0.5}, ear)
    language.write(new, [*lines, "我们用艾捷乐。"], {"患者": 0.5, "艾捷乐": 2.0}, language.heard(old))
    before, after = Rescorer.load(old), Rescorer.load(new)
    assert "捷" not in before.characters
    assert "捷" in after.characters
    assert np.array_equal(before.weight, after.weight)
    assert np.array_equal(before.hear_finals, after.hear_finals)


def test_what_is_written_can_be_said() -> None:
    lines = sentences.written()
    assert len(lines) > 40_000
    assert all(sentences.SAYABLE.fullmatch(line) and line[-1] in "。？！" for line in lines)


# Prompt, shards, samples


@pytest.mark.parametrize(
    "terms",
    [["GMP认证"], ["返点", "霁岚", "ERP", "聚乙二醇化"], [f"云砺科技{c}" for c in "甲乙丙丁戊己庚辛壬癸子丑寅卯"]],
)
def test_the_slot_is_the_appliances(tokenizer: Tokenizer, terms: list[str]) -> None:
    slot = vocabulary.slot(tokenizer, terms)
    assert len(slot) == vocabulary.SLOT
    told = tokenizer.decode([token for token in slot[1:] if token != vocabulary.PAD]).strip().split("、")
    assert told == terms[: len(told)]
    runtime = SimpleNamespace(
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        eot=vocabulary.END,
        sot_prev=vocabulary.PREVIOUS,
    )
    assert slot == prompt.slot(runtime, terms, vocabulary.SLOT)


def utterance(text: str, frames: int = 200, terms: tuple[str, ...] = ()) -> Utterance:
    energies = np.random.default_rng(frames).normal(-3, 1, (frames, 80)).astype(np.float16)
    return Utterance(text, terms, (1, 2, 3), 20, frames - 20, energies)


def test_shards_come_back_and_a_row_cut_off_is_left_out(tmp_path: Path) -> None:
    written = [utterance("你好。", 120, ("你好",)), utterance("价格太高了。", 240), utterance("行。", 60)]
    path = tmp_path / "0000"
    writer = shards.Writer(path)
    for one in written:
        writer.add(one, voice="f4")
    writer.close()
    found = list(shards.read(path))
    assert [(f.text, f.terms, f.units, f.start, f.end) for f in found] == [
        (w.text, w.terms, w.units, w.start, w.end) for w in written
    ]
    assert all(np.array_equal(f.energies, w.energies) for f, w in zip(found, written, strict=True))
    features = path.with_suffix(".f16")
    whole = features.read_bytes()
    features.write_bytes(whole[:-2])
    assert [f.text for f in shards.read(path)] == ["你好。", "价格太高了。"]
    features.write_bytes(whole)
    rows = path.with_suffix(".jsonl")
    rows.write_text(rows.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    assert [f.text for f in shards.read(path)] == ["你好。", "价格太高了。"]


@pytest.fixture
def maker(tokenizer: Tokenizer) -> Maker:
    texts = ["你好，价格太高了。", "我们通过了GMP认证。", "霁岚精华还有货吗？"]
    ids = sorted({vocabulary.PAD, *vocabulary.special(), *vocabulary.needed(tokenizer, [*texts, "GMP认证", " ,，"])})
    made = Maker(tokenizer, ids, random.Random(1), np.random.default_rng(1))
    made.add([utterance(text, 200 + 20 * n, ("霁岚精华",) if n == 2 else ()) for n, text in enumerate(texts)])
    return made


def written(maker: Maker, rows: list[int]) -> list[int]:
    return [maker.ids[row] for row in rows]


def test_the_decoder_is_taught_to_write_the_next_token(maker: Maker) -> None:
    text = "你好，价格太高了。"
    styles = set()
    for _ in range(20):
        target = maker.target((Segment(text, (), 20, 180),))
        tokens = written(maker, target.tokens)
        assert len(target.tokens) == len(target.wanted) == len(target.places)
        assert tokens[:3] == [vocabulary.START, vocabulary.ZH, vocabulary.TRANSCRIBE]
        assert maker.ids[target.wanted[0]] == vocabulary.ZH
        assert target.wanted[1] == IGNORED
        wanted = written(maker, [row for row in target.wanted[1:] if row != IGNORED])
        assert wanted[-1] == vocabulary.END
        inside = [token for token in wanted[:-1] if token < vocabulary.END]
        assert maker.tokenizer.decode(inside) == text
        # What is wanted at a place is what is read at the next one.
        assert [w for w in target.wanted[:-1] if w != IGNORED][1:] == target.tokens[-len(wanted) + 1 :]
        places = [place for place in target.places if place >= 0]
        assert len(places) == len(inside)
        assert places == sorted(places)
        assert places[0] >= 10
        assert places[-1] <= 90
        timed = vocabulary.NO_TIMESTAMPS not in tokens
        if timed:
            assert wanted[0] == vocabulary.ZERO + 10  # 20 frames are 0.2 s, ten steps of 0.02 s
            assert wanted[-2] == vocabulary.ZERO + 90
        styles.add(timed)
    assert styles == {True, False}


def test_prompts_stand_before_the_start_and_are_not_learned(maker: Maker) -> None:
    segments = (Segment("霁岚精华还有货吗？", ("霁岚精华",), 20, 180),)
    slots = 0
    for _ in range(50):
        target = maker.target(segments, prompted=True)
        tokens = written(maker, target.tokens)
        at = tokens.index(vocabulary.START)
        assert at == 0 or tokens[0] == vocabulary.PREVIOUS
        assert target.wanted[:at] == [IGNORED] * at
        assert maker.ids[target.wanted[at]] == vocabulary.ZH
        assert set(target.places[:at]) <= {-1.0}
        slots += at == vocabulary.SLOT
    assert slots > 15


def test_where_nothing_is_said_that_is_what_is_wanted(maker: Maker) -> None:
    for _ in range(10):
        target = maker.target((), prompted=True)
        assert maker.ids[target.wanted[0]] == vocabulary.NO_SPEECH
        assert [maker.ids[row] for row in target.wanted if row != IGNORED][-1] == vocabulary.END
        assert set(target.places) == {-1.0}


def test_samples_are_whole_and_joined_in_order(maker: Maker) -> None:
    drawn = [maker.sample() for _ in range(200)]
    assert any(not s.segments for s in drawn)
    assert any(len(s.segments) > 1 for s in drawn)
    for sample in drawn:
        assert sample.features.shape[1:] == (80,)
        assert sample.features.dtype == np.float32
        assert np.isfinite(sample.features).all()
        ends = [edge for s in sample.segments for edge in (s.start, s.end)]
        assert ends == sorted(ends)
        assert not ends or ends[-1] <= len(sample.features)
        assert len(sample.units) == 3 * len(sample.segments)
    grouped = batches(drawn, 20.0, random.Random(1))
    assert sum(map(len, grouped)) == len(drawn)
    assert all(len(b) == 1 or len(b) * max(len(s.features) for s in b) <= 2000 for b in grouped)


# Weights


def test_the_shipped_models_weights_can_be_read(tmp_path: Path) -> None:
    variables = restore.read(MODEL / "model.bin")
    ids = restore.usable(variables)
    assert restore.is_ours(variables)
    assert {vocabulary.END, vocabulary.START, vocabulary.ZH, vocabulary.TRANSCRIBE} <= set(ids)
    assert variables["decoder/embeddings/weight"].shape[0] == 51_865
    assert np.shares_memory(variables["decoder/projection/weight"], variables["decoder/embeddings/weight"])
    stock = {name: value for name, value in variables.items() if name != "decoder/projection/bias"}
    assert not restore.is_ours(stock)
    for size in (0, 3, 1000, 5_000_000):
        cut = tmp_path / "model.bin"
        cut.write_bytes((MODEL / "model.bin").read_bytes()[:size])
        with pytest.raises(ModelError, match=r"damaged|not of Whisper"):
            restore.read(cut)
    with pytest.raises(ModelError, match="No such file"):
        restore.read(tmp_path / "none.bin")


# Tuning: terms


def test_terms_come_from_a_pack_a_sheet_or_a_list(tmp_path: Path) -> None:
    pack = TOP / "dictionaries" / "pharma"
    words = tuning.read_terms(pack)
    assert words == tuning.read_terms(pack / "terms.csv")
    assert "GMP认证" in {word.text for word in words}
    plain = tmp_path / "terms.txt"
    plain.write_text("# ours\n霁岚精华\n\n  云砺科技 \n", encoding="utf-8")
    assert [word.text for word in tuning.read_terms(plain)] == ["霁岚精华", "云砺科技"]


def test_terms_that_cannot_be_taught_are_left_out_with_a_reason() -> None:
    given = ["霁岚精华", "erp系统", "ERP 系统", "ISO9001", "一", "C++", "很" * 13, "ㄅㄆ"]
    good, refused = tuning.sayable(tuning.Word(text) for text in given)
    assert [word.text for word in good] == ["霁岚精华", "ERP系统"]
    assert [term for term, _ in refused] == ["ISO9001", "一", "C++", "很" * 13, "ㄅㄆ"]
    reasons = dict(refused)
    assert "digits" in reasons["ISO9001"]
    assert "'+'" in reasons["C++"]
    assert "1 characters" in reasons["一"]


def test_readings_of_the_dictionary_are_kept(tmp_path: Path) -> None:
    sheet = tmp_path / "terms.csv"
    sheet.write_text(
        "term,category,aliases,pinyin,weight,phonetic,note\n"
        "重装SAP系统,,,chong2 zhuang1 xi4 tong3,,,\n行远,,,hang yuan,,,\n",
        encoding="utf-8",
    )
    words, _ = tuning.sayable(tuning.read_terms(sheet))
    assert tuning.readings(words) == {"重装": [["chóng"], ["zhuāng"]], "系统": [["xì"], ["tǒng"]]}


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("none.txt", None, "no such file"),
        ("terms.csv", "term\n霁岚\n", "column is missing"),
        ("list.txt", "说" * 80, "is no term"),
        ("latin.txt", "caf\xe9".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, name: str, content: str | bytes | None, match: str) -> None:
    file = tmp_path / name
    if isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(DictionaryError, match=match):
        tuning.read_terms(file)


class Plain:
    """A grammar without jieba: it puts a term into a frame, and draws general sentences from those given."""

    naming_templates = tuple(f"我们用{{XTERM}}{c}" for c in "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")

    def __init__(self) -> None:
        self.random = random.Random(1)

    def pack_term(self, term: str, templates: tuple[str, ...] = ()) -> Sentence:
        return Sentence(finished(self.random.choice(templates).replace("{XTERM}", term)), (term,), "pack")

    def swapped(self, sentence: str, term: str = "") -> Sentence | None:
        return Sentence(finished(sentence.replace("价格", term)), (term,), "swapped") if "价格" in sentence else None


def test_what_is_measured_is_not_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "one_round", lambda _grammar, lines: [Sentence(line) for line in lines])
    grammar = Plain()
    lines = [f"第{spoken.number(n)}次谈价格。" for n in range(2000)]
    words = [tuning.Word("霁岚精华"), tuning.Word("ERP")]
    taught = tuning.to_train(grammar, words, lines)  # type: ignore[arg-type]
    measured = tuning.to_measure(grammar, words, lines)  # type: ignore[arg-type]
    assert not {s.text for s in taught} & {s.text for s in measured}
    assert {s.terms for s in measured} == {("霁岚精华",), ("ERP",)}
    new = [s for s in taught if s.terms]
    assert len(new) <= 2 * tuning.EACH
    assert len(new) > tuning.EACH
    assert len(taught) - len(new) == tuning.FEWEST
    assert not {s.text for s in taught} & {line for line in lines if tuning.is_kept(line)}


# Tuning: the decision


def figures(found: int = 10, new: int = 50, old: int = 20, own: int = 0) -> tuning.Figures:
    return tuning.Figures(40, found, (new, 500), (old, 1000), (own, 300))


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (figures(found=11), True),
        (figures(found=40, new=0, old=0), True),
        (figures(found=10, new=0), False),
        (figures(found=9), False),
        (figures(found=40, old=21), False),
        (figures(found=40, own=1), False),
        (figures(found=11, new=60), True),
    ],
)
def test_the_tuned_model_is_kept_only_if_it_is_better(after: tuning.Figures, kept: bool) -> None:
    decided, why = tuning.verdict(figures(), after)
    assert decided is kept
    assert why


def test_figures_are_added_up_over_sets() -> None:
    row = {"substitutions": 1, "deletions": 2, "insertions": 3, "characters": 100, "terms": 10, "terms_found": 4}
    found = tuning.Figures.of(dict.fromkeys(("terms", "terms_telephone", "free", "all"), row))
    assert found == tuning.Figures(20, 8, (12, 200), (6, 100), (0, 0))
    assert found.recall == 0.4
    lines = tuning.table(found, found).splitlines()
    assert lines[1].split() == ["new", "terms", "found", "0.400", "of", "20", "0.400", "of", "20"]
    assert len(lines) == 4  # there are no recordings of the site


def test_the_card_of_a_tuned_model_says_so(tmp_path: Path) -> None:
    words = [tuning.Word("霁岚精华")]
    version = tuning.version("2", words)
    assert version.startswith("2+tuned-")
    assert tuning.version(version, words).startswith("2+tuned-")
    assert tuning.version(version, words) != version
    old = (MODEL / "card.toml").read_text(encoding="utf-8")
    measured = tuning.measured(figures(), figures(found=20), 1)
    (tmp_path / "card.toml").write_text(tuning.new_card(old, version, measured), encoding="utf-8")
    card, before = Card.load(tmp_path), Card.load(MODEL)
    assert card.version == version
    assert card.sha256 == {}
    assert card.measured["new_terms_found"] == [0.25, 0.5]
    assert (card.name, card.buckets_s, card.decoding, card.gates) == (
        before.name,
        before.buckets_s,
        before.decoding,
        before.gates,
    )


# Tuning: the command


def refused(*arguments: str | Path) -> str:
    """Run the command, which must end with one error, and return what it said."""
    command = [sys.executable, str(TOP / "scripts" / "tune_recognizer"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOP, timeout=120, check=False)
    assert done.returncode not in (0, 2), done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "\nTry: " in done.stderr
    assert not done.stdout
    return done.stderr


def test_bad_input_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    good = tmp_path / "terms.txt"
    good.write_text("霁岚精华\n", encoding="utf-8")
    digits = tmp_path / "digits.txt"
    digits.write_text("ISO9001\n5G\n", encoding="utf-8")
    assert "no such file" in refused(tmp_path / "none.txt")
    assert "no term that can be taught: 'ISO9001': it holds digits" in refused(digits)
    assert "no such model folder" in refused(good, "--model", tmp_path / "none")
    full = tmp_path / "full"
    full.mkdir()
    (full / "card.toml").touch()
    assert "is there already" in refused(good, "--out", full)
    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken)
    (broken / "card.toml").unlink()
    (broken / "model.bin").write_bytes((MODEL / "model.bin").read_bytes()[:1_000_000])
    assert "cut short" in refused(good, "--model", broken)
    assert "no such folder" in refused(good, "--out", tmp_path / "new", "--transcripts", tmp_path / "none")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_restored_network_hears_what_the_model_hears() -> None:
    import ctranslate2
    import torch

    variables = restore.read(MODEL / "model.bin")
    network, ids = restore.restore(variables)
    features = np.random.default_rng(0).normal(0, 0.5, (1, 80, 600)).astype(np.float32)
    with torch.no_grad():
        states, _ = network.eval().encode(torch.from_numpy(features))
    model = ctranslate2.models.Whisper(str(MODEL), device="cpu", compute_type="float32", intra_threads=1)
    heard = np.array(model.encode(ctranslate2.StorageView.from_array(features)))
    assert np.abs(heard - states.numpy()).max() < 1e-3
    assert len(ids) == network.shape.vocabulary

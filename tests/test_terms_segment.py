"""Texts are cut into words, terms whole; a damaged segmenter is told of, and everything else goes on without it."""

from __future__ import annotations

import csv
import importlib.util
import logging
import shutil
import subprocess
import sys
from functools import partial
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy_pkuseg import Preprocesser, pkuseg

from edge_agent import config
from edge_agent.cli.checkup import State, examine
from edge_agent.errors import ModelError
from edge_agent.packs import SEGMENTER, Packs
from edge_agent.terms import Dictionary, Pack, Term, boundary
from edge_agent.terms.segment import CARD, FEATURES, WEIGHTS, Segmenter, as_read, shared
from edge_agent.terms.suggest import suggest
from tests.conftest import TOP, UNKNOWN_WORDS, Cli

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = TOP / "models" / SEGMENTER


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open(SHIPPED)


def dictionary(*terms: str) -> Dictionary:
    made = Dictionary.compile([Pack("some", terms=tuple(map(Term, terms)))])
    object.__setattr__(made, "segmenter", partial(shared, SHIPPED))
    return made


def test_the_shipped_one_is_small_and_is_what_its_card_says(segmenter: Segmenter) -> None:
    assert segmenter.checked
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 10e6


@pytest.mark.parametrize(
    "words",
    [
        "你|先|把|方案|拿|回去|看看",
        "合同|下|周|寄|出来|，|您|看|一下",
        "这个|价格|领导|还|没|批",
        "设备|什么|时候|能|到",
    ],
)
def test_plain_talk_is_cut_into_its_words(segmenter: Segmenter, words: str) -> None:
    said = words.replace("|", "")
    want, got = words.split("|"), segmenter.cut(said)
    assert "".join(got) == said
    assert len(set(want) & set(got)) >= len(want) - 2, got


def test_a_term_is_one_word() -> None:
    assert "GMP认证" in dictionary("GMP认证").cut("我们有GMP认证和ISO9001体系")
    assert "GMP认证" not in dictionary("ERP").cut("我们有GMP认证和ISO9001体系")
    assert "ISO9001" in dictionary("GMP认证").cut("我们有GMP认证和ISO9001体系")
    assert "g m p 认证" in dictionary("GMP认证").cut("我们有 g m p 认证")


def test_the_longest_term_is_the_word_and_no_beginning_of_one_is() -> None:
    """pkuseg's own preprocessor makes a word of how far it came in its trie, 医保目录, which nobody gave it."""
    terms = ("医保", "医保目录编码")
    assert Preprocesser(list(terms)).solve("医保目录要改")[0][0] == "医保目录"
    assert dictionary(*terms).cut("医保目录要改") == ["医保", "目录", "要", "改"]
    assert dictionary(*terms).cut("医保目录编码要改") == ["医保目录编码", "要", "改"]
    assert dictionary(*terms).cut("医保和医保目录编码")[::2] == ["医保", "医保目录编码"]


@settings(max_examples=60)
@given(st.text(st.sampled_from("医保目录编码GMP认证 ,.-　\n3a，的我😀é"), max_size=24))
def test_words_are_the_text_again(text: str) -> None:
    assert "".join(dictionary("医保", "GMP认证").cut(text)) == text
    assert all(Segmenter.cut(shared(SHIPPED), text) if text else [text == ""])  # type: ignore[arg-type]


def test_two_characters_that_straddle_two_words_are_no_term() -> None:
    """The figures are those of models/zh-segmenter/README.md; hits were told by hand."""
    refused = {"straddles": [0, 0], "word": [0, 0]}
    by_list = 0
    with (TOP / "tests/data/straddling.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            start = row["text"].index("[")
            text = row["text"].replace("[", "").replace("]", "")
            refused[row["is"]][0] += boundary.straddles(text, start, start + 2, partial(shared, SHIPPED))
            refused[row["is"]][1] += 1
            by_list += row["is"] == "straddles" and boundary.straddles(text, start, start + 2, lambda: None)
    assert refused == {"straddles": [67, 76], "word": [1, 157]}
    assert by_list == 54


def test_what_stands_in_another_line_tells_nothing() -> None:
    with (TOP / "tests/data/straddling.tsv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"].replace("[", "").replace("]", "") for row in csv.DictReader(file, delimiter="\t")]
    terms = dictionary("理赔", "期交", "车贷", "店长", "货期", "房抵", "体测", "转学", "首单")
    assert terms.recognise_all(texts) == [terms.recognise(text) for text in texts]


def test_a_hit_across_two_words_is_refused_by_the_dictionary() -> None:
    terms = dictionary("期交", "车贷")
    assert [hit.term for hit in terms.recognise("逾期交房，期交保费，提车贷款要三天，车贷利率").terms] == [
        "期交",
        "车贷",
    ]
    assert [hit.at[0] for hit in terms.recognise("逾期交房，期交保费").terms] == [5]


@pytest.mark.parametrize("harm", ["gone", "features", "weights", "cut", "garbage", "other", "tags", "count"])
def test_what_is_no_segmenter_says_so(harm: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED, folder)
    if harm not in ("features", "weights", "gone"):
        (folder / CARD).unlink()
    match harm:
        case "gone":
            shutil.rmtree(folder)
        case "features":
            (folder / FEATURES).unlink()
        case "weights":  # one byte, which only the card's hash shows
            data = bytearray((folder / WEIGHTS).read_bytes())
            data[-1] ^= 1
            (folder / WEIGHTS).write_bytes(data)
        case "cut":
            (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
        case "garbage":
            (folder / FEATURES).write_bytes(b"no features at all")
        case "other":
            np.savez(folder / WEIGHTS, sizes=np.array([5, 3]), w=np.zeros(40))
        case "tags":
            rewrite(folder, tag_to_idx={"B": 0, "I": 1})
        case "count":  # pkuseg would read beyond the weights
            rewrite(folder, feature_to_idx={"$$": 0, "c.的": 1 << 30})
    with pytest.raises(ModelError) as error:
        Segmenter.open(folder)
    assert str(folder) in str(error.value)
    assert error.value.remedy


def test_without_a_segmenter_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    site = config.Config(dictionary=config.Dictionary(packs=("retail",), segmenter=str(tmp_path / "none")))
    check = next(check for check in examine(site) if check.name == "segmenter")
    assert check.state is State.WARN
    assert f"{tmp_path / 'none'}: no segmenter" in check.found
    assert "a word list tells words alone" in check.found
    assert "[dictionary] segmenter" in check.remedy
    with caplog.at_level(logging.WARNING):
        terms = Packs(site.dictionary).dictionary(keep=False)
        assert [hit.at for hit in terms.recognise("分店长期缺人，店长说的").terms] == [(7, 9)]
        assert terms.cut("今天店长说的") == ["今天", "店长", "说的"]
    assert caplog.text.count("no segmenter") == 1, "it is said once"


def rewrite(folder: Path, **changes: Any) -> None:
    from spacy_pkuseg.feature_extractor import FeatureExtractor

    extractor = FeatureExtractor.load(str(folder))
    for name, value in changes.items():
        setattr(extractor, name, value)
    extractor.save(str(folder))
    count = len(extractor.feature_to_idx)
    np.savez(folder / WEIGHTS, sizes=np.array([5, count]), w=np.zeros(5 * (count + 5)))


def test_another_model_is_trained_shrunk_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`scripts/train_segmenter` without jieba: from sentences that are cut already."""
    loader = SourceFileLoader("train_segmenter", str(TOP / "scripts/train_segmenter"))
    spec = importlib.util.spec_from_loader("train_segmenter", loader)
    assert spec
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "train_segmenter", script)
    loader.exec_module(script)
    cuts = [
        words.split("|")
        for words in ("我们|要|买|设备", "设备|什么|时候|到", "我们|什么|时候|要", "GMP|设备|到|了", "要|买|什么")
    ]
    raw, small = tmp_path / "raw", tmp_path / "small"
    raw.mkdir()
    script.train(cuts * 8, cuts, raw, 3)
    left = script.shrink(raw, small)
    taken = Segmenter.open(small)
    assert 0 < left < len(Segmenter.open(raw)._extractor.feature_to_idx) + 1
    assert [taken.cut("".join(row)) for row in cuts] == cuts
    assert script.figures(taken, cuts, {"我们"})["f1"] == 1.0
    assert not taken.checked
    theirs = pkuseg(str(small), user_dict=None)
    assert theirs._cut(as_read("我们什么时候买设备")) == taken.cut("我们什么时候买设备")
    site = config.Config(dictionary=config.Dictionary(packs=("retail",), segmenter=str(small)))
    check = next(check for check in examine(site) if check.name == "segmenter")
    assert (check.state, "without a card" in check.found) == (State.WARN, True)


def test_it_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    off = Packs(config.Dictionary(packs=("retail",), segmenter="off"))
    assert off.segmenter() is None
    assert off.dictionary(keep=False).segmenter() is None
    assert Packs(config.Dictionary()).segmenter() == SHIPPED


def test_nothing_is_loaded_before_it_is_needed(cli: Cli) -> None:
    code = (
        "import sys; from edge_agent import config, packs; "
        "terms = packs.Packs(config.Dictionary(packs=('retail',))).dictionary(keep=False); "
        "terms.recognise('店长在吗'); assert 'spacy_pkuseg' not in sys.modules; "
        "terms.recognise('分店长期缺人'); assert 'spacy_pkuseg' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=cli.environment, check=True, timeout=120, cwd=TOP)


def test_suggest_leaves_out_what_is_never_a_word() -> None:
    texts = [
        (str(number), one.format(word))
        for number, word in enumerate(("质检云台", "柔性显示膜", "多轴机架", "温控云盒"))
        for one in UNKNOWN_WORDS
    ]
    terms = dictionary("GMP认证")
    found = [one.word for one in suggest(texts, terms, segment=terms.cut)]
    assert set(found) >= {"质检云台", "温控云盒"}
    assert set(found) <= {one.word for one in suggest(texts, terms)}
    assert not suggest(texts, terms, segment=lambda text: [text]), "a text that is one word has no words within it"

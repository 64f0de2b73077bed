"""The shipped model without the tokens that it can't write, beside the same model whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ctranslate2
import numpy as np
import pytest

from edge_agent.asr import Engine
from edge_agent.asr.card import Card
from edge_agent.asr.files import open_model, open_tokenizer
from edge_agent.asr.trim import ALL, Trimmed, chinese, open_trimmed
from edge_agent.errors import ModelError
from tests.test_asr_engine import MODEL, SPEECH, read

if TYPE_CHECKING:
    from pathlib import Path

HOW: dict[str, Any] = {"device": "cpu", "compute_type": "int8", "inter_threads": 1, "intra_threads": 1}
RARE = 40_000
"""A token of another language, which the shipped model never learned."""


@pytest.fixture(scope="module")
def whole() -> Any:
    return ctranslate2.models.Whisper(str(MODEL), **HOW)


@pytest.fixture(scope="module")
def trimmed() -> Any:
    return open_model(MODEL, 1, "int8")


def engine_on(model: Any) -> Engine:
    return Engine(Card.load(MODEL), model, open_tokenizer(MODEL, "zh"), None)


def vocabulary() -> list[str]:
    words: list[str] = json.loads((MODEL / "vocabulary.json").read_text(encoding="utf-8"))
    return words


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    return found


def test_text_and_its_probabilities_are_those_of_the_whole_model(whole: Any, trimmed: Any) -> None:
    clips = [read(file) for file in sorted(SPEECH.glob("*.flac"))]
    clips = [clip for clip in clips if len(clip) <= 10 * 16_000]
    assert isinstance(trimmed, Trimmed)
    assert len(clips) > 3
    for one, other in zip(engine_on(whole).transcribe(clips), engine_on(trimmed).transcribe(clips), strict=True):
        assert other.text == one.text
        assert other.confidence == pytest.approx(one.confidence, abs=1e-5)
        assert other.no_speech == pytest.approx(one.no_speech, abs=1e-6)


def test_a_text_is_as_likely_as_to_the_whole_model(whole: Any, trimmed: Any) -> None:
    clip = read(sorted(SPEECH.glob("*.flac"))[0])[: 6 * 16_000]
    texts = ["您好，我想问一下价格。", "今天天气不错。"]
    assert engine_on(trimmed).weigh(clip, texts) == pytest.approx(engine_on(whole).weigh(clip, texts), abs=1e-4)


def test_a_token_that_is_not_known_stands_in_a_prompt_as_before(whole: Any, trimmed: Any) -> None:
    frames = np.zeros((1, 80, 600), np.float32)
    encoded = [model.encode(ctranslate2.StorageView.from_array(frames)) for model in (whole, trimmed)]
    tokenizer = open_tokenizer(MODEL, "zh")
    prompt = [tokenizer.sot_prev, RARE, RARE + 7, *tokenizer.sot_sequence, tokenizer.no_timestamps]
    one, other = (
        model.generate(states, [prompt], beam_size=2, max_length=20, suppress_tokens=[RARE], return_scores=True)[0]
        for model, states in zip((whole, trimmed), encoded, strict=True)
    )
    assert other.sequences_ids == one.sequences_ids
    assert other.scores == pytest.approx(one.scores, abs=1e-4)


def test_a_model_that_may_write_everything_stays_whole(tmp_path: Path) -> None:
    data = (MODEL / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(data.replace(np.float32(-1e4).tobytes(), bytes(4)))
    assert open_trimmed(tmp_path, vocabulary(), configuration(), **HOW) is None


def test_chinese_tokens_write_every_chinese_text_and_spell_the_rest() -> None:
    wanted, tokenizer = chinese(vocabulary()), open_tokenizer(MODEL, "zh")
    assert 5_000 < wanted.sum() < 15_000
    assert wanted[tokenizer.encode("我们的GMP认证，3.5折？“龘”龥……《合同》—— 12 App")].all()
    assert wanted[[*tokenizer.sot_sequence, tokenizer.no_timestamps, tokenizer.eot, tokenizer.sot_prev]].all()
    assert not wanted[tokenizer.encode(" Привет")].any()
    assert not wanted[tokenizer.timestamp_begin :].any()


def test_a_stock_model_is_trimmed_where_its_card_says_so(tmp_path: Path) -> None:
    whole = tmp_path / "free"
    shutil.copytree(MODEL, whole)
    data = (MODEL / "model.bin").read_bytes()
    # A bias of nothing: by this model's weights alone any token may be written, as with a stock model.
    (whole / "model.bin").write_bytes(data.replace(np.float32(-1e4).tobytes(), np.float32(-20).tobytes()))
    (whole / "card.toml").write_text('name = "free"\ntokens = "chinese"\nprompt_tokens = 32\n', encoding="utf-8")
    clip = read(sorted(SPEECH.glob("*.flac"))[0])[: 6 * 16_000]
    narrow, wide = Engine.open(whole, threads=1), Engine.open(whole, threads=1, tokens=ALL)
    assert narrow.trimmed
    assert not wide.trimmed
    assert narrow.transcribe([clip])[0].text == wide.transcribe([clip])[0].text != ""
    # A term that can't be told in the tokens it has is passed over; the others of its slot are told.
    assert narrow._slots(1, [["Привет", "集采目录"]]) == wide._slots(1, [["集采目录"]])
    # What is only weighed is spelled.
    assert narrow.weigh(clip, ["Excellent"])[0] < narrow.weigh(clip, [wide.transcribe([clip])[0].text])[0]


def test_an_unknown_kind_of_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text('name = "x"\ntokens = "greek"\n', encoding="utf-8")
    with pytest.raises(ModelError, match="`tokens` must be `all` or `chinese`"):
        Card.load(tmp_path)


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:1_000_000])
    with pytest.raises(ModelError, match="the weights can't be loaded"):
        open_model(folder, 1, "int8")
    (folder / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="the weights can't be loaded"):
        open_model(folder, 1, "int8")


def test_vocabulary_and_weights_that_do_not_fit_are_not_trimmed() -> None:
    assert open_trimmed(MODEL, vocabulary()[:-1], configuration(), **HOW) is None


def test_beams_and_cards_of_ones_own(trimmed: Any) -> None:
    engine = engine_on(trimmed)
    clip = read(sorted(SPEECH.glob("*.flac"))[0])[: 6 * 16_000]
    narrow = Engine(replace(engine.card, buckets_s=(10, 30)), trimmed, open_tokenizer(MODEL, "zh"), 1).transcribe(
        [clip]
    )
    assert narrow[0].text

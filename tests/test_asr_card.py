"""Cards: what is known of a model, and what is wrong with a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.asr import Card, Engine, verify
from edge_agent.asr.card import FILE
from edge_agent.errors import ModelError

TOP = Path(__file__).parent.parent
MODEL = TOP / "models" / "zh-starter"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped model; the weights are a link, the rest may be spoilt."""
    copy = tmp_path / "my-whisper"
    copy.mkdir()
    for file in MODEL.iterdir():
        if file.name == "model.bin":
            (copy / file.name).symlink_to(file)
        else:
            (copy / file.name).write_bytes(file.read_bytes())
    return copy


def make_card(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOP / "scripts" / "make_card"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_shipped_model_is_what_its_card_says() -> None:
    card = verify(MODEL)
    weights = {file.name for file in MODEL.iterdir() if file.suffix in {".json", ".bin", ".npz"}}
    assert set(card.sha256) == weights
    assert card.name == MODEL.name
    assert card.language == "zh"
    assert card.prompt_tokens == 0
    assert card.buckets_s[-1] == 30
    assert card.licence
    assert card.trained_on
    assert card.measured


@given(st.floats(0, 30))
def test_the_smallest_bucket_that_holds_it(seconds: float) -> None:
    card = Card(name="x", buckets_s=(6, 10, 30))
    bucket = card.bucket_s(seconds)
    assert seconds <= bucket
    assert not any(seconds <= smaller < bucket for smaller in card.buckets_s)


def test_no_bucket_holds_more_than_the_largest() -> None:
    with pytest.raises(ValueError, match="cut it first"):
        Card(name="x", buckets_s=(6,)).bucket_s(6.01)


def test_a_folder_without_a_card_runs_with_safe_defaults(folder: Path) -> None:
    (folder / FILE).unlink()
    engine = Engine.open(folder, threads=1)
    assert engine.name == "my-whisper"
    assert engine.buckets == (30,)
    assert engine.card.sha256 == {}


def test_make_card_gives_a_foreign_folder_a_card_and_renews_its_hashes(folder: Path) -> None:
    (folder / FILE).unlink()
    assert make_card(folder).returncode == 0
    card = verify(folder)
    assert (card.name, card.buckets_s, set(card.sha256)) == ("my-whisper", (30,), set(verify(MODEL).sha256))

    change(folder / FILE, "buckets_s = [30]", "buckets_s = [10, 30]  # checked")
    (folder / FILE).write_text((folder / FILE).read_text() + "\n[gates]\nno_speech = 0.25\n", encoding="utf-8")
    change(folder / "preprocessor_config.json", '"chunk_length"', ' "chunk_length"')
    with pytest.raises(ModelError, match="SHA-256"):
        verify(folder)
    assert make_card(folder).returncode == 0
    renewed = verify(folder)
    assert renewed.buckets_s == (10, 30)
    assert renewed.gates.no_speech == 0.25
    assert renewed.sha256 != card.sha256
    assert "# checked" in (folder / FILE).read_text(encoding="utf-8")


def test_make_card_changes_nothing_in_the_shipped_card(folder: Path) -> None:
    before = (folder / FILE).read_text(encoding="utf-8")
    assert make_card(folder).returncode == 0
    assert (folder / FILE).read_text(encoding="utf-8") == before


def test_make_card_gives_a_damaged_folder_none(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    done = make_card(folder)
    assert done.returncode == ModelError.exit_code
    assert "tokenizer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / FILE).exists()


def test_a_changed_byte_of_the_weights_stops_the_start(folder: Path) -> None:
    weights = bytearray((MODEL / "model.bin").read_bytes())
    weights[10_000_000] ^= 1
    (folder / "model.bin").unlink()
    (folder / "model.bin").write_bytes(weights)
    with pytest.raises(ModelError, match="SHA-256") as caught:
        Engine.open(folder)
    assert caught.value.where == str(folder / "model.bin")
    assert "make_card" in caught.value.remedy


def test_no_folder_and_no_weights(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        verify(tmp_path / "nowhere")
    (folder / "model.bin").unlink()
    with pytest.raises(ModelError, match=r"lacks `model\.bin`"):
        verify(folder)


@pytest.mark.parametrize(
    ("line", "wrong", "complaint"),
    [
        ('language = "zh"', "language = 7", "`language` can't be 7"),
        ('language = "zh"', 'langauge = "zh"', "unknown field `langauge`"),
        ('name = "zh-starter"', "", "`name` is missing"),
        ('name = "zh-starter"', "name = ", "can't be read"),
        ("beam_size = 5", "beam_size = 5.5", "`decoding.beam_size` can't be 5.5"),
        ("beam_size = 5", "beam = 5", "unknown field `decoding.beam`"),
        ("peak = 0.3", "peak = 3", "`peak` must lie within 0 to 1"),
        ("prompt_tokens = 0", "prompt_tokens = 225", "`prompt_tokens` must lie within 0 to 224"),
        ("buckets_s = [", "buckets_s = [45, ", "`buckets_s` must hold"),
        ("buckets_s = [", "buckets_s = [30, ", "`buckets_s` must rise"),
    ],
)
def test_a_wrong_card_names_the_field(folder: Path, line: str, wrong: str, complaint: str) -> None:
    change(folder / FILE, line, wrong)
    with pytest.raises(ModelError) as caught:
        Card.load(folder)
    assert complaint in caught.value.what
    assert caught.value.where == str(folder / FILE)


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"bos_token": "<s>"}', encoding="utf-8")


def spoil_config_syntax(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def spoil_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")


def lose_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def shorten_vocabulary(folder: Path) -> None:
    tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    (folder / "vocabulary.json").write_text(json.dumps(tokens[:30_000]), encoding="utf-8")


def shift_vocabulary(folder: Path) -> None:
    tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    (folder / "vocabulary.json").write_text(json.dumps(tokens[1:]), encoding="utf-8")


def drop_chinese(folder: Path) -> None:
    change(folder / "tokenizer.json", "<|zh|>", "<|xx|>")


def truncate_weights(folder: Path) -> None:
    start = (MODEL / "model.bin").read_bytes()[:100_000]
    (folder / "model.bin").unlink()
    (folder / "model.bin").write_bytes(start)


@pytest.mark.parametrize(
    ("spoil", "where", "complaint"),
    [
        (spoil_config, "config.json", "Whisper"),
        (spoil_config_syntax, "config.json", "can't be read"),
        (spoil_tokenizer, "tokenizer.json", "tokenizer can't be read"),
        (lose_tokenizer, "tokenizer.json", "tokenizer can't be read"),
        (shorten_vocabulary, "my-whisper", "don't belong together"),
        (shift_vocabulary, "my-whisper", "don't belong together"),
        (drop_chinese, "tokenizer.json", "doesn't know <|zh|>"),
        (truncate_weights, "model.bin", "can't be loaded"),
    ],
)
def test_a_foreign_or_damaged_folder_says_what_is_wrong(
    folder: Path, spoil: object, where: str, complaint: str
) -> None:
    assert callable(spoil)
    (folder / FILE).unlink()
    spoil(folder)
    with pytest.raises(ModelError, match=complaint.replace("|", r"\|")) as caught:
        Engine.open(folder, threads=1)
    assert caught.value.where.endswith(where)
    assert caught.value.remedy


def test_an_older_conversion_has_its_vocabulary_as_text(folder: Path) -> None:
    tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    (folder / "vocabulary.json").unlink()
    (folder / "vocabulary.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / FILE).unlink()
    assert Engine.open(folder, threads=1).name == "my-whisper"


def test_arithmetic_that_this_processor_lacks_is_a_plain_error() -> None:
    with pytest.raises(ModelError, match="can't be loaded"):
        Engine.open(MODEL, compute_type="int3")

"""The second pass, with a language model of a few sentences and an ear that is told what it hears."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.asr import Engine
from edge_agent.asr.card import Rescoring
from edge_agent.asr.ngrams import BITS, NGrams
from edge_agent.asr.rescore import FILE, FORMAT, Rescorer
from edge_agent.asr.spotting import Spotter, times_ms
from edge_agent.errors import ModelError
from edge_agent.terms import Dictionary, Pack, Term

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP / "scripts"))

from train_recognizer import language  # noqa: E402
from train_recognizer.units import INITIALS, UNITS, units  # noqa: E402

MODEL = TOP / "models" / "zh-starter"
LINES = [
    "患者自付多少？",
    "这个患者自付三成。",
    "换者为王。",
    "他很自负。",
    "医保报销以后，自付不多。",
    "换一个。",
    "负责。",
]
WEIGHTS = Rescoring()

Floats = NDArray[np.float32]


def write(file: Path, width: int = len(UNITS), **changed: object) -> Path:
    """Write a language model whose ear takes the states for the scores of the units."""
    words = {"患者": 0.5}
    characters = language.alphabet(LINES, words)
    about = {"format": FORMAT, "characters": characters, "initials": len(INITIALS), **changed}
    parts = {
        **language.ngrams(LINES, words, characters),
        **language.readings(LINES, characters),
        **language.ear(np.eye(len(UNITS), width, dtype=np.float32), np.zeros(len(UNITS), np.float32), UNITS),
        **language.confusions(language.Confusion()),
    }
    np.savez_compressed(file, allow_pickle=False, about=np.array(json.dumps(about)), **parts)
    return file


@pytest.fixture(scope="module")
def rescorer(tmp_path_factory: pytest.TempPathFactory) -> Rescorer:
    return Rescorer.load(write(tmp_path_factory.mktemp("language") / FILE))


def spoken(text: str, pause: int = 2) -> Floats:
    """Return states that hear every unit of a text for one frame, and `pause` frames of silence after each."""
    frames = [0, *(frame for unit in units(text) for frame in (unit, *[0] * pause))]
    states = np.zeros((len(frames), len(UNITS)), np.float32)
    states[np.arange(len(frames)), frames] = 12.0
    return states


def test_a_homophone_becomes_what_is_usually_written(rescorer: Rescorer) -> None:
    assert rescorer.rewrite(spoken("患者自付"), "换者自负。", 0.5, WEIGHTS) == "患者自付。"


def test_a_syllable_that_the_first_pass_left_out_is_written(rescorer: Rescorer) -> None:
    assert "患者自付" in rescorer.rewrite(spoken("这个患者自付"), "这个患自付。", 0.5, WEIGHTS)


def test_what_the_first_pass_is_sure_of_stays(rescorer: Rescorer) -> None:
    believed = Rescoring(heard=100.0)
    assert rescorer.rewrite(spoken("患者自付"), "换者自负。", 1.0, believed).startswith("换者自负")


def test_what_sounds_otherwise_is_not_believed_for_its_likelihood(rescorer: Rescorer) -> None:
    assert rescorer.rewrite(spoken("换一个"), "患者自付。", 0.1, WEIGHTS).startswith("换一个")


@pytest.mark.parametrize(
    ("said", "heard", "text"),
    [
        ("患者ERP自付", "患者一批自负", "患者ERP自付"),
        ("患者ERP自付", "患者ERP自负", "患者ERP自付"),
        ("患者自付", "C患者自负", "患者自付"),
    ],
)
def test_letters_are_heard_as_letters(rescorer: Rescorer, said: str, heard: str, text: str) -> None:
    assert rescorer.rewrite(spoken(said), heard, 0.5, WEIGHTS).strip("。？！") == text


@pytest.mark.parametrize("heard", ["15个", "", "。"])
def test_what_has_no_syllables_stays(rescorer: Rescorer, heard: str) -> None:
    assert rescorer.rewrite(spoken("患者自付"), heard, 0.5, WEIGHTS) == heard


def test_a_hotword_is_written_where_it_was_heard(rescorer: Rescorer) -> None:
    states = spoken("这个患者自付三成")
    assert "换者" in rescorer.rewrite(states, "这个患者自付三成。", 0.9, WEIGHTS, ["换者"])
    assert rescorer.rewrite(states, "这个患者自付三成。", 0.9, WEIGHTS) == "这个患者自付三成。"


def test_a_hotword_that_was_not_heard_changes_nothing(rescorer: Rescorer) -> None:
    states, text = spoken("这个患者自付三成"), "这个患者自付三成。"
    for hotwords in (["负责"], ["医保"], ["以后", "王"], ["CRM", "", "甲乙"]):
        assert rescorer.rewrite(states, text, 0.5, WEIGHTS, hotwords) == text


def test_of_hotwords_that_overlap_the_longer_wins(rescorer: Rescorer) -> None:
    states = spoken("患者自付不多")
    assert "换者自负" in rescorer.rewrite(states, "患者自付不多。", 0.9, WEIGHTS, ["患者", "换者自负"])


def test_where_the_ear_hears_nothing_the_text_stays(rescorer: Rescorer) -> None:
    assert rescorer.rewrite(spoken("")[:0], "换者自负", 0.5, WEIGHTS) == "换者自负"
    assert rescorer.rewrite(spoken(""), "换者自负", 0.5, WEIGHTS) == "换者自负"


def test_a_pause_may_become_a_comma(rescorer: Rescorer) -> None:
    states = np.concatenate([spoken("医保报销以后"), spoken("")[[0] * 20], spoken("自付不多")])
    assert rescorer.rewrite(states, "医保报销以后自付不多", 0.5, WEIGHTS) == "医保报销以后，自付不多。"


def test_every_context_shares_out_one(rescorer: Rescorer) -> None:
    grams = rescorer.grams
    every = np.arange(len(rescorer.characters))
    first, second = rescorer.characters.index("患"), rescorer.characters.index("者")
    contexts = np.array([0, second, first << BITS | second, second << BITS | first], np.uint64)
    log, then = grams.log_probabilities(contexts, every)
    assert np.exp(log).sum(axis=1) == pytest.approx(1.0, abs=0.01)  # stored in float16
    assert then[0, first] == first
    assert then[1, first] == second << BITS | first


def test_parts_that_do_not_fit_are_refused() -> None:
    numbers = np.arange(3, dtype=np.uint64)
    parts: dict[str, NDArray[np.generic]] = dict.fromkeys(("one", "back_one", "log_two", "back_two"), np.zeros(3))
    with pytest.raises(ValueError, match="fit"):
        NGrams.load({**parts, "two": numbers, "three": numbers, "log_three": np.zeros(2)})


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    file = write(tmp_path / FILE)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="language model can't be used") as caught:
        Rescorer.load(file)
    assert "make_language" in caught.value.remedy


@pytest.mark.parametrize("changed", [{"format": FORMAT + 1}, {"characters": "患者"}, {"initials": 3}])
def test_a_file_that_is_not_of_this_form_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        Rescorer.load(write(tmp_path / FILE, **changed))  # type: ignore[arg-type]


def test_a_folder_may_have_a_language_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns(FILE))
    card = folder / "card.toml"
    lines = card.read_text(encoding="utf-8").splitlines(keepends=True)
    card.write_text("".join(line for line in lines if FILE not in line), encoding="utf-8")
    assert Engine.open(folder, threads=1)._rescorer is None
    write(folder / FILE, width=256)
    engine = Engine.open(folder, threads=1)
    assert engine._rescorer is not None
    assert engine.with_context(30)._rescorer is engine._rescorer
    assert Engine.open(folder, threads=1, rescore=False)._rescorer is None
    hiss = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    (hypothesis,) = engine.transcribe([hiss])
    assert hypothesis.text == hypothesis.text.strip()


# ---- terms listened for in the ear's syllables


def listening(rescorer: Rescorer, said: str, heard: str, *terms: str) -> list[tuple[str, str]]:
    """Return what is written, and what may have been said there."""
    dictionary = Dictionary.compile([Pack("a", terms=tuple(map(Term, terms)))])
    passage = rescorer.listen(spoken(said), heard, 0.5, WEIGHTS)
    assert passage is not None
    written = rescorer.write(passage, WEIGHTS)
    found = Spotter(rescorer, dictionary).listen(passage, written)
    assert all(0 < one.near <= 1 and one.syllables == len(one.put) for one in found)
    return [(written.text[one.start : one.end], one.put) for one in found]


def test_a_term_is_spotted_by_its_sounds_whatever_was_written(rescorer: Rescorer) -> None:
    assert listening(rescorer, "这个患者自付三成", "这个换者自负三成", "患者自付", "换者自负") == [
        ("患者自付", "换者自负")
    ]


def test_a_term_whose_sounds_were_not_heard_is_not_spotted(rescorer: Rescorer) -> None:
    assert (
        listening(rescorer, "这个患者自付三成", "这个换者自负三成", "医保报销", "以后不多", "这个患者自付三成负责")
        == []
    )


def test_one_syllable_may_be_wrong_the_first_too(rescorer: Rescorer) -> None:
    assert listening(rescorer, "患者自付不多", "患者自付不多", "患者自付一多") == [("患者自付不多", "患者自付一多")]
    assert listening(rescorer, "患者自付不多", "患者自付不多", "医者自付不多") == [("患者自付不多", "医者自付不多")]


def test_what_the_ear_has_no_sound_for_is_not_listened_for(rescorer: Rescorer) -> None:
    assert listening(rescorer, "患者自付", "患者自付", "犇羴鱻", "患者鱻") == []


def test_a_text_has_the_time_of_every_character(rescorer: Rescorer) -> None:
    passage = rescorer.listen(spoken("患者自付"), "换者自负。", 0.5, WEIGHTS)
    assert passage is not None
    written = rescorer.write(passage, WEIGHTS)
    assert written.text == "患者自付。"
    times = times_ms(written)
    assert len(times) == 5
    assert [start for start, _ in times] == sorted(start for start, _ in times)
    assert all(start < end for start, end in times[:4])
    assert times[4][0] == times[4][1] == times[3][1]

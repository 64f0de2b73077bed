"""The dictionary finds its terms, puts right what was misheard, and leaves plain talk alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.automaton import Automaton
from edge_agent.errors import DictionaryError
from edge_agent.phonetics import syllables
from edge_agent.terms import Decoy, Dictionary, Pack, Phonetic, Recognition, Term
from edge_agent.terms.normalise import normalise
from edge_agent.terms.pinyin import Syllable, symbols
from tests.test_terms_pack import write

if TYPE_CHECKING:
    from pathlib import Path

PHARMA = Pack(
    "pharma",
    terms=(
        Term("GMP认证", "quality", ("GMP证书", "药品GMP")),
        Term("集采目录编码", "regulation", ("集采编码",)),
        Term("集采", "regulation"),
        Term("药事会", "role", ("药事委员会",)),
        Term("一致性评价", "regulation", ("过评",)),
        Term("重组蛋白", "product"),
        Term("处方", "process"),
        Term("ERP", "system"),
        Term("阿莫西林", "product", phonetic=Phonetic.OFF),
        Term("丝", "unit"),
        Term("斯凯孚", "competitor"),
    ),
    decoys=(Decoy("要试会", "药事会"), Decoy("集采木录", "")),
)
DICTIONARY = Dictionary.compile([PHARMA])


def one(*terms: Term, decoys: tuple[Decoy, ...] = ()) -> Dictionary:
    return Dictionary.compile([Pack("one", terms=terms, decoys=decoys)])


def found(heard: str, dictionary: Dictionary = DICTIONARY) -> list[tuple[str, str, str]]:
    """Return (term, via, what stands in the text) of every hit."""
    recognition = dictionary.recognise(heard)
    return [(hit.term, hit.via, recognition.text[slice(*hit.at)]) for hit in recognition.terms]


def undone(recognition: Recognition) -> str:
    """Put back what was heard, from the end, so that the spans before stay true."""
    text = recognition.text
    for hit in reversed(recognition.terms):
        text = text[: hit.at[0]] + hit.heard + text[hit.at[1] :]
    return text


@pytest.mark.parametrize(
    ("heard", "hits"),
    [
        ("我们过了GMP认证", [("GMP认证", "exact", "GMP认证")]),
        ("我们过了ｇ m p 认证。", [("GMP认证", "exact", "ｇ m p 认证")]),
        ("药品 gmp 有吗", [("GMP认证", "alias", "药品 gmp")]),
        ("集采目录编码和集采", [("集采目录编码", "exact", "集采目录编码"), ("集采", "exact", "集采")]),
        ("上ERP还是enterprise", [("ERP", "exact", "ERP")]),
        ("今天天气不错", []),
        ("", []),
    ],
)
def test_what_is_written_as_the_dictionary_has_it(heard: str, hits: list[tuple[str, str, str]]) -> None:
    assert found(heard) == hits
    assert DICTIONARY.recognise(heard).text == heard
    assert all(hit.score == 1.0 for hit in DICTIONARY.recognise(heard).terms)


@pytest.mark.parametrize(
    ("heard", "text"),
    [
        ("急采目录编码要改", "集采目录编码要改"),
        ("G M P 认正做了吗", "GMP认证做了吗"),
        ("一致性平价过了", "一致性评价过了"),
        ("易知性凭价过了", "一致性评价过了"),
        ("要是没有要事会，药视会", "要是没有药事会，药事会"),
        ("药是委员会", "药事委员会"),
        ("虫组蛋白", "重组蛋白"),
        ("重组旦白", "重组蛋白"),
        ("丝凯孚的轴承", "斯凯孚的轴承"),
        ("集采目陆编码", "集采目录编码"),
    ],
)
def test_what_was_misheard_is_put_right(heard: str, text: str) -> None:
    recognition = DICTIONARY.recognise(heard)
    assert recognition.text == text
    assert recognition.heard == heard
    assert undone(recognition) == heard
    assert all(0.8 <= hit.score < 1 for hit in recognition.terms if hit.via == "phonetic")


@pytest.mark.parametrize(
    "heard",
    [
        "楚方",  # two syllables
        "阿末西林",  # phonetic = off
        "药，事绘",  # across punctuation
        "要试会",  # a decoy for this term
        "集采木录编码",  # a decoy for every term
        "摇施慧",  # three syllables, each of another tone
    ],
)
def test_what_is_not_put_right(heard: str) -> None:
    assert DICTIONARY.recognise(heard).text == heard


@pytest.mark.parametrize(
    ("heard", "text"),
    [
        ("集采目编码要改", "集采目录编码要改"),  # a syllable is missing
        ("集采目目录编码要改", "集采目录编码要改"),  # said twice
        ("集采那目录编码要改", "集采目录编码要改"),  # a small word slipped in
        ("集采东西编码要改", "集采东西编码要改"),  # two others: too far
        ("药会", "药会"),  # two syllables are left
        ("一直性平价过了", "一致性评价过了"),
        ("一致性病价过了", "一致性评价过了"),  # another initial
        ("机诶姆批认证", "机诶姆批认证"),
        ("寄艾姆皮认证", "GMP认证"),
        ("GNP认证", "GMP认证"),
        ("阿斯利康和丝凯服", "阿斯利康和斯凯孚"),
        ("集採目錄編碼", "集採目錄編碼"),  # traditional characters are the term itself
    ],
)
def test_a_syllable_may_be_missing_too_many_or_wrong(heard: str, text: str) -> None:
    recognition = DICTIONARY.recognise(heard)
    assert recognition.text == text
    assert undone(recognition) == heard


def test_a_shortened_name_is_named_and_stays() -> None:
    dictionary = one(Term("阿托伐他汀钙"), Term("一致性评价"), Term("视同通过一致性评价"))
    hits = dictionary.recognise("现在阿托伐他汀一个月多少").terms
    assert [(hit.term, hit.via, hit.heard) for hit in hits] == [("阿托伐他汀钙", "phonetic", "阿托伐他汀")]
    assert found("已经通过了一致性评价", dictionary) == [("一致性评价", "exact", "一致性评价")]


def test_a_long_term_is_found_wherever_a_syllable_is_missing_though_many_share_its_end() -> None:
    firms = one(*(Term(f"{first}{second}鸿食品有限公司") for first in "冠佳宏盛永瑞" for second in "祥华福康"))
    whole = "冠祥鸿食品有限公司"
    for place in range(1, len(whole) - 1):
        heard = whole[:place] + whole[place + 1 :]
        if place > 1:  # without 冠 or 祥 it may be another firm
            assert [hit.term for hit in firms.recognise(f"我问的是{heard}的货").terms] == [whole]


def test_a_filler_may_be_part_of_a_word() -> None:
    dictionary = Dictionary.compile([Pack("a", terms=(Term("授信额度", "product"),))])
    said = dictionary.recognise("授信额度，受信额度，授信嗯额度")
    assert said.text == "授信额度，授信额度，授信额度"
    assert [(hit.via, hit.heard) for hit in said.terms] == [
        ("exact", "授信额度"),
        ("phonetic", "受信额度"),
        ("phonetic", "授信嗯额度"),
    ]


def test_people_hesitate_within_a_term() -> None:
    recognition = DICTIONARY.recognise("那个集采嗯目录编码，集采这个目路编码")
    assert recognition.text == "那个集采嗯目录编码，集采目录编码"
    assert [(hit.via, hit.heard) for hit in recognition.terms] == [
        ("exact", "集采嗯目录编码"),
        ("phonetic", "集采这个目路编码"),
    ]


def test_numbers_are_varied_in_the_dictionary_alone() -> None:
    dictionary = one(Term("十三价肺炎疫苗"), Term("69码"), Term("一票制"))
    for heard in ("13价肺炎疫苗", "六九码", "1票制"):
        assert [via for _, via, _ in found(heard, dictionary)] == ["alias"]
    assert found("13家肺炎疫苗", dictionary) == [("十三价肺炎疫苗", "phonetic", "13价肺炎疫苗")]
    assert dictionary.recognise("统一安排，三四个").text == "统一安排，三四个"


def test_two_characters_across_two_words_are_no_term() -> None:
    dictionary = one(Term("集采"), Term("会上"))
    assert found("收集采购信息，集采到了", dictionary) == [("集采", "exact", "集采")]
    assert not found("社会上升得快", dictionary)


def test_names_of_people_and_everyday_words_are_not_put_right() -> None:
    assert not found("王晓明来了", one(Term("王小明", "person")))
    assert found("王晓明来了", one(Term("王小明", "person", phonetic=Phonetic.ON)))
    assert not found("围什么不行", one(Term("为什么")))


def test_where_two_terms_are_as_near_neither_is_put() -> None:
    dictionary = one(Term("恒瑞压缩机"), Term("恒达压缩机"))
    assert not found("恒压缩机", dictionary)
    assert not found("恒补压缩机", dictionary)


def test_many_lines_are_read_as_each_of_them() -> None:
    lines = [*ORDINARY, "急采目录编码", "", "集采嗯目录编码", "集采目\n录编码", "GMP", "认证"]
    assert DICTIONARY.recognise_all(lines) == [DICTIONARY.recognise(line) for line in lines]


def test_spans_follow_the_corrected_text() -> None:
    dictionary = one(Term("GMP认证"), Term("药事委员会", aliases=("药事会",)))
    recognition = dictionary.recognise("先 G M P 认正，再过要事会，再 g m p 认证，完了药适委员会")
    assert recognition.text == "先 GMP认证，再过药事会，再 g m p 认证，完了药事委员会"
    assert [(recognition.text[slice(*hit.at)], hit.via, hit.heard) for hit in recognition.terms] == [
        ("GMP认证", "phonetic", "G M P 认正"),
        ("药事会", "phonetic", "要事会"),
        ("g m p 认证", "exact", "g m p 认证"),
        ("药事委员会", "phonetic", "药适委员会"),
    ]
    assert undone(recognition) == recognition.heard


def test_a_nearer_hearing_scores_higher() -> None:
    dictionary = one(Term("一致性评价"))
    heard = ("一致性平价", "一致性屏价", "一致性拼价", "一致新拼价")
    scores = [dictionary.recognise(text).terms[0].score for text in heard]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[2] > scores[3]


def test_weight_moves_the_threshold() -> None:
    assert found("瓜往嫁", one(Term("挂网价", weight=5))) == [("挂网价", "phonetic", "挂网价")]
    assert not found("瓜往嫁", one(Term("挂网价", weight=-6)))


def test_the_admin_may_insist() -> None:
    heard = "一条龙"
    assert not found(heard, one(Term("一条隆")))  # a word that the language has
    assert found(heard, one(Term("一条隆", phonetic=Phonetic.ON))) == [("一条隆", "phonetic", "一条隆")]


def test_the_admins_pinyin_is_heard() -> None:
    given = tuple(Syllable.parse(written) for written in ("tan2", "zi4", "guo2", "ji4"))
    assert found("谈自国际", one(Term("覃自国际", pinyin=given))) == [("覃自国际", "phonetic", "覃自国际")]
    assert not found("谈自国际", one(Term("覃自国际", pinyin=(Syllable.parse("qin2"), *given[1:]))))


def test_a_homophone_that_is_a_term_itself_stays() -> None:
    dictionary = one(Term("一致性评价"), Term("一致性平价"))
    assert found("一致性平价", dictionary) == [("一致性平价", "exact", "一致性平价")]


def test_of_two_packs_the_heavier_row_counts_then_the_first() -> None:
    light = Pack("light", terms=(Term("药事会", "a", weight=1), Term("挂网价", "a")))
    heavy = Pack("heavy", terms=(Term("药事会", "b", weight=2), Term("挂网价", "b")))
    for packs in ((light, heavy), (heavy, light)):
        hits = Dictionary.compile(packs).recognise("药事会谈挂网价").terms
        assert [(hit.category, hit.pack) for hit in hits] == [("b", "heavy"), (packs[0].terms[1].category, packs[0].id)]


def test_of_terms_that_sound_alike_the_nearer_wins_then_the_heavier() -> None:
    dictionary = one(Term("易购平台"), Term("医购平台", weight=1), Term("医构平台"))
    assert dictionary.recognise("一购平台").text == "医购平台"
    assert dictionary.recognise("益购平台").text == "易购平台"
    stopped = one(Term("易购平台"), Term("医购平台", weight=1), decoys=(Decoy("一购", "医购平台"),))
    assert stopped.recognise("一购平台").text == "易购平台"


def test_an_alias_never_takes_a_terms_own_spelling() -> None:
    dictionary = one(
        Term("药事管理委员会", aliases=("药事会", "药会"), weight=5), Term("药事会"), Term("药局", aliases=("药会",))
    )
    assert [hit[0] for hit in found("药事会和药会", dictionary)] == ["药事会", "药事管理委员会"]


def test_the_version_is_the_content() -> None:
    again = Dictionary.compile([PHARMA])
    other = Dictionary.compile([dataclasses.replace(PHARMA, decoys=())])
    assert len(DICTIONARY.version) == 12
    assert again.version == DICTIONARY.version != other.version


def test_an_empty_dictionary_finds_nothing() -> None:
    assert Dictionary.compile([]).recognise("药事会") == Recognition("药事会", "药事会", ())


def test_packs_are_loaded_by_name(tmp_path: Path) -> None:
    write(tmp_path)
    dictionary = Dictionary.load(tmp_path, ["tiny"])
    assert [entry.term.term for entry in dictionary.entries] == ["GMP认证", "重组蛋白", "医保目录编码"]
    for name in ("tiny2", "../" + tmp_path.name + "/tiny", "", "."):
        with pytest.raises(DictionaryError) as caught:
            Dictionary.load(tmp_path, ["tiny", name])
        assert "tiny" in caught.value.remedy


def test_a_pack_without_pack_file_is_told_from_no_pack(tmp_path: Path) -> None:
    write(tmp_path, pack=None)
    with pytest.raises(DictionaryError, match=r"pack\.toml: no such file"):
        Dictionary.load(tmp_path, ["tiny"])


PIECES = (
    *"集急采菜木目录陆编边码马药要事是会惠一致性平评价重组旦蛋白处方丝斯凯孚",
    *(
        "GMP",
        "g m p ",
        "ＧＭＰ",
        "认证",
        "认正",
        "证书",
        "药品",
        "集采目录编码",
        "急采目录编码",
        "药事会",
        "要事会",
        "过评",
    ),
    *(" ", "，", "\n", "ERP", "1", "x", "ß", "𠮷", "😀", "\U000f0000"),
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
@example("急采目录编码急采目录编码g m p 认正ＧＭＰ认正要事会")
def test_every_hit_is_a_spelling_of_its_term_and_all_can_be_undone(heard: str) -> None:
    recognition = DICTIONARY.recognise(heard)
    spellings = {term.term: {normalise(one).text for one in (term.term, *term.aliases)} for term in PHARMA.terms}
    done = 0
    for hit in recognition.terms:
        start, end = hit.at
        assert done <= start < end <= len(recognition.text)
        done = end
        written = normalise(recognition.text[start:end]).text
        shortened = {one[1:] for one in spellings[hit.term]} | {one[:-1] for one in spellings[hit.term]}
        if hit.via == "phonetic" and written in shortened:
            assert recognition.text[start:end] == hit.heard
        else:
            assert written in spellings[hit.term]
            assert (hit.via == "phonetic") == (recognition.text[start:end] != hit.heard)
    assert undone(recognition) == heard


ORDINARY = (
    "喂，您好，请问是王先生吗？我们上个星期见过面。",
    "这个价格还是有点贵，能不能再便宜一点，我们要考虑一下。",
    "行，那你先把资料发给我看看，我跟领导商量商量再说。",
    "我下午三点要开会，一会儿再给你打电话吧。",
    "他们家的东西质量不错，就是送货太慢，上次等了一个多月。",
    "要是会上没有什么意见，下个月就可以签合同了。",
    "孩子马上要考试了，我得回家给他做饭，晚上再联系。",
    "你说的那个事情我知道，不过现在还不好说。",
    "今年的生意不如去年，大家的日子都不好过。",
    "我给你发个微信，你看一下地址对不对。",
)


def test_plain_talk_is_left_alone() -> None:
    shipped = one(
        *(Term(term) for term in ("要事会商", "一会再给", "药事会", "集采目录编码", "施工方", "十三价", "医疗设备"))
    )
    for text in ORDINARY:
        assert shipped.recognise(text).text == text


def test_small_words_alone_are_plain_talk() -> None:
    assert not found("要是会下雨呢")
    assert found("要事会下雨呢") == [("药事会", "phonetic", "药事会")]
    assert found("要是会下雨呢", one(Term("药事会", phonetic=Phonetic.ON))) == [("药事会", "phonetic", "药事会")]


def test_sounds_agree_with_the_house() -> None:
    """Equal syllables of `edge_agent.phonetics` are equal symbols here, and the other way round."""
    text = "".join(ORDINARY)
    pairs = {(sound, symbol) for sound, symbol in zip(syllables(text), symbols(text), strict=True) if sound.isalpha()}
    assert len(pairs) == len({sound for sound, _ in pairs}) == len({symbol for _, symbol in pairs})


def test_polyphones_are_read_in_context() -> None:
    assert symbols("重组") == symbols("虫组") != symbols("中组")
    assert symbols("银行") == symbols("银航")


@pytest.mark.parametrize("written", ["zhāng", "zhang1", "ZHANG1"])
def test_pinyin_is_read_however_it_is_written(written: str) -> None:
    assert Syllable.parse(written) == Syllable("zh", "ang", 1)


def test_umlaut_is_read_however_it_is_written() -> None:
    assert {Syllable.parse(written) for written in ("nǚ", "nü3", "nv3", "nu:3")} == {Syllable("n", "ü", 3)}


def test_the_automaton_finds_every_occurrence_by_characters() -> None:
    machine = Automaton.build(["集采", "集采目录", "目录", "𠮷"])
    assert sorted(machine.find("𠮷集采目录")) == [(0, 1, 3), (1, 3, 0), (1, 5, 1), (3, 5, 2)]
    assert Automaton.build([]).find("集采") == []


def test_what_may_have_been_said_is_named_for_the_ear() -> None:
    dictionary = one(Term("椎弓根螺钉"), Term("重疾险"), Term("集采目录编码"))
    assert dictionary.nearby("那份重疾办到期") == ["重疾险"]
    assert dictionary.recognise("那份重疾办到期").terms == ()
    assert dictionary.nearby("今天天气不错") == []
    assert dictionary.nearby("") == []

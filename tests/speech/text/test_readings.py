"""What happens to a text by its language before the tokenizer, beside upstream's own functions."""

from __future__ import annotations

import json
import socket
import sys
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import regex
import torch
from chatterbox.models.tokenizers.tokenizer import ChineseCangjieConverter, hiragana_normalize
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import UnsupportedLanguage
from speech.text.chinese import CangjieCodes, load_segmenter
from speech.text.readings import LanguageSteps, load_language_steps
from tests.speech.text.language_readings import CHINESE, JAPANESE, RUSSIAN
from tests.speech.text.language_sentences import SENTENCES

HAN = regex.compile(r"[\p{Han}〆]")
# Characters with one code, with the second of a code's characters, with two codes, and no traditional ones.
TABLE = ["日\ta", "曰\ta", "明\tab", "冐\tab", "国\twmgi", "国\txwmgi", "国\twmgi", "囯\twmgi", "零\tmbomi"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A Cangjie table in upstream's format, with a made-up code for each character of the sentences."""
    characters = sorted({char for sentence in SENTENCES["zh"] for char in sentence if HAN.match(char)})
    made_up = [f"{char}\t{letters(index)}" for index, char in enumerate(characters) if char not in "日明国零"]
    file = tmp_path_factory.mktemp("table") / "Cangjie5_TC.json"
    file.write_text(json.dumps([*TABLE, *made_up]), "utf-8")
    return file


def letters(number: int) -> str:
    return "z" + "".join(chr(ord("a") + int(digit)) for digit in str(number // 3))  # three have the same


@pytest.fixture(scope="module")
def language_steps(table) -> Iterator[LanguageSteps]:
    """The steps, each called once without a network and with two threads for torch."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse_to_connect)
        torch.set_num_threads(2)
        found = load_language_steps(SENTENCES, table)
        assert found.unavailable == {}  # requirements.txt has what they need
        for language, step in found.steps.items():
            step(SENTENCES[language][0])
    yield found
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def steps(language_steps):
    return language_steps.steps


def refuse_to_connect(*arguments: object) -> None:
    raise AssertionError("a step opens a connection")


def test_three_languages_need_a_step(language_steps):
    assert language_steps.steps.keys() == {"ja", "ru", "zh"}
    assert load_language_steps(["en", "ko", "he", "ar"], None) == LanguageSteps({}, {})


@pytest.mark.parametrize(("sentence", "expected"), zip(SENTENCES["ja"], JAPANESE, strict=True))
def test_kanji_are_read(steps, sentence, expected):
    assert steps["ja"](sentence) == expected
    assert not HAN.search(expected)


def test_readings_are_mostly_upstreams(steps):
    """pykakasi reads three otherwise: "にっぽん", "ひらけた", and "しちじ はん" as two words."""
    pairs = [(steps["ja"](sentence), hiragana_normalize(sentence)) for sentence in SENTENCES["ja"]]
    same = [unicodedata.normalize("NFKD", ours) == theirs for ours, theirs in pairs]
    assert same.count(False) <= 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("ひらがなとカタカナ、ＡＢＣ 123。", "ひらがなとカタカナ、ＡＢＣ 123。"),
        ("母は部屋へ行く。", " ははは へやへいく。"),
        ("経営、鼻血、大きい通り", "けいえい、 はなぢ、おおきいとおり"),
        ("三本と六本と3本", "さんぼんとろっぽんと3ぼん"),
        ("二〇二四年、三百人", "にせんにじゅうよねん、さんびゃくにん"),
        ("何人？何を？何ですか。何年", "なんにん？なにを？なんですか。なんねん"),
        ("人々と佐々木さん、一ヶ月", "ひとびととささきさん、いっかげつ"),
        ("か\u3099っこうと学校か\u3099", "がっこうとがっこうが"),
        ("今日\x00は\t良い\n天気", "きょう\x00は\tよい\nてんき"),
        ("々、〆切", "々、しめきり"),
    ],
)
def test_only_words_with_kanji_change(steps, text, expected):
    assert steps["ja"](text) == expected


@pytest.mark.parametrize(("sentence", "expected"), zip(SENTENCES["ru"], RUSSIAN, strict=True))
def test_words_of_several_vowels_are_stressed(steps, sentence, expected):
    assert steps["ru"](sentence) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("ЗАМОК на двери и Замок на горе.", "ЗАМО́К на двери́ и За́мок на горе́."),
        ("Елка и ёлка, Ёжик.", "Ёлка и ёлка, Ёжик."),
        ("Он купи́л за́мок. Мама.", "Он купи́л за́мок. Ма́ма."),
        ("a+b=c, зам+ок, Hello 5 домов", "a+b=c, зам+ок, Hello 5 домо́в"),
        ("кто-нибудь из Нью-Йорка", "кто-нибу́дь из Нью-Йо́рка"),
        ("\u0301 мама \u0301", "\u0301 ма́ма \u0301"),
    ],
)
def test_stress_stands_behind_the_vowel(steps, text, expected):
    assert steps["ru"](text) == expected


def test_the_accentor_leaves_torchs_settings_alone(steps):
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("sentence", "expected"), zip(SENTENCES["zh"], CHINESE, strict=True))
def test_characters_are_spelled_as_upstream_spells_them(steps, table, sentence, expected):
    assert steps["zh"](sentence) == upstreams_codes(table)(expected)


def upstreams_codes(table) -> ChineseCangjieConverter:
    """Upstream's converter with our table, for text whose words are apart."""
    converter = ChineseCangjieConverter.__new__(ChineseCangjieConverter)
    converter.word2cj, converter.cj2word, converter.segmenter = {}, {}, None
    for entry in json.loads(table.read_text("utf-8")):
        character, code = entry.split("\t")[:2]
        converter.word2cj[character] = code
        converter.cj2word.setdefault(code, []).append(character)
    return converter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("日曰明冐", "[cj_a][cj_.][cj_a][cj_1][cj_.][cj_a][cj_b][cj_.][cj_a][cj_b][cj_1][cj_.]"),
        ("国", "[cj_w][cj_m][cj_g][cj_i][cj_.]"),  # the code that comes last
        ("囯", "[cj_w][cj_m][cj_g][cj_i][cj_2][cj_.]"),  # third of its code, for upstream as well
        ("〇", "[cj_m][cj_b][cj_o][cj_m][cj_i][cj_.]"),  # as 零
        ("\u2f47", "[cj_a][cj_.]"),  # the radical of 日
        ("don't say 3.14  twice\n", "don't say 3.14  twice\n"),
        ("龘 カナ", "龘 カナ"),  # without a code
        ("APP日", "APP [cj_a][cj_.]"),
    ],
)
def test_what_has_no_code_stays(table, text, expected):
    # Each character is a word, as for an unknown one.
    codes = CangjieCodes(table, lambda text: regex.findall(r"\p{Han}+|[^\p{Han}]+", text))
    assert codes(text) == expected


def test_the_word_borders_of_pkuseg_are_taken_where_its_model_is(monkeypatch, tmp_path):
    loaded: list[str] = []

    def pkuseg(model):
        loaded.append(model)
        return SimpleNamespace(cut=lambda text: ["of", "pkuseg"])

    config = SimpleNamespace(pkuseg_home=str(tmp_path))
    package = SimpleNamespace(pkuseg=pkuseg, config=config, __spec__=object())
    monkeypatch.setitem(sys.modules, "spacy_pkuseg", package)
    assert load_segmenter()("我们走") == ["我们", "走"]
    model = tmp_path / "spacy_ontonotes"
    model.mkdir()
    for name in ("features.msgpack", "weights.npz"):
        (model / name).touch()
    assert load_segmenter()("我们走") == ["of", "pkuseg"]
    assert loaded == [str(model)]


@pytest.mark.parametrize(
    ("language", "module", "reason"),
    [
        ("ja", "pyopenjtalk", "Japanese needs the package pyopenjtalk-plus, which is not installed"),
        ("ru", "silero_stress", "Russian needs the package silero-stress, which is not installed"),
        ("zh", "rjieba", "Chinese needs the package rjieba, which is not installed"),
    ],
)
def test_a_missing_package_costs_its_language_alone(monkeypatch, table, language, module, reason):
    monkeypatch.setitem(sys.modules, module, None)
    found = load_language_steps(SENTENCES, table)
    assert found.unavailable == {language: f"{reason}; install what requirements.txt lists"}
    assert found.steps.keys() == {"ja", "ru", "zh"} - {language}


def test_a_missing_table_costs_chinese_alone(tmp_path):
    found = load_language_steps(SENTENCES, None)
    hint = "put Cangjie5_TC.json of ResembleAI/chatterbox beside the weights"
    assert found.unavailable == {"zh": f"Chinese needs Cangjie5_TC.json, which the checkpoint lacks; {hint}"}
    assert found.steps.keys() == {"ja", "ru"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[1]", b'["a"]', b"3", b"\xff", b'{"a": 1}', b"null", b"[]"], ids=repr
)
def test_a_damaged_table_costs_chinese_alone(tmp_path, content):
    file = tmp_path / "Cangjie5_TC.json"
    file.write_bytes(content)
    found = load_language_steps(["zh", "en"], file)
    assert found.steps == {}
    assert found.unavailable["zh"].startswith("Cangjie5_TC.json cannot be read, which Chinese needs; put")


def test_a_package_that_cannot_be_loaded_is_an_error_of_the_job(monkeypatch):
    found = load_language_steps(["ja"], None)
    monkeypatch.setitem(sys.modules, "pyopenjtalk", None)
    for _ in range(2):
        with pytest.raises(UnsupportedLanguage, match="the package that it needs is damaged"):
            found.steps["ja"]("日本")


@pytest.mark.parametrize("language", ["ja", "ru", "zh"])
def test_threads_get_what_one_thread_gets(steps, language):
    texts = SENTENCES[language] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(steps[language], texts)) == [steps[language](text) for text in texts]


JAPANESE_TEXT = st.text(
    st.sampled_from("私学校今日三本何人々年〇〆龘はがカー、。「3a ﾟ\u3099①\n\x01😀") | st.characters()
)
NOT_READ = regex.compile(r"[^\p{Han}〆\p{Hiragana}\p{Katakana}ー0-9０-９ ]+")
RUSSIAN_TEXT = st.text(st.sampled_from("абеёийоАЕЁ +-=.!\u0301\u0308a1\n—") | st.characters())


@given(text=JAPANESE_TEXT)
@settings(deadline=None)
def test_whatever_has_no_kanji_stays_in_japanese(steps, text):
    read = steps["ja"](text)
    text = unicodedata.normalize("NFC", text)
    assert NOT_READ.findall(read) == NOT_READ.findall(text)
    if not HAN.search(text):
        assert read == text


@given(text=RUSSIAN_TEXT)
@settings(deadline=None)
def test_only_stress_and_dots_are_added_to_russian(steps, text):
    def bare(text):
        return unicodedata.normalize("NFC", text).replace("\u0301", "").replace("ё", "е").replace("Ё", "Е")

    assert bare(steps["ru"](text)) == bare(text)


@given(text=st.text(st.sampled_from("日明国龘零〇 a,，3\n") | st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_codes_say_the_text(steps, text):
    spelled = regex.sub(r"\[cj_[^\]]*\]", "", steps["zh"](text))
    left = regex.sub("[日曰明冐国零〇]", "", text)
    assert set(left) - set(spelled) <= {char for char in left if unicodedata.category(char) == "Lo"}
    assert set(spelled) <= set(text) | {" "}

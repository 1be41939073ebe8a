"""Text to ids for the multilingual models, as upstream's ``MTLTokenizer`` does it where it loses nothing."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.mtl_tts import punc_norm
from tokenizers import Tokenizer

from benchmarks.upstream import FullCase
from errors import InvalidRequest, ModelUnavailable, UnsupportedLanguage
from speech.models.spec import CHATTERBOX, MULTILINGUAL, MULTILINGUAL_V2, PACKS, ModelSpec
from speech.models.tokenizers import MultilingualTokenizer, load_tokenizer
from speech.smoke import letters_tokenizer
from speech.text.chinese import CangjieCodes
from speech.weights.checkpoint import Checkpoint
from tests.speech.mtl import upstreams_tokenizer
from tests.speech.text.language_sentences import SENTENCES

UNKNOWN_ID = 1
FILE = MULTILINGUAL_V2.files.tokenizer[0]
# Upstream does not do their steps here, and ours are compared in tests of their own.
WITHOUT_STEPS = sorted(SENTENCES.keys() - {"ja", "zh"})


@pytest.fixture(scope="module")
def folder(multilingual_checkpoint) -> Path:
    return multilingual_checkpoint.folder


@pytest.fixture(scope="module")
def make(folder) -> Callable[..., MultilingualTokenizer]:
    """Returns a function that makes a tokenizer with no steps but those given."""

    def make(
        spec: ModelSpec = MULTILINGUAL, file: Path = folder / FILE, **steps: Callable[[str], str]
    ) -> MultilingualTokenizer:
        assert spec.text is not None
        return MultilingualTokenizer(
            file,
            size=spec.text_vocabulary,
            rules=spec.text,
            languages=spec.languages,
            steps=steps,
            unavailable={"ja": "Japanese needs the package nobody-has; install it"},
        )

    return make


@pytest.fixture(scope="module")
def theirs(folder) -> MTLTokenizer:
    return upstreams_tokenizer(folder, MULTILINGUAL_V2)


@pytest.fixture(scope="module")
def theirs_in_full_case(folder) -> FullCase:
    return upstreams_tokenizer(folder, MULTILINGUAL_V2, FullCase)


@pytest.mark.parametrize("language", WITHOUT_STEPS)
def test_ids_of_v2_are_upstreams(make, theirs, language):
    ours = make(MULTILINGUAL_V2)
    for text in SENTENCES[language]:
        expected = theirs.text_to_tokens(punc_norm(text), language)[0].tolist()
        assert_upstreams_where_nothing_is_unknown(ours.encode(text, language).tolist(), expected)


@pytest.mark.parametrize("language", WITHOUT_STEPS)
def test_ids_of_v3_are_upstreams_in_full_case(make, theirs_in_full_case, language):
    ours = make()
    for text in SENTENCES[language]:
        normalized = text[0] + punc_norm(text)[1:]  # without its capital
        expected = theirs_in_full_case.text_to_tokens(normalized, language)[0].tolist()
        assert_upstreams_where_nothing_is_unknown(ours.encode(text, language).tolist(), expected)


def assert_upstreams_where_nothing_is_unknown(ours: list[int], theirs: list[int]) -> None:
    assert UNKNOWN_ID not in ours
    if UNKNOWN_ID in theirs:  # a quotation mark
        assert len(ours) == len(theirs)
        assert all(mine == other for mine, other in zip(ours, theirs, strict=True) if other != UNKNOWN_ID)
    else:
        assert ours == theirs


@pytest.mark.parametrize("language", SENTENCES)
def test_nothing_of_a_sentence_is_lost(multilingual_checkpoint, language):
    for spec in (MULTILINGUAL_V2, replace(MULTILINGUAL, files=MULTILINGUAL_V2.files)):
        tokenizer = load_tokenizer(spec, multilingual_checkpoint)
        if language in tokenizer.unavailable:
            pytest.skip(tokenizer.unavailable[language])
        for text in SENTENCES[language]:
            assert tokenizer.unknown(text, language) == ""
            assert UNKNOWN_ID not in tokenizer.encode(text, language).tolist()


@pytest.mark.parametrize("spec", [MULTILINGUAL, MULTILINGUAL_V2], ids=lambda spec: spec.name)
def test_chinese_ids_are_upstreams(make, folder, theirs, theirs_in_full_case, spec):
    """Without a segmenter: of words upstream has another list."""
    codes = CangjieCodes(folder / MULTILINGUAL.files.cangjie_table, lambda text: [text])
    text = "火车又晚点了，APP 说 30 分钟。真的？"
    ids = make(spec, zh=codes).encode(text, "zh").tolist()
    upstreams = theirs if spec is MULTILINGUAL_V2 else theirs_in_full_case
    assert ids == upstreams.text_to_tokens(punc_norm(text), "zh")[0].tolist()
    assert UNKNOWN_ID not in ids


def test_each_model_ends_and_begins_a_text_as_it_was_trained(make):
    def spelled(spec: ModelSpec, text: str) -> str:
        return make(spec)._spell(text, spec.languages[0])[0]

    assert spelled(MULTILINGUAL, "der Zug。") == "der Zug。"
    assert spelled(MULTILINGUAL_V2, "der Zug。") == "der zug。"
    assert spelled(PACKS[1], "der Zug。") == "Der Zug。."


def test_a_step_comes_before_decomposition_and_gets_composed_characters(make):
    """In v2 as well, which has small letters by then: dictionaries have neither capitals nor loose marks."""
    seen: list[str] = []

    def step(text: str) -> str:
        seen.append(text)
        return text.replace("é", "é́")

    spelled = [
        make(spec, fr=step)._spell("Cafe\u0301 É", "fr")[0] for spec in (MULTILINGUAL, MULTILINGUAL_V2)
    ]
    assert seen == ["Café É.", "café é."]
    assert spelled == [unicodedata.normalize("NFKD", text) for text in ("Café́ É.", "café́ é́.")]


@pytest.mark.parametrize(
    ("text", "spelled", "left_out"),
    [
        ("Ein Text 🙂 mit ❤️, nicht wahr?", "Ein Text mit , nicht wahr?", "🙂❤"),
        ("Gate ٤ und ૧२", "Gate ٤ und 1२.", ""),
        ("Er sagte ❝ja❞", "Er sagte ja.", "❝❞"),
        ("Das 中文 Wort", "Das Wort.", "中文"),
        ("a\u200db", "ab.", ""),
        ("„Ja“ 〜 gut", '"Ja" - gut.', ""),
        ("x̂⃗", "x̂.", "⃗"),
    ],
)
def test_what_is_not_in_the_vocabulary_is_said_otherwise_or_left_out(make, text, spelled, left_out):
    ours = make()
    assert ours._spell(text, "de") == (unicodedata.normalize("NFKD", spelled), left_out)
    assert ours.unknown(text, "de") == left_out
    assert UNKNOWN_ID not in ours.encode(text, "de").tolist()


def test_a_small_vocabulary_is_used_as_far_as_it_goes(make, folder, tmp_path):
    """Without the acute accent by itself, capitals or the Spanish question mark."""
    content = json.loads((folder / FILE).read_text())
    vocabulary = content["model"]["vocab"]
    for char in ("\u0301", "A", "¿"):
        vocabulary[f"no {char}"] = vocabulary.pop(char)
    file = tmp_path / FILE
    file.write_text(json.dumps(content))
    ours = make(file=file)
    assert ours._spell("¿Así? Á, más ḱ", "es") == ("así? Á, más k.", "\u0301")
    assert UNKNOWN_ID not in ours.encode("¿Así? Á, más", "es").tolist()


@pytest.mark.parametrize("spec", [MULTILINGUAL, MULTILINGUAL_V2], ids=lambda spec: spec.name)
@pytest.mark.parametrize(
    "text", ["[START] and [STOP]", "[no] [FR] oui", "[SPACE][UNK]", "[cj_a] [CJ_.]", "［fr］ and ［START］"]
)
def test_tokens_that_control_the_model_are_words_in_a_text(make, spec, text):
    ours = make(spec)
    ids = ours.encode(text, "en").tolist()
    tokenizer = Tokenizer.from_str(ours._tokenizer.to_str())
    controls = {f"[{name}]" for name in ("START", "STOP", "UNK", "no", "fr", "cj_a", "cj_.")}
    assert [tokenizer.id_to_token(each) for each in ids if tokenizer.id_to_token(each) in controls] == []
    assert tokenizer.id_to_token(ids[0]) == "[en]"


def test_a_language_that_lacks_something_is_refused_with_the_reason(make):
    with pytest.raises(UnsupportedLanguage, match="^Japanese needs the package nobody-has; install it$"):
        make().encode("こんにちは", "ja")


def test_a_text_of_nothing_in_the_vocabulary_is_refused(make):
    with pytest.raises(InvalidRequest, match="text has nothing that the model can say in the language 'fr'"):
        make().encode("สวัสดี 🙂", "fr")


def test_a_text_that_grows_beyond_the_models_positions_is_refused(make):
    with pytest.raises(InvalidRequest, match="takes 3602 tokens where the model reads 800 in a segment"):
        make().encode("\ufdfa" * 200, "ar")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (2453, "it has 2454 tokens where this one has 2453"),
        (704, "it has 2454 tokens where this one has 704"),
    ],
)
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_with_both_numbers(make, size, message):
    with pytest.raises(ModelUnavailable, match=message):
        make(replace(MULTILINGUAL, text_vocabulary=size))


def test_a_tokenizer_without_the_languages_is_refused(make, tmp_path):
    letters_tokenizer(CHATTERBOX).save(str(tmp_path / FILE))
    with pytest.raises(ModelUnavailable, match=r"is of another model: it lacks \[ar\], \[da\], \[de\]; "):
        make(file=tmp_path / FILE)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        make(file=tmp_path / FILE)


def test_a_model_of_chinese_alone_is_refused_without_its_table(folder, tmp_path):
    shutil.copy(folder / FILE, tmp_path)
    pack = next(spec for spec in PACKS if spec.languages == ("zh",))
    with pytest.raises(
        ModelUnavailable, match=f"Chinese needs ({MULTILINGUAL.files.cangjie_table}, which|the package)"
    ):
        load_tokenizer(pack, Checkpoint(tmp_path, None))


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("1½ Liter", "1 1/2 Liter"),
        ("10² Meter", "10 2 Meter"),
        ("Ha [laughter] ha", "Ha laughter ha"),
        ("Ha ［sigh］ ha", "Ha sigh ha"),
        ("[cj_a] [SPACE] [fr]", "cj_a SPACE fr"),
    ],
)
def test_digits_stay_apart_and_no_text_controls_the_model(make, text, spelled):
    found = make()._spell(f"{text}.", "de")
    assert found[0].replace("\u2044", "/") == f"{spelled}."
    assert found[1] == ""


def test_version_2_speaks_russian_without_marks_of_stress(make):
    assert "\u0301" not in make(MULTILINGUAL_V2)._spell("Мама мыла раму.", "ru")[0]

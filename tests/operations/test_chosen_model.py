"""Which of a worker's models a job uses, and in which language its text is read."""

import re
from dataclasses import replace

import pytest

from errors import InvalidRequest, ModelUnavailable, UnsupportedLanguage
from operations.chosen_model import check_default_language
from speech.contract import ModelInfo
from speech.models.spec import CHATTERBOX, TURBO
from tests.fakes import FAKE_REVISION, FakeSynthesizer, build_services
from tests.operations.conftest import run_operation

NO_TABLE = "its table of codes, Cangjie5_TC.json, is not beside the weights"
READ_AS_ENGLISH = "is not spoken here: the text is read as en; send its language"
MANY = replace(CHATTERBOX, name="many", languages=("en", "de", "fr", "zh", "zh-cmn"))


@pytest.fixture
def english():
    return FakeSynthesizer()


@pytest.fixture
def many():
    info = ModelInfo(MANY, FAKE_REVISION, unavailable_languages={"zh": NO_TABLE})
    return FakeSynthesizer(info=info, conditionals_key="fake-1")


@pytest.fixture
def turbo():
    return FakeSynthesizer(info=ModelInfo(TURBO, FAKE_REVISION), conditionals_key="fake-turbo")


@pytest.fixture
def several(tmp_path, english, many, turbo):
    return build_services(tmp_path, [english, many, turbo])


def speak(services, **fields):
    return run_operation(services, "tts", text="Hello there.", **fields)


def spoken_by(services, **fields):
    reply = speak(services, **fields)
    return reply["model"]["variant"], reply["parameters"]["language"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("chatterbox", "en")),
        ({"language": "en-US"}, ("chatterbox", "en")),
        ({"language": "DE_at"}, ("many", "de")),
        ({"language": "zh-CMN-Hans"}, ("many", "zh-cmn")),
        ({"model": "turbo"}, ("turbo", "en")),
        ({"model": "many"}, ("many", "en")),
        ({"model": "many", "language": "fr"}, ("many", "fr")),
        ({"model": None, "language": None}, ("chatterbox", "en")),
    ],
)
def test_the_named_model_or_the_first_that_speaks_the_language(several, fields, expected):
    assert spoken_by(several, **fields) == expected


def test_the_job_reaches_that_model_alone(several, english, many):
    speak(several, language="de")
    assert [utterance.language for utterance in many.calls] == ["de"]
    assert english.calls == []


@pytest.mark.parametrize(
    ("language", "expected", "is_spoken"),
    [
        ("de", ("many", "de"), True),
        ("de-AT", ("many", "de"), True),
        ("German", ("many", "de"), True),
        (" swiss high german", ("many", "de"), True),
        ("English", ("chatterbox", "en"), True),
        ("tlh", ("chatterbox", "en"), False),
        ("Klingon", ("chatterbox", "en"), False),
        ("no words", ("chatterbox", "en"), False),
        (None, ("chatterbox", "en"), True),
    ],
)
def test_a_text_without_a_language_is_in_the_voices(several, waveform, language, expected, is_spoken):
    several.voices.put(waveform, "Ada", language=language)
    reply = speak(several, voice_name="Ada")
    assert (reply["model"]["variant"], reply["parameters"]["language"]) == expected
    assert reply["warnings"] == (
        []
        if is_spoken
        else [
            f"the voice's language {language} is not spoken here: the text is read as en; send its language"
        ]
    )
    assert spoken_by(several, voice_name="Ada", language="fr") == ("many", "fr")


def test_else_it_is_in_the_default_language(several):
    french = replace(several, default_language="fr")
    assert spoken_by(french) == ("many", "fr")
    reply = speak(french, model="turbo")  # which speaks no other
    assert (reply["model"]["variant"], reply["parameters"]["language"]) == ("turbo", "en")
    assert (
        "the default language fr is not spoken here: the text is read as en; send its language"
        in reply["warnings"]
    )


def test_a_default_language_that_no_model_speaks_stops_the_start(several):
    check_default_language(None, several.models)
    check_default_language("DE", several.models)
    for code, reason in (("xx", "no model of MODEL speaks it; set it to one of en, de"), ("zh", NO_TABLE)):
        with pytest.raises(ModelUnavailable, match=re.escape(reason)):
            check_default_language(code, several.models)


@pytest.mark.parametrize("language", ["zh", "Chinese"])
@pytest.mark.parametrize("model", [None, "many"])
def test_a_language_that_cannot_be_read_is_never_replaced(several, waveform, model, language):
    several.voices.put(waveform, "Ada", language=language)
    for services, fields in ((several, {"voice_name": "Ada"}), (replace(several, default_language="zh"), {})):
        with pytest.raises(UnsupportedLanguage, match="its table of codes"):
            speak(services, model=model, **fields)


@pytest.mark.parametrize(
    ("sent", "spoken"), [("nb", "no"), ("nn-NO", "no"), ("cmn-Hans", "zh"), ("iw", "he")]
)
def test_codes_that_mean_the_same_are_understood(tmp_path, sent, spoken):
    spec = replace(CHATTERBOX, languages=("no", "zh", "he"))
    services = build_services(tmp_path, FakeSynthesizer(info=ModelInfo(spec, FAKE_REVISION)))
    assert spoken_by(services, language=sent) == ("chatterbox", spoken)


def test_a_pack_is_taken_for_its_own_variety(tmp_path):
    packs = [
        FakeSynthesizer(info=ModelInfo(replace(CHATTERBOX, name=name, languages=("pt",)), FAKE_REVISION))
        for name in ("pt-pt", "pt-br")
    ]
    services = build_services(tmp_path, packs)
    for language, model in (("pt", "pt-pt"), ("pt-BR", "pt-br"), ("pt_PT", "pt-pt"), ("pt-AO", "pt-pt")):
        assert spoken_by(services, language=language) == (model, "pt")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("hi", ("hi", "hi")),
        ("hi-IN", ("hi", "hi")),
        ("HI_deva_in", ("hi", "hi")),
        ("pt", ("many", "pt")),
        ("pt-AO", ("many", "pt")),
        ("pt-BR", ("pt-br", "pt")),
        ("pt-Latn-BR", ("pt-br", "pt")),
        ("pt-PT-u-nu-latn", ("pt-pt", "pt")),
        ("de-x-hi", ("many", "de")),
        ("fr-BR", ("many", "fr")),
    ],
)
def test_a_language_with_a_region_or_a_script_has_the_pack_of_its_language(tmp_path, language, expected):
    languages = {"many": ("en", "de", "fr", "hi", "pt"), "pt-pt": ("pt",), "pt-br": ("pt",), "hi": ("hi",)}
    models = [
        FakeSynthesizer(info=ModelInfo(replace(CHATTERBOX, name=name, languages=codes), FAKE_REVISION))
        for name, codes in languages.items()
    ]
    services = build_services(tmp_path, models)
    assert spoken_by(services, language=language) == expected
    assert spoken_by(services, language=language, model="many") == ("many", expected[1])


def test_a_preview_has_no_tags_that_its_model_does_not_know(several, recording, english):
    clone = {"voice_name": "Ada", "reference_audio": recording}
    reply = run_operation(several, "clone_voice", preview_text="Hello [laugh] you.", **clone)
    assert english.calls[-1].text == "Hello you."
    assert "the chatterbox model does not know event tags: left out [laugh]" in reply["warnings"]
    reply = run_operation(several, "clone_voice", preview_text="[laugh]", **clone)
    assert reply["saved_to_library"]
    assert "its preview failed: preview_text has event tags" in reply["warnings"][-1]


def test_a_model_that_does_not_speak_the_default_language_speaks_its_own(tmp_path):
    hindi = FakeSynthesizer(info=ModelInfo(replace(CHATTERBOX, languages=("hi",)), FAKE_REVISION))
    assert spoken_by(build_services(tmp_path, hindi)) == ("chatterbox", "hi")


def test_an_unknown_model_is_refused_with_those_that_there_are(several):
    for operation, fields in (("tts", {"text": "Hello."}), ("convert_voice", {"source_audio": "AAAA"})):
        with pytest.raises(InvalidRequest, match="send one of chatterbox, many, turbo") as caught:
            run_operation(several, operation, model="flash", **fields)
        assert [problem.field for problem in caught.value.problems] == ["model"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"language": "ja"}, r"'ja' is not spoken by this worker.*send one of en, de, fr, zh-cmn"),
        ({"language": "de", "model": "turbo"}, r"by the turbo model.*send one of en, or many as the model"),
        ({"language": "ja", "model": "turbo"}, r"by the turbo model.*send one of en$"),
        ({"language": "zh"}, r"'zh' cannot be read by this worker: its table of codes"),
        ({"language": "zh-TW", "model": "many"}, r"'zh-TW' cannot be read by this worker"),
        *(({"language": bad}, "is not spoken") for bad in ("english", "e", "", "-", "-US")),
    ],
)
def test_a_language_that_is_not_spoken_is_refused_with_what_to_do(several, fields, sentence):
    with pytest.raises(UnsupportedLanguage) as caught:
        speak(several, **fields)
    assert caught.value.field == "language"
    assert re.search(sentence, caught.value.render())


def test_a_language_is_refused_before_a_recording_is_fetched(several):
    def fetch(*_):
        raise AssertionError("nothing is to be fetched")

    with pytest.raises(UnsupportedLanguage):
        speak(replace(several, fetch=fetch), language="ja", reference_audio_url="https://example.com/a.wav")


def test_models_that_encode_voices_alike_share_their_conditionals(several, waveform, english, many, turbo):
    several.voices.put(waveform, "Ada")
    for model in ("chatterbox", "many", "turbo", "chatterbox"):
        speak(several, voice_name="Ada", model=model)
    assert len(english.encoded) == 1
    assert many.encoded == []
    assert len(turbo.encoded) == 1


def test_parameters_are_those_of_the_model_that_speaks(several):
    assert speak(several, model="turbo", exaggeration=1)["warnings"] == [
        "exaggeration has no effect on the turbo model"
    ]
    assert speak(several, exaggeration=1)["warnings"] == []


def test_the_notice_is_of_the_model_that_speaks(tmp_path, english):
    noise = FakeSynthesizer(info=ModelInfo(TURBO, FAKE_REVISION, "noise"), conditionals_key="fake-turbo")
    services = build_services(tmp_path, [english, noise])
    assert speak(services, model="turbo")["warnings"] == ["noise"]
    assert speak(services)["warnings"] == []
    assert services.models.notices == ["noise"]


@pytest.mark.parametrize("model", [None, "turbo"])
def test_a_conversion_takes_the_first_model_or_the_named_one(several, recording, english, turbo, model):
    reply = run_operation(several, "convert_voice", source_audio=recording, model=model)
    assert reply["model"]["variant"] == (model or "chatterbox")
    assert [len(each.converted) for each in (english, turbo)] == ([0, 1] if model else [1, 0])


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"language": "de"}, "en"),  # the preview's own text is English
        ({"language": "de", "preview_text": "Guten Tag."}, "de"),
        ({"preview_text": "Hello."}, "en"),
    ],
)
def test_a_preview_is_spoken_in_its_language(several, recording, english, many, fields, language):
    run_operation(several, "clone_voice", voice_name="Ada", reference_audio=recording, **fields)
    assert [utterance.language for each in (english, many) for utterance in each.calls] == [language]

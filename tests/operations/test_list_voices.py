import pytest

from audio.waveform import Waveform
from errors import InvalidRequest
from operations.list_voices import ListVoicesRequest
from operations.request import parse_request
from tests.operations.conftest import run_operation
from tests.recordings import speech_like

VOICES = [
    ("Ada", "female", "en", "calm narrator", ["News", "Été"]),
    ("Bob", "male", "en", "sports", ["news"]),
    ("Çelik", "Male", "tr", None, []),
    ("Dora", "female", None, "Narrator of stories", ["有声书", "Newsroom"]),
]


@pytest.fixture(scope="module")
def waveforms():
    return [Waveform(speech_like(3.0 + seed, 24_000, seed), 24_000) for seed in range(len(VOICES))]


@pytest.fixture
def library(services, waveforms):
    for waveform, (name, gender, language, description, tags) in zip(waveforms, VOICES, strict=True):
        services.voices.put(
            waveform, name, gender=gender, language=language, description=description, tags=tags
        )
    return services


def listed(services, **fields):
    return run_operation(services, "list_voices", **fields)


def names(reply):
    return {voice["speaker_name"] for voice in reply["voices"]}


def test_an_empty_library_is_an_empty_list(services):
    reply = listed(services)
    assert reply["voices"] == []
    assert reply["total_voices"] == 0
    assert reply["stats"]["total_voices"] == 0


def test_every_voice_comes_with_its_metadata(library):
    reply = listed(library)
    assert names(reply) == {"Ada", "Bob", "Çelik", "Dora"}
    ada = next(voice for voice in reply["voices"] if voice["speaker_name"] == "Ada")
    assert ada["voice_id"] == library.voices.get(name="Ada").voice_id
    assert ada["gender"] == "female"
    assert ada["duration"] == 3.0
    assert ada["type"] == "chattts_embedding"
    assert ada["description"] == "calm narrator"
    assert ada["created_at"]
    assert ada["tags"] == ["News", "Été"]
    assert ada["default_parameters"] == {}
    assert reply["warnings"] == []
    assert "original_file" in ada


def test_files_of_the_store_are_not_told(library):
    assert all("embedding_file" not in voice for voice in listed(library)["voices"])


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"gender": "male"}, {"Bob", "Çelik"}),
        ({"gender": "FEMALE"}, {"Ada", "Dora"}),
        ({"language": "en"}, {"Ada", "Bob"}),
        ({"query": "narrator"}, {"Ada", "Dora"}),
        ({"query": "çEL"}, {"Çelik"}),
        ({"query": "c\u0327elik"}, {"Çelik"}),
        ({"gender": "female", "language": "en"}, {"Ada"}),
        ({"query": "nobody"}, set()),
        ({"tag": "NEWS"}, {"Ada", "Bob"}),
        ({"tag": "e\u0301te\u0301"}, {"Ada"}),
        ({"tag": ["news", "ÉTÉ"]}, {"Ada"}),
        ({"tag": ["有声书"]}, {"Dora"}),
        ({"tag": []}, {"Ada", "Bob", "Çelik", "Dora"}),
        ({"tag": "new"}, set()),
        ({"query": "newsr"}, {"Dora"}),
        ({"query": "有声"}, {"Dora"}),
        ({"tag": "news", "gender": "male"}, {"Bob"}),
    ],
)
def test_filters_narrow_the_list_and_its_count_but_not_the_stats(library, filters, found):
    reply = listed(library, **filters)
    assert names(reply) == found
    assert reply["total_voices"] == len(found)
    assert reply["stats"]["total_voices"] == 4


def test_a_voice_is_found_by_the_start_of_its_id(library):
    voice_id = library.voices.get(name="Bob").voice_id
    assert "Bob" in names(listed(library, query=voice_id[:6]))


def test_pages_hold_every_voice_once(library):
    pages = [listed(library, limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [len(page["voices"]) for page in pages] == [3, 1, 0]
    assert names(pages[0]) | names(pages[1]) == {"Ada", "Bob", "Çelik", "Dora"}
    assert all(page["total_voices"] == 4 for page in pages)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"limit": True}, "limit"),
        ({"offset": -1}, "offset"),
        ({"gendre": "male"}, "did you mean 'gender'"),
        ({"query": 3}, "query"),
        ({"tag": 3}, "tag must be a text"),
        ({"tag": ["news", 3]}, r"tag\[1\] is 3"),
        ({"tag": ["x"] * 33}, "tag has 33 members"),
    ],
)
def test_a_bad_filter_is_named(library, fields, named):
    with pytest.raises(InvalidRequest, match=named):
        listed(library, **fields)


def test_the_largest_numbers_page_past_the_end(library):
    assert listed(library, limit=2**63, offset=2**63)["voices"] == []


@pytest.mark.parametrize("field", ["query", "gender", "language", "tag"])
def test_a_filter_of_absurd_length_is_refused_before_it_is_compared(field):
    with pytest.raises(InvalidRequest, match=f"{field}.*256"):
        parse_request(ListVoicesRequest, "list_voices", {field: "a" + "\u0301\u0323" * 100_000})

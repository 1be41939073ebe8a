import json

import pytest

from audio.waveform import Waveform
from errors import InvalidRequest
from operations import dispatch
from operations.base import Job
from operations.list_voices import ListVoicesRequest
from operations.request import parse_request
from tests.fakes import build_services
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


def listed(services, *, limit_bytes=None, **fields):
    return dispatch({"operation": "list_voices", **fields}, services, Job("job-1", limit_bytes))


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


@pytest.fixture
def crowd(services, waveforms, tmp_path):
    """A library of 500 voices, each described at length, in characters of 3 and 4 bytes."""
    voice_id = services.voices.put(waveforms[0], "0").voice.voice_id
    folder = tmp_path / "voice_embeddings"
    data = (folder / "embeddings" / f"{voice_id}.pkl.gz").read_bytes()
    entry = json.loads((folder / "voice_catalog.json").read_text())[voice_id]
    catalog = {}
    for number in range(500):
        voice_id = f"{number:08x}"
        (folder / "embeddings" / f"{voice_id}.pkl.gz").write_bytes(data)
        catalog[voice_id] = entry | {
            "voice_id": voice_id,
            "speaker_name": f'"{number}"',
            "gender": f"{'😀' * 20}{number}",
            "description": "声" * 900,
        }
    (folder / "voice_catalog.json").write_text(json.dumps(catalog))
    return build_services(tmp_path)


@pytest.mark.parametrize("limit_bytes", [100_000, 400_000])
def test_pages_that_fit_into_a_reply_hold_every_voice_once(crowd, limit_bytes):
    total = listed(crowd)["total_voices"]
    assert total >= 500
    seen, offset = [], 0
    while offset < total:
        reply = listed(crowd, limit_bytes=limit_bytes, offset=offset)
        assert len(json.dumps(reply, ensure_ascii=False).encode()) <= limit_bytes
        assert reply["total_voices"] == total
        assert reply["voices"]
        seen += [voice["voice_id"] for voice in reply["voices"]]
        offset += len(reply["voices"])
        if offset < total:
            assert f"{total - offset} of " in reply["warnings"][-1]
            assert f"offset {offset}" in reply["warnings"][-1]
    assert len(set(seen)) == len(seen) == total


def test_a_page_that_fits_is_not_warned_about(crowd):
    reply = listed(crowd, limit_bytes=400_000, limit=20)
    assert len(reply["voices"]) == 20
    assert reply["warnings"] == []


def test_more_genders_than_a_reply_holds_are_left_out_with_a_warning(crowd):
    reply = listed(crowd, limit_bytes=30_000, limit=1)
    assert len(json.dumps(reply, ensure_ascii=False).encode()) <= 30_000
    assert len(reply["voices"]) == 1
    assert any("gender_distribution" in warning for warning in reply["warnings"])

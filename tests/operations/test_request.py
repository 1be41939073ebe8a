from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from errors import InvalidRequest
from operations import OPERATIONS, request, tts
from operations.request import Request, did_you_mean, parse_request

LONG_LIST = [""] * 3_000_000


class Size(Request):
    width: Annotated[float | None, Field(ge=0, le=2, description="a number from 0 to 2")] = None
    depth: Annotated[float | None, Field(ge=0, le=2, description="a number from 0 to 2")] = None


class Item(Request):
    name: Annotated[str, Field(description="a name")]
    fragile: Annotated[bool, Field(description="true or false")] = False
    size: Annotated[Size | None, Field(description="an object with width and depth")] = None


class ParcelRequest(Request):
    weight: Annotated[float, Field(ge=0, le=2, description="a number from 0 to 2")]
    address: Annotated[str, Field(description="an address")] = "here"
    count: Annotated[int, Field(ge=0, le=9, description="a whole number from 0 to 9")] = 1
    size: Annotated[Size | None, Field(description="an object with width and depth")] = None
    stamps: Annotated[list[str] | None, Field(max_length=3, description="a list of at most 3 texts")] = None
    items: Annotated[
        list[Item] | None, Field(max_length=100, description="a list of at most 100 objects")
    ] = None


def parse(**fields):
    return parse_request(ParcelRequest, "send", fields)


def refusal(**fields) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    return caught.value.message


def test_whole_numbers_are_numbers():
    assert parse(weight=2).weight == 2


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("0.5", "'0.5'"),
        (True, "true"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2.5, "2.5"),
        (-1, "-1"),
        ([1], "a list"),
        ({"a": 1}, "an object"),
    ],
)
def test_what_is_no_number_in_range_is_refused_with_the_range(value, got):
    assert refusal(weight=value) == f"weight must be a number from 0 to 2, not {got}"


def test_null_counts_as_not_sent():
    assert parse(weight=1, address=None).address == "here"
    assert refusal(weight=None) == "weight is required; send a number from 0 to 2"


def test_a_whole_number_field_takes_no_fraction():
    assert "count must be a whole number from 0 to 9, not 1.0" in refusal(weight=1, count=1.0)


def test_all_bad_fields_are_named_in_one_error():
    message = refusal(weight="heavy", count=10, adress="there")
    assert "weight must be" in message
    assert "count must be" in message
    assert "adress is not a field of send; did you mean 'address'?" in message


def test_what_is_wrong_within_an_object_is_named_with_the_object():
    message = refusal(weight=1, size={"width": 3, "depth": "1", "widht": 1})
    assert "size.width must be a number from 0 to 2, not 3" in message
    assert "size.depth must be a number from 0 to 2, not '1'" in message
    assert "size.widht is not a field of size; did you mean 'width'?" in message


def test_null_within_an_object_counts_as_not_sent():
    assert parse(weight=1, size={"width": None, "depth": 1}).size == Size(depth=1)


@pytest.mark.parametrize("size", [3, "large", [1], True])
def test_what_is_no_object_is_refused(size):
    assert "size must be an object with width and depth, not " in refusal(weight=1, size=size)


def test_what_is_wrong_within_a_list_is_named_with_its_place():
    message = refusal(weight=1, stamps=["a", None, 5])
    assert "stamps[1] is null; stamps must be a list of at most 3 texts" in message
    assert "stamps[2] is 5; stamps must be a list of at most 3 texts" in message


def test_a_list_that_is_too_long_is_refused_with_its_length():
    assert refusal(weight=1, stamps=["a"] * 4) == "stamps has 4 members; send at most 3"


def test_objects_in_a_list_are_read():
    items = [
        {"name": "vase", "fragile": True, "size": {"width": 1}},
        {"name": "book", "fragile": None, "size": None},
    ]
    assert parse(weight=1, items=items).items == [
        Item(name="vase", fragile=True, size=Size(width=1)),
        Item(name="book"),
    ]
    assert len(parse(weight=1, items=[{"name": "book"}] * 100).items) == 100


def test_all_that_is_wrong_in_objects_of_a_list_is_named_with_its_place():
    message = refusal(
        weight="x",
        items=[
            {"name": "vase", "fragil": True},
            {"fragile": "yes"},
            5,
            {"name": None},
            {"name": "box", "size": {"width": 3, "hight": 1}},
            {"name": "box", "size": [1]},
            None,
        ],
    )
    for said in (
        "weight must be a number",
        "items[0].fragil is not a field of items; did you mean 'fragile'?",
        "items[1].name is required; send a name",
        "items[1].fragile must be true or false, not 'yes'",
        "items[2] is 5; items must be a list of at most 100 objects",
        "items[3].name is required",
        "items[4].size.width must be a number from 0 to 2, not 3",
        "items[4].size.hight is not a field of size; its fields are width, depth",
        "items[5].size must be an object with width and depth, not a list",
        "items[6] is null; items must be",
    ):
        assert said in message
    assert (
        refusal(weight=1, items={"name": "a"}) == "items must be a list of at most 100 objects, not an object"
    )
    assert refusal(weight=1, items=[{"name": "a"}] * 101) == "items has 101 members; send at most 100"


def test_thousands_of_faults_in_a_list_make_a_short_error():
    items = [{f"field{index}_{number}": 1 for number in range(50)} for index in range(100)]
    message = refusal(weight=1, items=items)
    assert len(message) < 10_000
    assert message.endswith("and 5070 more")  # each lacks its name, too


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"items": [{"name": "\ud800"}]}, "items[0].name holds half a character"),
        ({"items": [{"name": "a", "size": {"width": 10**400}}]}, "items[0].size.width is too large a number"),
        ({"items": [{"\ud800": 1}]}, r"items[0].\ud800 is not a field's name"),
        ({"stamps": ["a", "\ud800"]}, "stamps[1] holds half a character"),
        ({"size": {"width": 10**400}}, "size.width is too large a number"),
        ({"size": {"\ud800": 1}}, r"size.\ud800 is not a field's name"),
    ],
)
def test_what_a_reply_cannot_carry_is_found_in_lists_and_objects_too(fields, said):
    assert said in refusal(weight=1, **fields)


def test_an_unknown_field_like_nothing_known_gets_the_list_of_fields():
    assert (
        "xyzzy is not a field of send; its fields are weight, address, count, size, stamps, items"
        in refusal(weight=1, xyzzy=0)
    )


def test_an_unknown_field_is_refused_even_when_null():
    assert "adress is not a field" in refusal(weight=1, adress=None)


@pytest.mark.parametrize("text", ["\ud800", "fine until \udfff here"])
def test_half_a_character_is_refused_by_field_and_position(text):
    message = refusal(weight=1, address=text)
    assert message.startswith("address holds half a character")
    assert f"position {len(text.encode('utf-8', 'replace').split(b'?')[0])}" in message


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "x" * 100_000])
def test_hostile_field_names_are_refused_in_short_printable_words(name):
    message = refusal(weight=1, **{name: 1})
    message.encode()
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("number", [10**5000, -(10**400), 2**64], ids=["huge", "negative", "65 bits"])
@pytest.mark.parametrize("field", ["weight", "address", "count", "unknown"])
def test_gigantic_numbers_are_refused_by_field(field, number):
    assert field in refusal(**{"weight": 1, field: number})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stamps": LONG_LIST}, "stamps has 3000000 members; send at most 3"),
        ({"size": dict.fromkeys(map(str, range(100_000)), 1)}, "size has 100000 members; send at most 2"),
        ({"items": LONG_LIST}, "items has 3000000 members; send at most 100"),
        (
            {"items": [dict.fromkeys(map(str, range(100_000)), 1)]},
            "items[0] has 100000 members; send at most 3",
        ),
        ({"items": [{"name": LONG_LIST}]}, "items[0].name must be a name, not a list"),
        ({"weight": LONG_LIST}, "weight must be a number from 0 to 2, not a list"),
        ({"unknown": LONG_LIST}, "unknown is not a field"),
    ],
)
def test_millions_of_members_are_refused_without_looking_at_them(fields, said, monkeypatch):
    looked_at = []
    monkeypatch.setattr(request, "_broken_character", lambda text: looked_at.append(text))
    assert said in refusal(**{"weight": 1, **fields})
    assert len(looked_at) < 1_000


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("speaker", tts.TtsRequest.model_fields, "voice_name"),
        ("voice", tts.TtsRequest.model_fields, "voice_name"),
        ("txt", tts.TtsRequest.model_fields, "text"),
        ("normalization", tts.TtsRequest.model_fields, "audio_normalization"),
        ("speeds", tts.TtsRequest.model_fields, "speed"),
        ("speaker", ["speed"], None),
        ("pitch", tts.TtsRequest.model_fields, None),
        ("clone", OPERATIONS, "clone_voice"),
        ("voice", OPERATIONS, None),
    ],
)
def test_a_word_is_suggested_only_when_it_is_near(word, known, hint):
    assert did_you_mean(word, known) == (f"did you mean '{hint}'?" if hint else "")


def test_thousands_of_unknown_fields_make_a_short_error():
    message = refusal(weight=1, **{f"field{index}": index for index in range(20_000)})
    assert len(message) < 5_000
    assert message.endswith("more")


HUGE = 10**4299  # as large as Python still prints it: Hypothesis shows its examples

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.just(HUGE),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_json_is_a_request_or_an_error_that_can_be_sent(operation, data):
    model = OPERATIONS[operation].request
    names = st.sampled_from(sorted(model.model_fields)) | st.text(st.characters(codec=None), max_size=10)
    fields = data.draw(st.dictionaries(names, json_values, max_size=6))
    try:
        parse_request(model, operation, fields)
    except InvalidRequest as error:
        error.message.encode()

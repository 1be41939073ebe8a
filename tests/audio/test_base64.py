"""How recordings come in JSON: base64, with or without a prefix, and no larger than allowed."""

import base64
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from audio.decode import decode_audio, decode_base64
from audio.limits import MAX_ENCODED_BYTES
from errors import ReferenceInvalid


@pytest.mark.parametrize(
    "text",
    [
        "aGVsbG8=",
        "data:audio/wav;base64,aGVsbG8=",
        "DATA:audio/webm;codecs=opus;BASE64,aGVsbG8=",
        "data:;base64,aGVsbG8=",
        "aGVs\r\nbG8=\n",
        " aGVs bG8= ",
        "aGVs\n    bG8=\n",
    ],
)
def test_base64_is_decoded_with_or_without_prefix_and_line_breaks(text):
    assert decode_base64(text, "reference_audio") == b"hello"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "data:audio/wav;base64,",
        "data:audio/wav,aGVsbG8=",
        "data:" + "x" * 300 + ";base64,aGVsbG8=",
        "aGVsbG8",
        "aGVsbG8==",
        "aGVsbG8=aGVsbG8=",
        "aGVs*bG8=",
        "-_-_",
        "héllo",
        "\ud800",
        "https://example.com/voice.wav",
    ],
)
def test_what_is_not_base64_is_refused_by_the_name_of_its_field(text):
    with pytest.raises(ReferenceInvalid, match=r"^sample_audio ") as refusal:
        decode_base64(text, "sample_audio")
    assert "base64" in refusal.value.message


RECORDING = bytes(random.Random(1).randbytes(3_000))
ENCODED = base64.b64encode(RECORDING).decode()


@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("fold", [" ", "\n", "\r\n", "\n  "])
def test_folded_base64_is_decoded_whatever_it_was_folded_with(width, fold):
    lines = [ENCODED[start : start + width] for start in range(0, len(ENCODED), width)]
    assert decode_base64(fold.join(lines), "reference_audio") == RECORDING


def test_a_plus_that_became_a_space_is_read_as_it_was_meant():
    assert ENCODED.count("+") > 10
    assert decode_base64(ENCODED.replace("+", " "), "reference_audio") == RECORDING
    url = "data:audio/wav;base64," + ENCODED
    assert decode_base64(url.replace("+", " "), "reference_audio") == RECORDING


@given(data=st.binary(min_size=1, max_size=60), folded=st.booleans())
def test_spaces_never_make_other_bytes_of_a_recording(data, folded):
    encoded = base64.encodebytes(data).decode() if folded else base64.b64encode(data).decode()
    spoiled = encoded.replace("+", " ")
    assume(spoiled[:4].strip() and spoiled.rstrip("\n")[-4:].strip())  # four at an end may as well be blanks
    assert decode_base64(spoiled, "reference_audio") == data


@pytest.mark.parametrize("text", ["aGV sbG8=", "aG VsbG8=", "aGVsb G8= aGVs"])
def test_other_spaces_are_refused_as_what_they_are(text):
    with pytest.raises(ReferenceInvalid, match="characters became spaces"):
        decode_base64(text, "reference_audio")


@pytest.mark.parametrize("media_type", ["video/webm;codecs=vp8,opus", 'audio/webm; codecs="opus"', ""])
def test_a_media_type_may_have_parameters(media_type):
    assert decode_base64(f"data:{media_type};base64,aGVsbG8=", "reference_audio") == b"hello"


def test_base64_may_hold_25_mib_and_no_byte_more():
    largest = bytes(MAX_ENCODED_BYTES)
    wrapped = base64.encodebytes(largest).decode()
    assert len(decode_base64(wrapped, "reference_audio")) == MAX_ENCODED_BYTES
    with pytest.raises(ReferenceInvalid, match="25 MiB"):
        decode_base64(base64.b64encode(largest + b"!").decode(), "reference_audio")


def test_text_far_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(ReferenceInvalid, match="25 MiB"):
        decode_base64("*" * (2 * MAX_ENCODED_BYTES), "reference_audio")  # not base64, and not looked at


def test_bytes_beyond_25_mib_are_refused():
    with pytest.raises(ReferenceInvalid, match="25 MiB"):
        decode_audio(bytes(MAX_ENCODED_BYTES + 1))

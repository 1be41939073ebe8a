"""How recordings come in JSON: base64, with or without a prefix, and no larger than allowed."""

import base64

import pytest

from audio.decode import MAX_ENCODED_BYTES, decode_audio, decode_base64
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

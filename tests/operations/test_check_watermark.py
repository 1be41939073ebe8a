import base64

import numpy as np
import pytest

from errors import FetchRefused, InvalidRequest, ReferenceInvalid, ReferenceTooShort
from tests.operations.conftest import run_operation
from tests.recordings import file_bytes, silence, speech_like, wav_bytes


def check(services, samples, **fields):
    audio = base64.b64encode(wav_bytes(samples)).decode()
    return run_operation(services, "check_watermark", audio=audio, **fields)


@pytest.mark.parametrize(
    ("confidence", "watermarked"), [(0.0, False), (0.49, False), (0.5, True), (0.99996, True)]
)
def test_the_answer_is_the_detectors(services, synthesizer, confidence, watermarked):
    synthesizer.confidence = confidence
    assert check(services, speech_like(6.0)) == {
        "watermarked": watermarked,
        "confidence": round(confidence, 4),
        "duration": 6.0,
        "warnings": [],
    }
    (recording,) = synthesizer.inspected
    assert recording.duration_s == 6.0


def test_a_short_recording_is_judged_with_a_warning(services):
    reply = check(services, speech_like(2.0))
    assert reply["warnings"] == ["audio is 2.0 s long: less than 5 s may be misjudged"]


def test_minutes_of_audio_are_looked_at_whole(services, synthesizer):
    long = file_bytes(np.tile(speech_like(60.0, 8_000), 5), 8_000, "FLAC")
    run_operation(services, "check_watermark", audio=base64.b64encode(long).decode())
    assert synthesizer.inspected[0].duration_s == pytest.approx(300.0)


def test_too_little_to_judge_is_refused(services):
    with pytest.raises(ReferenceTooShort, match=r"audio is 0\.5 s long, 1 s is the least"):
        check(services, speech_like(0.5))
    with pytest.raises(ReferenceInvalid, match="audio is silent"):
        check(services, silence(5.0))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "audio is required; send a recording in base64, or audio_url"),
        (
            {"audio": "UklGRg==", "audio_url": "https://a.example/a.wav"},
            "audio and audio_url exclude each other; send one of them",
        ),
    ],
)
def test_bad_fields_are_named(services, fields, says):
    with pytest.raises(InvalidRequest) as refusal:
        run_operation(services, "check_watermark", **fields)
    assert refusal.value.message == says


def test_what_is_no_audio_is_refused(services):
    with pytest.raises(ReferenceInvalid, match="audio is not audio that can be read"):
        run_operation(services, "check_watermark", audio="UklGRg==")
    with pytest.raises(FetchRefused, match="audio_url"):
        run_operation(services, "check_watermark", audio_url="http://127.0.0.1/a.wav")

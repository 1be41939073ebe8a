"""What replies hold, and what happens to what they cannot hold."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
import soundfile

from audio.encode import FORMATS, SAMPLE_RATES_HZ
from audio.waveform import Waveform
from delivery.records import NOT_KEPT
from errors import DeviceLost, ModelUnavailable
from serving.envelope import start_failure
from serving.runpod import limits
from speech.contract import NOTICES, ModelInfo
from speech.models.spec import CHATTERBOX
from tests.fakes import FAKE_REVISION, FakeSynthesizer, build_services, build_worker
from tests.recordings import speech_like
from tests.serving.jobs import clone, convert, tts
from version import VERSION

ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}


@pytest.fixture
def synthesizer():
    return FakeSynthesizer()


@pytest.fixture
def worker(tmp_path, synthesizer):
    return build_worker(tmp_path, synthesizer, ON_PLATFORM)


@pytest.fixture
def without_volume(tmp_path, synthesizer):
    return build_worker(tmp_path, synthesizer, ON_PLATFORM, has_volume=False)


@pytest.fixture
def limit(monkeypatch):
    """Sets the platform's limit for a reply to /run."""
    return lambda limit_bytes: monkeypatch.setattr(limits, "RUN_REPLY_LIMIT_BYTES", limit_bytes)


def job(operation, **fields):
    return {"id": "job-1", "input": {"operation": operation, **fields}}


def decoded(data):
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    return samples, rate_hz, soundfile.info(io.BytesIO(data))


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_every_format_at_every_rate(worker, audio_format):
    for rate_hz in SAMPLE_RATES_HZ:
        reply = await worker.handle(tts(format=audio_format, sample_rate=rate_hz))
        assert (reply["format"], reply["sample_rate"]) == (audio_format, rate_hz)
        assert len(base64.b64decode(reply["audio"])) > 100


async def test_the_audio_is_as_long_as_the_reply_says(worker):
    reply = await worker.handle(tts("One. Two and three.", sample_rate=44_100))
    samples, rate_hz, _ = decoded(base64.b64decode(reply["audio"]))
    assert rate_hz == 44_100
    assert len(samples) / rate_hz == pytest.approx(reply["duration"], abs=2e-3)


async def test_every_reply_names_the_worker_that_made_it(worker):
    cloned = await worker.handle(clone("Ada"))
    replies = [
        cloned,
        await worker.handle(tts(voice_name="Ada")),
        await worker.handle(job("list_voices")),
        await worker.handle(job("get_voice", voice_name="Ada", include_audio=True)),
        await worker.handle(job("update_voice", voice_name="Ada", gender="female")),
        await worker.handle(job("delete_voice", voice_name="Ada", confirm=True)),
    ]
    assert {reply["worker"] for reply in replies} == {f"chatterbox-voice-worker/{VERSION}"}


async def test_untrained_weights_are_never_passed_off_as_speech(tmp_path):
    info = ModelInfo(CHATTERBOX, FAKE_REVISION, notice=NOTICES["untrained"])
    worker = build_worker(tmp_path, FakeSynthesizer(info=info))
    assert NOTICES["untrained"] in (await worker.handle(tts()))["warnings"]
    assert NOTICES["untrained"] in (await worker.handle(clone("Ada")))["warnings"]


async def test_a_preview_is_a_wav_at_the_models_rate(worker):
    cloned = await worker.handle(clone("Ada", preview=True))
    samples, rate_hz, info = decoded(base64.b64decode(cloned["sample_audio"]))
    assert (rate_hz, info.format) == (24_000, "WAV")
    assert len(samples) > 0


async def test_a_kept_preview_comes_when_it_is_asked_for_and_fits(worker, limit):
    job = clone("Ada", preview=True)
    job["input"]["keep_preview"] = True
    assert (await worker.handle(job))["preview_kept"] is True
    get = {"operation": "get_voice", "voice_name": "Ada", "include_preview": True}
    found = await worker.handle({"id": "job-2", "input": get})
    samples, rate_hz, info = decoded(base64.b64decode(found["preview"]))
    assert (rate_hz, info.format) == (24_000, "FLAC")
    assert len(samples) > 0
    assert "preview" not in await worker.handle({"id": "job-3", "input": get | {"include_preview": False}})
    limit(60_000)
    cut = await worker.handle({"id": "job-4", "input": get})
    assert "preview" not in cut
    assert "the preview is too large for this reply" in cut["warnings"][-1]


async def test_audio_too_large_for_the_reply_is_kept_on_the_volume(worker, tmp_path, limit):
    whole = await worker.handle(tts(seed=1))
    limit(40_000)
    reply = await worker.handle(tts(seed=1))
    assert "audio" not in reply
    assert reply["audio_path"].endswith("audio_out/job-1.wav")
    assert (tmp_path / "audio_out" / "job-1.wav").read_bytes() == base64.b64decode(whole["audio"])
    assert "audio_path" in reply["warnings"][0]
    assert "audio" in await worker.handle(tts(seed=1, format="opus"))


async def test_inline_or_nothing_is_an_error_that_keeps_the_audio(worker, tmp_path, limit):
    limit(40_000)
    reply = await worker.handle(tts(delivery="inline"))
    assert reply["error_code"] == "output_too_large"
    assert "audio_out/job-1.wav" in reply["error"]
    assert (tmp_path / "audio_out" / "job-1.wav").exists()


async def test_a_conversion_is_replied_as_speech_is(worker):
    reply = await worker.handle(convert(format="mp3", sample_rate=44_100, seed=3))
    samples, rate_hz, info = decoded(base64.b64decode(reply["audio"]))
    assert (rate_hz, info.format) == (44_100, "MP3")
    assert len(samples) / rate_hz == pytest.approx(4.0, abs=0.1)
    assert reply["worker"] == f"chatterbox-voice-worker/{VERSION}"
    assert reply["segments"] == [{"start": 0.0, "end": 4.0}]
    again = await worker.handle(convert(format="mp3", sample_rate=44_100, seed=3))
    assert again["audio"] == reply["audio"]


async def test_a_conversion_too_large_for_the_reply_is_kept_on_the_volume(worker, tmp_path, limit):
    limit(100_000)
    reply = await worker.handle(convert())
    assert "audio" not in reply
    assert soundfile.info(reply["audio_path"]).duration == pytest.approx(4.0)
    assert len(list((tmp_path / "audio_out").glob("*.wav"))) == 1
    inline = await worker.handle(convert(job_id="job-2", delivery="inline"))
    assert inline["error_code"] == "output_too_large"


async def test_a_conversion_that_comes_again_is_not_made_again(worker, synthesizer):
    first = await worker.handle(convert(delivery="volume"))
    again = await worker.handle(convert(delivery="volume"))
    assert again == {**first, "warnings": [NOT_KEPT]}
    assert len(synthesizer.converted) == 1


async def test_without_a_volume_converting_ends_once_the_audio_cannot_fit(without_volume, limit):
    limit(100_000)
    reply = await without_volume.handle(convert(40.0))
    assert reply["error_code"] == "output_too_large"
    assert "the speech is too long: 2 s of wav fit into a reply" in reply["error"]


async def test_a_watermark_is_looked_for(worker, synthesizer):
    source = convert(6.0)["input"]["source_audio"]
    reply = await worker.handle(job("check_watermark", audio=source))
    del reply["worker"]
    assert reply == {"watermarked": True, "confidence": 0.75, "duration": 6.0, "warnings": []}


RENAMED = [
    (tts("Hello.", seed=1), "expressive_tts", "tts"),
    (convert(seed=1), "voice_conversion", "convert_voice"),
    (convert(seed=1), "voice_transfer", "convert_voice"),
    (job("list_voices"), "list_local_voices", "list_voices"),
    (clone("Ada"), "voice_cloning", "clone_voice"),
]


@pytest.mark.parametrize(("event", "old", "new"), RENAMED, ids=[old for _, old, _ in RENAMED])
async def test_an_old_name_is_taken_with_a_warning(worker, event, old, new):
    renamed = {**event, "input": {**event["input"], "operation": old}}
    reply = await worker.handle(renamed)
    assert "error" not in reply, reply
    warning, *others = reply["warnings"]
    assert warning == f"the operation {old} is called {new} now"
    expected = await worker.handle(event)
    assert others == expected["warnings"]
    assert reply.keys() == expected.keys()
    assert reply.get("audio") == expected.get("audio")


async def test_an_old_name_is_suggested_to_nobody(worker):
    reply = await worker.handle(job("voice_clonin"))
    assert reply["error_code"] == "unknown_operation"
    assert "voice_cloning" not in reply["error"]


async def test_a_recording_comes_back_as_it_is_stored(worker):
    waveform = Waveform(speech_like(3.0, 24_000, 3), 24_000)
    (await asyncio.to_thread(worker.services)).voices.put(waveform, "Ada")
    reply = await worker.handle(job("get_voice", voice_name="Ada", include_audio=True))
    samples, rate_hz, info = decoded(base64.b64decode(reply["audio"]))
    assert (reply["format"], reply["sample_rate"], reply["duration"]) == ("flac", 24_000, 3.0)
    assert (info.format, info.subtype, info.channels, rate_hz) == ("FLAC", "PCM_24", 1, 24_000)
    np.testing.assert_allclose(samples, waveform.samples, rtol=0, atol=2**-24)


async def test_a_recording_too_large_for_the_reply_is_kept_on_the_volume(worker, tmp_path, limit):
    waveform = Waveform(speech_like(3.0, 24_000, 3), 24_000)
    worker.services().voices.put(waveform, "Ada")
    limit(20_000)
    reply = await worker.handle(job("get_voice", voice_name="Ada", include_audio=True))
    samples, _, _ = decoded((tmp_path / "audio_out" / "job-1.flac").read_bytes())
    assert reply["audio_path"].endswith("audio_out/job-1.flac")
    np.testing.assert_allclose(samples, waveform.samples, rtol=0, atol=2**-24)


# Without a network volume, on the platform.


async def test_without_a_volume_a_stored_voice_comes_with_a_warning(without_volume):
    cloned = await without_volume.handle(clone("Ada"))
    assert cloned["saved_to_library"]
    assert "no network volume" in cloned["warnings"][-1]
    updated = await without_volume.handle(job("update_voice", voice_name="Ada", gender="female"))
    assert "no network volume" in updated["warnings"][-1]


async def test_without_a_volume_delivery_to_it_is_refused_before_the_work(without_volume, synthesizer):
    reply = await without_volume.handle(tts(delivery="volume"))
    assert reply["error_code"] == "invalid_request"
    assert "delivery 'volume' is not possible: no network volume" in reply["error"]
    assert synthesizer.calls == []


async def test_without_a_volume_a_text_that_cannot_fit_is_refused_before_the_work(
    without_volume, synthesizer, tmp_path
):
    reply = await without_volume.handle(tts("x" * 4900, sample_rate=48_000))
    assert reply["error_code"] == "output_too_large"
    assert "78 s of wav fit" in reply["error"]
    assert "mp3 or opus" in reply["error"]
    assert synthesizer.calls == []
    assert "audio" in await without_volume.handle(tts("x" * 4900, format="opus"))
    assert not (tmp_path / "audio_out").exists()


async def test_without_a_volume_speaking_ends_once_the_audio_cannot_fit(without_volume, synthesizer, limit):
    limit(200_000)  # 3 s of wav at 24 kHz
    reply = await without_volume.handle(tts("Two seconds of this sentence. " * 2 + "And more. " * 20))
    assert reply["error_code"] == "output_too_large"
    assert synthesizer.speaking == 0
    reply = await without_volume.handle(tts("Words. " * 200, format="flac"))
    assert reply["error_code"] == "output_too_large"


async def test_what_is_left_of_an_earlier_reply_may_be_anything(worker, tmp_path):
    """A reply that is remembered lies on the volume, where others write."""
    first = await worker.handle(tts(delivery="volume"))
    record = tmp_path / "audio_out" / "job-1.json"
    for spoiled in ({"metrics": []}, {"metrics": {"stages": [1]}}, {"duration": "x"}, {"metrics": None}):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"reply": spoiled}))
        assert (await worker.handle(tts(delivery="volume")))["audio_path"] == first["audio_path"]


# Lists.


@pytest.fixture
def crowded(tmp_path):
    """A library of 500 voices, each described at length, in characters of 3 and 4 bytes."""
    waveform = Waveform(speech_like(3.0, 24_000, 0), 24_000)
    voice_id = build_services(tmp_path).voices.put(waveform, "0").voice.voice_id
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
    return build_worker(tmp_path, env=ON_PLATFORM)


@pytest.mark.parametrize("limit_bytes", [100_000, 400_000])
async def test_pages_that_fit_into_a_reply_hold_every_voice_once(crowded, limit, limit_bytes):
    limit(limit_bytes)
    seen, total = [], 501
    while len(seen) < total:
        reply = await crowded.handle(job("list_voices", offset=len(seen)))
        assert len(json.dumps(reply, ensure_ascii=False).encode()) <= limit_bytes
        total = reply["total_voices"]
        assert total >= 500
        assert reply["voices"]
        seen += [voice["voice_id"] for voice in reply["voices"]]
        if len(seen) < total:
            left_out = total - len(seen)
            assert f"{left_out} of " in reply["warnings"][-1]
            assert f"offset {len(seen)}" in reply["warnings"][-1]
    assert len(set(seen)) == len(seen) == total


async def test_a_page_that_fits_is_not_warned_about(crowded, limit):
    limit(400_000)
    reply = await crowded.handle(job("list_voices", limit=20))
    assert len(reply["voices"]) == 20
    assert reply["warnings"] == []


async def test_more_genders_than_a_reply_holds_are_left_out_with_a_warning(crowded, limit):
    limit(30_000)
    reply = await crowded.handle(job("list_voices", limit=1))
    assert len(json.dumps(reply, ensure_ascii=False).encode()) <= 30_000
    assert len(reply["voices"]) == 1
    assert any("gender_distribution" in warning for warning in reply["warnings"])


# A start that fails.


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ModelUnavailable("the weights are damaged", hint="set CHECKPOINT_DIR"),
            "cannot start: model_unavailable: the weights are damaged; set CHECKPOINT_DIR",
        ),
        (
            DeviceLost("the GPU failed again when it was tried", hint="send the job again"),
            "cannot start: the loaded model does not speak: the GPU failed again when it was tried; check "
            "the weights and the GPU, the log says more",
        ),
    ],
)
def test_a_failed_start_says_what_is_wrong_with_the_start(error, said):
    assert start_failure(error) == said

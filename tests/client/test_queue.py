"""The client against a queue endpoint: the platform of the tests in front of the worker's own job loop."""

from __future__ import annotations

import asyncio
import base64
import io
import threading

import pytest
import soundfile
from chatterbox_voice import Client, errors

from delivery import Delivery
from errors import DeviceLost
from serving.health import WorkerHealth
from serving.job_worker import JobWorker
from serving.runpod.limits import queue_limits
from settings import Settings
from tests.client.conftest import ON_PLATFORM, async_client_of, client_of, until
from tests.client.platform import KEY, platform_of
from tests.fakes import build_services
from tests.recordings import speech_like, wav_bytes

TEXT = "Nobody knew. The ship left at dawn. It was late."
RECORDING = wav_bytes(speech_like(6.0, 24_000, 1), 24_000)


# --- what comes back


def test_speech_is_a_file_with_a_receipt(client, tmp_path):
    speech = client.speak(TEXT, seed=7)
    file = speech.save(tmp_path / "speech.mp3")
    assert soundfile.info(file).duration == pytest.approx(speech.duration_s, abs=0.1)
    assert (speech.format, speech.sample_rate, speech.seed) == ("mp3", 24_000, 7)
    assert speech.warnings == []
    assert "audio" not in speech.receipt
    assert speech.receipt["segments"][0]["text"] == "Nobody knew"


def test_pronunciations_of_a_voice_are_sent_and_returned(client):
    entry = {"text": "Nguyen", "say": "win", "case_sensitive": False, "whole_word": True}
    cloned = client.clone(RECORDING, "Ada", preview=False, pronunciations=[{"text": "Nguyen", "say": "win"}])
    assert client.run("get_voice", voice_id=cloned.id)["voice"]["pronunciations"] == [entry]
    changed = client.run("update_voice", voice_id=cloned.id, pronunciations=[])
    assert changed["voice_info"]["pronunciations"] == []


def test_a_voice_is_cloned_listed_used_and_deleted(client, tmp_path):
    recording = tmp_path / "recording.wav"
    recording.write_bytes(RECORDING)
    cloned = client.clone(recording, "Ada", tags=["test"])
    assert cloned.is_new
    assert soundfile.info(io.BytesIO(cloned.preview)).duration > 1
    assert "sample_audio" not in cloned.receipt
    assert cloned.quality["speech_s"] > 2
    (voice,) = client.voices(tag="test")
    assert (voice.id, voice.name) == (cloned.id, "Ada")
    for named in ({"voice": "Ada"}, {"voice_id": voice.id}, {"voice": voice}, {"voice": cloned}):
        assert client.speak("Hello.", **named).receipt["voice"]["voice_id"] == voice.id
    assert client.run("update_voice", voice_id=voice.id, gender="female")["voice_name"] == "Ada"
    assert client.delete(voice)
    assert not client.delete("Ada")


def test_a_recording_may_be_bytes_or_an_open_file(client):
    cloned = client.clone(io.BytesIO(RECORDING), "Ada", preview=False)
    assert client.clone(RECORDING, "Ada", preview=False).id == cloned.id
    spoken = client.speak("Hello.", reference=RECORDING)
    assert spoken.receipt["voice"] == {"voice_id": None, "voice_name": None}


def test_what_is_said_of_a_voice_survives_several_recordings(client):
    consent = {"by": "Ada", "date": "2026-11-27", "statement": "I agree."}
    said = {"consent": consent, "aliases": ["alloy"], "default_parameters": {"speed": 1.25}}
    other = wav_bytes(speech_like(7.0, 24_000, 2), 24_000)
    cloned = client.clone([io.BytesIO(RECORDING), other], "Ada", preview=False, **said)
    assert len(cloned.samples) == 2
    found = client.run("get_voice", voice_name="alloy")["voice"]
    assert {name: found[name] for name in said} == said


def test_all_voices_are_listed_also_those_that_no_reply_holds(client, monkeypatch):
    monkeypatch.setattr("chatterbox_voice.operations.LIST_PAGE", 2)
    for number in range(3):
        recording = wav_bytes(speech_like(6.0, 24_000, number), 24_000)
        client.clone(recording, f"Voice {number}", preview=False)
    assert sorted(voice.name for voice in client.voices()) == [f"Voice {number}" for number in range(3)]
    assert len(client.voices(limit=1)) == 1


async def test_the_asynchronous_client_gets_the_same(endpoint):
    with client_of(endpoint) as client:
        expected = client.speak(TEXT, seed=7)
    async with async_client_of(endpoint) as client:
        speech = await client.speak(TEXT, seed=7)
        cloned = await client.clone([RECORDING, RECORDING], "Ada", preview=False, keep_preview=True)
        assert (await client.preview(cloned))[:4] == b"fLaC"
        assert [voice.id for voice in await client.voices()] == [cloned.id]
        assert await client.delete("Ada")
        assert (await client.run("list_voices"))["total_voices"] == 0
        with pytest.raises(errors.VoiceNotFound):
            await client.speak(TEXT, voice="Nobody")
    assert speech.audio == expected.audio


# --- errors


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"voice": "Nobody"}, errors.VoiceNotFound, 'no voice is named "Nobody"'),
        ({"text": "x" * 6000}, errors.TextTooLong, "5000"),
        ({"language": "fr"}, errors.UnsupportedLanguage, "en"),
        ({"sped": 2}, errors.InvalidRequest, "did you mean 'speed'"),
        ({"reference": b"no audio"}, errors.ReferenceInvalid, "not audio that can be read"),
    ],
)
def test_an_error_of_the_worker_is_an_exception_by_its_code(client, fields, kind, said):
    with pytest.raises(kind, match=said) as raised:
        client.speak(**{"text": TEXT, **fields})
    assert raised.value.code == kind.default_code
    assert raised.value.job_id
    assert isinstance(raised.value, errors.JobFailed)


def test_every_code_of_the_api_has_a_class():
    import errors as codes_of_the_worker

    codes = {
        kind.code
        for kind in vars(codes_of_the_worker).values()
        if isinstance(kind, type) and issubclass(kind, codes_of_the_worker.WorkerError)
    }
    assert codes <= errors.BY_CODE.keys()
    assert all(kind.default_code == code for code, kind in errors.BY_CODE.items() if code in codes)


def test_conversion_sends_its_fields_and_the_workers_error_comes_back(client, endpoint):
    with pytest.raises(errors.VoiceNotFound, match="Ada"):
        client.convert(RECORDING, voice="Ada", seed=3)
    (job,) = endpoint.jobs.values()
    assert job.input == {
        "operation": "convert_voice",
        "format": "mp3",
        "source_audio": base64.b64encode(RECORDING).decode(),
        "voice_name": "Ada",
        "seed": 3,
    }


async def test_the_watermark_is_looked_for(endpoint, synthesizer):
    synthesizer.confidence = 0.1
    with client_of(endpoint) as client:
        check = client.check_watermark(RECORDING)
    async with async_client_of(endpoint) as client:
        assert await client.check_watermark(RECORDING) == check
    assert (check.is_marked, check.confidence) == (False, 0.1)


def test_a_fault_of_the_gpu_is_internal(client, synthesizer):
    synthesizer.failure = DeviceLost("the GPU failed")
    with pytest.raises(errors.Internal):
        client.speak(TEXT)


def test_a_wrong_key_is_said_at_once(endpoint):
    with Client(endpoint.address, api_key="wrong") as client, pytest.raises(errors.Unauthorized) as raised:
        client.speak(TEXT)
    assert endpoint.routes_asked() == ["runsync"]
    assert "wrong" not in str(raised.value).replace("missing or wrong", "")


# --- cold starts, busy platforms, lost connections


def test_a_cold_start_is_waited_for(endpoint):
    endpoint.max_wait_s = 0
    endpoint.hold()
    states = []

    def noted(progress):
        states.append(progress.state)
        if len(states) == 3:
            endpoint.release()

    with client_of(endpoint, on_progress=noted) as client:
        assert client.speak(TEXT).audio
    assert states[:3] == ["waiting"] * 3
    assert endpoint.routes_asked()[:3] == ["runsync", "status", "status"]
    assert len(endpoint.jobs) == 1


def test_a_call_that_takes_too_long_ends_and_its_job_too(endpoint):
    endpoint.max_wait_s = 0
    endpoint.hold()
    with client_of(endpoint, timeout_s=0.2) as client, pytest.raises(errors.CallTimedOut, match="timeout_s"):
        client.speak(TEXT)
    (job,) = endpoint.jobs.values()
    assert job.status == "CANCELLED"


@pytest.mark.parametrize(
    "fault", [(429, "slow down", {}), (503, "", {}), (429, "", {"Retry-After": "0"})], ids=str
)
def test_a_platform_that_takes_no_job_now_is_asked_again(endpoint, client, fault):
    endpoint.faults["runsync"] = [fault] * 3
    assert client.speak(TEXT).audio
    assert len(endpoint.jobs) == 1
    assert endpoint.routes_asked() == ["runsync"] * 4


def test_an_endpoint_that_stays_busy_is_rate_limited(endpoint, client):
    endpoint.faults["runsync"] = [(429, "slow down", {})] * 100
    with pytest.raises(errors.RateLimited, match="slow down") as raised:
        client.speak(TEXT)
    assert raised.value.status == 429
    assert 3 < len(endpoint.routes_asked()) < 10


@pytest.mark.parametrize("fault", [(500, "", {}), (502, "<html>", {}), (504, "", {}), "drop"], ids=str)
def test_a_job_that_may_run_is_not_sent_again(endpoint, client, fault):
    endpoint.faults["runsync"] = [fault]
    expected = errors.ConnectionFailed if fault == "drop" else errors.Unavailable
    with pytest.raises(expected, match="may run all the same"):
        client.speak(TEXT)
    assert endpoint.routes_asked() == ["runsync"]


def test_what_changes_nothing_is_asked_again_after_any_failure(endpoint, client):
    endpoint.faults["runsync"] = [(502, "", {}), "drop", (500, "", {})]
    assert client.voices() == []
    assert endpoint.routes_asked() == ["runsync"] * 4


def test_a_question_about_a_job_is_asked_again_after_any_failure(endpoint, client):
    endpoint.max_wait_s = 0
    endpoint.faults["status"] = ["drop", (500, "", {}), (502, "", {}), (429, "", {})]
    assert client.speak(TEXT).audio
    assert len(endpoint.jobs) == 1


def test_a_platform_that_is_not_there_is_a_failed_connection():
    client = Client("http://127.0.0.1:9/v2/gone", api_key=KEY, backoff_s=0.001)
    with pytest.raises(errors.ConnectionFailed, match="there is no connection") as raised:
        client.speak(TEXT)
    assert not raised.value.was_sent


def test_a_job_that_the_platform_forgot_is_not_found(endpoint, client):
    endpoint.max_wait_s = 0
    endpoint.faults["status"] = [(404, '{"error": "job not found"}', {})]
    with pytest.raises(errors.NotFound, match="no longer has the job"):
        client.speak(TEXT)
    assert "cancel" not in endpoint.routes_asked()


@pytest.mark.parametrize(
    ("status", "kind"), [("CANCELLED", errors.Cancelled), ("TIMED_OUT", errors.JobTimedOut)]
)
def test_a_job_that_others_end_is_an_exception(endpoint, status, kind):
    endpoint.max_wait_s = 0
    endpoint.hold()

    def end(_progress):
        for job in endpoint.jobs.values():
            job.status = status

    with client_of(endpoint, on_progress=end) as client, pytest.raises(kind):
        client.speak(TEXT)


def test_an_address_that_redirects_gets_no_key(endpoint, client):
    endpoint.faults["runsync"] = [(307, "", {"Location": "http://localhost:9/"})]
    with pytest.raises(errors.UnexpectedReply, match="address"):
        client.speak(TEXT)


# --- limits before sending


def test_a_job_beyond_the_platforms_limit_is_not_sent(endpoint, client, streaming_client, streaming_endpoint):
    with pytest.raises(errors.TooLarge, match="20,000,000.*mp3 or flac"):
        client.clone(bytes(16_000_000), "Ada")
    with pytest.raises(errors.TooLarge, match="10,000,000"):
        list(streaming_client.stream(TEXT, reference=bytes(8_000_000)))
    with pytest.raises(errors.InvalidRequest, match="26,214,400"):
        client.clone(bytes(27_000_000), "Ada")
    for wrong in (float("nan"), object()):
        with pytest.raises(errors.InvalidRequest, match="JSON"):
            client.speak(TEXT, speed=wrong)
    assert endpoint.asked == streaming_endpoint.asked == []


# --- interrupted callers


def test_who_interrupts_a_call_ends_its_job(endpoint, synthesizer):
    endpoint.max_wait_s = 0
    synthesizer.gate = threading.Event()

    def interrupt(progress):
        if progress.state == "running":
            raise KeyboardInterrupt

    with client_of(endpoint, on_progress=interrupt) as client, pytest.raises(KeyboardInterrupt):
        client.speak(TEXT)
    (job,) = endpoint.jobs.values()
    assert job.status == "CANCELLED"
    until(lambda: synthesizer.speaking == 0)


async def test_cancelling_a_task_ends_its_job(endpoint, synthesizer):
    endpoint.max_wait_s = 0
    synthesizer.gate = threading.Event()
    async with async_client_of(endpoint) as client:
        speaking = asyncio.create_task(client.speak(TEXT))
        await asyncio.to_thread(synthesizer.entered.acquire)
        await asyncio.to_thread(until, lambda: "status" in endpoint.routes_asked())
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
    (job,) = endpoint.jobs.values()
    assert job.status == "CANCELLED"


# --- streams


def test_a_stream_is_parts_of_one_file_while_it_is_made(
    streaming_client, streaming_endpoint, synthesizer, tmp_path
):
    may_go_on, chunks = threading.Event(), synthesizer._chunks

    def slowly(utterances, cancel):
        for chunk in chunks(utterances, cancel):
            yield chunk
            synthesizer._wait_for(may_go_on, cancel)

    synthesizer._chunks = slowly
    with streaming_client.stream(TEXT, format="wav", seed=7) as stream:
        first = next(stream)
        assert first[:4] == b"RIFF"
        assert (stream.format, stream.sample_rate, stream.receipt) == ("wav", 24_000, None)
        may_go_on.set()
        rest = list(stream)
    assert stream.receipt["pieces"] == 3
    assert stream.receipt["seed"] == 7
    samples, _ = soundfile.read(io.BytesIO(first + b"".join(rest)))
    assert len(samples) / 24_000 == pytest.approx(stream.receipt["duration"], abs=0.01)
    again = streaming_client.stream(TEXT, format="wav", seed=7).save(tmp_path / "again.wav")
    assert again.read_bytes() == first + b"".join(rest)
    assert streaming_client.speak(TEXT, format="wav", seed=7).audio == first + b"".join(rest)


async def test_an_asynchronous_stream_gives_the_same(streaming_endpoint, streaming_client):
    async with (
        async_client_of(streaming_endpoint) as client,
        client.stream(TEXT, seed=7) as stream,
    ):
        parts = [part async for part in stream]
    assert len(parts) == 3
    assert stream.receipt["pieces"] == 3
    assert b"".join(parts) == b"".join(streaming_client.stream(TEXT, seed=7))


def test_an_endpoint_that_does_not_stream_gives_one_part(client, endpoint):
    whole = client.speak(TEXT, seed=7)
    assert list(client.stream(TEXT, seed=7)) == [whole.audio]
    asked = len(endpoint.asked)
    assert list(client.stream(TEXT, seed=7)) == [whole.audio]
    assert endpoint.routes_asked()[asked:] == ["runsync"]  # it is known by now


def test_what_needs_the_whole_audio_is_not_streamed(streaming_client):
    (part,) = streaming_client.stream(TEXT, audio_normalization="peak")
    assert part


def test_pieces_that_were_lost_on_the_way_come_from_the_result(streaming_client, streaming_endpoint):
    whole = list(streaming_client.stream(TEXT, seed=7))
    streaming_endpoint.hold()
    streaming_endpoint.faults["stream"] = ["drop"]
    states = []

    def run(progress):
        states.append(progress.state)
        streaming_endpoint.release()

    with client_of(streaming_endpoint, on_progress=run) as client:
        assert list(client.stream(TEXT, seed=7)) == whole
        until(lambda: all(job.status == "COMPLETED" for job in streaming_endpoint.jobs.values()))
        # Now each reply is lost that has pieces.
        lost = streaming_endpoint.faults["stream"] = ["drop"] * 3
        assert b"".join(client.stream(TEXT, seed=7)) == b"".join(whole)
        assert lost == []
    assert streaming_endpoint.routes_asked()[-1] == "status"


def test_a_stream_that_fails_says_why(streaming_client):
    with pytest.raises(errors.VoiceNotFound, match="Nobody"):
        list(streaming_client.stream(TEXT, voice="Nobody"))


def test_closing_a_stream_ends_its_job(streaming_client, streaming_endpoint, synthesizer):
    with streaming_client.stream("One two. " * 60) as stream:
        next(stream)
    assert "cancel" in streaming_endpoint.routes_asked()
    until(lambda: synthesizer.speaking == 0)


async def test_leaving_an_asynchronous_stream_ends_its_job(streaming_endpoint, synthesizer):
    synthesizer.gate = threading.Event()
    async with async_client_of(streaming_endpoint) as client, client.stream(TEXT) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(until, lambda: "stream" in streaming_endpoint.routes_asked())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert "cancel" in streaming_endpoint.routes_asked()
    await asyncio.to_thread(until, lambda: synthesizer.speaking == 0)


# --- audio that is elsewhere


@pytest.fixture
def bucket_endpoint(tmp_path, synthesizer):
    """An endpoint with a bucket; yields it and the bucket's requests' headers."""
    from tests.client.bucket import bucket_server

    with bucket_server() as (bucket, asked):
        settings = Settings.from_env(ON_PLATFORM)
        worker = JobWorker(
            settings,
            lambda: build_services(tmp_path, synthesizer),
            Delivery(None, bucket),
            WorkerHealth(),
            queue_limits,
        )
        with platform_of(worker) as platform:
            yield platform, asked


def test_a_link_to_a_bucket_is_followed_without_the_key(bucket_endpoint):
    endpoint, asked = bucket_endpoint
    with client_of(endpoint) as client:
        inline = client.speak(TEXT, seed=7)
        linked = client.speak(TEXT, seed=7, delivery="s3")
    assert linked.audio == inline.audio
    assert "X-Amz-Signature" in linked.receipt["audio_url"]
    (headers,) = asked
    assert not {"authorization", "x-api-key"} & {name.lower() for name in headers}


def test_a_link_that_does_not_work_keeps_the_receipt_and_hides_the_signature(bucket_endpoint):
    endpoint, asked = bucket_endpoint
    asked.is_closed = True
    with client_of(endpoint) as client, pytest.raises(errors.DownloadFailed) as raised:
        client.speak(TEXT, delivery="s3")
    assert raised.value.status == 403
    assert raised.value.receipt["duration"] > 1
    assert "Signature" not in str(raised.value)


def test_a_file_on_the_volume_is_named_and_how_to_get_it(client, monkeypatch):
    with pytest.raises(errors.AudioElsewhere, match="this client cannot reach") as raised:
        client.speak(TEXT, delivery="volume")
    assert raised.value.path == raised.value.receipt["audio_path"]
    from chatterbox_voice.pieces import _elsewhere

    error = _elsewhere("/runpod-volume/audio_out/job.mp3", {})
    assert "aws s3 cp s3://VOLUME_ID/audio_out/job.mp3" in str(error)


# --- turns, markup, words and subtitles


def test_turns_are_spoken_and_told_apart(client, endpoint):
    client.clone(RECORDING, "Ada", preview=False)
    turns = [{"text": "Is it late?", "voice_name": "Ada"}, {"text": "It is 9:30.", "pause_after_s": 1.5}]
    speech = client.speak(turns=turns, seed=7, timestamps="words", subtitles="vtt")
    assert [(each["turn"], each["voice"]) for each in speech.segments] == [(0, "Ada"), (1, None)]
    assert speech.segments[1]["spoken"] == "It is nine thirty"
    assert [word["text"] for word in speech.words] == ["Is", "it", "late?", "It", "is", "9:30"]
    assert speech.subtitles.startswith("WEBVTT")
    assert speech.duration_s == pytest.approx(speech.segments[1]["end"] + 1.5, abs=0.002)
    assert "text" not in list(endpoint.jobs.values())[-1].input


async def test_turns_are_spoken_by_the_asynchronous_client_too(endpoint):
    turns = [{"text": "Is it late?"}, {"text": "It is."}]
    with client_of(endpoint) as client:
        expected = client.speak(turns=turns, seed=7)
    async with async_client_of(endpoint) as client:
        assert (await client.speak(turns=turns, seed=7)).audio == expected.audio
        async with client.stream(turns=turns, seed=7) as stream:
            assert b"".join([part async for part in stream]) == expected.audio


def test_long_turns_are_streamed_and_keep_words_and_subtitles(streaming_endpoint):
    turns = [{"text": TEXT} for _ in range(6)]
    with client_of(streaming_endpoint) as client:
        speech = client.speak(turns=turns, timestamps="words", subtitles="srt")
    assert [job.input["mode"] for job in streaming_endpoint.jobs.values()] == ["streaming"]
    assert [each["turn"] for each in speech.segments] == sorted([*range(6)] * 3)
    assert len(speech.words) == 6 * len(TEXT.split())
    assert speech.subtitles.startswith("1\n")


def test_speech_without_words_and_subtitles_has_none(client, tmp_path):
    speech = client.speak(TEXT)
    assert (speech.words, speech.subtitles) == ([], None)
    with pytest.raises(ValueError, match="subtitles='srt'"):
        speech.save_subtitles(tmp_path / "a.srt")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": TEXT, "turns": [{"text": TEXT}]}, "text and turns exclude each other"),
        ({}, "text is required"),
        ({"turns": [{"text": TEXT}, {"txt": TEXT}]}, r"turns\[1\].text is required"),
    ],
)
def test_a_text_or_turns_are_needed(client, fields, said):
    with pytest.raises(errors.InvalidRequest, match=said):
        client.speak(**fields)

"""Jobs in, replies out."""

import asyncio
import base64
import json
import logging
import os
import re
import threading
from dataclasses import replace

import pytest

from delivery.records import NOT_KEPT
from errors import DeviceSuspect, ModelUnavailable, OutOfMemory
from speech.contract import ModelInfo
from speech.models.spec import TURBO
from tests.fakes import FakeSynthesizer, build_services, build_worker
from tests.recordings import speech_like, wav_bytes
from tests.serving.jobs import clone, tts

OUTCOME = re.compile(r"^done operation=(\S+) .* model=(\S+)")
ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}


@pytest.fixture
def synthesizer():
    return FakeSynthesizer()


@pytest.fixture
def recording():
    return base64.b64encode(wav_bytes(speech_like(6.0, 24_000, 1), 24_000)).decode()


@pytest.fixture
def a_worker(tmp_path, synthesizer):
    """Around a fake synthesizer, on no platform."""
    return build_worker(tmp_path, synthesizer)


@pytest.fixture
def worker(a_worker):
    return a_worker.handle


async def test_a_job_is_answered_with_what_json_can_carry(worker):
    reply = await worker(tts())
    assert base64.b64decode(reply["audio"])[:4] == b"RIFF"
    json.dumps(reply, allow_nan=False)


async def test_the_three_operations_work_together(worker, recording):
    cloned = await worker(
        {"id": "a", "input": {"operation": "clone_voice", "voice_name": "Ada", "reference_audio": recording}}
    )
    spoken = await worker(tts(voice_name="Ada"))
    listed = await worker({"id": "c", "input": {"operation": "list_voices"}})
    assert spoken["voice"]["voice_id"] == cloned["voice_id"] == listed["voices"][0]["voice_id"]


async def test_an_error_is_a_string_with_its_code_in_front(worker):
    assert await worker(tts(text=" ")) == {
        "error": "invalid_request: text has nothing in it to say; send at least one letter or digit",
        "error_code": "invalid_request",
    }


@pytest.mark.parametrize(
    "event",
    [None, [], "text", 7, {}, {"id": "x"}, {"input": None}, {"input": []}, {"input": "tts"}, {"input": {}}],
)
async def test_an_event_that_is_no_job_is_an_error_and_no_exception(worker, event):
    reply = await worker(event)
    assert reply["error_code"] == "invalid_request"
    assert "input" in reply["error"] or "operation" in reply["error"]


async def test_a_bug_shows_the_caller_the_job_id_alone_and_the_log_everything(worker, synthesizer, caplog):
    synthesizer.failure = RuntimeError(f"{os.sep}secret{os.sep}path on host-17")
    reply = await worker(tts(job_id="job-9"))
    assert reply["error_code"] == "internal"
    assert "job-9" in reply["error"]
    assert "secret" not in json.dumps(reply)
    assert "Traceback" not in json.dumps(reply)
    assert "host-17" in caplog.text


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf"), b"bytes", "\ud800", {1, 2}])
async def test_a_reply_that_the_sdk_would_drop_becomes_an_error(worker, monkeypatch, spoiled):
    monkeypatch.setattr(ModelInfo, "resolve", lambda info, params: {"temperature": spoiled})
    assert (await worker(tts()))["error_code"] == "internal"


@pytest.mark.parametrize("job_id", [None, 7, "", "\ud800", "a\nb"])
async def test_odd_job_ids_do_not_break_the_reply(worker, synthesizer, job_id):
    synthesizer.failure = RuntimeError("broken")
    json.dumps(await worker(tts(job_id=job_id)), ensure_ascii=False).encode()


async def test_the_event_loop_stays_alive_while_a_job_runs(worker, synthesizer):
    synthesizer.gate = threading.Event()
    job = asyncio.create_task(worker(tts()))
    await asyncio.to_thread(synthesizer.entered.acquire)  # would never return on a blocked loop
    assert not job.done()
    synthesizer.gate.set()
    assert "audio" in await job


async def test_jobs_never_meet_in_the_model(worker, synthesizer):
    replies = await asyncio.gather(*(worker(tts(seed=seed)) for seed in range(8)))
    assert synthesizer.most_at_once == 1
    assert [reply["seed"] for reply in replies] == list(range(8))


async def test_a_job_that_is_cancelled_while_it_waits_never_runs(worker, synthesizer):
    synthesizer.gate = threading.Event()
    running = asyncio.create_task(worker(tts(text="First.")))
    await asyncio.to_thread(synthesizer.entered.acquire)
    waiting = asyncio.create_task(worker(tts(text="Second.")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    synthesizer.gate.set()
    await running
    await worker(tts(text="Third."))
    assert [call.text for call in synthesizer.calls] == ["First.", "Third."]


@pytest.mark.parametrize(("job_id", "inline"), [("sync-1", True), ("abc-1", False)])
async def test_a_reply_between_the_two_limits_is_inline_after_runsync_alone(tmp_path, job_id, inline):
    worker = build_worker(tmp_path, env=ON_PLATFORM)
    reply = await worker.handle(tts(text="x" * 3500, job_id=job_id))  # 210 s: 13.4 MB in base64
    assert ("audio" in reply) is inline
    assert ("audio_path" in reply) is not inline


def outcomes(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "serving.job_worker"]


async def test_each_job_has_one_line_without_its_text_or_audio(worker, caplog):
    caplog.set_level(logging.INFO)
    reply = await worker(tts(text="A very private sentence."))
    (line,) = outcomes(caplog)
    assert "operation=tts characters=24" in line
    assert f"audio_s={reply['duration']:.3f}" in line
    assert "outcome=ok" in line
    assert "t3_s=0.250" in line
    assert "private" not in line
    assert reply["audio"][:50] not in caplog.text


async def test_the_line_of_a_failed_job_has_its_code(worker, caplog):
    caplog.set_level(logging.INFO)
    await worker({"id": "x", "input": {"operation": "sing\nforged"}})
    (line,) = outcomes(caplog)
    assert "outcome=unknown_operation" in line
    assert "\n" not in line


@pytest.fixture
def of_two_models(tmp_path):
    """A worker with an English model and turbo, and turbo's stand-in."""
    turbo = FakeSynthesizer(info=ModelInfo(TURBO, "7" * 40), conditionals_key="fake-turbo")
    worker = build_worker(tmp_path, [FakeSynthesizer(), turbo], {"MODEL": "chatterbox,turbo"})
    return worker.handle, turbo


async def test_the_line_of_a_job_names_the_model_that_spoke(of_two_models, recording, caplog):
    caplog.set_level(logging.INFO)
    handle, _ = of_two_models
    cloned = {"operation": "clone_voice", "voice_name": "Ada", "reference_audio": recording}
    for job in (
        tts(),
        tts(model="turbo"),
        {"id": "v", "input": {"operation": "convert_voice", "model": "turbo", "source_audio": recording}},
        {"id": "c", "input": {**cloned, "preview": True}},
        {"id": "l", "input": {"operation": "list_voices"}},
        tts(model="unknown"),
    ):
        await handle(job)
    assert [OUTCOME.findall(line) for line in outcomes(caplog)] == [
        [("tts", "chatterbox")],
        [("tts", "turbo")],
        [("convert_voice", "turbo")],
        [("clone_voice", "chatterbox")],
        [("list_voices", "-")],
        [("tts", "-")],
    ]


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (OutOfMemory("the GPU's memory ran out"), "out_of_memory: the GPU's memory ran out"),
        (RuntimeError("broken"), "the job failed by a fault of the worker"),
    ],
)
async def test_lines_about_a_failure_name_the_model_that_failed(of_two_models, caplog, failure, sentence):
    caplog.set_level(logging.INFO)
    handle, turbo = of_two_models
    turbo.failure = failure
    await handle(tts(model="turbo"))
    failed, done = outcomes(caplog)
    assert failed == f"model=turbo {sentence}"
    assert OUTCOME.findall(done) == [("tts", "turbo")]


async def test_the_line_of_a_model_that_no_longer_speaks_names_it(of_two_models, caplog):
    handle, turbo = of_two_models
    turbo.failure = DeviceSuspect("the GPU failed")
    turbo.check_failure = ModelUnavailable("no sound")
    await handle(tts(model="turbo"))
    lines = [record.getMessage() for record in caplog.records if record.name == "serving.health"]
    assert lines[0] == "turbo no longer speaks"
    assert lines[1].endswith("after a fault of the GPU turbo no longer speaks")


async def test_a_recording_can_be_fetched(a_worker, tmp_path):
    asked = []

    def fetch(url, field, cancel):
        asked.append((url, field))
        return wav_bytes(speech_like(6.0, 24_000, 1), 24_000)

    worker = build_worker(tmp_path, services=replace(build_services(tmp_path), fetch=fetch))
    voice = {"reference_audio_url": "https://example.com/ada.wav"}
    cloned = await worker.handle(
        {"id": "a", "input": {"operation": "clone_voice", "voice_name": "Ada", "preview": False, **voice}}
    )
    assert cloned["saved_to_library"]
    assert "audio" in await worker.handle(tts(**voice))
    assert asked == [("https://example.com/ada.wav", "reference_audio_url")] * 2


async def test_a_fetched_recording_that_is_none_names_its_field(tmp_path):
    services = replace(build_services(tmp_path), fetch=lambda url, field, cancel: b"<html>")
    worker = build_worker(tmp_path, services=services)
    reply = await worker.handle(tts(reference_audio_url="https://example.com/ada.wav"))
    assert reply["error"].startswith("reference_invalid: reference_audio_url is not audio")


async def test_a_job_handed_out_again_is_not_spoken_again(tmp_path, synthesizer):
    worker = build_worker(tmp_path, synthesizer, ON_PLATFORM)
    first = await worker.handle(tts(delivery="volume"))
    again = await build_worker(tmp_path, synthesizer, ON_PLATFORM).handle(tts(delivery="volume"))
    assert {**again, "segments": first["segments"]} == {**first, "warnings": [NOT_KEPT]}
    assert len(synthesizer.calls) == 1
    await worker.handle(tts("Something else.", delivery="volume"))
    assert len(synthesizer.calls) == 2


async def test_a_reply_that_is_too_large_for_the_platform_becomes_an_error(tmp_path, synthesizer):
    worker = build_worker(tmp_path, synthesizer, ON_PLATFORM)
    synthesizer.warnings = ("a" * 11_000_000,)
    assert (await worker.handle(tts()))["error_code"] == "output_too_large"


@pytest.mark.parametrize("s3_config", ["https://s3.example", [], 7, {"endpointUrl": 1}])
async def test_a_bucket_that_is_none_is_named(worker, s3_config):
    reply = await worker({**tts(delivery="s3"), "s3Config": s3_config})
    assert reply["error_code"] == "invalid_request"
    assert "s3Config" in reply["error"]


# --- the platform's route for OpenAI's clients


def openai_job(route, **fields):
    return {"id": "job-1", "input": {"openai_route": route, "openai_input": fields or None}}


async def test_a_speech_request_of_openais_is_answered_as_tts_is(tmp_path):
    worker = build_worker(tmp_path)
    asked = openai_job(
        "/v1/audio/speech", model="tts-1", input="Good morning.", voice="alloy", response_format="wav", seed=3
    )
    reply = await worker.handle(asked)
    same = await worker.handle(tts(seed=3))
    assert reply["audio"] == same["audio"]
    assert reply["content_type"] == "audio/wav"
    assert "no stored voice is called alloy" in reply["warnings"][0]
    default = await worker.handle(openai_job("/v1/audio/speech", input="Good morning."))
    assert default["content_type"] == "audio/mpeg"


async def test_models_and_voices_are_listed_as_openai_lists_them(tmp_path):
    worker = build_worker(tmp_path)
    voice_id = (await worker.handle(clone("Anna")))["voice_id"]
    models = await worker.handle({"id": "job-1", "input": {"openai_route": "/v1/models"}})
    assert models["data"][0]["id"] == "chatterbox"
    voices = await worker.handle(openai_job("/v1/audio/voices"))
    assert voices["voices"] == voices["data"] == [{"id": voice_id, "name": "Anna"}]
    spoken = await worker.handle(openai_job("/v1/audio/speech", input="Good morning.", voice="anna"))
    assert spoken["voice"]["voice_id"] == voice_id


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (openai_job("/v1/chat/completions", x=1), "the routes are /v1/audio/speech"),
        ({"id": "job-1", "input": {"openai_route": ["a"]}}, "openai_route"),
        ({"id": "job-1", "input": {"openai_route": "/v1/audio/speech", "openai_input": "x"}}, "openai_input"),
        (openai_job("/v1/audio/speech", voice="alloy"), "input is required"),
        (openai_job("/v1/audio/speech", input="Hello.", stream_format="sse"), "ENDPOINT_MODE=http"),
    ],
)
async def test_what_openais_route_cannot_do_is_said(tmp_path, job, says):
    reply = await build_worker(tmp_path).handle(job)
    assert reply["error_code"] == "invalid_request"
    assert says in reply["error"]


@pytest.mark.parametrize("model", [[], {}, 5, "whisper-1"])
async def test_a_model_that_is_none_is_refused_with_the_models(tmp_path, model):
    worker = build_worker(tmp_path)
    job_input = {"openai_route": "/v1/audio/speech", "openai_input": {"input": "Hello.", "model": model}}
    reply = await worker.handle({"id": "job-1", "input": job_input})
    assert reply["error_code"] == "invalid_request"
    assert "send one of chatterbox, tts-1" in reply["error"]

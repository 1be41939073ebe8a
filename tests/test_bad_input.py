"""Everything a caller can get wrong, through the handler: the code, the field, and what to do about it."""

import base64

import numpy as np
import pytest

from delivery import Delivery
from errors import ModelUnavailable, OutOfMemory
from serving.health import WorkerHealth
from serving.job_worker import JobWorker
from settings import Settings
from tests.fakes import build_worker
from tests.recordings import clipped, silence, speech_like, tone, wav_bytes


def encoded(samples, rate_hz=24_000):
    return base64.b64encode(wav_bytes(samples, rate_hz)).decode()


GOOD = encoded(speech_like(8.0, 24_000, 1))
OTHER = encoded(speech_like(8.0, 24_000, 2))


@pytest.fixture
def run(tmp_path, services):
    return runner(build_worker(tmp_path, services=services))


def runner(worker):
    async def run_input(job_input):
        return await worker.handle({"id": "job-1", "input": job_input})

    return run_input


def assert_refused(reply, code, *said):
    assert reply.keys() == {"error", "error_code"}, reply
    assert reply["error_code"] == code, reply
    assert reply["error"].startswith(f"{code}: ")
    for words in said:
        assert words in reply["error"], (words, reply["error"])
    for leak in ("Traceback", "/tmp", "site-packages", ".py"):
        assert leak not in reply["error"]


@pytest.mark.parametrize(
    ("job_input", "code", "said"),
    [
        ("tts", "invalid_request", ["input must be a JSON object"]),
        ({}, "invalid_request", ["operation is required", "tts", "clone_voice", "list_voices"]),
        ({"operation": None}, "invalid_request", ["operation is required"]),
        ({"operation": 3}, "invalid_request", ["operation is required"]),
        ({"operation": ["tts"]}, "invalid_request", ["operation is required"]),
        ({"operation": "ttss"}, "unknown_operation", ["'ttss'", "list_voices", "did you mean 'tts'?"]),
        ({"operation": "clone"}, "unknown_operation", ["did you mean 'clone_voice'?"]),
        ({"operation": "voice_transfer"}, "invalid_request", ["source_audio is required"]),
        ({"operation": "\ud800"}, "unknown_operation", [r"\ud800"]),
        ({"operation": ""}, "unknown_operation", ["the operations are"]),
    ],
)
async def test_operation(run, job_input, code, said):
    assert_refused(await run(job_input), code, *said)


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"text": None}, "invalid_request", ["text is required"]),
        ({"text": "  "}, "invalid_request", ["text has nothing in it to say"]),
        ({"text": "..."}, "invalid_request", ["text has nothing in it to say"]),
        ({"text": 5}, "invalid_request", ["text must be"]),
        ({"text": "\udc80"}, "invalid_request", ["text holds half a character"]),
        ({"text": "x" * 5001}, "text_too_long", ["5001", "5000", "several jobs"]),
        ({"txt": "hi"}, "invalid_request", ["txt is not a field of tts", "did you mean 'text'?"]),
        ({"voice": "Ada"}, "invalid_request", ["voice is not a field", "did you mean 'voice_"]),
        ({"exageration": 1}, "invalid_request", ["did you mean 'exaggeration'?"]),
        ({"mode": "streaming"}, "invalid_request", ["mode", "send 'basic'"]),
        ({"mode": "fast"}, "invalid_request", ["mode must be 'basic' or 'streaming', not 'fast'"]),
        ({"voice_name": ""}, "invalid_request", ["voice_name must be"]),
        ({"voice_name": "Nobody"}, "voice_not_found", ["Nobody", "clone_voice"]),
        ({"voice_id": "0123abcd"}, "voice_not_found", ["0123abcd", "list_voices"]),
        ({"voice_id": "../../etc/passwd"}, "invalid_request", ["voice_id"]),
        ({"voice_name": "a", "voice_id": "b"}, "invalid_request", ["voice_name and voice_id exclude"]),
        ({"reference_audio": "!!!"}, "reference_invalid", ["reference_audio", "base64"]),
        ({"reference_audio": GOOD[:4000]}, "reference_invalid", ["reference_audio"]),
        ({"reference_audio": encoded(silence(5.0))}, "reference_invalid", ["reference_audio", "silent"]),
        ({"reference_audio": encoded(tone(5.0))}, "reference_invalid", ["reference_audio", "tones"]),
        ({"reference_audio": encoded(speech_like(1.0))}, "reference_too_short", ["reference_audio", "2 s"]),
        (
            {"reference_audio_url": "http://x.example/a"},
            "fetch_refused",
            ["reference_audio_url", "https"],
        ),
        ({"max_reference_duration_sec": 4}, "invalid_request", ["max_reference_duration_sec", "5 to 60"]),
        ({"exaggeration": 2.1}, "invalid_request", ["exaggeration must be a number from 0 to 2, not 2.1"]),
        ({"cfg_weight": -0.1}, "invalid_request", ["cfg_weight must be a number from 0 to 1"]),
        ({"temperature": "0.8"}, "invalid_request", ["temperature must be a number from 0 to 5, not '0.8'"]),
        ({"temperature": float("nan")}, "invalid_request", ["temperature must be", "not nan"]),
        ({"temperature": True}, "invalid_request", ["temperature must be", "not true"]),
        ({"top_p": float("inf")}, "invalid_request", ["top_p must be a number from 0 to 1"]),
        ({"min_p": 1.5}, "invalid_request", ["min_p must be a number from 0 to 1"]),
        ({"repetition_penalty": 0.9}, "invalid_request", ["repetition_penalty must be a number from 1 to 2"]),
        ({"top_k": 1.5}, "invalid_request", ["top_k must be a whole number from 0 to 1000"]),
        ({"top_k": 1001}, "invalid_request", ["top_k must be a whole number from 0 to 1000"]),
        ({"seed": -1}, "invalid_request", ["seed must be a whole number from 0 to 9223372036854775807"]),
        ({"seed": 2**63}, "invalid_request", ["seed must be a whole number from 0 to"]),
        ({"seed": 10**400}, "invalid_request", ["seed"]),
        ({"seed": 1.0}, "invalid_request", ["seed must be a whole number"]),
        ({"language": "xx"}, "unsupported_language", ["'xx'", "en"]),
        ({"format": "aiff"}, "invalid_request", ["format must be one of wav, mp3", "'aiff'"]),
        ({"format": "WAV"}, "invalid_request", ["format must be one of wav"]),
        ({"sample_rate": 11025}, "invalid_request", ["sample_rate must be one of 8000", "11025"]),
        ({"sample_rate": "24000"}, "invalid_request", ["sample_rate must be"]),
        (
            {"audio_normalization": "loud"},
            "invalid_request",
            ["audio_normalization must be", "peak, rms, lufs"],
        ),
        ({"speed": 5}, "invalid_request", ["speed must be a number from 0.25 to 4.0, not 5"]),
        ({"speed": "fast"}, "invalid_request", ["speed must be a number from 0.25 to 4.0, not 'fast'"]),
        ({"speaker": "Ada"}, "invalid_request", ["speaker is not a field", "did you mean 'voice_name'?"]),
        ({"delivery": "s3"}, "invalid_request", ["delivery", "s3Config"]),
        ({"delivery": "email"}, "invalid_request", ["delivery", "auto, inline, s3, volume"]),
        ({"mode": "streaming"}, "invalid_request", ["mode", "'basic'"]),
        ({"delivery": "email"}, "invalid_request", ["delivery must be"]),
        (
            {"temperature": 9, "seed": "x", "fromat": "wav"},
            "invalid_request",
            ["temperature", "seed", "'format'"],
        ),
    ],
)
async def test_tts(run, synthesizer, fields, code, said):
    assert_refused(await run({"operation": "tts", "text": "Hello.", **fields}), code, *said)
    assert synthesizer.calls == []


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"voice_name": None}, "invalid_request", ["voice_name is required"]),
        ({"voice_name": "\ud83d"}, "invalid_request", ["voice_name holds half a character"]),
        ({"voice_name": "x" * 65}, "invalid_request", ["voice_name", "64"]),
        ({"reference_audio": None}, "invalid_request", ["reference_audio is required"]),
        ({"reference_audio": "data:audio/wav;base64,"}, "reference_invalid", ["reference_audio"]),
        ({"reference_audio": encoded(np.zeros(24_000, np.float32))}, "reference_invalid", ["silent"]),
        ({"gender": 1}, "invalid_request", ["gender must be"]),
        ({"voice_nam": "A"}, "invalid_request", ["did you mean 'voice_name'?"]),
        ({"reference_audio": OTHER}, "voice_exists", ["Taken", "overwrite"]),
    ],
)
async def test_clone_voice(run, services, fields, code, said):
    job_input = {"operation": "clone_voice", "voice_name": "Taken", "reference_audio": GOOD, "preview": False}
    assert "error" not in await run(job_input)
    assert_refused(await run(job_input | fields), code, *said)
    assert services.voices.stats()["total_voices"] == 1


async def test_clipped_speech_is_a_warning_and_no_error(run):
    job_input = {"operation": "clone_voice", "voice_name": "Loud", "reference_audio": encoded(clipped(8.0))}
    assert any("clipped" in warning for warning in (await run(job_input))["warnings"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"limit": 0}, ["limit"]),
        ({"offset": 1.5}, ["offset"]),
        ({"page": 2}, ["page is not a field of list_voices"]),
    ],
)
async def test_list_voices(run, fields, said):
    assert_refused(await run({"operation": "list_voices", **fields}), "invalid_request", *said)


async def test_a_damaged_voice(run, tmp_path):
    await run({"operation": "clone_voice", "voice_name": "Ada", "reference_audio": GOOD, "preview": False})
    (path,) = (tmp_path / "voice_embeddings" / "embeddings").glob("*.pkl.gz")
    path.write_bytes(path.read_bytes()[:1000])
    reply = await run({"operation": "tts", "text": "Hello.", "voice_name": "Ada"})
    assert_refused(reply, "store_corrupt")


async def test_a_volume_that_is_gone(tmp_path):
    run = runner(build_worker(tmp_path / "unmounted"))
    assert_refused(await run({"operation": "list_voices"}), "store_unavailable", "mount")
    assert "audio" in await run({"operation": "tts", "text": "The built-in voice goes on."})


@pytest.mark.parametrize(
    ("failure", "code"),
    [(OutOfMemory("send a shorter text"), "out_of_memory"), (ZeroDivisionError("at /tmp/x.py"), "internal")],
)
async def test_failures_of_the_model(run, synthesizer, failure, code):
    synthesizer.failure = failure
    assert_refused(await run({"operation": "tts", "text": "Hello."}), code)


async def test_a_model_that_cannot_be_had():
    def refuse():
        raise ModelUnavailable("set CHECKPOINT_DIR")

    run = runner(JobWorker(Settings.from_env({}), refuse, Delivery(None), WorkerHealth()))
    assert_refused(await run({"operation": "list_voices"}), "model_unavailable", "CHECKPOINT_DIR")


async def test_a_reply_that_is_too_large_for_the_caller_who_wants_it_inline(tmp_path):
    run = runner(build_worker(tmp_path, env={"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example"}))
    reply = await run({"operation": "tts", "text": "x" * 3000, "delivery": "inline"})
    assert_refused(reply, "output_too_large", "mp3 or opus", "audio_out/job-1.wav")

"""Through ``handler(event)`` with upstream's modules: what a caller relies on from job to job."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from operations.base import Services
from speech.pipeline import load_synthesizer
from speech.reference.encoder import ReferenceEncoder
from tests.fakes import build_services, build_worker
from tests.poison import poisoned_generators
from tests.recordings import speech_like, wav_bytes

SENTENCE = "The harbour was quiet, and the boats lay still."


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def services(smoke_checkpoint, volume) -> Services:
    threads = torch.get_num_threads()
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu")
    yield build_services(volume, synthesizer)
    synthesizer.close()
    torch.set_num_threads(threads)


@pytest.fixture
def run(volume, services):
    return runner(volume, services)


def runner(volume: Path, services: Services):
    worker = build_worker(volume, services=services)

    async def run(operation: str, **fields) -> dict:
        return await worker.handle({"id": "job", "input": {"operation": operation, **fields}})

    return run


@pytest.fixture
async def voices(run) -> tuple[str, str]:
    """Two stored voices."""
    for name, seed in (("Anna", 1), ("Bertil", 2)):
        recording = base64.b64encode(wav_bytes(speech_like(6.0, seed=seed), 24_000)).decode()
        reply = await run("clone_voice", voice_name=name, reference_audio=recording, preview=False)
        assert reply["saved_to_library"], reply
    return "Anna", "Bertil"


async def test_the_same_job_gives_the_same_bytes_and_another_seed_others(run, voices):
    job = {"text": SENTENCE, "voice_name": voices[0], "seed": 5, "format": "mp3"}
    first, again, other = (
        await run("tts", **job),
        await run("tts", **job),
        await run("tts", **job | {"seed": 6}),
    )
    assert first["audio"] == again["audio"]
    assert first["audio"] != other["audio"]


async def test_jobs_of_two_voices_and_of_none_in_turn_never_mix(run, voices):
    who = ({"voice_name": voices[0]}, {"voice_name": voices[1]}, {})
    alone = [(await run("tts", text=SENTENCE, seed=5, **voice))["audio"] for voice in who]
    assert len(set(alone)) == 3
    for index in (1, 2, 0, 2, 1, 0):
        assert (await run("tts", text=SENTENCE, seed=5, **who[index]))["audio"] == alone[index]


async def test_whole_jobs_touch_no_global_generator(run):
    """From the recording to the encoded audio: clone, speak in the new voice, speak with a drawn seed."""
    recording = base64.b64encode(wav_bytes(speech_like(6.0, seed=3), 24_000)).decode()
    await run("tts", text=SENTENCE, reference_audio=recording)  # what is imported first may draw
    with poisoned_generators():
        cloned = await run("clone_voice", voice_name="Clara", reference_audio=recording)
        spoken = await run("tts", text=SENTENCE, voice_name="Clara", format="mp3")
    assert cloned["saved_to_library"], cloned
    assert "audio" in spoken, spoken


async def test_a_drawn_seed_is_returned_and_repeats_the_job(run):
    drawn = await run("tts", text=SENTENCE)
    assert (await run("tts", text=SENTENCE, seed=drawn["seed"]))["audio"] == drawn["audio"]


async def test_what_is_delivered_is_audio_of_the_length_that_is_said(run, voices):
    reply = await run("tts", text=SENTENCE, voice_name=voices[0].upper(), format="flac", sample_rate=44_100)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(reply["audio"])))
    assert rate_hz == 44_100
    assert len(samples) / rate_hz == pytest.approx(reply["duration"], abs=0.002)
    assert np.isfinite(samples).all()
    assert reply["voice"]["voice_name"] == voices[0]
    assert "untrained smoke checkpoint: the audio is noise" in reply["warnings"]


async def test_what_lies_behind_an_error_is_logged_and_not_told(run, volume, caplog):
    caplog.set_level(logging.WARNING)
    (volume / "voice_embeddings" / "embeddings" / "0badf11e.pkl.gz").write_bytes(b"not gzip")
    reply = await run("tts", text=SENTENCE, voice_id="0badf11e")
    assert reply["error_code"] == "store_corrupt"
    assert "Traceback" not in reply["error"]
    logged = [record for record in caplog.records if record.exc_info]
    assert logged, caplog.text


async def test_a_worker_that_starts_speaks_in_a_stored_voice_without_computing_it_again(
    run, voices, volume, smoke_checkpoint, monkeypatch
):
    job = {"text": SENTENCE, "voice_name": voices[0], "seed": 5}
    first = await run("tts", **job)
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu")

    def must_not_compute(*_):
        raise AssertionError("the conditionals lie beside the voice")

    monkeypatch.setattr(ReferenceEncoder, "prepare", must_not_compute)
    run = runner(volume, build_services(volume, synthesizer))
    assert (await run("tts", **job))["audio"] == first["audio"]
    unknown = base64.b64encode(wav_bytes(speech_like(6.0, seed=9), 24_000)).decode()
    assert "error" in await run("tts", text=SENTENCE, reference_audio=unknown)
    synthesizer.close()


async def test_a_stream_says_what_the_whole_says_and_the_same_each_time(volume, services):
    worker = build_worker(volume, services=services)
    job = {"operation": "tts", "text": f"{SENTENCE} {SENTENCE}", "seed": 5, "format": "pcm"}

    async def stream() -> tuple[bytes, dict]:
        *pieces, summary = [
            piece async for piece in worker.stream({"id": "job", "input": {**job, "mode": "streaming"}})
        ]
        return b"".join(base64.b64decode(piece["audio"]) for piece in pieces), summary

    (audio, summary), (again, _) = await stream(), await stream()
    assert audio == again
    assert len(audio) / 2 / 24_000 == pytest.approx(summary["duration"], abs=1e-3)
    whole = await worker.handle({"id": "job", "input": job})
    texts = (" ".join(each["text"] for each in reply["segments"]) for reply in (summary, whole))
    assert next(texts) == next(texts)

"""Replies in pieces."""

import asyncio
import base64
import io
import json
import threading

import numpy as np
import pytest
import soundfile

from operations.streaming import PIECE_LIMIT_BYTES
from tests.fakes import FakeSpeaker, build_services, build_worker
from tests.job_server import REPOSITORY, JobServer, WorkerProcess
from tests.serving.jobs import clone, tts

ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}
TEXT = "Nobody knew. The ship left at dawn. It was late."


@pytest.fixture
def speaker():
    return FakeSpeaker()


@pytest.fixture
def worker(tmp_path, speaker):
    return build_worker(build_services(tmp_path, speaker), ON_PLATFORM)


async def stream(worker, job):
    return [piece async for piece in worker.stream(job)]


def samples_of(piece):
    return soundfile.read(io.BytesIO(base64.b64decode(piece["audio"])), dtype="float32")[0]


async def test_the_pieces_are_the_audio_of_the_whole_and_the_last_one_sums_up(worker):
    *pieces, summary = await stream(worker, tts(TEXT, mode="streaming", seed=1))
    whole = await worker.handle(tts(TEXT, seed=1))
    assert [piece["index"] for piece in pieces] == [0, 1, 2]
    assert [piece["text"] for piece in pieces] == ["Nobody knew", "The ship left at dawn", "It was late"]
    assert np.array_equal(np.concatenate([samples_of(piece) for piece in pieces]), samples_of(whole))
    for piece in pieces:
        assert piece["format"] == "wav"
        assert piece["sample_rate"] == 24_000
        assert piece["duration"] == pytest.approx(len(samples_of(piece)) / 24_000, abs=1e-3)
    assert [piece["start"] for piece in pieces] == pytest.approx(
        [0, pieces[0]["duration"], pieces[0]["duration"] + pieces[1]["duration"]], abs=2e-3
    )
    assert summary["pieces"] == 3
    assert summary["seed"] == 1
    assert "audio" not in summary
    assert summary.keys() - {"pieces"} == whole.keys() - {"audio"}


async def test_a_piece_is_sent_before_the_next_is_spoken(worker, speaker):
    speaker.gate = threading.Event()
    heard = []

    async def listen():
        async for piece in worker.stream(tts(TEXT, mode="streaming")):
            heard.append(piece)

    listening = asyncio.create_task(listen())
    await asyncio.to_thread(speaker.entered.acquire)
    assert not heard
    speaker.gate.set()
    await listening
    assert len(heard) == 4


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "flac", "ogg", "opus", "pcm", "ulaw"])
@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
async def test_no_piece_is_larger_than_the_platform_carries(worker, audio_format, rate_hz):
    rate_hz = 48_000 if audio_format == "opus" else 8_000 if audio_format == "ulaw" else rate_hz
    job = tts("x" * 700 + ".", mode="streaming", format=audio_format, sample_rate=rate_hz)  # 42 s
    *pieces, _ = await stream(worker, job)
    assert all(len(json.dumps(piece)) < PIECE_LIMIT_BYTES for piece in pieces)
    assert sum(piece["duration"] for piece in pieces) == pytest.approx(42, abs=0.2)


async def test_what_goes_beyond_the_platforms_limit_for_a_result_lies_on_the_volume(worker, tmp_path):
    text = ". ".join(["x" * 160] * 30) + "."  # 288 s, 18 MB
    *pieces, summary = await stream(worker, tts(text, mode="streaming"))
    inline = [piece for piece in pieces if "audio" in piece]
    kept = [piece for piece in pieces if "audio_path" in piece]
    assert inline == pieces[: len(inline)]
    assert len(inline) + len(kept) == len(pieces) == summary["pieces"]
    assert sum(len(json.dumps(piece)) for piece in [*pieces, summary]) < 10_000_000
    for piece in kept:
        assert soundfile.info(piece["audio_path"]).duration == pytest.approx(piece["duration"], abs=1e-3)
    assert summary["warnings"][-1].startswith(f"from piece {len(inline)} on: ")


async def test_an_error_is_the_only_piece(worker):
    (piece,) = await stream(worker, tts(" ", mode="streaming"))
    assert piece["error_code"] == "invalid_request"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"audio_normalization": "peak"}, "audio_normalization needs the whole audio"),
        ({"delivery": "volume"}, "delivery 'volume'"),
    ],
)
async def test_what_does_not_go_with_streaming_is_named(worker, fields, said):
    (piece,) = await stream(worker, tts(TEXT, mode="streaming", **fields))
    assert piece["error_code"] == "invalid_request"
    assert said in piece["error"]


async def test_an_endpoint_that_does_not_stream_says_so(worker):
    reply = await worker.handle(tts(TEXT, mode="streaming"))
    assert reply["error_code"] == "invalid_request"
    assert "ENDPOINT_MODE" in reply["error"]


async def test_other_jobs_have_one_piece_that_the_platform_carries(worker, tmp_path):
    (cloned,) = await stream(worker, clone("Ada"))
    assert cloned["saved_to_library"]
    (spoken,) = await stream(worker, tts("x" * 700))  # 42 s, 2.7 MB
    assert len(json.dumps(spoken)) < PIECE_LIMIT_BYTES
    assert soundfile.info(spoken["audio_path"]).duration == pytest.approx(42, abs=0.1)


async def test_who_stops_listening_ends_the_job(worker, speaker):
    speaker.gate = threading.Event()
    listening = asyncio.create_task(stream(worker, tts(TEXT, mode="streaming")))
    await asyncio.to_thread(speaker.entered.acquire)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert speaker.speaking == 0


async def test_the_platform_gets_the_pieces_and_the_whole(tmp_path):
    async with JobServer.running() as server:
        program = REPOSITORY / "tests" / "faulty_worker.py"
        settings = {"ENDPOINT_MODE": "streaming"}
        async with WorkerProcess.running(server, program, tmp_path, settings) as worker:
            server.submit("job", {"operation": "tts", "text": TEXT, "mode": "streaming"})
            result = await server.result("job")
            server.submit(
                "bad", {"operation": "tts", "text": TEXT, "voice_name": "Nobody", "mode": "streaming"}
            )
            refused = await server.result("bad")
            assert await worker.leave() == 0, worker.log()
    assert [piece["output"] for piece in server.pieces["job"]] == result["output"]
    assert len(result["output"]) == 4
    assert refused["error"].startswith("voice_not_found: ")


async def test_a_program_on_a_laptop_answers_whole_even_where_endpoints_stream(tmp_path, smoke_checkpoint):
    from tests.test_handler import run_program

    job = json.dumps({"input": {"operation": "tts", "text": "Good morning."}})
    settings = {"ENDPOINT_MODE": "streaming", "CHECKPOINT_DIR": str(smoke_checkpoint)}
    finished = await asyncio.to_thread(
        lambda: run_program("handler.py", "--test_input", job, cwd=tmp_path, **settings)
    )
    assert finished.returncode == 0, finished.stderr
    assert "'audio': 'UklGR" in finished.stdout

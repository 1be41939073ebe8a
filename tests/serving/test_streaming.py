"""Speech in pieces, as an endpoint sends it that streams."""

import asyncio
import base64
import io
import json
import threading
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

import handler
from serving import job_worker, speech_replies
from serving.envelope import PIECE_LIMIT_BYTES
from serving.runpod import limits
from tests.fakes import PAUSE_S, SECONDS_PER_CHARACTER, FakeSynthesizer, build_worker
from tests.job_server import REPOSITORY, JobServer, WorkerProcess
from tests.serving.jobs import clone, convert, tts

ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}
LONG_TEXTS = {**ON_PLATFORM, "MAX_TEXT_CHARS": "100000"}
TEXT = "Nobody knew. The ship left at dawn. It was late."


@pytest.fixture
def synthesizer():
    return FakeSynthesizer()


@pytest.fixture
def worker(tmp_path, synthesizer):
    return build_worker(tmp_path, synthesizer, ON_PLATFORM)


async def stream(worker, job):
    """The pieces as they are posted, and the list of them that the SDK keeps for the job's result."""
    posted, kept = [], []
    async for piece in worker.stream(job):
        kept.append(piece)
        posted.append(dict(piece))
    return posted, kept


def audio_of(pieces):
    """The bytes of the pieces put end to end."""
    return b"".join(base64.b64decode(piece["audio"]) for piece in pieces)


def decode(data, audio_format, rate_hz):
    if audio_format in ("pcm", "ulaw"):
        subtype = {"pcm": "PCM_16", "ulaw": "ULAW"}[audio_format]
        kind = {"format": "RAW", "subtype": subtype, "channels": 1, "samplerate": rate_hz}
        return soundfile.read(io.BytesIO(data), dtype="float32", endian="LITTLE", **kind)[0]
    if audio_format == "flac":  # libsndfile reads none of unknown length
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames).astype(np.float32) / 2**15
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def seconds_of(text):
    sentences = [part.strip() for part in text.split(".") if part.strip()]
    spoken_s = sum(len(sentence) for sentence in sentences) * SECONDS_PER_CHARACTER
    return spoken_s + (len(sentences) - 1) * PAUSE_S


async def test_the_pieces_are_parts_of_one_file_and_the_last_one_sums_up(worker):
    (*pieces, summary), _ = await stream(worker, tts(TEXT, mode="streaming", seed=1))
    whole = await worker.handle(tts(TEXT, seed=1))
    assert [piece["index"] for piece in pieces] == [0, 1, 2]
    assert [piece["text"] for piece in pieces] == ["Nobody knew", "The ship left at dawn", "It was late"]
    assert all(piece["continuous"] is True for piece in pieces)
    assert all((piece["format"], piece["sample_rate"]) == ("wav", 24_000) for piece in pieces)
    whole_samples = decode(base64.b64decode(whole["audio"]), "wav", 24_000)
    assert np.array_equal(decode(audio_of(pieces), "wav", 24_000), whole_samples)
    ends = np.cumsum([piece["duration"] for piece in pieces])
    assert [piece["start"] for piece in pieces] == pytest.approx([0, *ends[:-1]], abs=2e-3)
    assert ends[-1] == pytest.approx(len(whole_samples) / 24_000, abs=2e-3)
    assert summary["pieces"] == 3
    assert summary["seed"] == 1
    assert summary["segments"] == whole["segments"]
    assert summary.keys() - {"pieces"} == whole.keys() - {"audio", "text"}


async def test_a_chunk_of_text_may_come_in_several_pieces(worker, synthesizer):
    """Its text comes with the first of them, and what has no sample is no piece."""
    (*whole, expected), _ = await stream(worker, tts(TEXT, mode="streaming", seed=1, format="pcm"))
    synthesizer.has_pieces = True
    (*pieces, summary), _ = await stream(worker, tts(TEXT, mode="streaming", seed=1, format="pcm"))
    assert audio_of(pieces) == audio_of(whole)
    texts = ["Nobody knew", "", "The ship left at dawn", "", "It was late", ""]
    assert [piece["text"] for piece in pieces] == texts
    ends = np.cumsum([piece["duration"] for piece in pieces])
    assert [piece["start"] for piece in pieces] == pytest.approx([0, *ends[:-1]], abs=3e-3)
    assert summary["segments"] == expected["segments"]
    assert summary["duration"] == expected["duration"]
    assert summary["pieces"] == 6


async def test_a_piece_is_sent_before_the_next_is_spoken(worker, synthesizer):
    pieces = worker.stream(tts(TEXT, mode="streaming"))
    synthesizer.gate = threading.Event()
    first = asyncio.ensure_future(anext(pieces))
    await asyncio.to_thread(synthesizer.entered.acquire)
    assert not first.done()
    synthesizer.gate.set()
    assert (await first)["index"] == 0
    assert len([piece async for piece in pieces]) == 3


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "flac", "ogg", "opus", "pcm", "ulaw"])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
async def test_no_piece_is_larger_than_the_platform_carries(worker, audio_format, rate_hz):
    text = "x" * 700 + ". Short."  # 42 s in one chunk
    job = tts(text, mode="streaming", format=audio_format, sample_rate=rate_hz, seed=3)
    (*pieces, _), _ = await stream(worker, job)
    assert all(len(json.dumps(piece)) < PIECE_LIMIT_BYTES for piece in pieces)
    assert sum(piece["duration"] for piece in pieces) == pytest.approx(seconds_of(text), abs=0.01)
    assert [piece["text"] for piece in pieces if piece["text"]] == ["x" * 700, "Short"]
    data = audio_of(pieces)
    samples = decode(data, audio_format, rate_hz)
    decoded_hz = soundfile.info(io.BytesIO(data)).samplerate if audio_format == "opus" else rate_hz
    assert len(samples) / decoded_hz == pytest.approx(seconds_of(text), abs=0.15)


@pytest.mark.parametrize("audio_format", ["pcm", "ulaw"])
async def test_parts_without_a_header_hold_whole_samples(worker, audio_format):
    job = tts("x" * 700, mode="streaming", format=audio_format, sample_rate=48_000)
    (*pieces, _), _ = await stream(worker, job)
    assert len(pieces) > 1
    size = 2 if audio_format == "pcm" else 1
    for piece in pieces:
        samples = len(base64.b64decode(piece["audio"])) / size
        assert samples == int(samples)
        assert samples / 48_000 == pytest.approx(piece["duration"], abs=0.02)


async def test_there_is_no_seam_between_pieces(worker):
    """The end of a piece in mid-word continues in the next, at rates that are resampled to."""
    fields = {"format": "pcm", "sample_rate": 44_100, "seed": 1}
    (*pieces, _), _ = await stream(worker, tts("x" * 300, mode="streaming", **fields))
    whole = await worker.handle(tts("x" * 300, **fields))
    assert len(pieces) > 1
    assert audio_of(pieces) == base64.b64decode(whole["audio"])


async def test_what_goes_beyond_the_platforms_limit_for_a_result_lies_on_the_volume(worker):
    text = ". ".join(["x" * 160] * 30) + "."  # 288 s, 18 MB
    (*pieces, summary), kept = await stream(worker, tts(text, mode="streaming"))
    assert kept == [*pieces, summary]
    inline = [piece for piece in pieces if "audio" in piece]
    stored = [piece for piece in pieces if "audio_path" in piece]
    assert inline == pieces[: len(inline)]
    assert len(inline) + len(stored) == len(pieces) == summary["pieces"]
    assert sum(len(json.dumps(piece)) for piece in kept) < 10_000_000
    data = audio_of(inline) + b"".join(Path(piece["audio_path"]).read_bytes() for piece in stored)
    assert len(decode(data, "wav", 24_000)) / 24_000 == pytest.approx(seconds_of(text), abs=1e-3)
    assert summary["warnings"][-1].startswith(f"from piece {len(inline)} on: ")
    assert "audio_path" in summary["warnings"][-1]


async def test_without_volume_and_bucket_the_rest_is_streamed_and_left_out_of_the_result(
    tmp_path, synthesizer
):
    worker = build_worker(tmp_path, synthesizer, ON_PLATFORM, has_volume=False)
    text = ". ".join(["x" * 160] * 30) + "."
    (*pieces, summary), kept = await stream(worker, tts(text, mode="streaming"))
    assert len(decode(audio_of(pieces), "wav", 24_000)) / 24_000 == pytest.approx(seconds_of(text), abs=1e-3)
    assert sum(len(json.dumps(piece)) for piece in kept) < 10_000_000
    without_audio = [piece for piece in kept[:-1] if "audio" not in piece]
    assert without_audio
    assert all(piece["text"] for piece in without_audio if piece["text"])
    assert "left out of the result" in summary["warnings"][-1]
    assert not (tmp_path / "audio_out").exists()


@pytest.mark.parametrize("has_volume", [True, False])
async def test_a_stream_of_a_very_long_text_ends_well(tmp_path, synthesizer, monkeypatch, has_volume):
    """Segments and texts, that are more than a result holds."""
    monkeypatch.setattr(limits, "RUN_REPLY_LIMIT_BYTES", 120_000)
    monkeypatch.setattr(speech_replies, "SUMMARY_BYTES", 30_000)
    synthesizer.warnings = tuple(f"warning {number}" for number in range(100))
    worker = build_worker(tmp_path, synthesizer, LONG_TEXTS, has_volume=has_volume)
    text = "好" * 60 + ". " + "Ab. " * 1_500
    job = tts(text, mode="streaming", format="ulaw", sample_rate=8_000)
    (*pieces, summary), kept = await stream(worker, job)
    assert "error" not in summary
    assert len(json.dumps(kept, ensure_ascii=False).encode()) < 120_000
    assert len(json.dumps(summary)) < 30_000
    assert summary["segments"] == []
    assert len(summary["warnings"]) < 60
    assert summary["pieces"] == len(pieces)
    assert sum(piece["duration"] for piece in pieces) == pytest.approx(seconds_of(text), abs=0.5)
    if not has_volume:
        assert len(audio_of(pieces)) == pytest.approx(8_000 * seconds_of(text), rel=1e-3)


async def test_a_bucket_that_takes_nothing_does_not_end_a_stream(tmp_path, synthesizer, monkeypatch):
    monkeypatch.setattr(limits, "RUN_REPLY_LIMIT_BYTES", 300_000)
    worker = build_worker(tmp_path, synthesizer, ON_PLATFORM)
    (tmp_path / "audio_out").write_bytes(b"a file where the folder should be")
    (*pieces, summary), _ = await stream(worker, tts(TEXT * 2, mode="streaming"))
    assert all("audio" in piece for piece in pieces)
    assert any("did not take the audio" in warning for warning in summary["warnings"])


async def test_nothing_keeps_the_audio_that_was_sent(worker, synthesizer):
    alive = []
    speak = synthesizer._chunks

    def noted(utterances, cancel):
        for chunk in speak(utterances, cancel):
            alive.append(weakref.ref(chunk.waveform.samples))
            yield chunk

    synthesizer._chunks = noted
    most = 0
    async for _ in worker.stream(tts("One two. " * 60, mode="streaming")):
        most = max(most, sum(samples() is not None for samples in alive))
    assert len(alive) == 60
    assert most <= 3


async def test_a_caller_that_reads_slowly_slows_the_job_down(worker, synthesizer):
    made, taken, ahead = 0, 0, []
    speak = synthesizer._chunks

    def noted(utterances, cancel):
        nonlocal made
        for chunk in speak(utterances, cancel):
            made += 1
            ahead.append(made - taken)
            yield chunk

    synthesizer._chunks = noted
    async for piece in worker.stream(tts("One two. " * 60, mode="streaming")):
        while made <= job_worker.MAX_PIECES_AHEAD and "index" in piece:
            await asyncio.sleep(0.01)
        taken += 1
    assert made == 60
    assert max(ahead) <= job_worker.MAX_PIECES_AHEAD + 1


async def test_an_error_is_the_only_piece(worker):
    (piece,), _ = await stream(worker, tts(" ", mode="streaming"))
    assert piece["error_code"] == "invalid_request"


async def test_the_old_name_of_the_mode_streams_with_a_warning(worker):
    (*pieces, summary), _ = await stream(worker, tts(TEXT, mode="streaming_voice_cloning", seed=1))
    assert len(pieces) == summary["pieces"] > 0
    assert summary["mode"] == "streaming"
    assert summary["warnings"] == ["the mode streaming_voice_cloning is called streaming now"]


async def test_a_conversion_is_a_single_piece(worker):
    (piece,), _ = await stream(worker, convert(1.0, format="mp3"))
    assert piece["segments"] == [{"start": 0.0, "end": 1.0}]
    assert base64.b64decode(piece["audio"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"audio_normalization": "peak"}, "audio_normalization needs the whole audio"),
        ({"delivery": "volume"}, "delivery 'volume'"),
    ],
)
async def test_what_does_not_go_with_streaming_is_named(worker, fields, said):
    (piece,), _ = await stream(worker, tts(TEXT, mode="streaming", **fields))
    assert piece["error_code"] == "invalid_request"
    assert said in piece["error"]


async def test_an_endpoint_that_does_not_stream_says_so(worker):
    reply = await worker.handle(tts(TEXT, mode="streaming"))
    assert reply["error_code"] == "invalid_request"
    assert "ENDPOINT_MODE" in reply["error"]


async def test_other_jobs_have_one_piece_that_the_platform_carries(worker, tmp_path):
    (cloned,), _ = await stream(worker, clone("Ada"))
    assert cloned["saved_to_library"]
    (spoken,), _ = await stream(worker, tts("x" * 700))  # 42 s, 2.7 MB
    assert len(json.dumps(spoken)) < PIECE_LIMIT_BYTES
    assert soundfile.info(spoken["audio_path"]).duration == pytest.approx(42, abs=0.1)


async def test_a_preview_that_is_too_large_for_a_piece_is_left_out_with_a_warning(worker):
    job = clone("Ada", preview=True)
    job["input"]["preview_text"] = "x" * 300  # 18 s, 1.15 MB
    (cloned,), _ = await stream(worker, job)
    assert cloned["saved_to_library"]
    assert "sample_audio" not in cloned
    assert "preview is too large" in cloned["warnings"][-1]


async def test_who_stops_listening_ends_the_job(worker, synthesizer):
    synthesizer.gate = threading.Event()
    listening = asyncio.create_task(stream(worker, tts(TEXT, mode="streaming")))
    await asyncio.to_thread(synthesizer.entered.acquire)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert synthesizer.speaking == 0


async def test_who_stops_listening_ends_a_job_that_waits_for_its_pieces_to_be_taken(worker, synthesizer):
    pieces = worker.stream(tts("One two. " * 60, mode="streaming"))
    await anext(pieces)
    await pieces.aclose()
    assert synthesizer.speaking == 0
    assert "audio" in await worker.handle(tts())


async def test_what_the_sdk_closes_has_ended_its_job_by_then(worker, synthesizer, monkeypatch):
    monkeypatch.setattr(handler, "warm_worker", lambda: worker)
    pieces = handler.streaming_handler(tts("One two. " * 60, mode="streaming"))
    await anext(pieces)
    await pieces.aclose()
    assert synthesizer.speaking == 0


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


async def test_the_platforms_result_of_a_long_stream_is_small_enough_without_a_volume(tmp_path):
    """In the SDK's own loop: what it posts is whole, what it keeps for the result is not."""
    text = ". ".join(["x" * 160] * 30) + "."  # 18 MB
    async with JobServer.running() as server:
        program = REPOSITORY / "tests" / "faulty_worker.py"
        settings = {"ENDPOINT_MODE": "streaming", "NO_VOLUME": "1"}
        async with WorkerProcess.running(server, program, tmp_path, settings) as worker:
            server.submit("job", {"operation": "tts", "text": text, "mode": "streaming"})
            result = await server.result("job")
            assert await worker.leave() == 0, worker.log()
    *posted, _ = (piece["output"] for piece in server.pieces["job"])
    assert len(decode(audio_of(posted), "wav", 24_000)) / 24_000 == pytest.approx(seconds_of(text), abs=1e-3)
    assert len(result["output"]) == len(posted) + 1
    assert len(json.dumps(result)) < 10_000_000


async def test_a_program_on_a_laptop_answers_whole_even_where_endpoints_stream(tmp_path):
    from tests.test_handler import run_program

    job = json.dumps({"input": {"operation": "tts", "text": "Good morning."}})
    program = "tests/faulty_worker.py"
    finished = await asyncio.to_thread(
        lambda: run_program(program, "--test_input", job, cwd=tmp_path, ENDPOINT_MODE="streaming")
    )
    assert finished.returncode == 0, finished.stderr
    assert "'audio': 'UklGR" in finished.stdout

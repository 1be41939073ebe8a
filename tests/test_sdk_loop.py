"""The SDK's real worker loop, in a process of its own, against a job server on loopback."""

import asyncio
import base64
import io
import json
import os
from pathlib import Path

import pytest
import soundfile

from speech.models.spec import MODELS
from speech.smoke import write_smoke_checkpoint
from tests.job_server import REPOSITORY, WAIT_S, JobServer, WorkerProcess
from tests.recordings import speech_like, wav_bytes

WORKER = REPOSITORY / "handler.py"
FAULTY_WORKER = REPOSITORY / "tests" / "faulty_worker.py"
TEXT = "The ferry was late again."


@pytest.fixture
async def server():
    async with JobServer.running() as running:
        yield running


def leaks(result):
    """Of what must never reach a caller, what did."""
    text = json.dumps(result)
    secrets = (
        "Traceback",
        "host-of-the-tests",
        "pod-of-the-tests",
        str(REPOSITORY),
        os.sep + "site-packages",
    )
    return [secret for secret in secrets if secret in text]


@pytest.fixture
def start(server, tmp_path, smoke_checkpoint):
    def start(**settings):
        places = {"CHECKPOINT_DIR": str(smoke_checkpoint), "VOICE_STORE_DIR": str(tmp_path / "voices")}
        return WorkerProcess.running(server, WORKER, tmp_path, places | settings)

    return start


async def test_jobs_get_good_results_and_a_short_one_does_not_wait_for_a_long_one(server, start):
    async with start(MAX_CONCURRENCY="2") as worker:
        await clone_speak_and_list(server, worker)
        await overtake(server)
        assert await worker.leave() == 0, worker.log()


async def test_upstreams_modules_serve_the_same_jobs(server, start):
    """chatterbox-tts, librosa and torchaudio work as they are installed."""
    async with start(ENGINE="upstream") as worker:
        await clone_speak_and_list(server, worker)
        assert await worker.leave() == 0, worker.log()


@pytest.mark.parametrize("model", ["turbo", "nano"])
async def test_other_models_serve_the_same_jobs(server, start, tmp_path, model):
    write_smoke_checkpoint(tmp_path / model, spec=MODELS[model])
    async with start(MODEL=model, CHECKPOINT_DIR=str(tmp_path / model)) as worker:
        await clone_speak_and_list(server, worker)
        laugh = {"operation": "tts", "text": "Well [laugh] no.", "cfg_weight": 0.3, "strict": True}
        server.submit("laugh", laugh)
        spoken = (await server.result("laugh"))["output"]
        assert await worker.leave() == 0, worker.log()
    assert spoken["model"]["variant"] == model
    assert f"cfg_weight has no effect on the {model} model" in spoken["warnings"]


@pytest.mark.parametrize(
    ("model", "language", "text"),
    [
        ("multilingual", "pl", "Zażółć gęślą jaźń."),
        ("multilingual-v2", "ko", "기차가 또 늦었어요."),
        ("pt-br", "pt-BR", "O trem atrasou outra vez."),
        # The other packs differ from this one by their files and languages.
        pytest.param("zh-cmn", "zh", "火车又晚点了。", marks=pytest.mark.slow),
        pytest.param("es-mx", "es-MX", "El tren se atrasó otra vez.", marks=pytest.mark.slow),
        pytest.param("es-es", "es-ES", "El tren ha llegado tarde.", marks=pytest.mark.slow),
        pytest.param("pt-pt", "pt-PT", "O comboio atrasou-se outra vez.", marks=pytest.mark.slow),
        pytest.param("hi", "hi", "ट्रेन फिर देर से आई।", marks=pytest.mark.slow),
    ],
)
async def test_multilingual_models_serve_the_same_jobs(server, start, tmp_path, model, language, text):
    write_smoke_checkpoint(tmp_path / model, spec=MODELS[model])
    async with start(MODEL=model, CHECKPOINT_DIR=str(tmp_path / model)) as worker:
        await clone_speak_and_list(server, worker, {"language": language})
        as_written = {"text": f"{text} ☃", "language": language, "normalize_text": False}
        server.submit("snow", {"operation": "tts", **as_written})
        spoken = (await server.result("snow"))["output"]
        server.submit("latin", {"operation": "tts", "text": text, "language": "la"})
        refused = await server.result("latin")
        assert await worker.leave() == 0, worker.log()
    assert spoken["model"]["variant"] == model
    assert "segment 1 of 1 holds what the model cannot say: ☃" in spoken["warnings"]
    assert refused["output"] == {"error_code": "unsupported_language"}


async def test_one_worker_speaks_with_two_models_at_once(server, start, tmp_path):
    """The same job gives the same audio, whatever the other model says meanwhile."""
    folder = tmp_path / "turbo"
    write_smoke_checkpoint(folder, spec=MODELS["turbo"])
    settings = {"MODEL": "chatterbox,turbo", "MODEL_DIRS": f"turbo={folder}", "PRECISION": "exact"}
    async with start(MAX_CONCURRENCY="2", **settings) as worker:
        await clone_speak_and_list(server, worker)
        jobs = [
            {"operation": "tts", "text": TEXT, "voice_name": "Ada", "seed": seed, "model": model}
            for seed in (1, 2)
            for model in ("chatterbox", "turbo")
        ]
        for number, job in enumerate(jobs):
            server.submit(f"together-{number}", job)
        together = [(await server.result(f"together-{number}"))["output"] for number in range(len(jobs))]
        alone = []
        for number, job in enumerate(jobs):
            server.submit(f"alone-{number}", job)
            alone.append((await server.result(f"alone-{number}"))["output"])
        server.submit("flash", {"operation": "tts", "text": TEXT, "model": "flash"})
        refused = await server.result("flash")
        assert await worker.leave() == 0, worker.log()
    assert [reply["model"]["variant"] for reply in together] == ["chatterbox", "turbo"] * 2
    assert len({reply["audio"] for reply in together}) == len(jobs)
    assert [reply["audio"] for reply in together] == [reply["audio"] for reply in alone]
    assert all(reply["voice"]["voice_name"] == "Ada" for reply in together)
    assert "send one of chatterbox, turbo" in refused["error"]


async def clone_speak_and_list(server, worker, fields=None):
    """fields: further ones of the text to speech."""
    recording = base64.b64encode(wav_bytes(speech_like(6.0, 24_000, 1), 24_000)).decode()
    clone = {"operation": "clone_voice", "voice_name": "Ada", "reference_audio": recording, "preview": False}
    server.submit("clone-1", clone)
    cloned = await server.result("clone-1")
    speak = {"operation": "tts", "text": TEXT, "voice_name": "Ada", "seed": 1, **(fields or {})}
    server.submit("sync-2", speak)
    spoken = await server.result("sync-2")
    server.submit("convert-3", {"operation": "voice_conversion", "source_audio": recording, "seed": 1})
    converted = await server.result("convert-3")
    server.submit("list-3", {"operation": "list_voices"})
    listed = await server.result("list-3")
    server.submit("bad-4", {**speak, "voice_name": "Bob"})
    refused = await server.result("bad-4")

    for result in (cloned, spoken, converted, listed):
        assert "error" not in result
    voice_id = cloned["output"]["voice_id"]
    assert spoken["output"]["voice"] == {"voice_id": voice_id, "voice_name": "Ada"}
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(spoken["output"]["audio"])))
    assert len(samples) / rate_hz == pytest.approx(spoken["output"]["duration"], abs=1e-3)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(converted["output"]["audio"])))
    assert len(samples) / rate_hz == pytest.approx(6.0, abs=0.04)
    assert "the operation voice_conversion is called convert_voice now" in converted["output"]["warnings"]
    assert [voice["voice_id"] for voice in listed["output"]["voices"]] == [voice_id]
    assert isinstance(refused["error"], str)
    assert refused["error"].startswith("voice_not_found: ")
    assert refused["output"] == {"error_code": "voice_not_found"}
    assert leaks(refused) == []

    log = worker.log()
    assert log.count("outcome=ok") == 4
    assert log.count("outcome=voice_not_found") == 1
    assert TEXT not in log
    assert spoken["output"]["audio"][:100] not in log


async def overtake(server):
    """A short job is answered before a long one, and sounds as it does alone."""
    short = {"operation": "tts", "text": TEXT, "seed": 1}
    server.submit("long", {"operation": "tts", "text": " ".join([TEXT] * 30), "seed": 2, "format": "mp3"})
    server.submit("beside", short)
    beside = await server.result("beside")
    assert not server.has_result("long")
    spoken = await server.result("long")
    server.submit("alone", short)
    alone = await server.result("alone")
    assert len(spoken["output"]["segments"]) > 2
    assert beside["output"]["audio"] == alone["output"]["audio"]


async def test_a_bug_posts_a_string_without_traceback_path_or_host(server, tmp_path):
    async with WorkerProcess.running(server, FAULTY_WORKER, tmp_path, {}) as worker:
        server.submit("job-1", {"operation": "tts", "text": "It will break."})
        failed = await server.result("job-1")
        server.submit("job-2", {"operation": "list_voices"})
        following = await server.result("job-2")
        exit_code = await worker.leave()
    assert exit_code == 0, worker.log()
    assert isinstance(failed["error"], str)
    assert failed["error"].startswith("internal: ")
    assert "job-1" in failed["error"]
    assert leaks(failed) == []
    assert "RuntimeError: error in " in worker.log()
    assert following["output"]["total_voices"] == 0


async def test_what_lies_beside_the_audio_of_jobs_has_no_text_and_goes(server, tmp_path):
    """The worker sweeps when it starts: the second one finds what the first one left, a day later."""
    folder, marks = tmp_path / "audio_out", tmp_path / "audio_out" / "expiring"
    job = {"operation": "tts", "text": "Persimmons ripen late.", "delivery": "volume"}
    settings = {"AUDIO_RETENTION_H": "12"}
    async with WorkerProcess.running(server, FAULTY_WORKER, tmp_path, settings) as worker:
        server.submit("job-1", job)
        first = (await server.result("job-1"))["output"]
        server.submit("job-1", job)  # handed out again
        again = (await server.result("job-1"))["output"]
        assert await worker.leave() == 0, worker.log()
    assert again["audio_path"] == first["audio_path"]
    assert again["text"] == job["text"]
    left = [folder / "job-1.json", folder / "job-1.wav", marks / "job-1.wav"]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(left)
    for path in left:
        assert b"ersimmons" not in path.read_bytes()
        a_day_ago_s = path.stat().st_mtime - 24 * 3600 - 60
        os.utime(path, (a_day_ago_s, a_day_ago_s))
    async with WorkerProcess.running(server, FAULTY_WORKER, tmp_path, settings) as worker:
        async with asyncio.timeout(WAIT_S):
            while "swept 2 files" not in worker.log():
                await asyncio.sleep(0.02)
        server.submit("job-1", job)
        spoken_again = (await server.result("job-1"))["output"]
        assert await worker.leave() == 0, worker.log()
    assert "text" not in again["segments"][0]
    assert "text" in spoken_again["segments"][0]
    assert Path(spoken_again["audio_path"]).exists()

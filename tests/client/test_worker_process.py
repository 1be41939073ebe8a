"""The client in front of the RunPod SDK's real loop, in a process of its own."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import soundfile
from chatterbox_voice import errors

from tests.client.conftest import client_of
from tests.client.platform import Platform, by_job_server, serving
from tests.job_server import REPOSITORY, JobServer, WorkerProcess

TEXT = "Nobody knew. The ship left at dawn. It was late."
WORKER = REPOSITORY / "tests" / "faulty_worker.py"


def endpoint_of_processes(folder: Path, mode: str):
    @contextlib.asynccontextmanager
    async def build():
        settings = {"ENDPOINT_MODE": mode, "MAX_CONCURRENCY": "2", "LOG_LEVEL": "WARNING"}
        async with JobServer.running() as server, WorkerProcess.running(server, WORKER, folder, settings):
            yield Platform(by_job_server(server), is_streaming=mode == "streaming")

    return serving(build)


@pytest.mark.parametrize("mode", [pytest.param("basic", marks=pytest.mark.slow), "streaming"])
def test_a_worker_that_starts_speaks_refuses_and_is_cancelled(tmp_path, mode):
    with endpoint_of_processes(tmp_path, mode) as endpoint, client_of(endpoint) as client:
        endpoint.max_wait_s = 0.5
        with client.stream(TEXT, format="wav", seed=7) as stream:
            parts = list(stream)
        assert soundfile.read(io.BytesIO(b"".join(parts)))[1] == 24_000
        assert stream.receipt["seed"] == 7
        assert len(parts) == (3 if mode == "streaming" else 1)
        turns = [{"text": "Is it late?"}, {"text": "[pause:2s] It is 9:30."}]
        talk = client.speak(turns=turns, timestamps="words", subtitles="srt", seed=7)
        first, second = talk.segments
        assert second["start"] - first["end"] == pytest.approx(2.0, abs=0.002)
        assert talk.words[-1]["text"] == "9:30"
        assert "It is 9:30" in talk.subtitles
        with pytest.raises(errors.VoiceNotFound, match="Nobody"):
            client.speak(TEXT, voice="Nobody")
        begun = tmp_path / "begun"
        begun.unlink()

        def interrupt(_progress):
            if begun.exists():
                raise KeyboardInterrupt

        with client_of(endpoint, on_progress=interrupt) as waiting, pytest.raises(KeyboardInterrupt):
            waiting.speak("wait for me")
        assert client.voices() == []  # the worker is free again

"""What Pipecat's service for OpenAI makes of the worker; runs in an environment of its own.

    python pipecat_speech.py SETUP FOLDER TEXT

SETUP: a Python file that makes the service ``tts``. Runs it in a pipeline, writes its audio to the folder as
pcm, and its findings to stdout as JSON.
"""

import asyncio
import json
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

from pipecat.frames.frames import EndFrame, ErrorFrame, Frame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner


class Speaker(FrameProcessor):
    """Where a transport would play the audio."""

    def __init__(self) -> None:
        super().__init__()
        self.audio: list[TTSAudioRawFrame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.audio.append(frame)
        await self.push_frame(frame, direction)


async def speak(tts, texts: list[str]) -> tuple[list[TTSAudioRawFrame], list[str]]:
    """Returns the audio and the errors of a pipeline that speaks the texts."""
    speaker, errors = Speaker(), []
    worker = PipelineWorker(Pipeline([tts, speaker]), params=PipelineParams(audio_out_sample_rate=24_000))

    @worker.event_handler("on_pipeline_error")
    async def note(_worker, frame: ErrorFrame) -> None:
        errors.append(frame.error)

    @worker.event_handler("on_pipeline_started")
    async def start(worker, _frame: Frame) -> None:
        for text in texts:
            await worker.queue_frame(TTSSpeakFrame(text))
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    return speaker.audio, errors


async def main() -> None:
    setup, folder, text = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    tts = runpy.run_path(setup)["tts"]
    replies = []

    async def note(reply) -> None:
        names = ("content-type", "x-seed", "x-voice-id")
        replies.append([reply.status_code, *(reply.headers.get(name) for name in names)])

    tts._client._client.event_hooks = {"response": [note]}
    frames, errors = await speak(tts, [text])
    (folder / "pipeline.pcm").write_bytes(b"".join(frame.audio for frame in frames))

    other = runpy.run_path(setup)["tts"]
    other._settings.voice = "Harbour Master"
    silent, refused = await speak(other, [text])
    found = {
        "version": version("pipecat-ai"),
        "replies": replies,
        "rates_hz": sorted({(frame.sample_rate, frame.num_channels) for frame in frames}),
        "frames": len(frames),
        "errors": errors,
        "refused": refused,
        "frames of a name that is not OpenAI's": len(silent),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())

"""Two workers, one store, thousands of jobs, and a bad day: what is answered, what is lost, what grows.

    python -m benchmarks.soak [--jobs 2000] [--kills 20] [--json FILE]

The real program in the real SDK loop, with the tiny untrained checkpoint, against a job server on loopback.
A tenth of the jobs is cancelled, one in twenty is wrong; in the first seven tenths workers are killed with
SIGKILL and started again, and what they had is handed out again, as the platform does it. Exits 1 when
anything is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio.encode import encode
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import temporary_weights
from tests.job_server import JobServer, WorkerProcess
from tests.recordings import speech_like
from voice_store import VoiceStore

# The worker's own program. The folder that the workers share stands for the network volume.
PROGRAM = """
import handler

handler.outlives_worker = lambda settings: True
handler.main()
"""
WORKERS = 2
JOBS_UNDER_WAY = 8
RECORDING_S = 4
MOST_GROWTH = 0.02
SHARE_WITH_KILLS = 0.7
CANCELLED, WRONG, CLONED, LISTED, TO_VOLUME = 0.10, 0.05, 0.10, 0.05, 0.05
VOICES = ("Ada", "Björn", "李雷", "O'Neill")
TEXTS = (
    "Good morning.",
    "The ferry was late again, and nobody minded.",
    "One. Two. Three.",
    "It rained. The harbour was quiet, and the boats lay still on the water until the evening.",
)
WRONG_INPUTS: tuple[Any, ...] = (
    {"operation": "tts", "text": " "},
    {"operation": "tts", "text": "Yes.", "voice_name": "Nobody"},
    {"operation": "tts", "text": "Yes.", "temperature": "hot"},
    {"operation": "clone_voice", "voice_name": "Broken", "reference_audio": "AAAA"},
    {"operation": "sing"},
    [],
)


@dataclass
class Outcome:
    """lost: accepted, and neither answered, nor cancelled, nor handed out again. failed: answered with an
    error that was not asked for. mixed: pairs of voice, text and seed that did not always sound the same,
    or like another voice. growth: of each worker's memory over the last three tenths, as a share."""

    jobs: int = 0
    seconds: float = 0.0
    answered: Counter[str] = field(default_factory=Counter)
    cancelled_unanswered: int = 0
    cancelled_too_late: int = 0
    kills: int = 0
    handed_out_again: int = 0
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    voices: int = 0
    voices_lost: list[str] = field(default_factory=list)
    growth: dict[str, float] = field(default_factory=dict)
    resident_mb: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_good(self) -> bool:
        grew = any(share > MOST_GROWTH for share in self.growth.values())
        return not (self.lost or self.failed or self.mixed or self.voices_lost or grew)


def recording(seed: int) -> str:
    """A voice of its own, in base64."""
    samples = speech_like(RECORDING_S, MODEL_SAMPLE_RATE_HZ, seed)
    return base64.b64encode(encode(Waveform(samples, MODEL_SAMPLE_RATE_HZ), "flac", 24_000)).decode()


class Soak:
    def __init__(self, server: JobServer, folder: Path, checkpoint: Path, jobs: int, kills: int) -> None:
        self.outcome = Outcome(jobs=jobs)
        self._server, self._folder, self._checkpoint = server, folder, checkpoint
        self._jobs, self._kills = jobs, kills
        self._random = random.Random(1)  # noqa: S311, the same jobs each time
        self._workers: dict[str, tuple[contextlib.AsyncExitStack, WorkerProcess]] = {}
        self._sounds: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._acknowledged: set[str] = set()
        self._cancelled: set[str] = set()
        self._done = 0

    async def run(self) -> Outcome:
        started = time.monotonic()
        for number in range(WORKERS):
            await self._start(f"worker-{number}")
        for number, name in enumerate(VOICES):
            await self._answer(f"voice-{number}", self._clone(name, number))
        room = asyncio.Semaphore(JOBS_UNDER_WAY)
        killing = asyncio.create_task(self._kill_now_and_then())
        watching = asyncio.create_task(self._watch_memory())
        async with asyncio.TaskGroup() as group:
            for number in range(self._jobs):
                await room.acquire()
                group.create_task(self._one(number, room))
        await killing
        watching.cancel()
        await self._leave()
        self._judge()
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    async def _one(self, number: int, room: asyncio.Semaphore) -> None:
        try:
            job_id, job_input, expected = f"job-{number}", *self._draw(number)
            if self._random.random() < CANCELLED:
                await self._cancel_under_way(job_id, job_input)
            else:
                await self._answer(job_id, job_input, expected)
        finally:
            self._done += 1
            room.release()

    def _draw(self, number: int) -> tuple[Any, str]:
        """A job's input, and the outcome that it should have."""
        chance = self._random.random()
        for share, draw in (
            (WRONG, lambda: (self._random.choice(WRONG_INPUTS), "error")),
            (CLONED, lambda: (self._clone(f"voice {number}", 100 + number), "ok")),
            (LISTED, lambda: ({"operation": "list_voices", "limit": 5}, "ok")),
        ):
            if chance < share:
                return draw()
            chance -= share
        voice, text = self._random.choice(VOICES), self._random.choice(TEXTS)
        job = {"operation": "tts", "text": text, "voice_name": voice, "seed": 1, "format": "pcm"}
        return job | ({"delivery": "volume"} if chance < TO_VOLUME else {}), "ok"

    def _clone(self, name: str, seed: int) -> dict[str, Any]:
        fields = {"voice_name": name, "reference_audio": recording(seed), "preview": False}
        return {"operation": "clone_voice", **fields}

    async def _answer(self, job_id: str, job_input: Any, expected: str = "ok") -> None:
        self._server.submit(job_id, job_input)
        self._note(job_id, job_input, await self._server.result(job_id), expected)

    async def _cancel_under_way(self, job_id: str, job_input: Any) -> None:
        self._cancelled.add(job_id)
        self._server.submit(job_id, job_input)
        while job_id not in self._server.taken_by:
            await asyncio.sleep(0.01)
        await asyncio.sleep(self._random.uniform(0, 0.3))
        self._server.cancel(job_id)

    def _note(self, job_id: str, job_input: Any, result: dict[str, Any], expected: str) -> None:
        found = "error" if "error" in result else "ok"
        operation = job_input.get("operation", "none") if isinstance(job_input, dict) else "none"
        self.outcome.answered[f"{operation}: {found}"] += 1
        if found != expected:
            self.outcome.failed.append(f"{job_id}: {result.get('error', 'no error')}")
        elif operation == "tts" and found == "ok":
            output = result["output"]
            sound = (
                base64.b64decode(output["audio"])
                if "audio" in output
                else Path(output["audio_path"]).read_bytes()
            )
            self._sounds[job_input["voice_name"], job_input["text"]].add(hashlib.sha256(sound).hexdigest())
        elif operation == "clone_voice" and found == "ok":
            self._acknowledged.add(job_input["voice_name"])

    async def _start(self, name: str) -> None:
        folder = self._folder / f"{name}-{self.outcome.kills}"
        folder.mkdir()
        stack = contextlib.AsyncExitStack()
        settings = {
            "RUNPOD_POD_ID": name,
            "CHECKPOINT_DIR": str(self._checkpoint),
            "VOICE_STORE_DIR": str(self._folder / "voice_embeddings"),
            "DEVICE": "cpu",
        }
        program = folder / "worker.py"
        program.write_text(PROGRAM)
        running = WorkerProcess.running(self._server, program, folder, settings)
        self._workers[name] = stack, await stack.enter_async_context(running)

    async def _kill_now_and_then(self) -> None:
        for kill in range(self._kills):
            threshold = self._jobs * SHARE_WITH_KILLS * (kill + 1) / (self._kills + 1)
            while self._done < threshold:
                await asyncio.sleep(0.02)
            name = self._random.choice(list(self._workers))
            stack, worker = self._workers[name]
            os.killpg(worker.process.pid, signal.SIGKILL)
            await worker.process.wait()
            await stack.aclose()
            self.outcome.kills += 1
            self.outcome.handed_out_again += len(self._server.hand_out_again(name))
            await self._start(name)

    async def _watch_memory(self) -> None:
        while True:
            if self._done >= self._jobs * (SHARE_WITH_KILLS + 0.05):
                for name, (_, worker) in self._workers.items():
                    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
                    self.outcome.resident_mb[name].append(pages * resource.getpagesize() / 1e6)
            await asyncio.sleep(0.5)

    async def _leave(self) -> None:
        for name, (stack, worker) in self._workers.items():
            if (code := await worker.leave()) != 0:
                self.outcome.failed.append(f"{name} left with {code}")
            await stack.aclose()

    def _judge(self) -> None:
        outcome = self.outcome
        for job_id in (f"job-{number}" for number in range(self._jobs)):
            if self._server.has_result(job_id):
                outcome.cancelled_too_late += job_id in self._cancelled
            elif job_id in self._cancelled:
                outcome.cancelled_unanswered += 1
            else:
                outcome.lost.append(job_id)
        outcome.mixed = [
            f"{key}: {len(sounds)} sounds" for key, sounds in self._sounds.items() if len(sounds) > 1
        ]
        for text in TEXTS:
            of_text = [frozenset(sounds) for (_, spoken), sounds in self._sounds.items() if spoken == text]
            if len(set(of_text)) != len(of_text):
                outcome.mixed.append(f"{text}: two voices sound the same")
        store = VoiceStore(self._folder / "voice_embeddings")
        outcome.voices = len(self._acknowledged)
        known = {voice["speaker_name"] for voice in store.list()}
        outcome.voices_lost = sorted(self._acknowledged - known)
        for name in self._acknowledged & known:
            store.get(name=name)
        outcome.growth = {name: held[-1] / held[0] - 1 for name, held in outcome.resident_mb.items() if held}


async def soak(folder: Path, checkpoint: Path, jobs: int, kills: int) -> Outcome:
    async with JobServer.running() as server:
        return await Soak(server, folder, checkpoint, jobs, kills).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    with temporary_weights(None, "tiny") as checkpoint, tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(soak(Path(folder), checkpoint, options.jobs, options.kills))
    print(describe())
    figures = vars(outcome) | {"answered": dict(outcome.answered)}
    held_mb = figures.pop("resident_mb")
    for name, value in figures.items():
        print(f"{name:22} {value}")
    for name, held in held_mb.items():
        print(f"{name}: {held[0]:.0f} MB to {held[-1]:.0f} MB in {len(held) / 2:.0f} s")
    keep(options.json, "cpu", **figures)
    sys.exit(0 if outcome.is_good else 1)


if __name__ == "__main__":
    main()

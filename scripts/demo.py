"""The worker from end to end: clone a voice, speak with it, list it.

    make demo
    make demo MODEL=turbo
    make demo MODEL=chatterbox,turbo

This program starts ``handler.py`` under the RunPod SDK's own local API and sends it the jobs that a caller
would send. The worker takes the weights that CHECKPOINT_DIR names, those in a cache, or those of the hub;
where there are none, the small demonstration model in ``samples/small``, and says so. Of other models there
is no small one: without weights an untrained one is written and makes noise.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile

from speech.contract import NOTICES
from speech.models.sources import model_sources
from speech.models.spec import CHATTERBOX

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
VOICES = OUT / "voice_embeddings"
SAMPLE = ROOT / "samples" / "reference.flac"
REFERENCE = OUT / "reference.wav"
START_TIMEOUT_S = 7_200  # a download of 3.2 GB from the hub at half a megabyte a second included
JOB_TIMEOUT_S = 600

VOICE_NAME = "Demo Voice"
PARAGRAPH = (
    "A voice is cloned from a few seconds of speech, and from then on any worker can speak with it. "
    "Doctor Grant tried it on a winter afternoon, with a recording of twelve seconds; it worked the first "
    "time. What is stored is the recording itself, so a better model next year will speak with it too.\n\n"
    "Long texts are cut between sentences, and the pieces are joined again with the pauses that a reader "
    "would make. The same job with the same seed gives the same audio, whoever else is being served."
)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is done and how long it took."""
    print(f"{what} ...", end=" ", flush=True)
    started = time.perf_counter()
    try:
        yield
    finally:
        print(f"{time.perf_counter() - started:.1f} s", flush=True)


class NoWeights(Exception):
    """The hub did not give the weights."""


class Worker:
    """``handler.py`` behind the SDK's local API."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """settings: of the worker, beside those of the environment."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        environment = {**os.environ, "VOICE_STORE_DIR": str(VOICES), **settings}
        self._log = (OUT / "worker.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "handler.py", "--rp_serve_api", "--rp_api_port", str(self._port)],
            cwd=ROOT,
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> None:
        """Returns once the model is warm, when the port opens. Raises NoWeights, or ends the demo."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                log = (OUT / "worker.log").read_text()
                if "no weights of" in log:
                    raise NoWeights
                sys.exit(f"\nthe worker did not start:\n{log[-2000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.1)
        sys.exit(f"\nthe worker was not ready after {START_TIMEOUT_S} s; see {OUT / 'worker.log'}")

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job's output. Ends the demo with the error when it failed."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/runsync",
            data=json.dumps({"input": job}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=JOB_TIMEOUT_S) as response:  # noqa: S310
                result: dict[str, Any] = json.load(response)
        except (urllib.error.URLError, TimeoutError) as error:
            sys.exit(f"\nthe worker did not answer ({error}); see {OUT / 'worker.log'}")
        if result.get("status") != "COMPLETED":
            sys.exit(f"\nthe job failed: {result.get('error', result)}")
        output: dict[str, Any] = result["output"]
        return output

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def start_worker() -> Worker:
    """Returns a worker that is ready; without weights, one of untrained checkpoints."""
    worker = Worker({})
    try:
        with step("starting the worker, which looks for weights and downloads them where it has none"):
            worker.wait_until_ready()
    except NoWeights:
        worker.stop()
    else:
        return worker
    sources, _ = model_sources(os.environ)
    folders = {source.name: source.folder for source in sources if source.folder is not None}
    for source in sources:
        if source.name in folders or source.name == CHATTERBOX.name:  # of which there is the small one
            continue
        folder = folders[source.name] = OUT / f"untrained-{source.name}"
        with step(f"  there are none: writing an untrained {source.name}, whose audio is noise, to {folder}"):
            command = [sys.executable, "-m", "speech.smoke", str(folder), "--model", source.name]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    worker = Worker(
        {
            "MODEL": ",".join(source.name for source in sources),
            "MODEL_DIRS": ",".join(f"{name}={folder}" for name, folder in folders.items()),
            "CHECKPOINT_DIR": "",
            "MODEL_REVISION": "",
        }
    )
    with step("starting the worker with that"):
        worker.wait_until_ready()
    return worker


def write_reference() -> None:
    """Writes the sample as a WAV beside the speech, so that both can be compared by ear."""
    samples, rate_hz = soundfile.read(SAMPLE)
    soundfile.write(REFERENCE, samples, rate_hz)


def print_table(voices: list[dict[str, Any]]) -> None:
    columns = {"voice_id": "id", "speaker_name": "name", "duration": "seconds", "created_at": "created"}
    rows = [list(columns.values()), *([str(voice[key]) for key in columns] for voice in voices)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    started = time.perf_counter()
    shutil.rmtree(VOICES, ignore_errors=True)
    OUT.mkdir(exist_ok=True)
    write_reference()
    worker = start_worker()
    try:
        with step(f"cloning a voice from {SAMPLE.relative_to(ROOT)}"):
            cloned = worker.run(
                {
                    "operation": "clone_voice",
                    "voice_name": VOICE_NAME,
                    "voice_description": "the sample that ships with the worker",
                    "reference_audio": base64.b64encode(SAMPLE.read_bytes()).decode(),
                }
            )
        speech_s, loudness = cloned["quality"]["speech_s"], cloned["quality"]["loudness_lufs"]
        print(f"  voice {cloned['voice_id']}: {speech_s:.1f} s of speech, {loudness:.0f} LUFS")
        files = []
        for audio_format in ("wav", "mp3"):
            with step(f"speaking {len(PARAGRAPH)} characters in that voice, as {audio_format}"):
                spoken = worker.run(
                    {
                        "operation": "tts",
                        "text": PARAGRAPH,
                        "voice_name": VOICE_NAME,
                        "seed": 1,
                        "format": audio_format,
                    }
                )
            file = OUT / f"speech.{audio_format}"
            file.write_bytes(base64.b64decode(spoken["audio"]))
            files.append(file)
            metrics = spoken["metrics"]
            print(
                f"  {spoken['duration']:.1f} s of audio in {metrics['total_generation_time']:.1f} s "
                f"({len(spoken['segments'])} segments, real-time factor {metrics['rtf']:.2f})"
            )
        with step("listing the voices"):
            listed = worker.run({"operation": "list_voices"})
        print_table(listed["voices"])
    finally:
        worker.stop()

    print(f"\ndone in {time.perf_counter() - started:.1f} s; listen to")
    for file in (REFERENCE, *files):
        print(f"  {file}")
    print(f"the voice store is {VOICES}, the worker's log {OUT / 'worker.log'}")
    for warning in spoken["warnings"]:
        print(f"\nnote: {warning}")
    if NOTICES["demonstration"] in spoken["warnings"]:
        print(
            "For the real model, put the files of https://huggingface.co/ResembleAI/chatterbox into a\n"
            "folder and run `make demo CHECKPOINT_DIR=/path/to/folder`, or run it where the Hugging Face\n"
            "hub can be reached: it then downloads them (3.2 GB)."
        )


if __name__ == "__main__":
    main()

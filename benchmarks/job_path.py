"""How many files of the repository a warm tts job passes through, and how deep its stack gets.

    python -m benchmarks.job_path [--checkpoint DIR] [--list]

A job in a stored voice through ``handler.handler``, once to warm up and once counted with ``sys.setprofile``
in every thread. Files are those of the repository in which a function was called; frames are the repository's
on one thread's stack. Without --checkpoint a tiny untrained one is written first.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.weights import temporary_weights

REPOSITORY = str(Path(__file__).parent.parent) + os.sep
SAMPLE = Path("samples/reference.flac")
TEXT = "The harbour was quiet, and the boats lay still on the water."


class CallCounter:
    """Records the repository's files and the deepest stack of its frames, over all threads."""

    def __init__(self) -> None:
        self.is_counting = False
        self.files: set[str] = set()
        self.deepest: list[str] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """The function for ``sys.setprofile``."""
        if not self.is_counting or event != "call" or not is_ours(frame):
            return
        self.files.add(frame.f_code.co_filename.removeprefix(REPOSITORY))
        stack = []
        at: FrameType | None = frame
        while at is not None:
            if is_ours(at):
                stack.append(f"{at.f_code.co_filename.removeprefix(REPOSITORY)}:{at.f_code.co_qualname}")
            at = at.f_back
        if len(stack) > len(self.deepest):
            self.deepest = stack[::-1]


def is_ours(frame: FrameType) -> bool:
    """Whether a frame's code is the repository's, this file and installed packages excluded."""
    name = frame.f_code.co_filename
    return name.startswith(REPOSITORY) and name != __file__ and f"{os.sep}.venv{os.sep}" not in name


async def run_jobs(counter: CallCounter) -> dict[str, Any]:
    """Stores a voice, speaks in it once to warm up, and counts the second time."""
    from handler import handler

    recording = base64.b64encode(SAMPLE.read_bytes()).decode("ascii")
    clone: dict[str, Any] = {"operation": "clone_voice", "voice_name": "Stored", "preview": False}
    clone["reference_audio"] = recording
    speak = {"operation": "tts", "text": TEXT, "voice_name": "Stored", "seed": 1}
    for job in (clone, speak):
        reply = await handler({"id": "warm", "input": job})
        assert "error" not in reply, reply
    counter.is_counting = True
    try:
        return await handler({"id": "counted", "input": speak})
    finally:
        counter.is_counting = False


def main() -> None:
    """Prints the two figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job_path")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--list", action="store_true", help="the files and the deepest stack, too")
    options = parser.parse_args()
    counter = CallCounter()
    threading.setprofile(counter)  # for every thread that starts from here on
    sys.setprofile(counter)
    with temporary_weights(options.checkpoint, "tiny") as checkpoint, tempfile.TemporaryDirectory() as voices:
        os.environ |= {"CHECKPOINT_DIR": str(checkpoint), "VOICE_STORE_DIR": voices, "DEVICE": "cpu"}
        reply = asyncio.run(run_jobs(counter))
    assert "error" not in reply, reply
    print(f"{len(counter.files)} files, deepest stack {len(counter.deepest)} frames")
    if options.list:
        print(*sorted(counter.files), sep="\n")
        print(*counter.deepest, sep="\n  ")
    sys.stdout.flush()
    os._exit(0)  # threads of the worker run on


if __name__ == "__main__":
    main()

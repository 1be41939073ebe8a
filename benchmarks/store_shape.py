"""How large voice_store is, and how deep its calls go: lines, files, classes, calls of get, put and list.

    python -m benchmarks.store_shape [CHECKOUT ...]

Depth: functions of voice_store on the stack, in a worker that has just listed the 20 voices of its store, and
has none of them in memory. Each checkout is measured in a process of its own; without one, this one is.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

MEASURE = """
import sys, tempfile
from pathlib import Path
import numpy as np
from audio.waveform import Waveform
from voice_store import VoiceStore

package = str(Path("voice_store").resolve())

def depth_of(work):
    deepest = depth = 0
    def see(frame, event, argument):
        nonlocal deepest, depth
        if frame.f_code.co_filename.startswith(package) and frame.f_code.co_name[0] != "<":
            depth += (event == "call") - (event == "return")
            deepest = max(deepest, depth)
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return deepest

noise = np.random.default_rng(1)
def waveform():
    return Waveform(noise.uniform(-0.5, 0.5, 2_400).astype(np.float32), 24_000)

with tempfile.TemporaryDirectory() as folder:
    store = VoiceStore(Path(folder) / "voices")
    for number in range(20):
        store.put(waveform(), f"voice {number}")
    store = VoiceStore(Path(folder) / "voices")
    store.list()
    works = {
        "get": lambda: store.get(name="voice 7"),
        "put": lambda: store.put(waveform(), "new"),
        "list": lambda: store.list(),
    }
    for name, work in works.items():
        print(name, depth_of(work))
"""


def main() -> int:
    for checkout in map(Path, sys.argv[1:] or ["."]):
        files = sorted((checkout / "voice_store").rglob("*.py"))
        texts = [file.read_text() for file in files]
        classes = sum(isinstance(node, ast.ClassDef) for text in texts for node in ast.walk(ast.parse(text)))
        code = sum(_is_code(line) for text in texts for line in text.splitlines())
        lines = sum(text.count("\n") for text in texts)
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", MEASURE], cwd=checkout, capture_output=True, text=True, check=True
        )
        depths = ", ".join(done.stdout.split("\n")[:-1])
        print(
            f"{checkout.resolve().name}: {lines} lines, {code} of them neither blank nor comment, "
            f"{len(files)} files, {classes} classes; deepest call: {depths}"
        )
    return 0


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


if __name__ == "__main__":
    sys.exit(main())

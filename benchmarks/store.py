"""The voice store beside the plain ways: loading, saving, looking up, listing, rebuilding.

    python -m benchmarks.store [--folder DIR] [--voices 10000] [--json FILE]

Two recordings of 30 s: one that was resampled from 44.1 kHz, as nearly all that people send are, and one of
16 bits at 24 kHz. The plain ways: ``gzip.open`` and ``pickle``, with a catalog that is read and written as a
whole; and a WAV file at 44.1 kHz that is decoded, resampled and written to a temporary file for the model, as
servers do that keep recordings. All in one run, each in turn, medians.

The library of many voices holds voices of 30 s in files of their own: 10,000 take 29 GB while it runs.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe, keep, results_file
from voice_store import VoiceStore
from voice_store.voice_file import encode_voice

DURATION_S = 30
SAMPLE = Path("samples/reference.flac")
RUNS = 15
LOOK_UPS = 2_000
BESIDE_A_WRITER_S = 20.0
PAUSE_S = 0.005

# In a process of its own: what a worker that starts, or an older program, takes and holds.
FRESH = {
    "ours": "from voice_store import VoiceStore; voice = VoiceStore(root).get(name=name)",
    "plain": (
        "import gzip, json, pickle\n"
        "voice_id = json.loads((root / 'name_mapping.json').read_text())[name]\n"
        "catalog = json.loads((root / 'voice_catalog.json').read_text())\n"
        "file = gzip.open(root / catalog[voice_id]['embedding_file'])\n"
        "voice = pickle.load(file)"
    ),
}
CLONE = """
import sys, time
from pathlib import Path
import numpy as np
from audio.waveform import Waveform
from voice_store import VoiceStore
store, noise = VoiceStore(Path(sys.argv[1])), np.random.default_rng(1).uniform(-0.5, 0.5, 24_000)
while True:
    waveform = Waveform((noise + time.time() % 0.4).astype(np.float32), 24_000)
    started = time.perf_counter()
    store.put(waveform, f"new {time.time_ns()}")
    print(time.perf_counter() - started, flush=True)
"""
MEASURE_FRESH = """
import sys, time
from pathlib import Path
started = time.perf_counter()
root, name = Path(sys.argv[1]), sys.argv[2]
{work}
took_s = time.perf_counter() - started
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(took_s, int(peak_kb) / 1e3)
"""


def recordings() -> dict[str, NDArray[np.float32]]:
    samples, rate = soundfile.read(SAMPLE, dtype="float32")
    exact = np.resize(samples, DURATION_S * rate)
    at_44100 = soxr.resample(exact, rate, 44_100, quality="HQ")
    resampled = soxr.resample(at_44100, 44_100, MODEL_SAMPLE_RATE_HZ, quality="HQ")
    return {
        "resampled": np.ascontiguousarray(resampled[: len(exact)], dtype=np.float32),
        "16 bit": exact.astype(np.float32),
    }


def median_ms(work: Callable[[], object], runs: int = RUNS) -> float:
    work()
    times_s = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times_s)


def plain_save(root: Path, voice_id: str, name: str, samples: NDArray[np.float32]) -> None:
    """As the programs do that this format comes from: no sync, no thought for others."""
    content = {"audio": samples, "sample_rate": MODEL_SAMPLE_RATE_HZ, "voice_name": name}
    with gzip.open(root / "embeddings" / f"{voice_id}.pkl.gz", "wb") as file:
        pickle.dump(content, file)
    entry = {"voice_id": voice_id, "speaker_name": name, "duration": DURATION_S}
    entry["embedding_file"] = f"embeddings/{voice_id}.pkl.gz"
    members: dict[str, dict[str, Any]] = {
        "voice_catalog.json": {voice_id: entry},
        "name_mapping.json": {name: voice_id},
    }
    for index, member in members.items():
        path = root / index
        there: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(there | member, indent=2))


def plain_load(root: Path, voice_id: str) -> Any:
    with gzip.open(root / "embeddings" / f"{voice_id}.pkl.gz") as file:
        return pickle.load(file)["audio"]  # noqa: S301


def wav_load(path: Path) -> str:
    """The way to a file that a model takes."""
    samples, rate = soundfile.read(path, dtype="float32")
    resampled = soxr.resample(samples, rate, MODEL_SAMPLE_RATE_HZ, quality="HQ")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file, resampled, MODEL_SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
        return file.name


def one_voice(folder: Path, samples: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """What a voice costs, by way. folder: an empty one."""
    root, plain, wav = folder / "ours", folder / "plain", folder / "voice.wav"
    (plain / "embeddings").mkdir(parents=True)
    soundfile.write(wav, soxr.resample(samples, MODEL_SAMPLE_RATE_HZ, 44_100), 44_100, subtype="PCM_16")
    waveform = Waveform(samples, MODEL_SAMPLE_RATE_HZ)
    warm = VoiceStore(root)
    voice = warm.put(waveform, "Amy").voice
    plain_save(plain, "aaaaaaaa", "Amy", samples)
    numbers = iter(range(1_000))

    def save() -> None:
        VoiceStore(root).put(waveform, f"voice {next(numbers)}")

    def save_plainly() -> None:
        number = next(numbers)
        plain_save(plain, f"{number:08x}", f"voice {number}", samples)

    loads: dict[str, Callable[[], object]] = {
        "ours, first time, digest included": lambda: VoiceStore(root).get(voice_id=voice.voice_id),
        "ours, known voice": lambda: warm.get(name="Amy"),
        "plain gzip and pickle": lambda: plain_load(plain, "aaaaaaaa"),
        "our file by plain code": lambda: plain_load(root, voice.voice_id),
        "WAV, resample, temporary file": lambda: wav_load(wav),
    }
    for way, load in loads.items():
        yield f"load, {way}, ms", median_ms(load)
    yield "save, ours, on the disk when it returns, ms", median_ms(save)
    yield "save, plain, not synced, ms", median_ms(save_plainly, runs=5)
    sizes = {
        "ours": root / voice.metadata["embedding_file"],
        "plain": plain / "embeddings" / "aaaaaaaa.pkl.gz",
        "WAV at 44.1 kHz, 16 bit": wav,
    }
    for way, path in sizes.items():
        yield f"size, {way}, kB", path.stat().st_size / 1e3


def make_library(root: Path, count: int) -> None:
    samples = recordings()["resampled"]
    (root / "embeddings").mkdir(parents=True)
    if shutil.disk_usage(root).free < 1.2 * count * samples.nbytes:
        raise SystemExit("the disk has no room for so many: ask for fewer with --voices")
    for number in range(count):
        path = root / "embeddings" / f"{number:08x}.pkl.gz"
        path.write_bytes(
            encode_voice(
                Waveform(samples, MODEL_SAMPLE_RATE_HZ), f"Voice {number}", "2026-01-01T00:00:00", {}
            )
        )


def many_voices(root: Path, count: int) -> Iterator[tuple[str, float]]:
    started = time.perf_counter()
    assert VoiceStore(root).stats()["total_voices"] == count
    yield "rebuild of all indexes, s", time.perf_counter() - started

    store = VoiceStore(root)
    store.list()
    random = np.random.default_rng(0)
    names = [f"VOICE {number}" for number in random.integers(0, count, LOOK_UPS)]
    yield from _percentiles("look-up by name, warm, ms", lambda name: store.metadata(name=name), names)

    yield from _beside_a_writer(store, root, names)
    yield "list of all voices, warm, ms", median_ms(store.list)
    for way, work in FRESH.items():
        yield from _fresh(way, work, root)


def _beside_a_writer(store: VoiceStore, root: Path, names: list[str]) -> Iterator[tuple[str, float]]:
    """A job's look-up every few milliseconds, while another process clones without a pause."""
    writer = subprocess.Popen([sys.executable, "-c", CLONE, root], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert writer.stdout is not None
    writer.stdout.readline()  # it has begun
    until_s = time.monotonic() + BESIDE_A_WRITER_S

    def look_up(name: str) -> None:
        store.metadata(name=name)

    def waiting() -> Iterator[str]:
        for name in itertools.cycle(names):
            if time.monotonic() > until_s:
                return
            time.sleep(PAUSE_S)
            yield name

    yield from _percentiles("look-up while another worker clones, ms", look_up, waiting())
    writer.terminate()
    saves_s = [float(line) for line in writer.stdout]
    yield "clone among so many, 1 s of audio, ms, median", 1e3 * statistics.median(saves_s)
    yield "clones meanwhile", len(saves_s)


def _percentiles(
    what: str, work: Callable[[str], object], arguments: Iterable[str]
) -> Iterator[tuple[str, float]]:
    times_s = []
    for argument in arguments:
        started = time.perf_counter()
        work(argument)
        times_s.append(time.perf_counter() - started)
    for percentile in (50, 99, 100):
        yield f"{what}, p{percentile}", 1e3 * float(np.percentile(times_s, percentile))


def _fresh(way: str, work: str, root: Path) -> Iterator[tuple[str, float]]:
    program = MEASURE_FRESH.format(work=work)
    runs = []
    for _ in range(5):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program, root, "Voice 77"], capture_output=True, text=True, check=True
        )
        runs.append([float(number) for number in done.stdout.split()])
    yield f"fresh process to a voice, imports included, {way}, s", statistics.median(run[0] for run in runs)
    yield f"memory of that process, {way}, MB", statistics.median(run[1] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument(
        "--folder", type=Path, help="on the volume to measure (default: the system's temporary one)"
    )
    parser.add_argument("--voices", type=int, default=10_000)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    results: dict[str, float] = {}
    print(describe())

    def note(what: str, value: float) -> None:
        results[what] = value
        print(f"{what:75} {value:10.2f}", flush=True)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind, samples in recordings().items():
            for what, value in one_voice(Path(folder) / kind, samples):
                note(f"{kind}: {what}", value)
        make_library(Path(folder) / "library", options.voices)
        for what, value in many_voices(Path(folder) / "library", options.voices):
            note(f"{options.voices} voices: {what}", value)
    keep(options.json, "cpu", results=results)


if __name__ == "__main__":
    main()

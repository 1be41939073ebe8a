"""The voice store beside the plain ways, and beside another version of itself.

    python -m benchmarks.store [--beside CHECKOUT] [--folder DIR] [--voices 10000] [--only PART,...]
                               [--json FILE]

One voice: two recordings of 30 s, one that was resampled from 44.1 kHz, as nearly all that people send are,
and one of 16 bits at 24 kHz. The plain ways: ``gzip.open`` and ``pickle``, with a catalog that is read and
written as a whole; and a WAV file at 44.1 kHz that is decoded, resampled and written to a temporary file for
the model, as servers do that keep recordings.

Many voices: the length of their audio does not matter to what is measured, so all but one are half a second
long, and 10,000 take half a gigabyte. The other one has 30 s.

With ``--beside`` another checkout of this repository, with the same packages, is the "before" side. Each
figure comes from processes of their own, five for each side, which take turns; medians, and the largest of
all where a row says max. The clones that a part makes stay in the library, equally many on each side.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from benchmarks.machine import commit, describe, keep, results_file

DURATION_S = 30
SAMPLE = Path("samples/reference.flac")
RUNS = 15
ROUNDS = 5  # processes for each figure and side
BESIDE_A_WRITER_S = 8.0
IN_THREADS_S = 6.0
LONG_VOICE = "Long voice"
REPOSITORY = Path(__file__).parent.parent
MEASURE = Path(__file__).with_name("store_side.py")

Figures = dict[str, float]

PLAIN_FRESH = """
import time
started_s = time.perf_counter()
import gzip, json, pickle, sys
from pathlib import Path
root, name = Path(sys.argv[1]), sys.argv[2]
voice_id = json.loads((root / "name_mapping.json").read_text())[name]
catalog = json.loads((root / "voice_catalog.json").read_text())
with gzip.open(root / catalog[voice_id]["embedding_file"]) as file:
    voice = pickle.load(file)
took_s = time.perf_counter() - started_s
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"fresh process to a voice, s": took_s, "peak memory, MB": int(peak_kb) / 1e3}))
"""


@dataclass(frozen=True)
class Side:
    """A version of the store. folder: where its voices lie."""

    name: str
    checkout: Path
    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "library"

    def measure(self, part: str, *arguments: object) -> Figures:
        """What a process of its own prints; see ``benchmarks.store_side``."""
        process = self.start(part, *arguments)
        return self.result_of(process, part)

    def start(self, part: str, *arguments: object) -> subprocess.Popen[str]:
        # -P: else the benchmarks' folder would come first on the path, and with it the wrong modules.
        command = [sys.executable, "-P", str(MEASURE), part, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(self.checkout)}
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def result_of(self, process: subprocess.Popen[str], part: str) -> Figures:
        output, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f'"{part}" failed in {self.checkout}')
        figures: Figures = json.loads(output.splitlines()[-1])
        return figures


@dataclass(frozen=True)
class Bench:
    """folder: for what is no side's own. count: of voices in the large library."""

    sides: tuple[Side, ...]
    folder: Path
    count: int


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


def plain_load(path: Path) -> Any:
    with gzip.open(path) as file:
        return pickle.load(file)["audio"]  # noqa: S301


def wav_load(path: Path) -> str:
    """The way to a file that a model takes."""
    samples, rate = soundfile.read(path, dtype="float32")
    resampled = soxr.resample(samples, rate, MODEL_SAMPLE_RATE_HZ, quality="HQ")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file, resampled, MODEL_SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
        return file.name


def one_voice(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """What a voice costs, by way and by side."""
    for kind, samples in recordings().items():
        file = bench.folder / f"{kind}.npy"
        np.save(file, samples)

        def measure(side: Side, number: int, kind: str = kind, file: Path = file) -> Figures:
            return side.measure("one-voice", side.folder / f"{kind} {number}", file)

        yield from rows(f"{kind}: ", bench.sides, measure)
        for side in bench.sides:
            stored = next((side.folder / f"{kind} 0" / "embeddings").iterdir())
            yield (
                f"{kind}: load, file of {side.name} by plain code, ms",
                {
                    side.name: median_ms(lambda stored=stored: plain_load(stored))  # type: ignore[misc]
                },
            )
        for what, value in plain_ways(bench.folder / kind, samples):
            yield f"{kind}: {what}", {"plain": value}


def plain_ways(folder: Path, samples: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """What the same voice costs without the store. folder: a new one."""
    wav, embeddings = folder / "voice.wav", folder / "embeddings"
    embeddings.mkdir(parents=True)
    soundfile.write(wav, soxr.resample(samples, MODEL_SAMPLE_RATE_HZ, 44_100), 44_100, subtype="PCM_16")
    plain_save(folder, "aaaaaaaa", "Amy", samples)
    numbers = iter(range(1_000))

    def save() -> None:
        number = next(numbers)
        plain_save(folder, f"{number:08x}", f"voice {number}", samples)

    yield "load, gzip and pickle, ms", median_ms(lambda: plain_load(embeddings / "aaaaaaaa.pkl.gz"))
    yield "load, WAV, resample, temporary file, ms", median_ms(lambda: wav_load(wav))
    yield "save, gzip, pickle and indexes, not synced, ms", median_ms(save, runs=5)
    yield "size, gzip and pickle, kB", (embeddings / "aaaaaaaa.pkl.gz").stat().st_size / 1e3
    yield "size, WAV at 44.1 kHz, 16 bit, kB", wav.stat().st_size / 1e3


def start(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """What a worker that starts, or an older program, takes and holds."""

    def rebuild(side: Side, _: int) -> Figures:
        for index in side.library.glob("*.json"):
            index.unlink()
        shutil.rmtree(side.library / "metadata", ignore_errors=True)
        return side.measure("first-list", side.library, bench.count)

    yield from rows("all indexes rebuilt: ", bench.sides, rebuild)
    yield from rows(
        "indexes there: ", bench.sides, lambda side, _: side.measure("first-list", side.library, bench.count)
    )
    command = [sys.executable, "-c", PLAIN_FRESH, str(bench.sides[0].library), LONG_VOICE]

    def plain(_: Side, __: int) -> Figures:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        figures: Figures = json.loads(done.stdout)
        return figures

    what = "one voice: "
    by_plain_code = {row: values[bench.sides[0].name] for row, values in rows(what, bench.sides[:1], plain)}
    for row, values in rows(what, bench.sides, lambda side, _: side.measure("first-voice", side.library)):
        yield row, values | {"plain": by_plain_code[row]}


def warm(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """What a worker takes that has been at it for a while."""
    yield from rows("warm: ", bench.sides, lambda side, _: side.measure("warm", side.library, bench.count))


def write(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """What a clone of 1 s takes among many voices."""
    yield from rows("clone of 1 s: ", bench.sides, lambda side, _: side.measure("write", side.library))


def beside(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """Look-ups of a process while another one clones without a pause."""

    def measure(side: Side, _: int) -> Figures:
        writer = side.start("clone", side.library)
        assert writer.stdout is not None
        writer.stdout.readline()  # it has begun
        figures = side.measure("look-ups", side.library, BESIDE_A_WRITER_S)
        return figures | side.result_of(writer, "clone")

    yield from rows("another process clones: ", bench.sides, measure)


def threads(bench: Bench) -> Iterator[tuple[str, dict[str, float]]]:
    """Look-ups of two threads while another one of the same process is at something else."""
    for part, what in (
        ("missing-name", "another thread waits for a missing name: "),
        ("putting", "another thread clones: "),
    ):

        def measure(side: Side, _: int, part: str = part) -> Figures:
            return side.measure(part, side.library, IN_THREADS_S)

        yield from rows(what, bench.sides, measure)


def rows(
    what: str, sides: tuple[Side, ...], measure: Callable[[Side, int], Figures]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Each figure by side: the sides take turns, and every other round the last one begins."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS):
        for side in sides[:: -1 if number % 2 else 1]:
            for name, value in measure(side, number).items():
                figures[name][side.name].append(value)
    for name, by_side in figures.items():
        middle: Callable[[list[float]], float] = max if name.endswith("max") else statistics.median
        yield what + name, {side: middle(values) for side, values in by_side.items()}


ONE_VOICE, MANY_VOICES = (
    {"one": one_voice},
    {
        "start": start,
        "warm": warm,
        "write": write,
        "beside": beside,
        "threads": threads,
    },
)
PARTS = ONE_VOICE | MANY_VOICES


def check_room(folder: Path, count: int, sides: int) -> None:
    needed_bytes = sides * (count * 60_000 + 1_000_000_000)
    if shutil.disk_usage(folder).free < needed_bytes:
        raise SystemExit(f"{needed_bytes / 1e9:.1f} GB are needed: ask for fewer with --voices, or --folder")


def _parts(value: str) -> list[str]:
    parts = value.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part is named {', '.join(sorted(unknown))}")
    return parts


def _checkout(value: str) -> Path:
    if not (Path(value) / "voice_store" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"there is no voice_store in {value}")
    return Path(value).resolve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument("--beside", type=_checkout, help="another checkout: the version before this one")
    parser.add_argument(
        "--folder", type=Path, help="on the volume to measure (default: the system's temporary one)"
    )
    parser.add_argument("--voices", type=int, default=10_000)
    parser.add_argument(
        "--only", type=_parts, default=list(PARTS), help=f"all without it: {', '.join(PARTS)}"
    )
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print(describe())
    if options.beside:
        print(f"before: commit {commit(options.beside)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        checkouts = {"before": options.beside} if options.beside else {}
        checkouts["now"] = REPOSITORY
        sides = tuple(Side(name, checkout, folder / name) for name, checkout in checkouts.items())
        bench = Bench(sides, folder, options.voices)
        check_room(folder, options.voices, len(sides))
        columns = [*checkouts, "plain"]
        print(f"{'':78}" + "".join(f"{column:>12}" for column in columns))
        for side in sides:
            side.folder.mkdir()
        if set(options.only) & set(MANY_VOICES):
            np.save(folder / "long.npy", recordings()["resampled"])
            for side in sides:
                side.measure("make", side.library, options.voices, folder / "long.npy")
        for part in options.only:
            for what, values in PARTS[part](bench):
                label = f"{options.voices} voices: {what}" if part in MANY_VOICES else what
                results[label] = results.get(label, {}) | values
                shown = (f"{values[column]:12.2f}" if column in values else " " * 12 for column in columns)
                print(f"{label:78}" + "".join(shown), flush=True)
    keep(options.json, "cpu", results=results)


if __name__ == "__main__":
    main()

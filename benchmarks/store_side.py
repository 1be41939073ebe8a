"""One measurement of one checkout's voice store, in a process of its own, which ``benchmarks.store`` starts.

    PYTHONPATH=CHECKOUT python -P benchmarks/store_side.py PART FOLDER [ARGUMENT...]

Prints JSON: figures by name. It uses nothing but ``VoiceStore`` and ``Waveform`` of the checkout, so that
checkouts of different designs are measured by the same code.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

started_s = time.perf_counter()

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from audio.waveform import Waveform  # noqa: E402
from errors import VoiceNotFound  # noqa: E402
from voice_store import VoiceStore  # noqa: E402
from voice_store.live import Timing  # noqa: E402

Figures = dict[str, float]

RATE_HZ = 24_000
RUNS = 15
SAVES = 10
LOOK_UPS = 2_000
KNOWN = 20  # voices that are looked up again and again
PAUSE_S = 0.004
LISTENERS = 2
TOGETHER = 100  # voices that are made in one small store
LONG_VOICE = "Long voice"


def main() -> None:
    part, folder, *arguments = sys.argv[1:]
    print(json.dumps(PARTS[part](Path(folder), *arguments)))


def one_voice(folder: Path, file: str) -> Figures:
    """What a voice costs in a small store. file: its samples, as numpy keeps them."""
    waveform = Waveform(np.load(file), RATE_HZ)
    store = VoiceStore(folder)
    voice = store.put(waveform, "Amy").voice
    numbers = iter(range(1_000))

    def save() -> None:
        VoiceStore(folder).put(waveform, f"voice {next(numbers)}")

    return {
        "load, first time, digest included, ms": _median_ms(
            lambda: VoiceStore(folder).get(voice_id=voice.voice_id)
        ),
        "load, known voice, ms": _median_ms(lambda: store.get(name="Amy")),
        "save, on the disk when it returns, ms": _median_ms(save),
        "size, kB": (folder / voice.metadata["embedding_file"]).stat().st_size / 1e3,
    }


def make(folder: Path, count: str, file: str) -> Figures:
    """Voices without anything but a name, and the long one. file: the samples of the long one.

    They are made in stores of TOGETHER voices without waiting for the disk, and moved, because nothing is
    measured here.
    """
    os.fsync = lambda fd: None
    samples = np.load(file)
    short = samples[: RATE_HZ // 2]
    (folder / "embeddings").mkdir(parents=True)
    for first in range(0, int(count), TOGETHER):
        small = folder.with_name(f"{folder.name} {first}")
        store = VoiceStore(small)
        for number in range(first, min(first + TOGETHER, int(count))):
            is_long = number == int(count) - 1
            store.put(
                Waveform(samples if is_long else np.roll(short, number), RATE_HZ),
                LONG_VOICE if is_long else f"Voice {number}",
                voice_id=f"{number:08x}",
                created_at="2026-01-01T00:00:00",
            )
        for path in (small / "embeddings").iterdir():
            path.rename(folder / "embeddings" / path.name)
        shutil.rmtree(small, ignore_errors=True)  # its store may still be writing indexes
    return {}


def first_list(folder: Path, count: str) -> Figures:
    """The first list of a worker that starts; where the indexes are not there, that rebuilds them."""
    before_s = time.perf_counter()
    voices = VoiceStore(folder).list()
    took_s = time.perf_counter() - before_s
    if len(voices) < int(count):
        raise SystemExit(f"{count} voices were made, and {len(voices)} are listed")
    return {"first list, s": took_s, "peak memory, MB": _peak_mb()}


def first_voice(folder: Path) -> Figures:
    """A worker that starts and gives one voice, imports included."""
    VoiceStore(folder).get(name=LONG_VOICE)
    return {"fresh process to a voice, s": time.perf_counter() - started_s, "peak memory, MB": _peak_mb()}


def warm(folder: Path, count: str) -> Figures:
    """A worker that has been at it for a while."""
    store = VoiceStore(folder)
    store.list()
    numbers = np.random.default_rng(0).integers(0, int(count) - 1, LOOK_UPS)
    names = [f"VOICE {number}" for number in numbers]
    return {
        **_percentiles(
            "look-up by name", (_ms(functools.partial(store.metadata, name=name)) for name in names)
        ),
        "list of all voices, ms": _median_ms(store.list),
    }


def write(folder: Path) -> Figures:
    """A worker that clones: its first voice, and each of the next ones."""
    store = VoiceStore(folder)
    first, *others = [_ms(lambda: _put_new(store)) for _ in range(1 + SAVES)]
    return {
        "save, first of a process, ms": first,
        "save, each after it, ms": statistics.median(others),
        "peak memory, MB": _peak_mb(),
    }


def clone_until_ended(folder: Path) -> Figures:
    """Clones without a pause until its input ends; a line for each."""
    store = VoiceStore(folder)
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    times_ms = []
    while not ended.is_set():
        times_ms.append(_ms(lambda: _put_new(store)))
        print("cloned", flush=True)
    return {"clone, ms": statistics.median(times_ms), "clones": len(times_ms)}


def look_ups(folder: Path, seconds: str) -> Figures:
    """A job's look-up of a known voice every few milliseconds."""
    store = _open_as_worker(folder)
    _get_known(store)
    return _percentiles("look-up", _paced(store, time.monotonic() + float(seconds)))


def missing_name(folder: Path, seconds: str) -> Figures:
    """Look-ups in threads of a process of which one waits for a name that there is not."""

    def wait(store: VoiceStore) -> None:
        with suppress(VoiceNotFound):
            store.get(name="nobody has this name")

    return _beside_thread(folder, float(seconds), wait)


def putting(folder: Path, seconds: str) -> Figures:
    """Look-ups in threads of a process of which one clones without a pause."""
    return _beside_thread(folder, float(seconds), lambda store: _put_new(store))


def _open_as_worker(folder: Path) -> VoiceStore:
    """A store as handler.py opens it; the version before knows no threads of its own."""
    has_threads = any(field.name == "in_background" for field in dataclasses.fields(Timing))
    options: dict[str, Any] = {"in_background": True} if has_threads else {}
    return VoiceStore(folder, Timing(**options))


def _beside_thread(folder: Path, seconds: float, work: Callable[[VoiceStore], object]) -> Figures:
    store = _open_as_worker(folder)
    _get_known(store)
    until_s = time.monotonic() + seconds
    times_ms: list[list[float]] = [[] for _ in range(LISTENERS)]
    turns = []

    def keep_on() -> None:
        while time.monotonic() < until_s:
            work(store)
            turns.append(1)

    threads = [threading.Thread(target=keep_on)]
    threads += [
        threading.Thread(target=lambda kept: kept.extend(_paced(store, until_s)), args=(kept,))
        for kept in times_ms
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = _percentiles("look-up", (time_ms for kept in times_ms for time_ms in kept))
    return found | {"turns of that thread": len(turns)}


def _paced(store: VoiceStore, until_s: float) -> Iterator[float]:
    """Times in ms of look-ups with a pause before each."""
    for name in itertools.cycle(f"Voice {number}" for number in range(KNOWN)):
        if time.monotonic() >= until_s:
            return
        time.sleep(PAUSE_S)
        yield _ms(functools.partial(store.get, name=name))


def _get_known(store: VoiceStore) -> None:
    for number in range(KNOWN):
        store.get(name=f"Voice {number}")


def _put_new(store: VoiceStore) -> None:
    """A voice of 1 s that there is not yet."""
    noise: NDArray[np.float64] = np.random.default_rng(time.time_ns()).uniform(-0.5, 0.5, RATE_HZ)
    store.put(Waveform(noise.astype(np.float32), RATE_HZ), f"new {os.getpid()} {time.time_ns()}")


def _percentiles(what: str, times_ms: Iterator[float]) -> Figures:
    kept = list(times_ms)
    found = {f"{what}, ms, p{number}": float(np.percentile(kept, number)) for number in (50, 99)}
    return found | {f"{what}, ms, max": max(kept)}


def _median_ms(work: Callable[[], object]) -> float:
    work()
    return statistics.median(_ms(work) for _ in range(RUNS))


def _ms(work: Callable[[], object]) -> float:
    before_s = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - before_s)


def _peak_mb() -> float:
    """Of the process, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1e3


PARTS: dict[str, Callable[..., Figures]] = {
    "one-voice": one_voice,
    "make": make,
    "first-list": first_list,
    "first-voice": first_voice,
    "warm": warm,
    "write": write,
    "clone": clone_until_ended,
    "look-ups": look_ups,
    "missing-name": missing_name,
    "putting": putting,
}

if __name__ == "__main__":
    main()

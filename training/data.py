"""Speech to train on: flite speaks the texts, in its voices and in others that are made out of them.

A voice is changed in pitch and timbre by playing it slower or faster, after it was spoken faster or slower,
so that the pace stays. FOLDER/sentences.jsonl has a line for each sentence: its number, text, speaker,
duration and phones with the times at which they end; FOLDER/NUMBER.flac is the sentence, 16 kHz, mono.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from benchmarks.flite import VOICES, check_voices
from benchmarks.flite import run as flite

RATE_HZ = 16_000
SHIFTS = (
    1.0,
    0.84,
    0.9,
    0.95,
    1.06,
    1.12,
    1.2,
)  # of pitch and formants; the first are the voices as they are
UNCHANGED = 0.4  # the share of sentences in the voices as they are
PACES = (0.9, 1.15)  # of durations
INDEX = "sentences.jsonl"


@dataclass(frozen=True)
class Sentence:
    """A spoken sentence of the training data."""

    number: int
    text: str
    speaker: str  # a voice and its shift, "slt*0.90"
    duration_s: float
    phones: list[tuple[str, float]]  # the name, and when it ends in seconds


def make_speech(texts: Sequence[str], folder: Path, seed: int = 0, workers: int = 2) -> None:
    """Speaks all texts into a folder; what is there already stays. Raises FliteFailed."""
    check_voices(VOICES)
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    if index.exists():  # without a last line that was cut off
        content = index.read_text()
        index.write_text(content[: content.rfind("\n") + 1])
    done = {sentence.number for sentence in read_index(folder)}
    jobs = [(number, text, *_manner(seed, number)) for number, text in enumerate(texts) if number not in done]
    with ThreadPoolExecutor(workers) as pool, index.open("a") as file:
        for sentence in tqdm(
            pool.map(lambda job: _speak(folder, *job), jobs), total=len(jobs), desc="speech", disable=None
        ):
            file.write(json.dumps(asdict(sentence)) + "\n")
            file.flush()


def read_index(folder: Path) -> Iterator[Sentence]:
    """Gives the sentences of a folder, none if it has no index; a last line that was cut off is left out."""
    index = folder / INDEX
    if not index.exists():
        return
    content = index.read_text()
    for line in content[: content.rfind("\n") + 1].splitlines():
        fields = json.loads(line)
        phones = [(name, end_s) for name, end_s in fields.pop("phones")]
        yield Sentence(**fields, phones=phones)


def _manner(seed: int, number: int) -> tuple[str, float, float]:
    """Draws the voice, the shift and the pace of a sentence."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311
    shift = 1.0 if rng.random() < UNCHANGED else rng.choice(SHIFTS[1:])
    return rng.choice(VOICES), shift, rng.uniform(*PACES)


def _speak(folder: Path, number: int, text: str, voice: str, shift: float, pace: float) -> Sentence:
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "speech.wav"
        stretch = pace * shift  # playing it faster by ``shift`` makes up for its part
        manner = ["-voice", voice, "--setf", f"duration_stretch={stretch:.4f}"]
        said = flite([*manner, "-psdur", "-t", text, "-o", str(raw)])
        samples, rate_hz = soundfile.read(raw, dtype="float32")
    played = soxr.resample(samples, rate_hz * shift, RATE_HZ, quality="HQ") if shift != 1 else samples
    peak = float(np.abs(played).max(initial=1e-6))
    soundfile.write(folder / f"{number}.flac", played * min(1.0, 0.95 / peak), RATE_HZ, subtype="PCM_16")
    phones = []
    for phone in said.split():
        name, _, end_s = phone.rpartition(":")
        phones.append((name, round(float(end_s) / shift, 4)))
    return Sentence(number, text, f"{voice}*{shift:.2f}", round(len(played) / RATE_HZ, 4), phones)

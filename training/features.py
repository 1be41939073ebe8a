"""What the networks are trained on, computed once for each sentence and held in memory.

FOLDER/FIRST-COUNT.npz holds some sentences, in the order of ``sentences.jsonl``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from speech.reference.spectra import s3gen_mel, tokenizer_mel
from training.data import RATE_HZ, Sentence, read_index

FRAME_S = 0.02  # of the mel that S3Gen makes
SENTENCES_PER_FILE = 250
PITCHES_HZ = (55, 420)
PHONES = (
    *("pau", "aa", "ae", "ah", "ao", "aw", "ax", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g"),
    *("hh", "ih", "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh"),
    *("uw", "v", "w", "y", "z", "zh"),
)
UNVOICED = frozenset({"pau", "ch", "f", "hh", "k", "p", "s", "sh", "t", "th"})


@dataclass(frozen=True, eq=False)
class Features:
    """A sentence as arrays. T is its number of frames of 20 ms."""

    mel: NDArray[np.float16]  # [T, 80], S3Gen's
    tokenizer_mel: NDArray[np.float16]  # [2T or so, 128], the speech tokenizer's, of 10 ms frames
    pitch_hz: NDArray[np.float16]  # [T], 0 where there is no voice
    phones: NDArray[np.uint8]  # [T], indexes into PHONES
    phones_done: NDArray[np.float16]  # [T], the share of the sentence's phones that have been spoken


def read_samples(folder: Path, number: int) -> NDArray[np.float32]:
    """Reads a sentence, 16 kHz."""
    samples: NDArray[np.float32] = soundfile.read(folder / f"{number}.flac", dtype="float32")[0]
    return samples


def make_features(speech: Path, folder: Path, workers: int = 2) -> None:
    """Computes the features of all sentences of a folder; files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    sentences = list(read_index(speech))
    groups = [(speech, group, folder / file) for file, group in _groups(sentences)]
    missing = [group for group in groups if not group[2].exists()]
    with ProcessPoolExecutor(workers) as pool:
        for _ in tqdm(pool.map(_write_group, missing), total=len(missing), desc="features", disable=None):
            pass


def read_features(speech: Path, folder: Path) -> list[tuple[Sentence, Features]]:
    """Reads the features of all sentences."""
    found: list[tuple[Sentence, Features]] = []
    sentences = list(read_index(speech))
    for file, group in _groups(sentences):
        with np.load(folder / file) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        frame, wide = 0, 0
        for index, sentence in enumerate(group):
            frames, wide_frames = columns["frames"][index], columns["wide_frames"][index]
            here, there = slice(frame, frame + frames), slice(wide, wide + wide_frames)
            found.append(
                (
                    sentence,
                    Features(
                        mel=columns["mel"][here],
                        tokenizer_mel=columns["tokenizer_mel"][there],
                        pitch_hz=columns["pitch_hz"][here],
                        phones=columns["phones"][here],
                        phones_done=columns["phones_done"][here],
                    ),
                )
            )
            frame, wide = frame + frames, wide + wide_frames
    return found


def _groups(sentences: list[Sentence]) -> Iterator[tuple[str, list[Sentence]]]:
    for first in range(0, len(sentences), SENTENCES_PER_FILE):
        group = sentences[first : first + SENTENCES_PER_FILE]
        yield f"{first:06}-{len(group)}.npz", group


def _write_group(group: tuple[Path, list[Sentence], Path]) -> None:
    speech, sentences, file = group
    torch.set_num_threads(1)
    all_features = []
    for sentence in sentences:
        samples = read_samples(speech, sentence.number)
        at_24k = resample(Waveform(samples, RATE_HZ), MODEL_SAMPLE_RATE_HZ).samples
        mel = s3gen_mel(torch.from_numpy(at_24k)[None].clamp(-1, 1))[0].T.numpy()
        frames = len(mel)
        phones, phones_done = _phones_of(sentence, frames)
        all_features.append(
            Features(
                mel=mel.astype(np.float16),
                tokenizer_mel=tokenizer_mel(torch.from_numpy(samples)).T.numpy().astype(np.float16),
                pitch_hz=_pitch_of(samples, phones),
                phones=phones,
                phones_done=phones_done,
            )
        )
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(features, name) for features in all_features])
        for name in Features.__dataclass_fields__
    }
    arrays["frames"] = [len(features.mel) for features in all_features]
    arrays["wide_frames"] = [len(features.tokenizer_mel) for features in all_features]
    save_arrays(file, **arrays)


def save_arrays(file: Path, **arrays: Any) -> None:
    """Writes an NPZ file, whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("wb") as stream:
        np.savez(stream, **arrays)
    unfinished.replace(file)


def _phones_of(sentence: Sentence, frames: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Returns for each frame the phone at its middle, and how much has been spoken by then."""
    ends = np.array([end_s for _, end_s in sentence.phones])
    names = np.array([PHONES.index(name) for name, _ in sentence.phones], dtype=np.uint8)
    middles = (np.arange(frames) + 0.5) * FRAME_S
    at = np.minimum(np.searchsorted(ends, middles), len(ends) - 1)
    starts = np.concatenate([[0.0], ends[:-1]])
    within = np.clip((middles - starts[at]) / np.maximum(ends[at] - starts[at], 1e-3), 0, 1)
    weights = (names != 0).astype(float)  # pauses take time and no letters
    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]])
    done = (before[at] + within * weights[at]) / max(weights.sum(), 1.0)
    return names[at], done.astype(np.float16)


def _pitch_of(samples: NDArray[np.float32], phones: NDArray[np.uint8]) -> NDArray[np.float16]:
    hop = round(FRAME_S * RATE_HZ)
    from_middle = np.pad(
        samples[hop // 2 :], (0, 2 * hop)
    )  # yin's frames are centred at multiples of the hop
    low, high = PITCHES_HZ
    pitch = librosa.yin(from_middle, fmin=low, fmax=high, sr=RATE_HZ, frame_length=1024, hop_length=hop)
    unvoiced = np.array([name in UNVOICED for name in PHONES])[phones]
    pitch = np.pad(pitch, (0, max(0, len(phones) - len(pitch))))[: len(phones)]
    pitch[unvoiced | (pitch >= high * 0.98)] = 0
    return pitch.astype(np.float16)

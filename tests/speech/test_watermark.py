"""The mark: there, detectable, inaudible, and missed at the start rather than at the first job."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from audio.decode import decode_audio
from audio.encode import encode
from audio.waveform import Waveform
from cancel import CancelToken
from errors import Cancelled
from operations.check_watermark import THRESHOLD
from operations.evenness import even_level, room_tone
from operations.speech_result import at_speed, join
from speech.contract import AudioChunk
from speech.trim import fade_out
from speech.watermark import PieceMarker
from tests.recordings import speech_like
from tests.speech.detector import confidence

ROOT = Path(__file__).resolve().parent.parent.parent
RATE_HZ = 24_000


def test_marked_speech_is_told_from_unmarked(watermarker, perth):
    clean = speech_like(5.0, RATE_HZ, seed=2)
    marked = watermarker.mark(clean, RATE_HZ)
    assert confidence(perth, marked) > 0.9
    assert confidence(perth, clean) < 0.6


@pytest.mark.parametrize("count", [960, 961, 1000, 24_000, 24_001, 100_003])
def test_the_mark_is_perths(watermarker, perth, count):
    samples = speech_like(5.0, RATE_HZ, seed=3)[:count]
    theirs = perth.apply_watermark(samples, sample_rate=RATE_HZ)[:count]
    np.testing.assert_allclose(watermarker.mark(samples, RATE_HZ)[: len(theirs)], theirs, atol=1e-6)


def test_marking_keeps_length_and_sound(watermarker):
    clean = speech_like(3.0, RATE_HZ, seed=2)
    marked = watermarker.mark(clean, RATE_HZ)
    assert marked.shape == clean.shape
    assert marked.dtype == np.float32
    assert np.corrcoef(clean, marked)[0, 1] > 0.98


@pytest.mark.parametrize("count", [1, 240, 960, 1000, 24_001])
def test_short_and_odd_lengths_are_marked(watermarker, count):
    assert len(watermarker.mark(speech_like(2.0, RATE_HZ, seed=1)[:count], RATE_HZ)) == count


def in_pieces(watermarker, samples: np.ndarray, *ends_s: float) -> list[np.ndarray]:
    """What a ``PieceMarker`` returns of samples that come up to these seconds each."""
    marker = PieceMarker(watermarker, RATE_HZ)
    pieces = np.split(samples, [round(end_s * RATE_HZ) for end_s in ends_s])
    return [marker.add(piece, is_last=number == len(ends_s)) for number, piece in enumerate(pieces)]


@pytest.mark.parametrize("ends_s", [(0.32, 1.3, 3.2), (0.01, 0.02, 0.5), (0.0, 4.9, 4.99)])
def test_pieces_carry_the_mark_of_the_whole(watermarker, perth, ends_s):
    samples = np.concatenate([speech_like(5.0, RATE_HZ, seed=2), np.zeros(RATE_HZ // 2, np.float32)])
    whole = watermarker.mark(samples, RATE_HZ)
    joined = np.concatenate(in_pieces(watermarker, samples, *ends_s))
    assert len(joined) == len(samples)
    mark = np.sqrt(np.square(whole - samples).mean())
    difference = joined - whole
    assert np.sqrt(np.square(difference).mean()) < 0.03 * mark
    assert np.abs(np.diff(difference)).max() < 0.02 * np.abs(samples).max(), "a click"
    assert confidence(perth, joined) > 0.9


def test_audio_in_one_piece_is_marked_as_the_whole(watermarker):
    samples = speech_like(2.0, RATE_HZ, seed=2)
    (piece,) = in_pieces(watermarker, samples)
    assert np.array_equal(piece, watermarker.mark(samples, RATE_HZ))


def test_little_is_held_back_of_a_piece(watermarker):
    first, *_ = in_pieces(watermarker, speech_like(2.0, RATE_HZ, seed=2), 0.32)
    assert 0.29 < len(first) / RATE_HZ <= 0.3


@pytest.mark.parametrize(
    ("duration_s", "rate_hz"), [(1.0, 24_000), (5.3, 16_000), (5.3, 32_000), (5.3, 44_100), (21.0, 32_000)]
)
def test_the_detector_answers_as_perths(watermarker, perth, duration_s, rate_hz):
    """Resampling differs, but where there is none; a long recording's spectrum is computed in blocks."""
    clean = speech_like(duration_s, rate_hz, seed=2)
    marked = watermarker.mark(clean, rate_hz)
    for samples in (clean, marked):
        ours = watermarker.detect(Waveform(samples, rate_hz), CancelToken())
        theirs = confidence(perth, samples, rate_hz)
        assert ours == pytest.approx(theirs, abs=1e-6 if rate_hz == 32_000 else 2e-3)


def test_a_cancelled_job_looks_for_no_watermark(watermarker):
    cancel = CancelToken()
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        watermarker.detect(Waveform(speech_like(5.0, RATE_HZ), RATE_HZ), cancel)


SPEECH = ("rms-ferry", "slt-bridge", "slt-ferry")


@pytest.mark.parametrize("name", SPEECH)
def test_the_mark_is_found_after_an_mp3_and_at_a_telephones_rate(watermarker, name):
    clean = decode_audio((ROOT / "tests" / "speech_samples" / f"{name}.flac").read_bytes())
    marked = Waveform(watermarker.mark(clean.samples, RATE_HZ), RATE_HZ)
    for recording, is_marked in ((clean, False), (marked, True)):
        heard = (
            recording,
            decode_audio(encode(recording, "mp3", 8_000)),  # 64 kbit/s
            decode_audio(encode(recording, "opus", 48_000)),
        )
        for each in heard:
            assert (watermarker.detect(each, CancelToken()) >= THRESHOLD) == is_marked


def spoken_in_pieces(name: str) -> Iterator[AudioChunk]:
    """A recording twice, as chunks in pieces with a long pause between them."""
    samples = decode_audio((ROOT / "tests" / "speech_samples" / f"{name}.flac").read_bytes()).samples
    for index in range(2):
        faded = fade_out(samples[::-1], RATE_HZ)[::-1] if index else fade_out(samples, RATE_HZ)
        pieces = np.split(faded, [8_000, 40_000])
        for number, piece in enumerate(pieces):
            ends_chunk = number + 1 == len(pieces)
            pause_s = 1.5 if ends_chunk and index == 0 else 0.0
            yield AudioChunk(Waveform(piece, RATE_HZ), pause_s, "Text.", index, index, 2, ends_chunk)


@pytest.mark.parametrize("is_filled", [False, True], ids=["silent", "filled"])
@pytest.mark.parametrize("speed", [0.5, 2.0])
@pytest.mark.parametrize("name", SPEECH[:2])
def test_the_mark_is_found_at_any_speed_and_with_noise_in_pauses(synthesizer, perth, name, speed, is_filled):
    """The mark comes after everything that changes the sound."""
    chunks = even_level(at_speed(spoken_in_pieces(name), [speed] * 2), streamed=True)
    unmarked = list(room_tone(chunks, 1) if is_filled else chunks)
    assert any(chunk.filled_pause_s for chunk in unmarked) == is_filled
    clean, marked = join(unmarked), join(synthesizer.watermark(unmarked))
    assert len(marked.samples) == len(clean.samples)
    assert synthesizer.detect_watermark(marked, CancelToken()) > 0.9
    assert confidence(perth, marked.samples) > 0.9
    assert synthesizer.detect_watermark(clean, CancelToken()) < THRESHOLD


def test_silence_is_marked_without_a_nan(watermarker):
    assert np.isfinite(watermarker.mark(np.zeros(24_000, np.float32), RATE_HZ)).all()


def test_without_the_watermark_the_worker_does_not_start(smoke_checkpoint, tmp_path):
    """A package of that name without the weights: the start says so and exits 1."""
    (tmp_path / "perth").mkdir()
    (tmp_path / "perth" / "__init__.py").touch()
    search_path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = subprocess.run(
        [sys.executable, "handler.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": search_path, "CHECKPOINT_DIR": str(smoke_checkpoint)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert started.returncode == 1
    assert "cannot start: model_unavailable: the watermark's weights cannot be read" in started.stderr
    assert "Traceback" not in started.stderr


def test_marking_leaves_nothing_in_memory(watermarker):
    def live_tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    samples = speech_like(2.0, RATE_HZ, seed=1)
    watermarker.mark(samples, RATE_HZ)
    before = live_tensors()
    for _ in range(3):
        watermarker.mark(samples, RATE_HZ)
    assert live_tensors() <= before

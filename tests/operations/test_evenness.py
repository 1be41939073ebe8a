"""What lies between chunks: their levels, the noise in pauses, and speeds of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import groupby

import numpy as np
import pytest

from audio.loudness import measure_loudness_lufs
from audio.speed import SpeedChanger
from audio.vad import measure_levels
from audio.waveform import Waveform
from benchmarks import ears
from cancel import CancelToken
from operations.evenness import even_level, room_tone
from operations.speech_result import SpeechResult, at_speed, join
from speech.contract import AudioChunk
from speech.trim import FADE_S, fade_out
from tests.fakes import FakeSynthesizer
from tests.recordings import silence, speech_like

RATE_HZ = 24_000
PAUSE_S = 0.31234  # not a whole number of samples
ROOM_DBFS = -55.0


def chunk(index: int, count: int, samples: np.ndarray, utterance: int = 0, **fields) -> AudioChunk:
    """A chunk as the pipeline gives it, faded where it meets a pause."""
    samples = samples if index == 0 else fade_out(samples[::-1], RATE_HZ)[::-1]
    samples = samples if index + 1 == count else fade_out(samples, RATE_HZ)
    pause_s = PAUSE_S if index + 1 < count else 0.0
    return AudioChunk(
        Waveform(samples, RATE_HZ),
        **{"pause_after_s": pause_s, "text": f"Chunk {index}.", "utterance": utterance, **fields},
        index=index,
        count=count,
    )


@cache
def babble(seed: int) -> np.ndarray:
    return speech_like(6.0, RATE_HZ, seed)


def speech(duration_s: float, seed: int, gain_db: float = 0.0, room_dbfs: float | None = None) -> np.ndarray:
    samples = babble(seed)[: round(duration_s * RATE_HZ)] * np.float32(10 ** ((gain_db - 10) / 20))
    if room_dbfs is None:
        return samples
    room = np.random.default_rng(seed).standard_normal(len(samples)) * 10 ** (room_dbfs / 20)
    return (samples + room).astype(np.float32)


def uneven() -> list[AudioChunk]:
    """Two voices in turn, each louder or softer than the last time."""
    levels_db = [0.0, -8.0, 2.0, -5.0, -1.0]
    return [
        chunk(index, 5, speech(2.5 + 0.5 * index, index % 2, level_db), utterance=index)
        for index, level_db in enumerate(levels_db)
    ]


def in_pieces(chunks: list[AudioChunk], piece_s: float = 1.7) -> Iterator[AudioChunk]:
    """piece_s: by default as long as the first piece of a stream's second chunk."""
    for each in chunks:
        samples, step = each.waveform.samples, round(piece_s * RATE_HZ)
        starts = range(0, max(len(samples), 1), step)
        for start in starts:
            waveform = Waveform(samples[start : start + step], RATE_HZ)
            if start == starts[-1]:
                yield replace(each, waveform=waveform)
            else:
                yield replace(each, waveform=waveform, pause_after_s=0.0, ends_chunk=False)


def by_chunk(chunks) -> list[np.ndarray]:
    """The samples of each chunk of text, without silence after it."""
    return [
        np.concatenate([each.waveform.samples for each in pieces])
        for _, pieces in groupby(chunks, key=lambda each: each.index)
    ]


def loudness(chunks) -> list[float | None]:
    return [measure_loudness_lufs(Waveform(samples, RATE_HZ)) for samples in by_chunk(chunks)]


def spread_lu(chunks) -> float:
    return float(np.ptp(loudness(chunks)))


def facts(each: AudioChunk) -> tuple:
    return each.pause_after_s, each.text, each.utterance, each.index, each.count, each.ends_chunk


# --- one level


def test_chunks_of_a_reply_are_brought_to_their_median():
    before = uneven()
    after = list(even_level(iter(before), streamed=False))
    assert spread_lu(before) > 5
    assert spread_lu(after) < 0.01
    assert np.median(loudness(after)) == pytest.approx(np.median(loudness(before)), abs=0.01)
    assert [facts(each) for each in after] == [facts(each) for each in before]
    assert not any(each.warnings for each in after)


@pytest.mark.parametrize("pieces", [False, True])
def test_a_stream_is_matched_to_what_was_sent_before(pieces):
    before = list(in_pieces(uneven())) if pieces else uneven()
    after = list(even_level(iter(before), streamed=True))
    assert spread_lu(after) < 1
    assert loudness(after)[0] == loudness(before)[0]
    assert list(map(len, by_chunk(after))) == list(map(len, by_chunk(before)))
    assert [facts(each) for each in after] == [facts(each) for each in before]
    assert not any(each.warnings for each in after)


def test_a_stream_is_not_held_back():
    """Each piece comes before the next one is asked for."""
    asked = 0

    def source() -> Iterator[AudioChunk]:
        nonlocal asked
        for each in in_pieces(uneven()):
            asked += 1
            yield each

    for number, _ in enumerate(even_level(source(), streamed=True), start=1):
        assert asked == number


@pytest.mark.parametrize("streamed", [False, True])
def test_one_chunk_and_silence_stay_as_they_are(streamed):
    one = chunk(0, 1, speech(2.0, 1))
    (found,) = even_level(iter([one]), streamed=streamed)
    assert np.array_equal(found.waveform.samples, one.waveform.samples)
    quiet = [chunk(0, 2, silence(1.0)), chunk(1, 2, silence(0.0))]
    assert not join(even_level(iter(quiet), streamed=streamed)).samples.any()
    assert list(even_level(iter([]), streamed=streamed)) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chunk_that_stays_too_soft_has_a_warning(streamed):
    chunks = [chunk(0, 3, speech(2.0, 1)), chunk(1, 3, speech(2.0, 2, -25.0)), chunk(2, 3, speech(2.0, 1))]
    one, other, last = even_level(iter(chunks), streamed=streamed)
    assert one.warnings == last.warnings == ()
    (warning,) = other.warnings
    assert "segment 2 of 3 stays " in warning
    assert "quieter than the others" in warning


@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_chunks_are_leveled_alike(streamed):
    one, other = (join(even_level(in_pieces(uneven()), streamed=streamed)).samples for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "stage",
    [
        lambda chunks: even_level(chunks, streamed=False),
        lambda chunks: even_level(chunks, streamed=True),
        lambda chunks: room_tone(chunks, 0),
        lambda chunks: at_speed(chunks, [1.5] * 5),
    ],
)
def test_whoever_stops_listening_closes_the_chunks(stage):
    closed = []

    def source() -> Iterator[AudioChunk]:
        try:
            yield from uneven()
        finally:
            closed.append(True)

    stream = stage(source())
    next(stream)
    stream.close()
    assert closed == [True]


# --- noise in pauses


def noisy(*levels_dbfs: float | None, duration_s: float = 3.0) -> list[AudioChunk]:
    """A chunk for each level of noise, each in a voice of its own; None: digital silence between words."""
    chunks = []
    for index, level_dbfs in enumerate(levels_dbfs):
        samples = speech(duration_s, index, room_dbfs=level_dbfs)
        if level_dbfs is None:
            samples[np.convolve(np.abs(samples), np.ones(480) / 480, "same") < 0.002] = 0
        chunks.append(chunk(index, len(levels_dbfs), samples, utterance=index))
    return chunks


def pause_of(each: AudioChunk) -> np.ndarray:
    return each.waveform.samples[len(each.waveform.samples) - round(each.filled_pause_s * RATE_HZ) :]


def level_dbfs(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.square(samples, dtype=np.float64).mean())))


@pytest.mark.parametrize("pieces", [False, True])
def test_pauses_hold_the_noise_of_the_voice_before_them(pieces):
    before = noisy(-50.0, -65.0, -50.0)
    after = list(room_tone(in_pieces(before) if pieces else iter(before), 3))
    ends = [each for each in after if each.ends_chunk]
    assert [level_dbfs(pause_of(each)) for each in ends[:2]] == pytest.approx([-50, -65], abs=1.5)
    assert ends[2].filled_pause_s == 0
    assert len(join(after).samples) == len(join(before).samples)


def test_a_pause_keeps_its_length_and_place_to_the_sample():
    before = noisy(-50.0, -50.0)
    first, second = room_tone(iter(before), 3)
    pause = before[0].pause_samples
    assert len(first.waveform.samples) == len(before[0].waveform.samples) + pause
    assert first.pause_after_s == 0
    assert first.pause_samples == 0
    assert first.duration_s == before[0].duration_s
    assert first.speech_s == pytest.approx(before[0].waveform.duration_s, abs=1e-9)
    assert len(second.waveform.samples) == len(before[1].waveform.samples)
    # Noise is added to 20 ms on either side of it, and nowhere else.
    fade = round(0.02 * RATE_HZ)
    difference = join([first, second]).samples - join(before).samples
    start, end = np.flatnonzero(difference)[[0, -1]]
    speech_end = len(before[0].waveform.samples)
    assert speech_end - fade <= start < speech_end
    assert speech_end + pause <= end < speech_end + pause + fade


def test_the_noise_goes_on_through_the_fades_and_has_no_click():
    before = noisy(-55.0, -55.0)
    for each in before:  # nobody speaks next to the pause
        each.waveform.samples[-6_000:] = fade_out(speech(0.25, 9, -200.0, -55.0), RATE_HZ)
    room = speech(0.25, 8, -200.0, -55.0)
    before[1].waveform.samples[:6_000] = fade_out(room[::-1], RATE_HZ)[::-1]
    after = join(room_tone(iter(before), 3))
    pause_start = len(before[0].waveform.samples)
    around = after.samples[pause_start - 4_800 : pause_start + before[0].pause_samples + 4_800]
    levels = [level_dbfs(each) for each in np.array_split(around, len(around) // 240)]
    assert np.ptp(levels) < 4  # of 10 ms
    silent = join(before)
    levels, _ = measure_levels(silent)
    assert levels.min() < -100
    assert ears.clicks(after) == ears.clicks(silent) == []


def test_digital_silence_stays_digital_silence():
    before = noisy(None, None)
    after = list(room_tone(iter(before), 3))
    assert np.array_equal(join(after).samples, join(before).samples)
    assert after[0].pause_after_s == PAUSE_S


def test_each_voice_has_its_own_tone_and_a_short_word_that_of_its_turn():
    word = fade_out(fade_out(speech(0.1, 0, room_dbfs=-50.0), RATE_HZ)[::-1], RATE_HZ)[::-1]
    one, *others = noisy(-50.0, -50.0, -50.0, -50.0)
    of_the_turn = replace(others[0], waveform=Waveform(word, RATE_HZ), utterance=0)
    of_another = replace(others[1], waveform=Waveform(word, RATE_HZ), utterance=7)
    found = list(room_tone(iter([one, of_the_turn, of_another, others[2]]), 3))
    assert level_dbfs(pause_of(found[1])) == pytest.approx(-50, abs=1.5)
    assert found[2].filled_pause_s == 0
    assert found[2].pause_after_s == PAUSE_S


@pytest.mark.parametrize("pause_s", [1e-5, 0.001, 0.005, 0.03, 60.0])
@pytest.mark.parametrize("empty", [False, True])
def test_pauses_of_any_length_beside_empty_chunks_are_filled(pause_s, empty):
    chunks = [replace(each, pause_after_s=pause_s) for each in noisy(-50.0, -50.0, -50.0)]
    chunks = [replace(each, utterance=0) for each in chunks]
    if empty:
        chunks[1] = replace(chunks[1], waveform=Waveform(silence(0.0), RATE_HZ))
    after = join(room_tone(iter(chunks), 3)).samples
    assert len(after) == len(join(chunks).samples)
    assert np.isfinite(after).all()


def test_no_pause_is_no_noise():
    chunks = [replace(each, pause_after_s=0.0) for each in noisy(-50.0, -50.0)]
    assert np.array_equal(join(room_tone(iter(chunks), 3)).samples, join(chunks).samples)


def test_the_noise_is_that_of_the_seed_and_the_same_in_a_stream():
    whole, again, other = (join(room_tone(iter(noisy(-50.0, -50.0)), seed)).samples for seed in (3, 3, 4))
    assert np.array_equal(whole, again)
    assert not np.array_equal(whole, other)
    assert np.array_equal(join(room_tone(in_pieces(noisy(-50.0, -50.0), 0.3), 3)).samples, whole)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_noise_follows_speed_and_level_of_its_chunk(streamed):
    """The order of the stages: speed, level, noise."""
    chunks = [
        chunk(index, 2, speech(4.0, 1, room_dbfs=-50.0) * np.float32(gain), utterance=index)
        for index, gain in enumerate((1.0, 0.25))
    ]
    for order in (chunks, [replace(each, index=1 - each.index) for each in reversed(chunks)]):
        order = [replace(each, pause_after_s=PAUSE_S) for each in order]
        source = in_pieces(order) if streamed else iter(order)
        leveled = even_level(at_speed(source, [0.5, 2.0]), streamed=streamed)
        ends = [each for each in room_tone(leveled, 3) if each.ends_chunk]
        fade = round(FADE_S * RATE_HZ)  # of speech that does not end in silence
        one, other = (level_dbfs(pause_of(each)[fade:]) for each in ends)
        assert one == pytest.approx(other, abs=2.5)
        assert [round(each.filled_pause_s, 3) for each in ends] == [
            round(PAUSE_S / speed, 3) for speed in ([0.5, 2.0] if order[0].utterance == 0 else [2.0, 0.5])
        ]


def test_the_receipt_of_filled_pauses_is_that_of_silent_ones():
    receipts = []
    for fill in (False, True):
        chunks = iter(noisy(-50.0, -60.0, -50.0))
        result = SpeechResult(
            room_tone(chunks, 1) if fill else chunks,
            FakeSynthesizer(),
            CancelToken(),
            format="wav",
            sample_rate_hz=RATE_HZ,
            normalization=None,
            facts={},
            warnings=[],
            stage_times_s={},
            started_s=0.0,
        )
        list(result.chunks)
        receipts.append({key: result.receipt()[key] for key in ("duration", "segments", "warnings")})
    assert receipts[0] == receipts[1]


# --- a speed for each utterance


def changed(samples: np.ndarray, speed: float) -> np.ndarray:
    changer = SpeedChanger(speed, RATE_HZ)
    return np.concatenate([changer.add(samples), changer.finish()])


SPEEDS = [1.0, 0.5, 1.0, 2.0, 1.3]


@pytest.mark.parametrize("pieces", [False, True])
def test_each_utterance_has_its_speed(pieces):
    before = uneven()
    after = list(at_speed(in_pieces(before) if pieces else iter(before), SPEEDS))
    for each, samples, speed in zip(before, by_chunk(after), SPEEDS, strict=True):
        expected = each.waveform.samples if speed == 1 else changed(each.waveform.samples, speed)
        assert np.array_equal(samples, expected)
        assert len(samples) == pytest.approx(len(each.waveform.samples) / speed, rel=0.02)
    pauses_s = [each.pause_after_s for each in after if each.ends_chunk]
    assert pauses_s == pytest.approx([PAUSE_S, PAUSE_S / 0.5, PAUSE_S, PAUSE_S / 2, 0.0])


def test_a_speed_of_1_passes_chunks_as_they_are():
    before = uneven()
    assert all(one is other for one, other in zip(at_speed(iter(before), [1.0] * 5), before, strict=True))


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_an_exact_pause_keeps_its_length_at_any_speed(speed):
    exact = replace(chunk(0, 2, speech(1.0, 1)), pause_is_exact=True)
    first, _ = at_speed(iter([exact, chunk(1, 2, speech(1.0, 1))]), [speed])
    assert first.pause_after_s == PAUSE_S
    assert first.pause_samples == exact.pause_samples


def test_where_speeds_meet_there_are_no_clicks():
    spoken = [chunk(index, 3, speech(2.0, 1, room_dbfs=-70.0), utterance=index) for index in range(3)]
    found = join(at_speed(in_pieces(spoken), [0.5, 1.0, 2.0]))
    edges_s = np.cumsum([4.0, PAUSE_S / 0.5, 2.0, PAUSE_S])
    assert not any(abs(time_s - edge_s) < 0.05 for time_s in ears.clicks(found) for edge_s in edges_s)

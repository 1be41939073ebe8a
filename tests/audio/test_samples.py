"""Several recordings become one: the best of them, the best first, and no click where they meet."""

import functools

import numpy as np
import pytest

from audio.loudness import measure_loudness_lufs
from audio.quality import check_reference, trim_silence
from audio.samples import GAP_S, join_best
from audio.waveform import Waveform, resample
from cancel import CancelToken
from errors import Cancelled
from tests.recordings import clipped, silence, speech_like, white_noise

RATE_HZ = 24_000
MAX_S = 30.0


def recording(*parts):
    return Waveform(np.concatenate(parts).astype(np.float32), RATE_HZ)


@functools.cache  # it takes longer to make than to join
def clean(duration_s, seed=1):
    return recording(speech_like(duration_s, RATE_HZ, seed))


def noisy(duration_s, seed=1, rms=0.05):
    samples = clean(duration_s, seed).samples + white_noise(duration_s, RATE_HZ, rms, seed)
    return recording(np.clip(samples, -1.0, 1.0))


def telephone(duration_s):
    return resample(resample(clean(duration_s), 8_000), RATE_HZ)


def distorted(duration_s):
    return recording(clipped(duration_s, RATE_HZ, 1, gain=4.0))


def taken_s(joined, index):
    return sum(part.end_s - part.start_s for part in joined.parts if part.recording == index)


def cut_out(waveform, start_s, end_s):
    return waveform.samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]


@pytest.mark.parametrize("duration_s", [3.0, 12.0, 29.9])
def test_one_recording_that_is_short_enough_stays_as_it_is(duration_s):
    single = recording(silence(1.0), speech_like(duration_s, RATE_HZ, 1), silence(2.0))
    joined = join_best([single], MAX_S)
    np.testing.assert_array_equal(joined.waveform.samples, trim_silence(single).first(MAX_S).samples)
    (part,) = joined.parts
    assert part.recording == part.at_s == 0
    np.testing.assert_array_equal(cut_out(single, part.start_s, part.end_s), joined.waveform.samples)


@pytest.mark.parametrize("max_s", [5.0, 12.0, 30.0])
def test_the_joined_recording_is_never_too_long_and_nearly_fills_the_room(max_s):
    recordings = [clean(21.0, 1), clean(13.0, 2), clean(17.0, 3)]
    joined = join_best(recordings, max_s)
    assert max_s - 1.5 <= joined.waveform.duration_s <= max_s


@pytest.mark.parametrize("max_s", [5.0, 5.5, 6.0, 8.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_short_limit_is_nearly_filled_and_the_cut_is_faded(max_s, count):
    joined = join_best([clean(21.0, seed) for seed in range(1, count + 1)], max_s)
    assert max_s - 1.2 <= joined.waveform.duration_s <= max_s
    assert np.abs(joined.waveform.samples[-3:]).max() < 0.01


def test_a_recording_whose_beginning_is_a_voice_is_one_however_short_the_limit():
    two_words = [speech_like(1.2, RATE_HZ, 1), silence(1.4), speech_like(1.2, RATE_HZ, 1), silence(1.2)]
    beginning = np.concatenate(two_words) + white_noise(5.0, RATE_HZ, 0.01, 1)
    word = np.concatenate([speech_like(0.4, RATE_HZ, 2), silence(4.6)])  # clean, but hardly any speech
    single = recording(beginning, *[word] * 5)
    check_reference(single.first(5.0))
    check_reference(join_best([single], 5.0).waveform)


def test_the_same_recordings_give_the_same_samples():
    recordings = [clean(9.0, 1), noisy(11.0, 1), clean(8.0, 2)]
    assert join_best(recordings, MAX_S).waveform.digest() == join_best(recordings, MAX_S).waveform.digest()


@pytest.mark.parametrize("worse", [noisy(12.0), telephone(12.0), distorted(12.0)])
def test_where_there_is_enough_good_speech_nothing_much_worse_is_taken(worse):
    joined = join_best([worse, clean(14.0, 2)], MAX_S)
    assert taken_s(joined, 0) == 0
    assert taken_s(joined, 1) > 13


@pytest.mark.parametrize("worse", [noisy(12.0), telephone(12.0), distorted(12.0)])
def test_where_good_speech_is_short_it_comes_first_and_worse_follows(worse):
    joined = join_best([worse, clean(5.0, 2)], MAX_S)
    assert joined.parts[0].recording == 1
    assert taken_s(joined, 1) > 4.5
    assert taken_s(joined, 0) > 5


def test_the_good_part_of_a_long_recording_is_found():
    long = recording(noisy(21.0, 1).samples, clean(31.0, 2).samples, noisy(21.0, 1).samples)
    joined = join_best([long], MAX_S)
    assert all(20.0 < part.start_s < part.end_s < 53.0 for part in joined.parts)
    assert joined.waveform.duration_s > 20


def test_of_equals_all_are_taken_in_their_order():
    joined = join_best([clean(8.0, 1), clean(7.0, 1), clean(6.0, 1)], MAX_S)
    assert [part.recording for part in joined.parts] == [0, 1, 2]
    assert joined.waveform.duration_s == pytest.approx(21.0 + 2 * GAP_S, abs=1.0)


def test_parts_say_where_the_samples_come_from():
    recordings = [clean(8.0, 1), recording(silence(2.0), speech_like(9.0, RATE_HZ, 2), silence(2.0))]
    joined = join_best(recordings, MAX_S)
    assert len(joined.parts) == 2
    for part in joined.parts:
        source = cut_out(recordings[part.recording], part.start_s + 0.1, part.end_s - 0.1)
        start_s = part.at_s + 0.1
        joined_samples = cut_out(joined.waveform, start_s, start_s + len(source) / RATE_HZ)
        gain = np.dot(joined_samples, source) / np.dot(source, source)
        np.testing.assert_allclose(joined_samples, gain * source, atol=1e-5)


@pytest.mark.parametrize("factors", [(1.0, 0.02), (0.2, 1.0), (0.1, 0.05)])
def test_recordings_are_brought_to_the_loudness_of_the_loudest(factors):
    recordings = [recording(factor * speech_like(9.0, RATE_HZ, 1)) for factor in factors]
    joined = join_best(recordings, MAX_S)
    loudest_lufs = max(measure_loudness_lufs(each) for each in recordings)
    for part in joined.parts:
        joined_samples = cut_out(joined.waveform, part.at_s, part.at_s + part.end_s - part.start_s)
        assert measure_loudness_lufs(Waveform(joined_samples, RATE_HZ)) == pytest.approx(
            loudest_lufs, abs=0.3
        )


def test_no_peak_is_raised_above_full_scale():
    spiky = 0.05 * speech_like(9.0, RATE_HZ, 1)
    spiky[5 * RATE_HZ] = 0.7
    joined = join_best([clean(9.0, 1), recording(spiky)], MAX_S)
    assert np.abs(joined.waveform.samples).max() <= 10 ** (-1 / 20)


def test_passages_that_meet_are_faded_with_silence_between():
    joined = join_best([clean(8.0, 1), clean(7.0, 2)], MAX_S)
    _, second = joined.parts
    gap = cut_out(joined.waveform, second.at_s - GAP_S, second.at_s)
    assert not gap.any()
    beside = cut_out(joined.waveform, second.at_s - GAP_S - 0.0002, second.at_s + 0.0002)
    assert np.abs(beside).max() < 0.01


def test_stretches_without_speech_are_left_out():
    babble = speech_like(14.0, RATE_HZ, 1)
    long = recording(babble, white_noise(20.0, RATE_HZ, 0.05), babble)
    joined = join_best([long], MAX_S)
    assert all(part.end_s < 20.5 or part.start_s > 27.5 for part in joined.parts)


def test_a_recording_of_single_words_far_apart_is_taken_all_the_same():
    word = np.concatenate([speech_like(0.6, RATE_HZ, 1), silence(5.0)])
    assert join_best([recording(*[word] * 8)], MAX_S).waveform.duration_s > 1


def test_what_is_stored_is_not_trimmed_again():
    recordings = [recording(0.05 * speech_like(6.0, RATE_HZ, 1)), clean(12.0, 2), noisy(9.0, 3)]
    joined = join_best(recordings, MAX_S).waveform
    assert trim_silence(joined).digest() == joined.digest()


def test_a_cancelled_job_ends():
    cancel = CancelToken()
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        join_best([clean(8.0), clean(7.0)], MAX_S, cancel)

"""Tracks through a text from attention, and the heads that give them."""

from __future__ import annotations

import numpy as np
import pytest

from speech.t3.alignment import align, find_alignment_heads, follow, quality_of, share_on


def attention(places: np.ndarray, count: int, width: float = 0.5) -> np.ndarray:
    """Scores [T, count] that peak at these places."""
    scores = np.exp(-0.5 * np.square((np.arange(count) - np.asarray(places)[:, None]) / width))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def noise(steps: int, count: int, seed: int) -> np.ndarray:
    scores = np.exp(2 * np.random.default_rng(seed).normal(size=(steps, count)))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


STEADY = np.arange(100) * 60 // 100


def test_a_clean_track_is_followed_and_tokens_end_where_it_leaves_them():
    scores = attention(STEADY, 60)
    for goes_back in (False, True):
        assert np.array_equal(follow(scores, goes_back=goes_back), STEADY)
    ends_s = align(scores)
    assert ends_s is not None
    for token in range(60):
        assert ends_s[token] == pytest.approx(0.04 * (1 + np.flatnonzero(token == STEADY).max()))


def test_single_steps_that_look_elsewhere_change_little():
    places = STEADY.copy()
    places[[20, 50, 77]] = [55, 3, 10]
    track = follow(attention(places, 60), goes_back=True)
    assert np.abs(track - STEADY).max() <= 1


@pytest.mark.parametrize("goes_back", [False, True])
def test_a_track_jumps_back_only_where_it_may(goes_back):
    places = np.concatenate([STEADY[:70], STEADY[40:]])  # 18 text tokens are said again
    track = follow(attention(places, 60), goes_back=goes_back)
    assert (np.diff(track).min() < 0) == goes_back
    if goes_back:
        assert np.array_equal(track, places)


def test_a_text_that_is_left_out_is_jumped_over():
    places = np.concatenate([STEADY[:30], STEADY[70:]])
    scores = attention(places, 60)
    assert np.array_equal(follow(scores, goes_back=False), places)
    ends_s = align(scores)
    assert ends_s is not None
    assert np.all(np.diff(ends_s) >= 0)
    assert ends_s[30] == ends_s[20] == pytest.approx(1.2)


@pytest.mark.parametrize(("steps", "count"), [(1, 1), (1, 9), (9, 1), (3, 200), (5, 4)])
def test_any_size_will_do(steps, count):
    scores = noise(steps, count, 0)
    for goes_back in (False, True):
        track = follow(scores, goes_back=goes_back)
        assert track.shape == (steps,)
        assert track.min() >= 0
        assert track.max() < count
    assert 0 <= quality_of(scores) <= 1


def test_lost_attention_gives_no_times():
    assert align(noise(150, 90, 0)) is None


def test_the_heads_that_follow_are_found_the_best_first():
    heads = [noise(100, 60, seed) for seed in range(6)]
    heads[2] = attention(STEADY, 60, width=0.9)
    heads[4] = attention(STEADY, 60)
    heads[1] = attention(np.full(100, 7), 60)  # at one place for ever
    heads[3] = attention(59 - STEADY, 60)  # backwards
    heads[5] = attention(STEADY[:100], 60, width=30.0)  # everywhere
    assert find_alignment_heads(np.stack(heads)) == [4, 2]


def test_no_head_of_noise_is_found():
    for seed in range(5):
        assert find_alignment_heads(np.stack([noise(100, 60, 10 * seed + each) for each in range(10)])) == []


def test_the_share_on_a_track_counts_its_neighbours():
    scores = attention(STEADY, 60)
    assert share_on(STEADY, scores) > 0.95
    assert share_on(np.zeros(100, np.int64), scores) < 0.1

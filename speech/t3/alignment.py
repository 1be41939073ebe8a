"""Alignment of text and speech from T3's attention: where in the text each speech token is said.

Some heads of T3 look at the text token that is being said. Here their scores become a track through the
text, times at which text tokens end, and what is noticed of a faulty reading. Which heads do so is found by
the scores of all heads on a sentence that the model has spoken. numpy alone, on the host.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech.models.spec import SPEECH_TOKENS_PER_S

Scores = NDArray[np.float32]  # [T, N]: shares of N text tokens in the attention of T speech tokens
Track = NDArray[np.int64]  # [T]: the text token at which each speech token is said

STEP_S = 1 / SPEECH_TOKENS_PER_S

# A share below this tells nothing: one token at which a head looks elsewhere costs at most 6 nats or so.
LEAST_SHARE = 1e-3
# Text tokens by which a track moves on freely in a step. Fast English says 20 letters a second, of which some
# are silent.
FREE_STEP = 4
# What a jump over more costs, and one back, in nats: three steps at another place pay for it.
JUMP_COST = 18.0

# Of a head on one sentence, see ``quality_of``. In the small model's five layers the best two have 0.5 and
# 0.35 and the others 0.2 at most; heads of random weights have less than 0.1.
LEAST_QUALITY = 0.25
MOST_HEADS = 3
NEARLY_BEST = 0.8  # of the best head's quality: the mean with worse ones is worse than the best alone
# The share of the attention on its track below which a track tells nothing. Chunks of the small model have
# 0.75 and more.
LEAST_SHARE_ON_TRACK = 0.45
NEAR = 1  # text tokens on both sides of a track that still count as on it


def follow(scores: Scores, *, goes_back: bool) -> Track:
    """Returns the most probable track through the text, by Viterbi's algorithm.

    goes_back: whether it may jump back, as a reading does that says words again. Time is linear in T times N.
    """
    steps, count = scores.shape
    gains = np.log(np.maximum(scores, LEAST_SHARE)).astype(np.float64)
    best = np.empty((steps, count))
    best[0] = gains[0]
    best[0, FREE_STEP + 1 :] -= JUMP_COST
    padded = np.full(count + FREE_STEP, -np.inf)
    for step in range(1, steps):
        before = best[step - 1]
        padded[FREE_STEP:] = before
        near = padded[:count].copy()
        for shift in range(1, FREE_STEP + 1):
            np.maximum(near, padded[shift : shift + count], out=near)
        far = before.max() if goes_back else np.maximum.accumulate(before)
        best[step] = np.maximum(near, far - JUMP_COST) + gains[step]
    track = np.empty(steps, np.int64)
    track[-1] = best[-1].argmax()
    for step in range(steps - 1, 0, -1):
        here = track[step]
        first = max(0, here - FREE_STEP)
        near_by = best[step - 1, first : here + 1]
        jumps = best[step - 1] if goes_back else best[step - 1, : here + 1]
        from_near, from_far = near_by.argmax(), jumps.argmax()
        is_jump = jumps[from_far] - JUMP_COST > near_by[from_near]
        track[step - 1] = from_far if is_jump else first + from_near
    return track


def align(scores: Scores) -> NDArray[np.float64] | None:
    """Returns the second at which each text token ends, not falling; None where the attention is lost.

    A token that no speech token is said at ends where the one before it does.
    """
    track = follow(scores, goes_back=False)
    if share_on(track, scores) < LEAST_SHARE_ON_TRACK:
        return None
    steps = np.searchsorted(track, np.arange(scores.shape[1]), side="right")
    return STEP_S * steps.astype(np.float64)


def share_on(track: Track, scores: Scores) -> float:
    """Returns the share of the attention that lies on a track, 0 to 1."""
    places = track[:, None] + np.arange(-NEAR, NEAR + 1)
    is_inside = (places >= 0) & (places < scores.shape[1])
    near = np.take_along_axis(scores, places.clip(0, scores.shape[1] - 1), axis=1)
    return float((near * is_inside).sum(axis=1).mean())


def quality_of(scores: Scores) -> float:
    """Returns how well a head follows the text, 0 to 1: monotonic, peaked, and over all of it.

    It is the share of its attention on the best track that never goes back, times how evenly its attention is
    spread over the text: a head that looks at one place has a track with a large share, too.
    """
    count = scores.shape[1]
    spread = float(np.minimum(scores.mean(axis=0), 1 / count).sum())
    return spread * share_on(follow(scores, goes_back=False), scores)


def find_alignment_heads(scores: NDArray[np.float32]) -> list[int]:
    """Returns which heads follow the text, the best first and at most three; none where none is good enough.

    scores: [heads, T, N], of a sentence that was spoken well.
    """
    # A track's share is at most that of the best place at each step: few heads are worth following.
    bounds = ((2 * NEAR + 1) * scores.max(axis=2).mean(axis=1)).clip(max=1)
    spread = np.minimum(scores.mean(axis=1), 1 / scores.shape[2]).sum(axis=1)
    candidates = np.flatnonzero(bounds * spread >= LEAST_QUALITY)
    qualities = {int(head): quality_of(scores[head]) for head in candidates}
    enough = max(LEAST_QUALITY, NEARLY_BEST * max(qualities.values(), default=0.0))
    good = [head for head, quality in qualities.items() if quality >= enough]
    return sorted(good, key=lambda head: (-qualities[head], head))[:MOST_HEADS]

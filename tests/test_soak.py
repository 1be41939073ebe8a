"""The soak benchmark, in small: two workers, one store, kills, cancels and bad input."""

from benchmarks.soak import soak


async def test_a_short_bad_day(tmp_path, smoke_checkpoint):
    outcome = await soak(tmp_path, smoke_checkpoint, jobs=15, kills=1)
    assert outcome.lost == []
    assert outcome.failed == []
    assert outcome.mixed == []
    assert outcome.voices_lost == []
    assert outcome.kills == 1
    cancelled = outcome.cancelled_unanswered + outcome.cancelled_too_late
    assert sum(outcome.answered.values()) + cancelled == 15 + 4  # and the four voices

"""Many workers and older programs on one store: nothing that was acknowledged is lost."""

import os

import pytest

from tests.voice_store import chaos, crowd


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves what it has written, synced or not; a lost machine is not tried."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("volume", [{}, {"has_locks": False}, {"has_links": False}], ids=str)
def test_voices_that_many_workers_clone_at_once_are_all_there(tmp_path, volume):
    row = crowd.clone_at_once(tmp_path, **volume)
    assert (row.acknowledged, row.lost) == (200, 0)


def test_voices_of_older_programs_and_ours_are_all_there(tmp_path):
    row = crowd.clone_beside_old_programs(tmp_path)
    assert (row.acknowledged, row.lost) == (200, 0)


def test_the_same_loss_is_seen_where_programs_do_it_plainly(tmp_path):
    assert crowd.clone_plainly_at_once(tmp_path).lost > 0


def test_recordings_that_want_the_same_ids_get_one_each(tmp_path):
    row = crowd.clone_into_taken_ids(tmp_path)
    assert (row.acknowledged, row.lost) == (200, 0)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_job_that_all_workers_get_makes_one_voice(tmp_path, has_links):
    assert crowd.clone_one_recording(tmp_path, has_links=has_links).lost == 0


def test_a_name_that_many_take_at_once_means_the_same_voice_to_all(tmp_path):
    row = crowd.clone_under_one_name(tmp_path)
    assert row.acknowledged >= 1
    assert row.lost == 0


def test_changes_of_one_voice_at_once_do_not_undo_each_other(tmp_path):
    row = crowd.change_one_voice(tmp_path)
    assert (row.acknowledged, row.lost) == (100, 0)


def test_workers_killed_at_random_lose_nothing(tmp_path):
    row = chaos.kill_at_random(tmp_path, rounds=8)
    assert row.acknowledged > 100
    assert row.lost == 0


@pytest.mark.parametrize("has_locks", [True, False])
def test_what_older_programs_read_is_complete_when_workers_were_killed_and_voices_deleted(
    tmp_path, has_locks
):
    row = crowd.clone_beside_killed(tmp_path, rounds=2, has_locks=has_locks, deletes=True)
    assert row.acknowledged > 100
    assert row.lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("deletes", [True, False])
def test_what_older_programs_read_is_complete_after_thirty_crowds(tmp_path, has_locks, deletes):
    row = crowd.clone_beside_killed(tmp_path, rounds=30, has_locks=has_locks, deletes=deletes)
    assert row.acknowledged > 1_500
    assert row.lost == 0

"""Jobs that are ended, by their caller, their time or a fault of the GPU; and what becomes of the worker."""

import asyncio
import threading

import pytest

from errors import DeviceLost, DeviceSuspect, ModelUnavailable, OutOfMemory
from tests.fakes import FakeSpeaker, build_services, build_worker
from tests.serving.jobs import clone, tts

AT_ONCE = {"JOB_TIMEOUT_S": "1"}


@pytest.fixture
def speaker():
    return FakeSpeaker()


@pytest.fixture
def worker(tmp_path, speaker):
    return build_worker(build_services(tmp_path, speaker))


async def started(worker, speaker, **fields):
    """A job that waits at the gate."""
    speaker.gate = threading.Event()
    job = asyncio.create_task(worker.handle(tts(**fields)))
    await asyncio.to_thread(speaker.entered.acquire)
    return job


async def test_a_cancelled_job_ends_its_thread_before_its_slot_is_free(worker, speaker, caplog):
    caplog.set_level("INFO")
    job = await started(worker, speaker)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert speaker.speaking == 0
    speaker.gate = None
    assert "audio" in await worker.handle(tts())
    assert not worker.condition.is_condemned
    lines = [record.getMessage() for record in caplog.records if record.name == "serving.worker"]
    assert [line.partition("outcome=")[2].split()[0] for line in lines] == ["cancelled", "ok"]


async def test_cancelling_twice_still_waits_for_the_thread(worker, speaker):
    speaker.is_stuck = True
    job = await started(worker, speaker)
    for _ in range(3):
        job.cancel()
        await asyncio.sleep(0)
        assert not job.done()
    speaker.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert speaker.speaking == 0


async def test_a_job_that_takes_too_long_is_an_error_and_the_worker_goes_on(tmp_path, speaker):
    worker = build_worker(build_services(tmp_path, speaker), AT_ONCE)
    reply = await (await started(worker, speaker))
    assert reply["error_code"] == "cancelled"
    assert "longer than 1 s" in reply["error"]
    speaker.gate = None
    assert "audio" in await worker.handle(tts())
    assert not worker.condition.is_condemned


async def test_a_job_that_hangs_is_an_error_and_the_end_of_the_worker(tmp_path, speaker):
    worker = build_worker(build_services(tmp_path, speaker), AT_ONCE, stop_grace_s=0.1)
    speaker.is_stuck = True
    reply = await (await started(worker, speaker))
    assert reply["error_code"] == "internal"
    assert "send the job again" in reply["error"]
    assert worker.condition.is_condemned
    speaker.gate.set()


@pytest.mark.parametrize("first", [True, False], ids=["it runs", "it waits"])
async def test_all_jobs_can_be_told_to_end(worker, speaker, first):
    running = await started(worker, speaker)
    waiting = asyncio.create_task(worker.handle(tts()))
    await asyncio.sleep(0)
    worker.end_all(OutOfMemory("whatever the reason is"))
    reply = await (running if first else waiting)
    assert reply["error"] == "out_of_memory: whatever the reason is"
    await asyncio.gather(running, waiting)
    assert len(speaker.calls) == 1


async def test_a_lost_gpu_fails_the_job_and_no_further_one_runs(worker, speaker):
    speaker.failure = DeviceLost("the GPU failed; send the job again")
    told = []
    worker.condition.when_condemned(lambda: told.append(True))
    assert (await worker.handle(tts()))["error_code"] == "internal"
    assert told == [True]
    speaker.failure = None
    reply = await worker.handle(tts())
    assert reply["error_code"] == "internal"
    assert "send the job again" in reply["error"]
    assert len(speaker.calls) == 1


async def test_a_lost_gpu_is_seen_behind_a_voice_that_was_saved_without_preview(worker, speaker):
    speaker.failure = DeviceLost("the GPU failed; send the job again")
    reply = await worker.handle(clone("Ada", preview=True))
    assert reply["saved_to_library"]
    assert worker.condition.is_condemned


async def test_after_a_doubtful_fault_the_canary_decides(worker, speaker):
    speaker.failure = DeviceSuspect("the GPU failed; send the job again")
    assert (await worker.handle(tts()))["error_code"] == "internal"
    assert speaker.checks == 1
    assert not worker.condition.is_condemned
    speaker.check_failure = ModelUnavailable("no sound")
    await worker.handle(tts())
    assert worker.condition.is_condemned


async def test_memory_may_run_out_once_but_not_twice_in_a_row(worker, speaker):
    for expected in (False, False, True):
        speaker.failure = OutOfMemory("send a shorter text")
        assert (await worker.handle(tts()))["error_code"] == "out_of_memory"
        assert worker.condition.is_condemned is expected
        if not speaker.checks > 1:
            speaker.failure = None
            assert "audio" in await worker.handle(tts())


async def test_a_voice_is_saved_even_if_the_time_ends_in_its_preview(tmp_path, speaker):
    worker = build_worker(build_services(tmp_path, speaker), AT_ONCE)
    speaker.gate = threading.Event()
    reply = await worker.handle(clone("Ada", preview=True))
    assert reply["saved_to_library"]
    assert "the job was ended before it was done" in reply["warnings"][-1]
    speaker.gate = None
    assert "audio" in await worker.handle(tts(voice_name="Ada"))


async def test_a_long_text_is_reported_on_but_not_near_its_end(worker, monkeypatch):
    monkeypatch.setattr("serving.running_job.SECONDS_BETWEEN_REPORTS", 0.0)
    told = []
    worker.report = lambda event, progress: told.append((event["id"], progress))
    reply = await worker.handle(tts(text="One. Two. Three. Four. Five."))
    assert [(job, progress["chunk"], progress["chunks"]) for job, progress in told] == [
        ("job-1", 1, 5),
        ("job-1", 2, 5),
        ("job-1", 3, 5),
    ]
    assert told[-1][1]["audio_seconds"] == pytest.approx(reply["segments"][2]["end"], abs=0.01)


async def test_a_short_text_is_not_reported_on(worker):
    worker.report = lambda event, progress: pytest.fail("nobody wants to know")
    await worker.handle(tts(text="One. Two."))

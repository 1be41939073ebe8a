"""Jobs that are ended, by their caller, their time or a fault of the GPU; and what becomes of the worker."""

import asyncio
import threading

import pytest

from errors import Cancelled, DeviceLost, DeviceSuspect, ModelUnavailable, OutOfMemory
from speech.contract import ModelInfo
from speech.models.spec import TURBO
from tests.fakes import FakeSynthesizer, build_worker
from tests.serving.jobs import clone, convert, tts

AT_ONCE = {"JOB_TIMEOUT_S": "1"}


@pytest.fixture
def synthesizer():
    return FakeSynthesizer()


@pytest.fixture
def worker(tmp_path, synthesizer):
    return build_worker(tmp_path, synthesizer)


async def started(worker, synthesizer, **fields):
    """A job that waits at the gate."""
    synthesizer.gate = threading.Event()
    job = asyncio.create_task(worker.handle(tts(**fields)))
    await asyncio.to_thread(synthesizer.entered.acquire)
    return job


async def test_a_cancelled_job_ends_its_thread_before_its_slot_is_free(worker, synthesizer, caplog):
    caplog.set_level("INFO")
    job = await started(worker, synthesizer)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert synthesizer.speaking == 0
    synthesizer.gate = None
    assert "audio" in await worker.handle(tts())
    assert not worker.health.is_unhealthy
    lines = [record.getMessage() for record in caplog.records if record.name == "serving.job_worker"]
    assert [line.partition("outcome=")[2].split()[0] for line in lines] == ["cancelled", "ok"]


async def test_cancelling_twice_still_waits_for_the_thread(worker, synthesizer):
    synthesizer.is_stuck = True
    job = await started(worker, synthesizer)
    for _ in range(3):
        job.cancel()
        await asyncio.sleep(0)
        assert not job.done()
    synthesizer.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert synthesizer.speaking == 0


async def test_a_job_that_takes_too_long_is_an_error_and_the_worker_goes_on(tmp_path, synthesizer):
    worker = build_worker(tmp_path, synthesizer, AT_ONCE)
    reply = await (await started(worker, synthesizer))
    assert reply["error_code"] == "cancelled"
    assert "longer than 1 s" in reply["error"]
    synthesizer.gate = None
    assert "audio" in await worker.handle(tts())
    assert not worker.health.is_unhealthy


async def test_a_job_that_hangs_is_an_error_and_the_end_of_the_worker(tmp_path, synthesizer, caplog):
    worker = build_worker(tmp_path, synthesizer, AT_ONCE, stop_grace_s=0.1)
    synthesizer.is_stuck = True
    reply = await (await started(worker, synthesizer))
    assert reply["error_code"] == "internal"
    assert "send the job again" in reply["error"]
    assert worker.health.is_unhealthy
    assert "model=chatterbox internal: the job hangs" in caplog.text
    synthesizer.gate.set()


@pytest.mark.parametrize("first", [True, False], ids=["it runs", "it waits"])
async def test_all_jobs_can_be_told_to_end(worker, synthesizer, first):
    running = await started(worker, synthesizer)
    waiting = asyncio.create_task(worker.handle(tts()))
    await asyncio.sleep(0)
    worker.runner.cancel_all(Cancelled("whatever the reason is"))
    reply = await (running if first else waiting)
    assert reply["error"] == "cancelled: whatever the reason is"
    await asyncio.gather(running, waiting)
    assert len(synthesizer.calls) == 1


async def test_a_lost_gpu_fails_the_job_and_no_further_one_runs(worker, synthesizer):
    synthesizer.failure = DeviceLost("the GPU failed; send the job again")
    told = []
    worker.health.on_unhealthy(lambda: told.append(True))
    assert (await worker.handle(tts()))["error_code"] == "internal"
    assert told == [True]
    synthesizer.failure = None
    reply = await worker.handle(tts())
    assert reply["error_code"] == "internal"
    assert "send the job again" in reply["error"]
    assert len(synthesizer.calls) == 1


async def test_a_lost_gpu_is_seen_behind_a_voice_that_was_saved_without_preview(worker, synthesizer):
    synthesizer.failure = DeviceLost("the GPU failed; send the job again")
    reply = await worker.handle(clone("Ada", preview=True))
    assert reply["saved_to_library"]
    assert worker.health.is_unhealthy


async def test_after_a_doubtful_fault_the_canary_decides(worker, synthesizer):
    synthesizer.failure = DeviceSuspect("the GPU failed; send the job again")
    assert (await worker.handle(tts()))["error_code"] == "internal"
    assert synthesizer.checks == 1
    assert not worker.health.is_unhealthy
    synthesizer.check_failure = ModelUnavailable("no sound")
    await worker.handle(tts())
    assert worker.health.is_unhealthy


async def test_memory_may_run_out_once_but_not_twice_in_a_row(worker, synthesizer):
    for expected in (False, False, True):
        synthesizer.failure = OutOfMemory("send a shorter text")
        assert (await worker.handle(tts()))["error_code"] == "out_of_memory"
        assert worker.health.is_unhealthy is expected
        if not synthesizer.checks > 1:
            synthesizer.failure = None
            assert "audio" in await worker.handle(tts())


async def test_a_model_whose_memory_runs_out_leaves_the_jobs_of_the_other_alone(tmp_path, synthesizer):
    """Jobs of the other model that run meanwhile are spoken, and the worker goes on with both."""
    turbo = FakeSynthesizer(info=ModelInfo(TURBO, "7" * 40), conditionals_key="fake-turbo")
    both = {"MODEL": "chatterbox,turbo", "MAX_CONCURRENCY": "2"}
    worker = build_worker(tmp_path, [synthesizer, turbo], both)
    alone = await worker.handle(tts(seed=7))
    for _ in range(2):
        running = await started(worker, synthesizer, seed=7)
        turbo.failure = OutOfMemory("the GPU's memory ran out", hint="send the job again, or a shorter text")
        assert await worker.handle(tts(model="turbo")) == {
            "error": "out_of_memory: the GPU's memory ran out; send the job again, or a shorter text",
            "error_code": "out_of_memory",
        }
        synthesizer.gate.set()
        assert (await running)["audio"] == alone["audio"]
        turbo.failure = None
    assert (await worker.handle(tts(model="turbo")))["model"]["variant"] == "turbo"
    assert synthesizer.checks == 0
    assert not worker.health.is_unhealthy


async def test_one_lack_of_memory_that_ends_two_jobs_counts_once(worker, synthesizer):
    cause = RuntimeError("CUDA out of memory")
    for expected in (False, False, True):
        synthesizer.failure = OutOfMemory("the GPU's memory ran out")
        synthesizer.failure.__cause__ = cause if not expected else RuntimeError("CUDA out of memory, again")
        assert (await worker.handle(tts()))["error_code"] == "out_of_memory"
        assert worker.health.is_unhealthy is expected


async def test_a_check_that_finds_no_memory_does_not_condemn_the_worker(worker, synthesizer):
    """Neighbours hold the memory that the check would need."""
    synthesizer.failure = OutOfMemory("the GPU's memory ran out", hint="send a shorter text")
    synthesizer.check_failure = OutOfMemory("the GPU's memory ran out", hint="send a shorter text")
    assert (await worker.handle(tts()))["error_code"] == "out_of_memory"
    assert synthesizer.checks == 1
    assert not worker.health.is_unhealthy


async def test_faults_while_a_voice_is_encoded_count_as_well(worker, synthesizer):
    synthesizer.encode_failure = DeviceLost("the GPU failed", hint="send the job again")
    assert (await worker.handle(clone("Ada", preview=True)))["saved_to_library"]
    assert worker.health.is_unhealthy


async def test_faults_while_a_recording_is_converted_count_as_well(worker, synthesizer):
    synthesizer.failure = DeviceLost("the GPU failed", hint="send the job again")
    assert (await worker.handle(convert()))["error_code"] == "internal"
    assert worker.health.is_unhealthy


async def test_a_voice_is_saved_even_if_the_time_ends_in_its_preview(tmp_path, synthesizer):
    worker = build_worker(tmp_path, synthesizer, AT_ONCE)
    synthesizer.gate = threading.Event()
    reply = await worker.handle(clone("Ada", preview=True))
    assert reply["saved_to_library"]
    assert "the job was ended before it was done" in reply["warnings"][-1]
    synthesizer.gate = None
    assert "audio" in await worker.handle(tts(voice_name="Ada"))


async def test_a_long_text_is_reported_on_but_not_near_its_end(worker, monkeypatch):
    monkeypatch.setattr("serving.speech_replies.SECONDS_BETWEEN_REPORTS", 0.0)
    told = []
    worker.report_progress = lambda event, progress: told.append((event["id"], progress))
    reply = await worker.handle(tts(text="One. Two. Three. Four. Five."))
    assert [(job, progress["chunk"], progress["chunks"]) for job, progress in told] == [
        ("job-1", 1, 5),
        ("job-1", 2, 5),
        ("job-1", 3, 5),
    ]
    assert told[-1][1]["audio_seconds"] == pytest.approx(reply["segments"][3]["start"], abs=0.01)


async def test_a_short_text_is_not_reported_on(worker):
    worker.report_progress = lambda event, progress: pytest.fail("nobody wants to know")
    await worker.handle(tts(text="One. Two."))

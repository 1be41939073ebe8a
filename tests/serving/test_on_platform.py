"""The worker on its platform's bad days: the real SDK loop in a process of its own, around a speaker
without a model, against a job server on loopback."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.job_server import REPOSITORY, WAIT_S, JobServer, WorkerProcess

WORKER = REPOSITORY / "tests" / "faulty_worker.py"


@pytest.fixture
async def server():
    async with JobServer.running() as running:
        yield running


@pytest.fixture
def start(server, tmp_path):
    def start(**settings):
        return WorkerProcess.running(server, WORKER, tmp_path, settings)

    return start


def tts(text):
    return {"operation": "tts", "text": text}


def may_make_namespaces():
    command = ["unshare", "--pid", "--fork", "true"]
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)


async def has_begun(tmp_path):
    await until((tmp_path / "begun").exists)
    (tmp_path / "begun").unlink()


async def test_after_sigterm_no_job_is_taken(server, start):
    async with start() as worker:
        await until(lambda: server.asked)
        assert await worker.leave() == 0, worker.log()
        server.submit("late", tts("Nobody runs this."))
        assert server.waiting_jobs == 1
        assert not worker.is_alive()


async def test_jobs_that_come_while_workers_are_told_to_leave_are_run_or_left_for_the_next(server, start):
    """The moment between being handed a job and running it is where the SDK alone loses some."""
    jobs = [f"job-{number}" for number in range(40)]
    async with start() as worker:
        await until(lambda: server.asked)
        for job in jobs[:20]:
            server.submit(job, tts("Quick."))
        worker.process.send_signal(signal.SIGTERM)
        for job in jobs[20:]:
            server.submit(job, tts("Quick."))
            await asyncio.sleep(0)
        assert await worker.exit_code() == 0, worker.log()
    answered = sum(server.has_result(job) for job in jobs)
    assert answered + server.waiting_jobs == len(jobs), worker.log()


async def test_sigterm_lets_the_running_job_finish(server, start, tmp_path):
    async with start() as worker:
        server.submit("running", tts("Please wait."))
        await has_begun(tmp_path)
        worker.process.send_signal(signal.SIGTERM)
        server.submit("late", tts("Nobody runs this."))
        await until(lambda: "leaving" in worker.log())
        (tmp_path / "go").touch()
        assert "audio" in (await server.result("running"))["output"]
        assert await worker.exit_code() == 0, worker.log()
    assert server.waiting_jobs == 1


async def test_a_job_that_outlasts_the_grace_is_answered_with_an_error(server, start, tmp_path):
    async with start(SHUTDOWN_GRACE_S="0") as worker:
        server.submit("running", tts("Please wait."))
        await has_begun(tmp_path)
        assert await worker.leave() == 0, worker.log()
        result = await server.result("running")
    assert result["output"] == {"error_code": "cancelled"}
    assert "send the job again" in result["error"]


@pytest.mark.skipif(not may_make_namespaces(), reason="no process namespace can be made here: needs root")
async def test_sigterm_reaches_a_worker_that_is_the_first_process(server, tmp_path):
    program = tmp_path / "first.py"
    program.write_text(
        "import os, sys\n"
        "command = ['unshare', '--pid', '--fork', '--kill-child', sys.executable]\n"
        f"os.execvp('unshare', [*command, {str(WORKER)!r}])\n"
    )
    async with WorkerProcess.running(server, program, tmp_path, {}) as worker:
        server.submit("running", tts("Please wait."))
        await has_begun(tmp_path)
        children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
        first = int(children.read_text().split()[0])
        os.kill(first, signal.SIGTERM)
        await until(lambda: "leaving" in worker.log())
        (tmp_path / "go").touch()
        assert "audio" in (await server.result("running"))["output"]
        assert await worker.exit_code() == 0, worker.log()


async def test_sigterm_while_it_starts_ends_it_at_once(server, start):
    async with start() as worker:
        await until(lambda: "starting chatterbox" in worker.log())
        assert await worker.leave() == 0, worker.log()
        assert not worker.is_alive()


async def test_a_cancelled_job_posts_nothing_and_the_next_one_runs(server, start, tmp_path):
    async with start() as worker:
        server.submit("unwanted", tts("Please wait."))
        await has_begun(tmp_path)
        server.cancel("unwanted")
        server.submit("next", tts("Good morning."))
        assert "audio" in (await server.result("next"))["output"]
        assert not server.has_result("unwanted")
        assert await worker.leave() == 0, worker.log()


async def test_a_lost_gpu_is_answered_and_the_worker_leaves_with_its_heartbeat(server, start):
    async with start() as worker:
        server.submit("first", tts("Lose it: lose the GPU."))
        server.submit("second", tts("Good morning."))
        result = await server.result("first")
        assert await worker.exit_code() == 1, worker.log()
        assert not worker.is_alive()
    assert "send the job again" in result["error"]
    assert result["stopPod"] is True
    assert server.waiting_jobs == 1


async def test_a_job_that_hangs_is_answered_and_the_worker_leaves(server, start):
    async with start(JOB_TIMEOUT_S="1") as worker:
        server.submit("hanging", tts("Just hang."))
        result = await server.result("hanging")
        assert await worker.exit_code() == 1, worker.log()
        assert not worker.is_alive()
    assert result["error"].startswith("internal: the job hangs")
    assert result["stopPod"] is True


async def test_a_server_that_is_out_of_order_is_asked_ever_more_seldom(server, start):
    server.out_of_order = True
    async with start() as worker:
        await until(lambda: "next try in 2.0 s" in worker.log())
        assert server.asked <= 4
        server.out_of_order = False
        server.submit("job", tts("Good morning."))
        assert "audio" in (await server.result("job"))["output"]
        assert await worker.leave() == 0, worker.log()


async def test_a_model_without_sound_is_reported_and_takes_no_job(server, start, tmp_path):
    (tmp_path / "silent").touch()
    server.submit("job", tts("Good morning."))
    async with start() as worker:
        assert await worker.exit_code() == 1, worker.log()
    unhealthy = [ping for ping in server.pings if ping.get("status") == "unhealthy"]
    assert unhealthy
    assert unhealthy[0]["check"] == "spoken_word"
    assert "no sound" in unhealthy[0]["reason"]
    assert server.waiting_jobs == 1


async def test_a_worker_without_weights_is_reported_with_what_a_start_says(server, tmp_path):
    settings = {"HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    async with WorkerProcess.running(server, REPOSITORY / "handler.py", tmp_path, settings) as worker:
        assert await worker.exit_code() == 1, worker.log()
    (unhealthy,) = (ping for ping in server.pings if ping.get("status") == "unhealthy")
    assert unhealthy["check"] == "model_weights"
    assert "cannot start: model_unavailable: " in unhealthy["reason"]
    assert "cannot start: model_unavailable: " in worker.log()


async def test_a_volume_that_should_be_there_is_reported(server, start):
    async with start(VOICE_STORE_DIR="/runpod-volume/voice_embeddings") as worker:
        assert await worker.exit_code() == 1, worker.log()
    assert [ping["check"] for ping in server.pings if ping.get("status") == "unhealthy"] == ["network_volume"]


async def test_a_long_job_reports_its_progress_before_its_result(server, start):
    async with start() as worker:
        server.submit("long", tts(" ".join(f"Sentence {number}." for number in range(9))))
        assert "audio" in (await server.result("long"))["output"]
        assert await worker.leave() == 0, worker.log()
    assert server.progress["long"][0]["chunk"] == 1
    assert server.progress["long"][0]["chunks"] == 9


async def test_a_full_worker_takes_the_next_job_as_soon_as_one_is_done(server, start, tmp_path):
    async with start(MAX_CONCURRENCY="2") as worker:
        server.submit("long", tts("Please wait."))
        await has_begun(tmp_path)
        for number in range(5):
            server.submit(f"short-{number}", tts("Good morning."))
        for number in range(5):
            assert "audio" in (await server.result(f"short-{number}"))["output"]
        assert not server.has_result("long")
        (tmp_path / "go").touch()
        await server.result("long")
        assert await worker.leave() == 0, worker.log()


async def test_what_is_no_job_ends_nothing(server, start):
    async with start(MAX_CONCURRENCY="3") as worker:
        for garbage in (None, 7, [], {}, {"id": 7}, {"input": {}}):
            server.submit_raw(garbage)
        server.submit("job", tts("Good morning."))
        assert "audio" in (await server.result("job"))["output"]
        assert await worker.leave() == 0, worker.log()


async def test_a_server_that_holds_no_request_is_asked_as_often_as_pauses_allow(server, start):
    server.is_hasty = True
    async with start() as worker:
        await until(lambda: server.asked > 3)
        # However busy the machine is, pauses do not get shorter.
        assert min(later - earlier for earlier, later in itertools.pairwise(server.asked_at_s)) > 0.4
        server.submit("job", tts("Good morning."))
        assert "audio" in (await server.result("job"))["output"]
        assert await worker.leave() == 0, worker.log()

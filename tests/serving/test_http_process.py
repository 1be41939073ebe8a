"""The HTTP server in a process of its own, from its start to its end, around a speaker without a model."""

import asyncio
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.job_server import REPOSITORY, WAIT_S, WorkerProcess

WORKER = REPOSITORY / "tests" / "faulty_worker.py"
SPEECH = "/v1/audio/speech"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def start(port, tmp_path):
    def start(**settings):
        environment = {"ENDPOINT_MODE": "http", "PORT": str(port), **settings}
        return WorkerProcess.running(None, WORKER, tmp_path, environment)

    return start


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)


async def ping(client, address):
    try:
        return (await client.get(f"{address}/ping")).status_code
    except httpx.ConnectError:
        return None


async def until_ready(client, address):
    async with asyncio.timeout(WAIT_S):
        while await ping(client, address) != 200:
            await asyncio.sleep(0.02)


async def test_it_answers_until_it_is_told_to_leave_and_then_finishes_what_runs(start, port, tmp_path):
    address = f"http://127.0.0.1:{port}"
    async with start() as worker, httpx.AsyncClient(timeout=WAIT_S) as client:
        await until_ready(client, address)
        running = asyncio.create_task(client.post(f"{address}{SPEECH}", json={"input": "Please wait."}))
        await until((tmp_path / "begun").exists)
        worker.process.send_signal(signal.SIGTERM)
        await until(lambda: "leaving" in worker.log())
        assert await ping(client, address) == 503
        refused = await client.post(f"{address}{SPEECH}", json={"input": "Good morning."})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "leaving"
        (tmp_path / "go").touch()
        assert (await running).status_code == 200
        assert await worker.exit_code() == 0, worker.log()
        assert not worker.is_alive()
    assert "Traceback" not in worker.log()


async def test_a_job_that_outlasts_the_grace_is_told_to_come_again(start, port, tmp_path):
    address = f"http://127.0.0.1:{port}"
    async with start(SHUTDOWN_GRACE_S="0") as worker, httpx.AsyncClient(timeout=WAIT_S) as client:
        await until_ready(client, address)
        running = asyncio.create_task(client.post(f"{address}{SPEECH}", json={"input": "Please wait."}))
        await until((tmp_path / "begun").exists)
        worker.process.send_signal(signal.SIGTERM)
        reply = await running
        assert reply.status_code == 503, reply.text
        assert reply.json()["error"]["code"] == "leaving"
        assert await worker.exit_code() == 0, worker.log()


async def test_a_lost_gpu_ends_the_worker(start, port):
    address = f"http://127.0.0.1:{port}"
    async with start() as worker, httpx.AsyncClient(timeout=WAIT_S) as client:
        await until_ready(client, address)
        reply = await client.post(f"{address}{SPEECH}", json={"input": "Lose it: lose the GPU."})
        assert reply.status_code == 503, reply.text
        assert await worker.exit_code() == 1, worker.log()


async def test_health_has_a_port_of_its_own_where_that_is_asked_for(start, port):
    other = free_port()
    async with start(PORT_HEALTH=str(other), API_KEY="secret-of-a-test") as worker:
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            await until_ready(client, f"http://127.0.0.1:{other}")
            assert (await client.get(f"http://127.0.0.1:{other}/v1/models")).status_code == 404
            assert (await client.get(f"http://127.0.0.1:{port}/v1/models")).status_code == 401
        assert await worker.leave() == 0, worker.log()
    assert "secret-of-a-test" not in worker.log()


async def test_a_model_that_does_not_speak_ends_the_start(start, port, tmp_path):
    (tmp_path / "silent").touch()
    async with start() as worker:
        assert await worker.exit_code() == 1
    assert "cannot start" in worker.log()


async def test_a_port_that_is_taken_is_named(start, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        async with start() as worker:
            assert await worker.exit_code() == 1
    assert str(port) in worker.log()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HOST": "0.0.0.0"}, "API_KEY is not set, and HOST is 0.0.0.0"),
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"CORS_ORIGINS": "example.com"}, "CORS_ORIGINS"),
        ({"API_KEY": "with space"}, "API_KEY holds characters"),
    ],
)
def test_settings_that_let_anybody_in_or_make_no_sense_end_the_start(tmp_path, settings, says):
    finished = subprocess.run(
        [sys.executable, str(WORKER)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "ENDPOINT_MODE": "http", **settings},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert finished.returncode == 1
    assert says in finished.stderr

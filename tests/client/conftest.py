"""Endpoints and servers for the client's tests, and clients of them that wait briefly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chatterbox_voice import AsyncClient, Client

from tests.client.platform import KEY, Platform, platform_of
from tests.fakes import FakeSynthesizer, build_worker

ON_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}
QUICKLY = {"poll_s": 0.005, "backoff_s": 0.005, "timeout_s": 60.0}


@pytest.fixture(autouse=True)
def _no_worker_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "URL", "API_KEY", "SERVE_KEY"):
        monkeypatch.delenv(f"VOICE_WORKER_{name}", raising=False)
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)


@pytest.fixture
def endpoint(tmp_path: Path, synthesizer: FakeSynthesizer) -> Iterator[Platform]:
    """A queue endpoint."""
    with platform_of(build_worker(tmp_path, synthesizer, ON_PLATFORM)) as platform:
        yield platform


@pytest.fixture
def streaming_endpoint(tmp_path: Path, synthesizer: FakeSynthesizer) -> Iterator[Platform]:
    """A queue endpoint with ENDPOINT_MODE=streaming."""
    worker = build_worker(tmp_path, synthesizer, {**ON_PLATFORM, "ENDPOINT_MODE": "streaming"})
    with platform_of(worker, is_streaming=True) as platform:
        yield platform


def client_of(platform: Platform, **options: object) -> Client:
    return Client(platform.address, api_key=KEY, **{**QUICKLY, **options})


def async_client_of(platform: Platform, **options: object) -> AsyncClient:
    return AsyncClient(platform.address, api_key=KEY, **{**QUICKLY, **options})


@pytest.fixture
def client(endpoint: Platform) -> Iterator[Client]:
    with client_of(endpoint) as found:
        yield found


@pytest.fixture
def streaming_client(streaming_endpoint: Platform) -> Iterator[Client]:
    with client_of(streaming_endpoint) as found:
        yield found


def until(condition: Callable[[], bool]) -> None:
    """Returns once the condition is true."""
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")

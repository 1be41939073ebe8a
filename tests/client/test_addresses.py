"""Which worker a client asks, and where its keys go."""

from __future__ import annotations

import pytest
from chatterbox_voice import Client, errors


def headers_of(client):
    return client._operations.worker._headers


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "neither"),
        ({"VOICE_WORKER_ENDPOINT": "abc", "VOICE_WORKER_URL": "http://localhost"}, "both"),
        ({"VOICE_WORKER_ENDPOINT": "abc"}, "RUNPOD_API_KEY"),
        ({"VOICE_WORKER_ENDPOINT": "a b", "RUNPOD_API_KEY": "k"}, "id"),
        ({"VOICE_WORKER_ENDPOINT": "abc", "RUNPOD_API_KEY": "secret\nkey"}, "characters"),
        ({"VOICE_WORKER_URL": "localhost:8000"}, "http"),
        ({"VOICE_WORKER_URL": "http://secret@localhost"}, "api_key"),
        ({"VOICE_WORKER_URL": "http://localhost/?key=secret"}, "api_key"),
    ],
)
def test_what_is_missing_or_wrong_is_said_without_the_key(monkeypatch, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.ConfigurationError, match=said) as raised:
        Client()
    assert "secret" not in str(raised.value)


def test_an_endpoint_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("VOICE_WORKER_ENDPOINT", "abc123")
    monkeypatch.setenv("RUNPOD_API_KEY", "a-secret")
    with Client() as client:
        assert headers_of(client) == {"Authorization": "Bearer a-secret"}
        assert repr(client) == "Client('https://api.runpod.ai/v2/abc123')"


def test_a_load_balancing_endpoint_gets_both_keys(monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "runpods")
    with Client(url="https://abc123.api.runpod.ai/", api_key="the-workers") as client:
        sent = headers_of(client)
    assert sent["Authorization"] == "Bearer runpods"
    assert sent["X-API-Key"] == "the-workers"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8000", "https://runpod.ai.example.com", "http://x.api.runpod.ai"]
)
def test_runpods_key_of_the_environment_goes_to_runpod_alone(monkeypatch, address):
    monkeypatch.setenv("RUNPOD_API_KEY", "runpods")
    with Client(url=address) as client:
        assert "Authorization" not in headers_of(client)
    with pytest.raises(errors.ConfigurationError):
        Client(f"{address}/v2/abc")
    with Client(url=address, runpod_api_key="given") as client:
        assert headers_of(client)["Authorization"] == "Bearer given"

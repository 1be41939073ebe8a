"""OpenAI's own SDKs in front of a queue endpoint, by ``voice-worker serve``; `make test-clients`."""

from __future__ import annotations

import pytest

from handler import SMALL_MODEL
from tests.client.conftest import ON_PLATFORM, client_of
from tests.client.platform import platform_of
from tests.client.test_bridge import bridge_of
from tests.clients.openai_sdks import MAJORS, TEXT, TYPES, check, run_javascript_sdk, run_python_sdk
from tests.fakes import build_services, build_worker
from tests.serving.http_server import KEY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["streaming", "basic"])
def endpoint(request, tmp_path_factory):
    """A queue endpoint that speaks with the small model."""
    from speech.pipeline import load_synthesizer

    root = tmp_path_factory.mktemp("endpoint")
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=SMALL_MODEL, device="cpu")
    services = build_services(root, synthesizer)
    worker = build_worker(
        root, synthesizer, {**ON_PLATFORM, "ENDPOINT_MODE": request.param}, services=services
    )
    with platform_of(worker, is_streaming=request.param == "streaming") as platform:
        yield platform
    synthesizer.close()


@pytest.fixture(scope="module")
def bridge(endpoint):
    with bridge_of(endpoint, KEY, timeout_s=600.0) as address:
        yield address


@pytest.fixture(scope="module")
def expected(endpoint) -> dict[str, bytes]:
    """The same speech by the client, by format."""
    with client_of(endpoint, timeout_s=600.0) as client:
        return {format: b"".join(client.stream(TEXT, seed=7, format=format)) for format in TYPES}


@pytest.mark.parametrize("major", MAJORS)
def test_the_python_sdk_gets_what_the_client_gets(bridge, expected, major, tmp_path):
    answers = run_python_sdk(major, bridge, tmp_path)
    check(answers, tmp_path, expected, [])
    for name in ("created.mp3", "async.mp3"):
        assert (tmp_path / name).read_bytes() == expected["mp3"]
    assert answers["voices"] == []
    assert answers["no key"][:2] == ["AuthenticationError", 401]


def test_the_javascript_sdk_gets_what_the_client_gets(bridge, expected, tmp_path):
    check(run_javascript_sdk(bridge, tmp_path), tmp_path, expected, [])

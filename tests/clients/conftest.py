"""A worker that speaks with the small model, for other people's clients."""

from __future__ import annotations

import pytest

from handler import SMALL_MODEL
from tests.fakes import build_services
from tests.serving.http_server import KEY, http_server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from speech.pipeline import load_synthesizer

    root = tmp_path_factory.mktemp("served")
    synthesizer = load_synthesizer("chatterbox", checkpoint_dir=SMALL_MODEL, device="cpu")
    services = build_services(root, synthesizer)
    with http_server(root, synthesizer, {"API_KEY": KEY}, services=services) as server:
        yield server
    synthesizer.close()

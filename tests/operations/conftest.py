import base64

import pytest

from tests.recordings import speech_like, wav_bytes


@pytest.fixture(scope="session")
def recording():
    """12 s of one speaker, as a job carries it."""
    return base64.b64encode(wav_bytes(speech_like(12.0, 24_000, 1), 24_000)).decode()


@pytest.fixture(scope="session")
def other_recording():
    return base64.b64encode(wav_bytes(speech_like(12.0, 24_000, 2), 24_000)).decode()

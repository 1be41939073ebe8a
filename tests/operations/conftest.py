import base64

import pytest

from audio.waveform import Waveform
from operations import dispatch
from operations.base import Job
from tests.recordings import speech_like, wav_bytes


@pytest.fixture(scope="session")
def recording():
    """12 s of one speaker, as a job carries it."""
    return base64.b64encode(wav_bytes(speech_like(12.0, 24_000, 1), 24_000)).decode()


@pytest.fixture(scope="session")
def other_recording():
    return base64.b64encode(wav_bytes(speech_like(12.0, 24_000, 2), 24_000)).decode()


@pytest.fixture(scope="session")
def waveform():
    """3 s of one speaker, as the store takes it."""
    return Waveform(speech_like(3.0, 24_000, 3), 24_000)


@pytest.fixture(scope="session")
def other_waveform():
    return Waveform(speech_like(3.0, 24_000, 4), 24_000)


@pytest.fixture
def run(services):
    """A job's reply: ``run("tts", text="Hello.")``."""

    def run_job(operation, *, limit_bytes=None, **fields):
        return dispatch({"operation": operation, **fields}, services, Job("job-1", limit_bytes))

    return run_job

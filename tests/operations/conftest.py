import base64

import pytest

from audio.waveform import Waveform
from cancel import CancelToken
from operations import find_operation
from operations.request import parse_request
from operations.speech_result import SpeechResult, join
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
    """What an operation returns: ``run("list_voices", limit=3)``, see ``run_operation``."""
    return lambda operation, **fields: run_operation(services, operation, **fields)


def run_operation(services, name, *, cancel=None, **fields):
    """The facts that an operation returns; of speech its receipt, with its samples as "samples"."""
    result = start_operation(services, name, cancel=cancel, **fields)
    if not isinstance(result, SpeechResult):
        return result.facts
    samples = join(list(result.chunks)).samples
    return {**result.receipt(), "samples": samples}


def start_operation(services, name, *, cancel=None, **fields):
    operation = find_operation(name)
    return operation.run(parse_request(operation.request, name, fields), services, cancel or CancelToken())

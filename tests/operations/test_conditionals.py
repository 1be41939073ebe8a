"""Conditionals of voices: computed once, kept in memory and beside the voice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from audio.waveform import Waveform
from cancel import CancelToken
from errors import Cancelled, ReferenceTooShort
from operations.conditionals import Reference, VoiceConditionals
from tests.fakes import FakeSynthesizer
from tests.operations.conftest import run_operation
from tests.recordings import speech_like


class SlowSynthesizer(FakeSynthesizer):
    """Announces each recording that it encodes and waits to be let go on."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def encode_reference(self, waveform, cancel):
        self.encoded.append(waveform)
        self.begun.release()
        unregister = cancel.on_cancel(self.go_on.release)
        self.go_on.acquire()
        unregister()
        cancel.raise_if_cancelled()
        return super().encode_reference(waveform, cancel)


def reference(seed, files=None):
    waveform = Waveform(speech_like(1.0, 24_000, seed), 24_000)
    return Reference(waveform, waveform.digest(), files)


@pytest.fixture
def slow():
    return SlowSynthesizer()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_jobs_that_need_the_same_new_voice_compute_it_once(slow, pool):
    conditionals = VoiceConditionals()
    first = pool.submit(conditionals.get, reference(1), slow, CancelToken())
    slow.begun.acquire()
    second = pool.submit(conditionals.get, reference(1), slow, CancelToken())
    slow.go_on.release()
    assert first.result() is second.result()
    assert len(slow.encoded) == 2  # begun and done, once


def test_a_job_in_another_voice_does_not_wait(slow, pool):
    conditionals = VoiceConditionals()
    slow.go_on.release()
    conditionals.get(reference(2), slow, CancelToken())
    slow.begun.acquire()
    waiting = pool.submit(conditionals.get, reference(1), slow, CancelToken())
    slow.begun.acquire()
    assert conditionals.get(reference(2), slow, CancelToken()).waveform_digest == reference(2).digest
    assert not waiting.done()
    slow.go_on.release()
    waiting.result()


def test_who_waits_for_a_job_that_is_cancelled_computes_the_voice_itself(slow, pool):
    conditionals, cancel = VoiceConditionals(), CancelToken()
    first = pool.submit(conditionals.get, reference(1), slow, cancel)
    slow.begun.acquire()
    second = pool.submit(conditionals.get, reference(1), slow, CancelToken())
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        first.result()
    slow.begun.acquire()
    slow.go_on.release()
    assert second.result().waveform_digest == reference(1).digest


def test_a_job_that_waits_for_another_can_be_cancelled(slow, pool):
    conditionals, cancel = VoiceConditionals(), CancelToken()
    first = pool.submit(conditionals.get, reference(1), slow, CancelToken())
    slow.begun.acquire()
    second = pool.submit(conditionals.get, reference(1), slow, cancel)
    cancel.cancel(Cancelled("the job was cancelled"))
    with pytest.raises(Cancelled):
        second.result()
    assert not first.done()
    slow.go_on.release()
    first.result()


def test_a_failure_is_not_remembered():
    synthesizer = FakeSynthesizer(encode_failure=ReferenceTooShort("has 0.1 s of speech"))
    conditionals = VoiceConditionals()
    for _ in range(2):
        with pytest.raises(ReferenceTooShort):
            conditionals.get(reference(1), synthesizer, CancelToken())
    synthesizer.encode_failure = None
    assert conditionals.get(reference(1), synthesizer, CancelToken())


def test_the_least_recently_used_voice_is_forgotten():
    synthesizer = FakeSynthesizer()
    conditionals = VoiceConditionals(max_cached_voices=2)
    for seed in (1, 2, 1, 3, 1, 2):
        conditionals.get(reference(seed), synthesizer, CancelToken())
    assert len(synthesizer.encoded) == 4  # the second voice twice


def test_another_worker_reads_what_lies_beside_the_voice(services, waveform):
    voice = services.voices.put(waveform, "Ada").voice
    stored = Reference(waveform, voice.digest, voice.sidecar)
    made = services.conditionals.get(stored, services.models.first, CancelToken())
    other = FakeSynthesizer()
    assert VoiceConditionals().get(stored, other, CancelToken()) == made
    assert other.encoded == []


def test_what_lies_beside_the_voice_and_is_not_ours_is_replaced(services, synthesizer, waveform):
    voice = services.voices.put(waveform, "Ada").voice
    voice.sidecar.write(synthesizer.conditionals_key, b"something else")
    stored = Reference(waveform, voice.digest, voice.sidecar)
    services.conditionals.get(stored, services.models.first, CancelToken())
    assert len(synthesizer.encoded) == 1
    assert voice.sidecar.read(synthesizer.conditionals_key) != b"something else"


def test_a_voice_that_is_stored_after_its_first_job_keeps_its_conditionals(services, synthesizer, recording):
    run_operation(services, "tts", text="Hello.", reference_audio=recording)
    run_operation(services, "clone_voice", voice_name="Ada", reference_audio=recording)
    assert len(synthesizer.encoded) == 1
    assert services.voices.get(name="Ada").sidecar.read(synthesizer.conditionals_key) is not None

"""The same engine on a GPU: the plain path, before anything is tuned for one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audio.waveform import Waveform
from speech.checkpoint import Model, load_model
from speech.conditionals import ConditionalsEncoder
from speech.contract import SpeechParams
from speech.engine import SpeechEngine, load_engine
from speech.locate import Checkpoint
from speech.variants import CHATTERBOX
from tests.recordings import speech_like
from tests.speaker_contract import SpeakerContract

pytestmark = pytest.mark.requires_cuda

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def cuda_engine(smoke_checkpoint: Path) -> SpeechEngine:
    engine = load_engine("chatterbox", checkpoint_dir=smoke_checkpoint, device="cuda", precision="exact")
    engine.warm_up()
    return engine


class TestCudaSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self, cuda_engine) -> SpeechEngine:
        return cuda_engine


def test_every_weight_and_buffer_is_on_the_gpu(smoke_checkpoint):
    model: Model = load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, None, chosen_by_name=True), CUDA)
    for module in (model.t3, model.s3gen, model.voice_encoder):
        assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"cuda"}


def test_conditionals_equal_the_cpus(tiny_model, cuda_engine):
    waveform = Waveform(speech_like(7.0, 24_000, seed=1), 24_000)
    on_cpu = ConditionalsEncoder(tiny_model.s3gen, tiny_model.voice_encoder, 150, tiny_model.device)
    expected, found = on_cpu.compute(waveform), cuda_engine._encoder.compute(waveform)
    assert torch.equal(found.t3_prompt_tokens.cpu(), expected.t3_prompt_tokens)
    assert torch.equal(found.decoder_prompt["prompt_token"].cpu(), expected.decoder_prompt["prompt_token"])
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(
            found.decoder_prompt[name].cpu(), expected.decoder_prompt[name], rtol=1e-3, atol=1e-3
        )
    torch.testing.assert_close(
        found.speaker_embedding.cpu(), expected.speaker_embedding, rtol=1e-3, atol=1e-4
    )


def test_greedy_speech_is_as_long_as_the_cpus(engine, cuda_engine):
    """Samples differ: each device draws its own noise. Greedy tokens, and so the length, do not."""
    params = SpeechParams(seed=1, temperature=0.0)
    text = "The harbour was quiet, and the boats lay still."
    expected, found = engine.speak(text, None, params), cuda_engine.speak(text, None, params)
    assert found.waveform.duration_s == pytest.approx(expected.waveform.duration_s, rel=0.05)


def test_memory_of_the_gpu_does_not_grow_with_jobs(cuda_engine):
    def speak() -> int:
        cuda_engine.speak("One more sentence, as long as the last.", None, SpeechParams(seed=3))
        return torch.cuda.memory_allocated()

    speak()
    assert speak() <= speak()

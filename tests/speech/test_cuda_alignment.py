"""The pass that aligns text and speech, on a GPU: what the CPU finds, beside other work of the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from cancel import CancelToken
from speech.contract import AudioChunk, Utterance
from speech.models.spec import CHATTERBOX, TURBO, ModelSpec
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer, make_batch, set_arithmetic
from speech.smoke import FOLLOWING_HEAD, write_smoke_checkpoint
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import load_model
from tests.speech.t3.requests import decode_all, request

pytestmark = pytest.mark.requires_cuda

TEXT = "My brother sold his boat and bought a farm beside the lake."


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    set_arithmetic("exact")
    yield
    set_arithmetic("exact")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follows")
    write_smoke_checkpoint(folder, follows_text=True)
    return folder


@pytest.fixture(scope="module")
def synthesizer(folder: Path) -> Iterator[ChatterboxSynthesizer]:
    with closing(
        load_synthesizer("chatterbox", checkpoint_dir=folder, device="cuda", max_concurrency=4)
    ) as synthesizer:
        synthesizer.check()
        yield synthesizer


def speak(synthesizer: ChatterboxSynthesizer, seed: int, text: str = TEXT) -> list[AudioChunk]:
    utterance = Utterance(text, synthesizer.builtin_voice(), seed, align=True)
    return list(synthesizer.synthesize([utterance], CancelToken()))


@pytest.mark.parametrize("spec", [CHATTERBOX, TURBO], ids=lambda spec: spec.name)
def test_attention_is_that_of_the_cpu(tmp_path: Path, spec: ModelSpec) -> None:
    write_smoke_checkpoint(tmp_path, spec=spec, follows_text=True)
    checkpoint = Checkpoint(tmp_path, None, may_be_unpublished=True)
    cpu, cuda = (load_model(spec, checkpoint, torch.device(device)) for device in ("cpu", "cuda"))
    asked = request(cpu, seed=3)
    (decoded,) = decode_all(make_batch(cpu), [asked])
    expected = cpu.t3.attention_to_text(asked, decoded.tokens, [FOLLOWING_HEAD])
    found = cuda.t3.attention_to_text(asked, decoded.tokens, [FOLLOWING_HEAD])
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_the_planted_head_is_found_and_times_rise(synthesizer: ChatterboxSynthesizer) -> None:
    assert synthesizer.info.can_align
    (chunk,) = speak(synthesizer, 7)
    assert chunk.alignment is not None
    ends_s = chunk.alignment.ends_s
    assert list(ends_s) == sorted(ends_s)
    assert 0 < ends_s[-1] <= chunk.waveform.duration_s + 1.0


def test_alignments_of_jobs_at_once_are_those_of_each_alone(synthesizer: ChatterboxSynthesizer) -> None:
    alone = [speak(synthesizer, seed)[0].alignment for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = [
            chunks[0].alignment for chunks in pool.map(lambda seed: speak(synthesizer, seed), range(4))
        ]
    for one, other in zip(together, alone, strict=True):
        assert one is not None
        assert other is not None
        # In bfloat16 company changes rounding, and a token may be another one.
        assert np.median(np.abs(np.subtract(one.ends_s, other.ends_s))) <= 0.2

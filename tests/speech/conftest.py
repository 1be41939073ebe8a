"""Fixtures of the speech tests: the tiny checkpoint, loaded once, and what is built around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import torch

from speech.models.spec import CHATTERBOX, MULTILINGUAL_V2, TURBO
from speech.pipeline import ChatterboxSynthesizer, make_batch, make_synthesizer
from speech.runtime import Batch, DeviceModel, DeviceRuntime
from speech.smoke import write_smoke_checkpoint
from speech.upstream import load_upstream_model
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model

# The tiny modules gain nothing from threads, and lose much to them on a busy machine.
torch.set_num_threads(1)

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def checkpoint(smoke_checkpoint: Path) -> Checkpoint:
    return Checkpoint(smoke_checkpoint, None, may_be_unpublished=True)


@pytest.fixture(scope="session")
def our_model(checkpoint: Checkpoint) -> Model:
    """The checkpoint in our T3 and S3Gen, in float32."""
    return load_model(CHATTERBOX, checkpoint, CPU)


@pytest.fixture(scope="session")
def upstream_model(checkpoint: Checkpoint) -> Model:
    """The checkpoint in upstream's T3 and S3Gen."""
    return load_upstream_model(CHATTERBOX, checkpoint, CPU)


@pytest.fixture(scope="session")
def turbo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny untrained turbo."""
    folder = tmp_path_factory.mktemp("turbo")
    write_smoke_checkpoint(folder, spec=TURBO)
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="session")
def turbo(turbo_checkpoint: Checkpoint) -> Model:
    """The turbo checkpoint in our T3 and S3Gen, in float32."""
    return load_model(TURBO, turbo_checkpoint, CPU)


@pytest.fixture(scope="session")
def upstream_turbo(turbo_checkpoint: Checkpoint) -> Model:
    """The turbo checkpoint in upstream's T3 and S3Gen."""
    return load_upstream_model(TURBO, turbo_checkpoint, CPU)


@pytest.fixture(scope="session")
def multilingual_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny untrained multilingual-v2."""
    folder = tmp_path_factory.mktemp("multilingual")
    write_smoke_checkpoint(folder, spec=MULTILINGUAL_V2)
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="session")
def multilingual(multilingual_checkpoint: Checkpoint) -> Model:
    """The multilingual checkpoint in our T3 and S3Gen, in float32."""
    return load_model(MULTILINGUAL_V2, multilingual_checkpoint, CPU)


@pytest.fixture(scope="session")
def upstream_multilingual(multilingual_checkpoint: Checkpoint) -> Model:
    """The multilingual checkpoint in upstream's T3 and S3Gen."""
    return load_upstream_model(MULTILINGUAL_V2, multilingual_checkpoint, CPU)


@pytest.fixture(scope="session")
def watermarker() -> Watermarker:
    return Watermarker()


@pytest.fixture(scope="session")
def synthesizer(our_model: Model, watermarker: Watermarker) -> Iterator[ChatterboxSynthesizer]:
    """Our model, for one job at once. Shared: a test that breaks it builds its own with ``build``."""
    with closing(make_synthesizer(our_model, watermarker)) as synthesizer:
        yield synthesizer


@pytest.fixture
def build(watermarker: Watermarker) -> Iterator[Callable[..., ChatterboxSynthesizer]]:
    """Returns a function that builds a synthesizer, which ends with the test.

    Its arguments: a model, a function from the model's batch to the one that is used instead, and how many
    jobs speak at once.
    """
    with ExitStack() as stack:

        def build(
            model: Model, wrap: Callable[[Any], Batch] = lambda batch: batch, max_jobs: int = 1
        ) -> ChatterboxSynthesizer:
            device_model = DeviceModel(lambda: wrap(make_batch(model, max_jobs)), model.s3gen)
            runtime = DeviceRuntime(model.device, {model.spec.name: device_model}, max_jobs=max_jobs)
            return stack.enter_context(closing(ChatterboxSynthesizer(model, runtime, watermarker)))

        yield build


@pytest.fixture(scope="session")
def perth() -> Any:
    """Resemble's own watermarker."""
    import perth

    return perth.PerthImplicitWatermarker()


@pytest.fixture(scope="module")
def all_threads() -> Iterator[None]:
    """Lets a module's tests compute with all cores; others are better off with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)

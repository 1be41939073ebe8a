"""English and turbo in one worker, at the published size: each speaks as it does alone.

Takes some 10 GB of memory and 6 GB of disk; `make test-slow`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import torch

from speech.models.spec import CHATTERBOX, TURBO
from speech.pipeline import ChatterboxSynthesizer, make_synthesizer, make_synthesizers
from speech.smoke import write_smoke_checkpoint
from speech.watermark import Watermarker
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from speech.weights.shared import SharedParts
from tests.speech.speaking import encode, join, speak

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("all_threads")]

SENTENCES = ("Good morning, all.", "The tide waits.")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Model]:
    shared, loaded = SharedParts(), []
    for spec in (CHATTERBOX, TURBO):
        folder = tmp_path_factory.mktemp(spec.name)
        write_smoke_checkpoint(folder, size="full", spec=spec)
        checkpoint = Checkpoint(folder, None, may_be_unpublished=True)
        loaded.append(load_model(spec, checkpoint, torch.device("cpu"), shared=shared))
    return loaded


def samples(synthesizer: ChatterboxSynthesizer, text: str, seed: int) -> np.ndarray:
    return join(speak(synthesizer, text, encode(synthesizer, seed, 6.0), seed=seed))


def test_samples_in_company_equal_those_alone(models):
    jobs = [(number, text, seed) for seed, text in enumerate(SENTENCES) for number in (0, 1)]
    alone = {}
    for number, model in enumerate(models):
        with closing(make_synthesizer(model, Watermarker())) as synthesizer:
            for job in jobs:
                if job[0] == number:
                    alone[job] = samples(synthesizer, *job[1:])
    together = make_synthesizers(models, Watermarker(), max_concurrency=2)
    with closing(together[0]), ThreadPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(lambda job: samples(together[job[0]], *job[1:]), jobs), strict=True))
    for job in jobs:
        assert len(found[job]) == len(alone[job]) > 0.4 * 24_000
        np.testing.assert_allclose(found[job], alone[job], rtol=0, atol=5e-6)

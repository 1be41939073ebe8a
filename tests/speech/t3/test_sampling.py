"""Draws, against upstream's processors and ``torch.multinomial``."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from speech.models.spec import CHATTERBOX, TURBO
from speech.t3.sampling import Sampling, SamplingRows, draw

VOCABULARY = 300
ORDER = CHATTERBOX.sampler


def upstreams_draw(logits, uncond_logits, seen_ids, sampling: Sampling, generator) -> int:
    """One pass of the loop in ``T3.inference``, one row."""
    scores = logits + sampling.cfg_weight * (logits - uncond_logits)
    scores = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(seen_ids[None], scores[None])
    if sampling.temperature != 1.0:
        scores = scores / sampling.temperature
    scores = MinPLogitsWarper(min_p=sampling.min_p)(seen_ids[None], scores)
    scores = TopPLogitsWarper(top_p=sampling.top_p)(seen_ids[None], scores)
    return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=generator))


def upstreams_turbo_draw(logits, _, seen_ids, sampling: Sampling, generator) -> int:
    """One pass of the loop in ``T3.inference_turbo``, one row."""
    processors = LogitsProcessorList()
    if sampling.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k > 0:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    scores = processors(seen_ids[None], logits[None])
    return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=generator))


UPSTREAMS = {"standard": upstreams_draw, "turbo": upstreams_turbo_draw}  # by the model's loop
SAMPLINGS = st.builds(
    Sampling,
    cfg_weight=st.floats(0.0, 1.0),
    temperature=st.floats(0.05, 5.0),
    top_p=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.05, 0.5, 1.0]),
    repetition_penalty=st.floats(1.0, 2.0),
    top_k=st.sampled_from([0, 1, 7, VOCABULARY, 1000]),
)


@pytest.mark.parametrize("spec", [CHATTERBOX, TURBO], ids=lambda spec: spec.name)
@given(samplings=st.lists(SAMPLINGS, min_size=1, max_size=4), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_each_row_draws_what_upstream_draws(spec, samplings, seed):
    numbers = torch.Generator().manual_seed(seed)
    count = len(samplings)
    logits = 4 * torch.randn(count, VOCABULARY, generator=numbers)
    uncond_logits = 4 * torch.randn(count, VOCABULARY, generator=numbers)
    seen_ids = torch.randint(0, VOCABULARY, (count, 30), generator=numbers)
    rows, seen = SamplingRows.neutral(count, torch.device("cpu")), torch.zeros(count, VOCABULARY).bool()
    noise, expected = torch.empty(count, VOCABULARY), []
    for index, sampling in enumerate(samplings):
        rows.set(index, sampling)
        seen[index, seen_ids[index]] = True
        noise[index].exponential_(generator=torch.Generator().manual_seed(seed + index))
        generator = torch.Generator().manual_seed(seed + index)
        row = logits[index], uncond_logits[index], seen_ids[index]
        expected.append(UPSTREAMS[spec.loop](*row, sampling, generator))
    needs_sort = any(sampling.needs_sort(spec.sampler) for sampling in samplings)
    for with_sort in {True, needs_sort}:
        drawn = draw(logits, uncond_logits, seen, rows, noise, order=spec.sampler, with_sort=with_sort)
        assert drawn.tolist() == expected


def test_draws_are_as_frequent_as_they_are_likely():
    """Chi-squared over 40,000 draws; 1 in 10,000 correct samplers would fail."""
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, -2.0]])
    rows = SamplingRows.neutral(1, torch.device("cpu"))
    rows.set(0, Sampling(0.0, 0.8, 1.0, 0.0, 1.0))
    generator, draws = torch.Generator().manual_seed(0), 40_000
    counts = torch.zeros(6)
    seen = torch.zeros(1, 6).bool()
    for _ in range(draws):
        noise = torch.empty(1, 6).exponential_(generator=generator)
        counts[draw(logits, logits, seen, rows, noise, order=ORDER, with_sort=False)] += 1
    expected = draws * torch.softmax(logits[0] / 0.8, dim=-1)
    assert float(((counts - expected) ** 2 / expected).sum()) < 25.7  # 5 degrees of freedom


@pytest.mark.parametrize(
    ("order", "expected"),
    [(("guidance", "repetition_penalty"), 0), (("repetition_penalty", "guidance"), 1)],
)
def test_the_steps_are_applied_in_the_models_order(order, expected):
    """Scores of 2.25 and 2.0 when the penalty comes last, of 1.5 and 2.0 when guidance does."""
    rows = SamplingRows.neutral(1, torch.device("cpu"))
    rows.set(0, Sampling(1.0, 1.0, 1.0, 0.0, 2.0))
    logits, uncond_logits = torch.tensor([[3.0, 2.0]]), torch.tensor([[1.5, 2.0]])
    seen = torch.tensor([[True, False]])
    drawn = draw(logits, uncond_logits, seen, rows, torch.ones(1, 2), order=order, with_sort=False)
    assert drawn.tolist() == [expected]


def test_a_step_that_the_model_does_not_have_changes_nothing():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    rows = SamplingRows.neutral(1, torch.device("cpu"))
    rows.set(0, Sampling(1.0, 0.001, 0.0, 1.0, 2.0))
    noise = torch.tensor([[9.0, 9.0, 0.01]])
    drawn = draw(logits, -logits, torch.ones(1, 3).bool(), rows, noise, order=(), with_sort=True)
    assert drawn.tolist() == [2]


@pytest.mark.parametrize("temperature", [0.0, 1e-38, 0.0009])
def test_greedy_is_written_in_numbers_that_do_not_overflow(temperature):
    tamed = Sampling(0.5, temperature, 0.9, 0.05, 1.2).without_extremes(ORDER)
    assert (tamed.temperature, tamed.min_p) == (1.0, 1.0)
    assert (tamed.cfg_weight, tamed.top_p, tamed.repetition_penalty) == (0.5, 0.9, 1.2)


def test_greedy_needs_one_of_the_models_own_steps():
    tamed = Sampling(temperature=0.0, top_p=0.9).without_extremes(TURBO.sampler)
    assert (tamed.temperature, tamed.top_k, tamed.top_p) == (1.0, 1, 0.9)
    assert tamed.needs_sort(TURBO.sampler)
    assert not tamed.needs_sort(("temperature", "min_p"))

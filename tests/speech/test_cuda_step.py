"""The fused step on a GPU, beside PyTorch's operators: full width, few layers, random weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from speech.models.spec import CHATTERBOX, NANO, TURBO, ModelSpec
from speech.models.t3 import T3
from speech.t3.batch import RunningBatch
from speech.t3.fused_step import FUSED_STEPS, PDL_CAPABILITY
from speech.t3.request import DecodeRequest
from speech.t3.sampling import Sampling, draw
from tests.speech.t3.requests import USUAL, decode_all, random_request, random_t3

pytestmark = pytest.mark.requires_cuda

STEPS = 20
STATE = ("_tokens", "_counts", "_positions", "_limits", "_spoken", "_done", "_seen")
UNGUIDED = dataclasses.replace(USUAL, cfg_weight=0.0)
WITH_TOP_P = dataclasses.replace(USUAL, top_p=0.7)
LLAMAS = {
    "one": [USUAL],
    "two": [USUAL] * 2,
    "three": [USUAL] * 3,
    "eight": [USUAL] * 8,
    "unguided": [UNGUIDED],
    "two unguided": [UNGUIDED] * 2,
    "guided and not": [USUAL, UNGUIDED, USUAL],
    "top_p": [WITH_TOP_P],
    "top_p beside others": [WITH_TOP_P, USUAL, UNGUIDED],
    "greedy": [dataclasses.replace(USUAL, temperature=0.0)],
}
SORTED = Sampling(temperature=0.8, top_p=0.95, repetition_penalty=1.2, top_k=1000)
UNSORTED = dataclasses.replace(SORTED, top_p=1.0, top_k=0)
GPT2S = {
    "one": [SORTED],
    "two": [SORTED] * 2,
    "three": [SORTED] * 3,
    "eight": [SORTED] * 8,
    "unsorted": [UNSORTED],
    "sorted and not": [SORTED, UNSORTED, SORTED],
    "greedy": [dataclasses.replace(SORTED, temperature=0.0)],
}
MIXES = {"llama": LLAMAS, "gpt2": GPT2S}  # by family
SPECS = {spec.name: spec for spec in (CHATTERBOX, TURBO, NANO)}
OF_ALL = [(name, mix) for name, spec in SPECS.items() for mix in MIXES[spec.family]]


def some_layers(spec: ModelSpec, dtype: torch.dtype, layers: int) -> T3:
    dimensions = dataclasses.replace(spec.dimensions, t3_layers=layers)
    return random_t3(spec, dimensions, dtype, torch.device("cuda"))


@pytest.fixture(scope="module", params=SPECS)
def t3(request: pytest.FixtureRequest) -> T3:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU does not compute in bfloat16")
    return some_layers(SPECS[request.param], torch.bfloat16, layers=4)


def mixes(t3: T3) -> dict[str, list[Sampling]]:
    return MIXES[t3.spec.family]


def usual(t3: T3) -> Sampling:
    return mixes(t3)["one"][0]


def requests(t3: T3, mix: Sequence[Sampling], max_tokens: int = 500) -> list[DecodeRequest]:
    return [random_request(t3.spec, seed, each, max_tokens=max_tokens) for seed, each in enumerate(mix)]


def new_batch(t3: T3, *, fused: bool = True, rows: int = 16, poll_every: int = 1) -> RunningBatch:
    batch = RunningBatch(t3, rows, poll_every=poll_every, graphs=fused)
    assert (batch._fused is not None) == fused
    return batch


def logits_of(batch: RunningBatch, rows: int) -> Tensor:
    """What the last step of a fused batch left."""
    assert batch._fused is not None
    assert batch._fused._logits.dtype == torch.float32
    return batch._fused._logits[:rows].clone()


class PlainSteps:
    """A batch with PyTorch's operators that takes over another one's state before each of its steps."""

    def __init__(self, t3: T3, mix: Sequence[Sampling]) -> None:
        self.t3 = type(t3)(t3.weights, t3.spec)
        self.batch = new_batch(self.t3, fused=False)
        self.logits: Tensor | None = None
        real = self.t3.step

        def step(*args: Tensor) -> Tensor:
            self.logits = real(*args)
            return self.logits

        self.t3.step = step  # type: ignore[method-assign]
        for one in requests(t3, mix):
            self.batch.add(one)

    def step(self, other: RunningBatch) -> Tensor:
        for name in (*STATE, "_cache"):
            getattr(self.batch, name).copy_(getattr(other, name))
        self.batch._step()
        assert self.logits is not None
        return self.logits


def drawn_by_pytorch(batch: RunningBatch, before: dict[str, Tensor], logits: Tensor, slots: int) -> Tensor:
    return draw(
        logits[batch._row_of_slot[:slots]],
        logits[batch._uncond_row_of_slot[:slots]],
        before["_seen"][:slots],
        batch._sampling.first(slots),
        batch._noise[:slots],
        order=batch.t3.spec.sampler,
        with_sort=any(sequence.needs_sort for sequence in batch.sequences),
    )


def recorded(batch: RunningBatch, before: dict[str, Tensor], drawn: Tensor) -> dict[str, Tensor]:
    """What a step leaves in the first slots' state when it has drawn these tokens."""
    tokens, slots = batch.t3.spec.tokens, len(drawn)
    counts, positions, done, seen = (
        before[name][:slots] for name in ("_counts", "_positions", "_done", "_seen")
    )
    stops, seen = drawn == tokens.stop_speech, seen.scatter(1, drawn[:, None], True)
    if batch.t3.spec.loop == "turbo":  # the first draw ends nothing, the start counts as seen in it alone
        stops = stops & (counts > 0)
        seen[:, tokens.start_speech] &= (counts > 0) | (drawn == tokens.start_speech)
    return {
        "_tokens": drawn,
        "_counts": counts + ~done,
        "_positions": positions + ~done,
        "_seen": seen,
        "_done": done | stops,
    }


@pytest.mark.parametrize(("t3", "mix"), OF_ALL, indirect=["t3"])
def test_a_step_is_the_plain_step(t3, mix):
    """Logits within bfloat16's rounding; then the same draw, unless two tokens are nearly equally likely."""
    samplings = mixes(t3)[mix]
    plain, fused = PlainSteps(t3, samplings), new_batch(t3)
    for one in requests(t3, samplings):
        fused.add(one)
    rows, slots, others = fused.used_rows, len(fused.sequences), 0
    with torch.inference_mode():
        for _ in range(STEPS):
            before = {name: getattr(fused, name).clone() for name in STATE}
            expected = plain.step(fused)
            fused._step()
            found = logits_of(fused, rows)
            assert torch.equal(fused._noise[:slots], plain.batch._noise[:slots])
            assert (found - expected).norm() / expected.norm() < 5e-2
            # The draw itself, of the same logits, and all that is recorded of it.
            drawn = drawn_by_pytorch(fused, before, found, slots)
            for name, state in recorded(fused, before, drawn).items():
                assert torch.equal(getattr(fused, name)[:slots], state), name
            at = before["_counts"][:slots, None]
            assert torch.equal(fused._spoken[:slots].gather(1, at)[:, 0], drawn)
            others += int((drawn != plain.batch._tokens[:slots]).sum())
    assert others <= 0.1 * STEPS * slots


@pytest.mark.parametrize(
    ("name", "mix"), [each for each in OF_ALL if each[1] in ("one", "three", "guided and not", "unsorted")]
)
def test_in_float32_tokens_and_state_are_equal(name, mix):
    """Which tells a wrong kernel from rounding. Run by hand here: workers take bfloat16 alone."""
    t3 = some_layers(SPECS[name], torch.float32, layers=2)
    plain, fused = (new_batch(t3, fused=False) for _ in range(2))
    pdl = torch.cuda.get_device_capability() >= PDL_CAPABILITY
    fused._fused = FUSED_STEPS[t3.spec.family](t3, fused._step_tensors(), pdl=pdl)
    for batch in (plain, fused):
        for one in requests(t3, mixes(t3)[mix]):
            batch.add(one)
    with torch.inference_mode():
        for _ in range(STEPS):
            plain._step(), fused._step()
    for name in STATE:
        assert torch.equal(getattr(fused, name), getattr(plain, name)), name
    rows = fused.used_rows
    torch.testing.assert_close(fused._cache[:, :, :rows], plain._cache[:, :, :rows], rtol=1e-3, atol=1e-4)


def test_a_graph_does_what_its_kernels_do(t3):
    """For sizes that are powers of two: other ones are padded in a graph, and cuBLAS rounds otherwise."""
    for count in (1, 2, 4):
        graphs, eager = new_batch(t3), new_batch(t3)
        eager._graphs = None
        found, expected = (
            decode_all(batch, requests(t3, [usual(t3)] * count, 40)) for batch in (graphs, eager)
        )
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours.tokens, theirs.tokens)


def test_a_generator_is_left_after_the_last_draw_however_often_the_device_is_asked(t3):
    every_step, every_eight = (
        decode_all(new_batch(t3, poll_every=poll_every), requests(t3, [usual(t3)], 43))
        for poll_every in (1, 8)
    )
    for found, expected in zip(every_eight, every_step, strict=True):
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.generator.get_state(), expected.generator.get_state())


def test_one_graph_serves_every_length(t3):
    batch = new_batch(t3, rows=8, poll_every=8)
    batch.capture()
    assert batch._graphs is not None
    captured = set(batch._graphs._graphs)
    for mix in mixes(t3).values():
        decode_all(batch, requests(t3, mix[:4], 600))
    assert set(batch._graphs._graphs) == captured


def test_a_prompt_is_read_alike_with_a_graph_and_without(t3):
    """But for rounding: kernels are chosen by length."""
    graphs, plain = new_batch(t3), new_batch(t3, fused=False)
    for seed, sampling in enumerate([usual(t3), UNGUIDED if t3.spec.family == "llama" else UNSORTED] * 3):
        one = random_request(t3.spec, seed, sampling)
        length = t3.embed_prompt(one, use_cfg=sampling.uses_cfg).shape[1]
        read = []
        for batch in (graphs, plain):
            sequence = batch.add(one)
            read.append(batch._cache[:, :, list(sequence.rows), :, :length].float().clone())
            batch.remove([sequence])
        found, expected = read
        assert (found - expected).norm() <= 0.02 * expected.norm()


def test_no_step_waits_for_the_device(t3):
    for mix in mixes(t3).values():
        batch = new_batch(t3)
        for one in requests(t3, mix):
            batch.add(one)
        with torch.inference_mode():
            batch._step()  # captures
            torch.cuda.set_sync_debug_mode("error")
            try:
                for _ in range(3):
                    batch._step()
            finally:
                torch.cuda.set_sync_debug_mode("default")


def test_a_request_that_joins_or_leaves_does_not_wait_for_the_device(t3):
    batch, one = new_batch(t3), random_request(t3.spec, 0, usual(t3))
    batch.remove([batch.add(one)])  # captures the prompt's graph
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch.remove([batch.add(one)])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_does_not_grow(t3):
    batch = new_batch(t3, poll_every=8)

    def allocated() -> int:
        decode_all(batch, requests(t3, mixes(t3)["three"], 60), steps_apart=1)
        return torch.cuda.memory_allocated()

    allocated()
    before = allocated()
    assert max(allocated() for _ in range(3)) <= before


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_float32_has_the_plain_step(spec):
    batch = RunningBatch(some_layers(spec, torch.float32, layers=1), 4, poll_every=1, graphs=True)
    assert batch._fused is None


def test_without_a_compiler_the_plain_step_runs_and_the_log_says_so(t3, monkeypatch, caplog):
    def broken(*args: object) -> Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    monkeypatch.setattr(FUSED_STEPS[t3.spec.family], "logits", broken)
    with caplog.at_level(logging.WARNING):
        batch = RunningBatch(t3, 4, poll_every=8, graphs=True)
    assert batch._fused is None
    assert "RuntimeError: Failed to find C compiler." in caplog.text
    (decoded,) = decode_all(batch, requests(t3, [usual(t3)], 16))
    assert len(decoded.tokens) == 16 or decoded.stopped

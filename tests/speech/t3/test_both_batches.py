"""What both batches do: ours, and upstream's loop, which is its reference."""

from __future__ import annotations

import pytest
import torch

from cancel import CancelToken
from errors import Cancelled
from speech.pipeline import make_batch
from speech.runtime import Batch
from speech.t3.request import Decoded
from speech.t3.sampling import Sampling
from speech.upstream import T3Cond
from tests.speech.t3.requests import TEXT, USUAL, decode_all, mixed_requests, request


@pytest.fixture(params=["ours", "upstream"])
def batch(request, our_model, upstream_model) -> Batch:
    return make_batch(our_model if request.param == "ours" else upstream_model)


@pytest.fixture
def run(batch, our_model):
    def run(text: str = TEXT, **options) -> Decoded:
        (decoded,) = decode_all(batch, [request(our_model, text, **options)])
        return decoded

    return run


def test_the_seed_decides(run):
    assert torch.equal(run().tokens, run().tokens)
    assert not torch.equal(run().tokens, run(seed=1).tokens)


@pytest.mark.parametrize("cfg_weight", [0.0, 1.0])
def test_guidance_can_be_off_or_full(run, cfg_weight):
    assert run(sampling=Sampling(cfg_weight, 0.8, 1.0, 0.05, 1.2)).stopped


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-38, 1e-10])
def test_a_temperature_of_next_to_nothing_is_greedy(run, temperature):
    greedy = Sampling(0.5, temperature, 1.0, 0.05, 1.2)
    assert torch.equal(run(sampling=greedy, seed=0).tokens, run(sampling=greedy, seed=1).tokens)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(0.5, 5.0, 1.0, 0.0, 1.0),
        Sampling(0.5, 0.8, 0.0, 0.0, 2.0),
        Sampling(0.5, 0.001, 1.0, 1.0, 1.2),
    ],
)
def test_the_ends_of_every_range_decode(run, sampling):
    assert len(run(sampling=sampling, max_tokens=60).tokens) > 0


def test_the_limit_is_kept_and_reported(run):
    decoded = run(max_tokens=7)
    assert len(decoded.tokens) == 7
    assert not decoded.stopped


def test_the_generator_is_left_after_the_last_draw(run, our_model, upstream_model):
    (theirs,) = decode_all(make_batch(upstream_model), [request(our_model)])
    assert torch.equal(run().generator.get_state(), theirs.generator.get_state())


def test_the_callers_random_numbers_are_not_drawn(run):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run(max_tokens=5)
    assert torch.equal(torch.rand(2), expected)


def test_the_callers_random_numbers_change_nothing(run):
    torch.manual_seed(3)
    before = run().tokens
    torch.manual_seed(4)
    assert torch.equal(run().tokens, before)


def test_requests_together_say_what_each_says_alone(batch, our_model):
    requests = mixed_requests(our_model)
    together = decode_all(batch, requests)
    for one, decoded in zip(requests, together, strict=True):
        (alone,) = decode_all(batch, [one])
        assert torch.equal(decoded.tokens, alone.tokens)


def test_a_request_that_is_removed_leaves_room_for_the_next(batch, our_model):
    expected = decode_all(batch, [request(our_model)])
    while batch.has_room_for(request(our_model)):
        batch.add(request(our_model, seed=1))
    batch.remove(tuple(batch.sequences))
    assert not batch.sequences
    assert torch.equal(decode_all(batch, [request(our_model)])[0].tokens, expected[0].tokens)


class CancelledAfter(CancelToken):
    """A token that is cancelled once it was asked so many times."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.asked, self._patience = 0, asked

    def raise_if_cancelled(self) -> None:
        self.asked += 1
        if self.asked > self._patience:
            self.cancel(Cancelled("the job was cancelled"))
        super().raise_if_cancelled()


@pytest.mark.parametrize("asked", [0, 3])
def test_upstreams_loop_ends_within_a_step_of_the_cancellation(our_model, upstream_model, asked):
    """Ours takes a few steps a call, between which its owner removes what was cancelled."""
    batch, cancel = make_batch(upstream_model), CancelledAfter(asked)
    sequence = batch.add(request(our_model, max_tokens=400, cancel=cancel))
    with pytest.raises(Cancelled):
        batch.step_many()
    assert cancel.asked == asked + 1
    batch.remove([sequence])
    (after,) = decode_all(batch, [request(our_model)])
    assert after.stopped


def test_equal_to_upstreams_inference_called_as_generate_calls_it(run, our_model, upstream_model):
    t3, voice = upstream_model.t3, upstream_model.builtin_voice
    text_tokens = torch.tensor([[255, *upstream_model.tokenizer.encode(TEXT, "en").tolist(), 0]])
    torch.manual_seed(0)
    theirs = t3.inference(
        t3_cond=T3Cond(
            speaker_emb=voice.speaker_embedding,
            cond_prompt_speech_tokens=voice.t3_prompt_tokens,
            emotion_adv=0.5 * torch.ones(1, 1, 1),
        ),
        text_tokens=torch.cat([text_tokens, text_tokens]),
        max_new_tokens=400,
        temperature=USUAL.temperature,
        cfg_weight=USUAL.cfg_weight,
        min_p=USUAL.min_p,
        top_p=USUAL.top_p,
        repetition_penalty=USUAL.repetition_penalty,
    )[0]
    ours = run()
    assert ours.stopped
    assert torch.equal(ours.tokens, theirs[:-1])

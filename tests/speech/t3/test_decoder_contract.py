"""What both decoders do: ours, and upstream's loop, which is its reference."""

from __future__ import annotations

import pytest
import torch

from speech.decoders import make_decoder
from speech.t3.request import Decoded, Decoder, DecodingStopped
from speech.t3.sampling import Sampling
from speech.upstream import T3Cond
from tests.speech.t3.requests import TEXT, USUAL, mixed_requests, request


@pytest.fixture(params=["ours", "upstream"])
def decoder(request, our_model, upstream_decoder) -> Decoder:
    return make_decoder(our_model) if request.param == "ours" else upstream_decoder


@pytest.fixture
def run(decoder, our_model):
    def run(text: str = TEXT, **options) -> Decoded:
        (decoded,) = decoder.decode([request(our_model, text, **options)])
        return decoded

    return run


def test_the_seed_decides(run):
    assert torch.equal(run().tokens, run().tokens)
    assert not torch.equal(run().tokens, run(seed=1).tokens)


@pytest.mark.parametrize("cfg_weight", [0.0, 1.0])
def test_guidance_can_be_off_or_full(run, cfg_weight):
    assert run(sampling=Sampling(cfg_weight, 0.8, 1.0, 0.05, 1.2)).stopped


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-38, 1e-10])
def test_no_temperature_to_speak_of_is_greedy(run, temperature):
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


def test_the_generator_is_left_after_the_last_draw(run, our_model, upstream_decoder):
    (theirs,) = upstream_decoder.decode([request(our_model)])
    assert torch.equal(run().generator.get_state(), theirs.generator.get_state())


def test_the_callers_random_numbers_are_not_drawn(decoder, our_model, upstream_decoder):
    if decoder is upstream_decoder:
        pytest.skip("upstream's loop draws from them")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(decoder.decode([request(our_model, max_tokens=5)]))
    assert torch.equal(torch.rand(2), expected)


def test_nothing_asked_nothing_answered(decoder):
    assert list(decoder.decode([])) == []


def test_answers_come_in_the_order_of_the_requests(decoder, our_model):
    requests = mixed_requests(our_model)
    together = list(decoder.decode(requests))
    for one, decoded in zip(requests, together, strict=True):
        (alone,) = decoder.decode([one])
        assert torch.equal(decoded.tokens, alone.tokens)


@pytest.mark.parametrize("asked", [0, 3])
def test_it_ends_within_a_few_steps_once_nobody_waits(decoder, our_model, asked):
    questions = []

    def is_stopped() -> bool:
        questions.append(None)
        return len(questions) > asked

    with pytest.raises(DecodingStopped):
        next(decoder.decode([request(our_model, max_tokens=400)], is_stopped))
    assert len(questions) < asked + 5
    (after,) = decoder.decode([request(our_model)])
    assert after.stopped


def test_equal_to_upstreams_inference_called_as_generate_calls_it(run, our_model, tiny_model):
    t3 = tiny_model.t3
    text_tokens = torch.nn.functional.pad(
        torch.nn.functional.pad(tiny_model.tokenizer.encode(TEXT)[None], (1, 0), value=255), (0, 1), value=0
    )
    voice = tiny_model.builtin_voice
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

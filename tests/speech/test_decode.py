"""Sampling through upstream's loop, at its edges."""

from __future__ import annotations

import pytest
import torch

from speech.t3.decode import Decoded, Sampling, decode

TEXT = "Some words to speak."
USUAL = Sampling(cfg_weight=0.5, temperature=0.8, top_p=1.0, min_p=0.05, repetition_penalty=1.2)


def with_start_and_stop(model) -> torch.Tensor:
    """The ids that upstream's ``generate`` hands to T3, one row."""
    return torch.nn.functional.pad(
        torch.nn.functional.pad(model.tokenizer.text_to_tokens(TEXT), (1, 0), value=255), (0, 1), value=0
    )


def run(model, text=TEXT, seed=0, max_tokens=400, sampling=USUAL) -> Decoded:
    torch.manual_seed(seed)
    return decode(
        model.t3,
        model.builtin_voice.for_t3(0.5),
        model.tokenizer.text_to_tokens(text),
        sampling,
        max_tokens,
    )


def test_the_seed_decides(tiny_model):
    assert torch.equal(run(tiny_model).tokens, run(tiny_model).tokens)
    assert not torch.equal(run(tiny_model).tokens, run(tiny_model, seed=1).tokens)


def test_equal_to_upstream_without_our_doubling(tiny_model):
    torch.manual_seed(0)
    text_tokens = with_start_and_stop(tiny_model)
    theirs = tiny_model.t3.inference(
        t3_cond=tiny_model.builtin_voice.for_t3(0.5),
        text_tokens=torch.cat([text_tokens, text_tokens]),
        max_new_tokens=400,
        temperature=0.8,
        cfg_weight=0.5,
        min_p=0.05,
        top_p=1.0,
        repetition_penalty=1.2,
    )[0]
    ours = run(tiny_model)
    assert ours.stopped
    assert torch.equal(ours.tokens, theirs[:-1])


@pytest.mark.parametrize("cfg_weight", [0.0, 1.0])
def test_guidance_can_be_off_or_full(tiny_model, cfg_weight):
    sampling = Sampling(cfg_weight, 0.8, 1.0, 0.05, 1.2)
    assert run(tiny_model, sampling=sampling).stopped


def test_without_guidance_the_second_row_has_no_say(tiny_model):
    """The logits are those of the conditional row alone."""
    sampling = Sampling(0.0, 0.0, 1.0, 0.05, 1.0)
    tokens = run(tiny_model, sampling=sampling, max_tokens=1).tokens
    t3 = tiny_model.t3
    text_tokens = with_start_and_stop(tiny_model)
    start = torch.tensor([[t3.hp.start_speech_token]])
    with torch.inference_mode():
        embeds, _ = t3.prepare_input_embeds(
            t3_cond=tiny_model.builtin_voice.for_t3(0.5), text_tokens=text_tokens, speech_tokens=start
        )
        again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
        logits = t3.speech_head(t3.tfmr(inputs_embeds=torch.cat([embeds, again], dim=1))[0][:, -1])
    assert int(tokens[0]) == int(logits.argmax())


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-38, 1e-10])
def test_no_temperature_to_speak_of_is_greedy(tiny_model, temperature):
    greedy = Sampling(0.5, temperature, 1.0, 0.05, 1.2)
    first = run(tiny_model, sampling=greedy, seed=0)
    assert torch.equal(first.tokens, run(tiny_model, sampling=greedy, seed=1).tokens)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(0.5, 5.0, 1.0, 0.0, 1.0),
        Sampling(0.5, 0.8, 0.0, 0.0, 2.0),
        Sampling(0.5, 0.001, 1.0, 1.0, 1.2),
    ],
)
def test_the_ends_of_every_range_decode(tiny_model, sampling):
    assert len(run(tiny_model, sampling=sampling, max_tokens=60).tokens) > 0


def test_the_limit_is_kept_and_reported(tiny_model):
    decoded = run(tiny_model, max_tokens=7)
    assert len(decoded.tokens) == 7
    assert not decoded.stopped

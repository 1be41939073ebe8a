"""The arithmetic of T3, against upstream's modules on the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from speech.models.dimensions import FULL, TINY
from speech.models.llama_t3 import (
    CONDITIONING_POSITIONS,
    LlamaT3,
    T3Weights,
    rotary_frequencies,
    upstream_shapes,
)
from speech.models.spec import CHATTERBOX
from speech.upstream import T3Cond, build_t3
from speech.weights.modules import parameters_on_meta
from tests.speech.models.forced import forced_logits
from tests.speech.t3.requests import request

TOKENS = torch.randint(0, 6561, (60,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rounded(upstream_model, our_model) -> LlamaT3:
    """Our T3 with weights in bfloat16."""
    heads = our_model.t3.weights.heads
    weights = T3Weights.from_upstream(upstream_model.t3.state_dict(), heads, torch.bfloat16)
    return LlamaT3(weights, CHATTERBOX)


def upstreams_voice(voice, exaggeration: float = 0.5) -> T3Cond:
    return T3Cond(
        speaker_emb=voice.speaker_embedding,
        cond_prompt_speech_tokens=voice.t3_prompt_tokens,
        emotion_adv=exaggeration * torch.ones(1, 1, 1),
    )


@pytest.mark.parametrize("exaggeration", [0.0, 0.5, 2.0])
def test_a_voice_is_embedded_as_upstream_embeds_it(our_model, upstream_model, exaggeration):
    one = request(our_model, exaggeration=exaggeration)
    with torch.inference_mode():
        theirs = upstream_model.t3.prepare_conditioning(
            upstreams_voice(our_model.builtin_voice, exaggeration)
        )
        ours = our_model.t3.embed_prompt(one, use_cfg=False)[:, :CONDITIONING_POSITIONS]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cfg_weight", [0.0, 0.5])
def test_a_prompt_is_embedded_as_upstream_embeds_it(our_model, upstream_model, cfg_weight):
    """Upstream's two rows with guidance, its first one without; the start of speech comes twice."""
    one, t3 = request(our_model), upstream_model.t3
    text = torch.tensor([255, *one.text_tokens.tolist(), 0])
    with torch.inference_mode():
        theirs, _ = t3.prepare_input_embeds(
            t3_cond=upstreams_voice(our_model.builtin_voice),
            text_tokens=text.expand(2, -1),
            speech_tokens=torch.full((2, 1), CHATTERBOX.tokens.start_speech),
            cfg_weight=cfg_weight,
        )
        ours = our_model.t3.embed_prompt(one, use_cfg=cfg_weight > 0)
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=1e-5, atol=1e-5)


def test_rotary_frequencies_are_upstreams(upstream_model):
    theirs = upstream_model.t3.tfmr.rotary_emb
    assert theirs.attention_scaling == 1.0
    assert torch.equal(rotary_frequencies(theirs.inv_freq.shape[0] * 2), theirs.inv_freq)


@pytest.mark.parametrize("dimensions", [TINY, FULL], ids=["tiny", "full"])
def test_the_shapes_are_those_of_upstreams_module(dimensions):
    with parameters_on_meta():
        state = build_t3(dimensions, CHATTERBOX).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert upstream_shapes(CHATTERBOX, dimensions) == shapes


def test_logits_with_the_tokens_forced_are_upstreams(our_model, upstream_model):
    one, t3 = request(our_model), upstream_model.t3
    with torch.inference_mode():
        text = torch.tensor([255, *one.text_tokens.tolist(), 0])
        start = torch.full((2, 1), CHATTERBOX.tokens.start_speech)
        prompt, _ = t3.prepare_input_embeds(
            t3_cond=upstreams_voice(our_model.builtin_voice),
            text_tokens=text.expand(2, -1),
            speech_tokens=start,
            cfg_weight=0.5,
        )
        spoken = torch.cat([start[:1], TOKENS[None, :-1]], dim=1)
        speech = t3.speech_emb(spoken) + t3.speech_pos_emb.emb.weight[: len(TOKENS)]
        hidden = t3.tfmr(inputs_embeds=torch.cat([prompt, speech.expand(2, -1, -1)], dim=1))[0]
        theirs = t3.speech_head(hidden[:, -len(TOKENS) :]).transpose(0, 1)
    ours, stop = forced_logits(our_model.t3, one, TOKENS), CHATTERBOX.tokens.stop_speech
    torch.testing.assert_close(ours[..., :stop], theirs[..., :stop], rtol=1e-4, atol=1e-4)
    # The smoke checkpoint's stop has a weight of 400, which enlarges rounding as much.
    torch.testing.assert_close(ours[..., stop], theirs[..., stop], rtol=1e-4, atol=1e-2)


def test_bfloat16_stays_near_float32(our_model, rounded):
    """Within 2 % of the logits' range, with the tokens forced."""
    exact = forced_logits(our_model.t3, request(our_model), TOKENS)
    error = (exact - forced_logits(rounded, request(our_model), TOKENS)).abs().max()
    assert 0 < error < 0.02 * (exact.max() - exact.min())


def test_company_changes_bfloat16_by_rounding_alone(our_model, rounded):
    alone = forced_logits(rounded, request(our_model), TOKENS)
    beside = forced_logits(rounded, request(our_model), TOKENS, room=200)
    assert (beside - alone).abs().max() < 0.01 * (alone.max() - alone.min())


@contextmanager
def eager_attention(backbone) -> Iterator[None]:
    """Lets a backbone of transformers compute its attention in the way that can hand out the weights."""
    config = backbone.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def test_attention_to_the_text_is_upstreams(our_model, upstream_model):
    """Of every head, at the step that tells each token, as shares of what goes to the text."""
    one, t3 = request(our_model), upstream_model.t3
    with torch.inference_mode(), eager_attention(t3.tfmr):
        text = torch.tensor([255, *one.text_tokens.tolist(), 0])
        start = torch.full((2, 1), CHATTERBOX.tokens.start_speech)
        prompt, _ = t3.prepare_input_embeds(
            t3_cond=upstreams_voice(our_model.builtin_voice),
            text_tokens=text.expand(2, -1),
            speech_tokens=start,
            cfg_weight=0.5,
        )
        spoken = torch.cat([start[:1], TOKENS[None, :-1]], dim=1)
        speech = t3.speech_emb(spoken) + t3.speech_pos_emb.emb.weight[: len(TOKENS)]
        read = torch.cat([prompt[:1], speech], dim=1)
        weights = t3.tfmr(inputs_embeds=read, output_attentions=True).attentions
    first = CONDITIONING_POSITIONS + 1
    theirs = torch.stack(weights)[:, 0, :, -len(TOKENS) :, first : first + len(one.text_tokens)].flatten(0, 1)
    ours = our_model.t3.attention_to_text(one, TOKENS, our_model.t3.all_heads)
    torch.testing.assert_close(ours, theirs / theirs.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)
    some = our_model.t3.attention_to_text(one, TOKENS, [(1, 1), (0, 0)])
    torch.testing.assert_close(some, ours[[3, 0]])

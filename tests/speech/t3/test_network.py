"""The arithmetic, against upstream's modules on the same weights."""

from __future__ import annotations

import pytest
import torch

from speech.sizes import FULL, TINY
from speech.t3.network import embed_voice
from speech.t3.request import START_SPEECH
from speech.t3.weights import T3Weights, rotary_frequencies, upstream_shapes
from speech.upstream import T3Cond, build_t3, parameters_on_meta
from tests.speech.t3.forced import forced_logits
from tests.speech.t3.requests import request

TOKENS = torch.randint(0, 6561, (60,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exaggeration", [0.0, 0.5, 2.0])
def test_a_voice_is_heard_as_upstream_hears_it(our_model, tiny_model, exaggeration):
    voice = our_model.builtin_voice
    with torch.inference_mode():
        theirs = tiny_model.t3.prepare_conditioning(
            T3Cond(
                speaker_emb=voice.speaker_embedding,
                cond_prompt_speech_tokens=voice.t3_prompt_tokens,
                emotion_adv=exaggeration * torch.ones(1, 1, 1),
            )
        )
        ours = embed_voice(our_model.t3, voice.speaker_embedding, voice.t3_prompt_tokens, exaggeration)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_rotary_frequencies_are_upstreams(tiny_model):
    theirs = tiny_model.t3.tfmr.rotary_emb
    assert theirs.attention_scaling == 1.0
    assert torch.equal(rotary_frequencies(theirs.inv_freq.shape[0] * 2), theirs.inv_freq)


@pytest.mark.parametrize("sizes", [TINY, FULL], ids=["tiny", "full"])
def test_the_shapes_are_those_of_upstreams_module(sizes):
    with parameters_on_meta():
        state = build_t3(sizes).state_dict()
    shapes = upstream_shapes(sizes.t3_width, sizes.t3_layers, sizes.t3_feed_forward)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_logits_with_the_tokens_forced_are_upstreams(our_model, tiny_model):
    one, t3 = request(our_model), tiny_model.t3
    voice = our_model.builtin_voice
    with torch.inference_mode():
        text = torch.nn.functional.pad(torch.nn.functional.pad(one.text_tokens, (1, 0), value=255), (0, 1))
        cond = T3Cond(
            speaker_emb=voice.speaker_embedding,
            cond_prompt_speech_tokens=voice.t3_prompt_tokens,
            emotion_adv=0.5 * torch.ones(1, 1, 1),
        )
        start = torch.full((2, 1), START_SPEECH)
        prefix, _ = t3.prepare_input_embeds(
            t3_cond=cond, text_tokens=text.expand(2, -1), speech_tokens=start, cfg_weight=0.5
        )
        spoken = torch.cat([start[:1], TOKENS[None, :-1]], dim=1)
        speech = t3.speech_emb(spoken) + t3.speech_pos_emb.emb.weight[: len(TOKENS)]
        hidden = t3.tfmr(inputs_embeds=torch.cat([prefix, speech.expand(2, -1, -1)], dim=1))[0]
        theirs = t3.speech_head(hidden[:, -len(TOKENS) :]).transpose(0, 1)
    torch.testing.assert_close(forced_logits(our_model.t3, one, TOKENS), theirs, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_near_float32(our_model, tiny_model):
    """Within 2 % of the logits' range, with the tokens forced."""
    rounded = T3Weights.from_upstream(tiny_model.t3.state_dict(), our_model.t3.heads, torch.bfloat16)
    exact = forced_logits(our_model.t3, request(our_model), TOKENS)
    error = (exact - forced_logits(rounded, request(our_model), TOKENS)).abs().max()
    assert 0 < error < 0.02 * (exact.max() - exact.min())


def test_company_changes_bfloat16_by_rounding_alone(our_model, tiny_model):
    rounded = T3Weights.from_upstream(tiny_model.t3.state_dict(), our_model.t3.heads, torch.bfloat16)
    alone = forced_logits(rounded, request(our_model), TOKENS)
    beside = forced_logits(rounded, request(our_model), TOKENS, room=200)
    assert (beside - alone).abs().max() < 0.01 * (alone.max() - alone.min())

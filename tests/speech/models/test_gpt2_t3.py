"""The arithmetic of T3 on GPT-2, against upstream's modules on the same weights."""

from __future__ import annotations

import pytest
import torch

from speech.models.gpt2_t3 import Gpt2T3, Gpt2Weights, gpt2_shapes
from speech.models.spec import MODELS, NANO, TURBO
from speech.smoke import dimensions_of
from speech.upstream import T3Cond, build_t3
from speech.weights.modules import parameters_on_meta
from tests.speech.models.test_llama_t3 import eager_attention
from tests.speech.t3.requests import request

TOKENS = torch.randint(0, 6561, (60,), generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def forced_logits(t3: Gpt2T3, request, tokens: torch.Tensor, room: int = 0) -> torch.Tensor:
    """Returns float32 [len(tokens), vocabulary]: before the first token, and after each but the last.

    room: more positions for attention to look at, as where others in the batch have got further.
    """
    prompt = t3.embed_prompt(request, use_cfg=False)
    length = prompt.shape[1]
    tables = t3.position_tables(length + len(tokens) + room)
    cache = torch.zeros(t3.cache_shape(1, length + len(tokens) + room), dtype=t3.cache_dtype)
    t3.prefill(prompt, tables, cache)
    logits = []
    for count, token in enumerate([t3.spec.tokens.start_speech, *tokens[:-1].tolist()]):
        numbers = [torch.tensor([value]) for value in (token, count, length + count)]
        logits.append(t3.step(*numbers, tables, cache, torch.arange(1))[0])
    return torch.stack(logits)


@torch.inference_mode()
def upstreams_logits(t3, voice, text_tokens: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    prompt, _ = t3.prepare_input_embeds(
        t3_cond=T3Cond(
            speaker_emb=voice.speaker_embedding,
            cond_prompt_speech_tokens=voice.t3_prompt_tokens,
            emotion_adv=0.5 * torch.ones(1, 1, 1),
        ),
        text_tokens=text_tokens[None],
        speech_tokens=torch.tensor([[TURBO.tokens.start_speech]]),
        cfg_weight=0.0,
    )
    hidden = t3.tfmr(inputs_embeds=torch.cat([prompt, t3.speech_emb(tokens[None, :-1])], dim=1))[0]
    return t3.speech_head(hidden[0, -len(tokens) :])


def test_logits_with_the_tokens_forced_are_upstreams(turbo, upstream_turbo):
    one = request(turbo)
    theirs = upstreams_logits(upstream_turbo.t3, turbo.builtin_voice, one.text_tokens, TOKENS)
    ours = forced_logits(turbo.t3, one, TOKENS)
    stop = (
        TURBO.tokens.stop_speech
    )  # which the smoke checkpoint computes from differences, 400 times enlarged
    torch.testing.assert_close(ours[:, :stop], theirs[:, :stop], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[:, stop], theirs[:, stop], rtol=2e-3, atol=1e-4)


def test_bfloat16_stays_near_float32_in_any_company(turbo, upstream_turbo):
    """Within 2 % of the logits' range, with the tokens forced."""
    heads = turbo.dimensions.t3_heads
    weights = Gpt2Weights.from_upstream(upstream_turbo.t3.state_dict(), heads, torch.bfloat16)
    stop = TURBO.tokens.stop_speech  # see above
    exact = forced_logits(turbo.t3, request(turbo), TOKENS)[:, :stop]
    for room in (0, 200):
        rounded = forced_logits(Gpt2T3(weights, TURBO), request(turbo), TOKENS, room)[:, :stop]
        assert 0 < (exact - rounded).abs().max() < 0.02 * (exact.max() - exact.min())


@pytest.mark.parametrize("size", ["tiny", "full"])
@pytest.mark.parametrize("spec", [TURBO, NANO], ids=lambda spec: spec.name)
def test_the_shapes_are_those_of_upstreams_module(spec, size):
    dimensions = dimensions_of(spec, size)
    with parameters_on_meta():
        state = build_t3(dimensions, spec).state_dict()
    assert gpt2_shapes(spec, dimensions) == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_the_published_files_have_as_many_tensors():
    """Turbo's has 299: 24 blocks of 12, and 11 others."""
    assert len(gpt2_shapes(MODELS["turbo"], TURBO.dimensions)) == 299


def test_attention_to_the_text_is_upstreams(turbo, upstream_turbo):
    """Of every head, at the step that tells each token, as shares of what goes to the text."""
    one, t3, voice = request(turbo), upstream_turbo.t3, turbo.builtin_voice
    prompt, _ = t3.prepare_input_embeds(
        t3_cond=T3Cond(
            speaker_emb=voice.speaker_embedding,
            cond_prompt_speech_tokens=voice.t3_prompt_tokens,
            emotion_adv=0.5 * torch.ones(1, 1, 1),
        ),
        text_tokens=one.text_tokens[None],
        speech_tokens=torch.tensor([[TURBO.tokens.start_speech]]),
        cfg_weight=0.0,
    )
    read = torch.cat([prompt, t3.speech_emb(TOKENS[None, :-1])], dim=1)
    with torch.inference_mode(), eager_attention(t3.tfmr):
        weights = t3.tfmr(inputs_embeds=read, output_attentions=True).attentions
    first = 1 + voice.t3_prompt_tokens.shape[1]
    theirs = torch.stack(weights)[:, 0, :, -len(TOKENS) :, first : first + len(one.text_tokens)].flatten(0, 1)
    ours = turbo.t3.attention_to_text(one, TOKENS, turbo.t3.all_heads)
    torch.testing.assert_close(ours, theirs / theirs.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)

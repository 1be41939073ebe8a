"""Logits of both rows while given tokens are spoken, whatever the model would have said."""

from __future__ import annotations

import torch

from speech.t3.network import embed_prefix, embed_voice, read_prefix, rotary_table, step
from speech.t3.request import START_SPEECH, START_TEXT, STOP_TEXT, DecodeRequest
from speech.t3.weights import T3Weights


@torch.inference_mode()
def forced_logits(
    weights: T3Weights, request: DecodeRequest, tokens: torch.Tensor, room: int = 0
) -> torch.Tensor:
    """float32 [len(tokens), 2, vocabulary]: before the first token, and after each but the last.

    room: more positions for attention to look at, as where others in the batch have got further.
    """
    text = torch.tensor([START_TEXT, *request.text_tokens.tolist(), STOP_TEXT])
    voice = embed_voice(weights, request.speaker_embedding, request.prompt_tokens, request.exaggeration)
    start = weights.speech_embedding[START_SPEECH] + weights.speech_positions[0]
    prefix = torch.cat([embed_prefix(weights, voice, text, guided=True), start.expand(2, 1, -1)], dim=1)
    length = prefix.shape[1]
    positions = length + len(tokens) + room
    cosines, sines = rotary_table(weights, positions, torch.float32)
    shape = (len(weights.layers), 2, 2, weights.heads, positions, weights.head_width)
    cache = torch.zeros(shape)
    read_prefix(weights, prefix, cosines, sines, cache)
    logits = []
    for count, token in enumerate([START_SPEECH, *tokens[:-1].tolist()]):
        both = [torch.tensor([value, value]) for value in (token, count, length + count)]
        logits.append(step(weights, *both, cosines, sines, cache, torch.arange(2)))
    return torch.stack(logits)

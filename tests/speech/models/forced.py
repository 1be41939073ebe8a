"""Logits of both rows while given tokens are spoken, whatever the model would have said."""

from __future__ import annotations

import torch

from speech.models.llama_t3 import LlamaT3
from speech.t3.request import DecodeRequest


@torch.inference_mode()
def forced_logits(t3: LlamaT3, request: DecodeRequest, tokens: torch.Tensor, room: int = 0) -> torch.Tensor:
    """Returns float32 [len(tokens), 2, vocabulary]: before the first token, and after each but the last.

    room: more positions for attention to look at, as where others in the batch have got further.
    """
    prompt = t3.embed_prompt(request, use_cfg=True)
    length = prompt.shape[1]
    positions = length + len(tokens) + room
    tables = t3.position_tables(positions)
    cache = torch.zeros(t3.cache_shape(2, positions), dtype=t3.cache_dtype)
    t3.prefill(prompt, tables, cache)
    logits = []
    for count, token in enumerate([t3.spec.tokens.start_speech, *tokens[:-1].tolist()]):
        both = [torch.tensor([value, value]) for value in (token, count, length + count)]
        logits.append(t3.step(*both, tables, cache, torch.arange(2)))
    return torch.stack(logits)

"""Upstream as its users load it."""

from __future__ import annotations

from pathlib import Path

import torch
from chatterbox import ChatterboxTTS
from chatterbox.models.tokenizers import EnTokenizer
from chatterbox.tts import Conditionals

from speech.checkpoint import read_config
from speech.sizes import FULL
from speech.upstream import build_voice_encoder
from speech.upstream_checkpoint import assign_weights, load_upstream, without_storage
from speech.weight_files import VOICE_ENCODER_FILE


def load(checkpoint: Path, device: str = "cpu") -> ChatterboxTTS:
    """``from_local``, or, for a small checkpoint, for which that has no sizes, what comes to the same."""
    sizes, _ = read_config(checkpoint)
    if sizes == FULL:
        return ChatterboxTTS.from_local(str(checkpoint), device)
    place = torch.device(device)
    t3, s3gen = load_upstream(checkpoint, sizes, place)
    with without_storage():
        voice_encoder = build_voice_encoder(sizes)
    assign_weights(voice_encoder, checkpoint / VOICE_ENCODER_FILE, place)
    tokenizer = EnTokenizer(str(checkpoint / "tokenizer.json"))
    conds = Conditionals.load(checkpoint / "conds.pt").to(device)
    return ChatterboxTTS(t3, s3gen, voice_encoder, tokenizer, device, conds)

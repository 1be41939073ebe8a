"""Text tokens to speech tokens with upstream's own ``T3.inference``: the plain twin.

Knows nothing of text, voices or files: it is given a T3 module, token ids and numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Upstream divides logits by the temperature: from 1e-37 down they overflow and the draw fails, on
# CUDA with a device assert that ends the process. Long before that only the likeliest is drawn.
GREEDY_BELOW_TEMPERATURE = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn, in upstream's order: guidance, repetition penalty,
    temperature, min_p, top_p. A temperature under 0.001 is greedy."""

    cfg_weight: float
    temperature: float
    top_p: float
    min_p: float
    repetition_penalty: float


@dataclass(frozen=True, eq=False)
class Decoded:
    """tokens: int64 [T], on the model's device, stop token excluded. stopped: whether the model
    ended by itself, not by reaching the limit."""

    tokens: Tensor
    stopped: bool


@torch.inference_mode()
def decode(t3: Any, conditioning: Any, text_tokens: Tensor, sampling: Sampling, max_tokens: int) -> Decoded:
    """Draw speech tokens until the stop token or ``max_tokens``, from torch's global generator.

    t3: upstream's T3. conditioning: its T3Cond, which is written to. text_tokens: int [1, N]
    without start and stop.
    """
    text_tokens = F.pad(text_tokens, (1, 0), value=t3.hp.start_text_token)
    text_tokens = F.pad(text_tokens, (0, 1), value=t3.hp.stop_text_token)
    # Upstream's loop always carries two rows; with one it fails when cfg_weight is 0 (it doubles
    # only the start token). The second row then has no influence: cond + 0 * (cond - uncond).
    text_tokens = text_tokens.expand(2, -1)
    greedy = sampling.temperature < GREEDY_BELOW_TEMPERATURE
    tokens = t3.inference(
        t3_cond=conditioning,
        text_tokens=text_tokens,
        max_new_tokens=max_tokens,
        temperature=1.0 if greedy else sampling.temperature,
        # 1 keeps only what is as likely as the likeliest.
        min_p=1.0 if greedy else sampling.min_p,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        cfg_weight=sampling.cfg_weight,
    )[0]
    stopped = bool(tokens[-1] == t3.hp.stop_speech_token)
    return Decoded(tokens[:-1] if stopped else tokens, stopped)

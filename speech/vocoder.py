"""Speech tokens to samples: S3Gen's flow and vocoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech.conditionals import Conditionals

CODEBOOK_SIZE = 6561  # ids from here on are T3's own marks, not speech
SPEECH_TOKENS_PER_S = 25


@torch.inference_mode()
def synthesize(
    s3gen: Any, tokens: Tensor, conditionals: Conditionals, generator: torch.Generator
) -> NDArray[np.float32]:
    """Samples at 24 kHz, float32 [960 a token].

    tokens: int64 [T], T at least 1. Ids outside the codebook are dropped, as upstream's
    ``ChatterboxTTS.generate`` does. generator: on the tokens' device; drawing goes on where
    it stands, through torch's global generators, which S3Gen uses: calls must not overlap.
    """
    _set_global_generators(generator)
    waveform, _ = s3gen.inference(
        speech_tokens=tokens[tokens < CODEBOOK_SIZE], ref_dict=conditionals.for_decoder()
    )
    samples: NDArray[np.float32] = waveform.squeeze(0).cpu().numpy()
    return samples


def _set_global_generators(generator: torch.Generator) -> None:
    if generator.device.type == "cpu":
        torch.set_rng_state(generator.get_state())
    else:  # phases are drawn on the CPU even then, from where upstream's seed leaves that generator
        torch.manual_seed(generator.initial_seed())
        torch.cuda.set_rng_state(generator.get_state(), generator.device)

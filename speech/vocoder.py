"""Speech tokens to samples: S3Gen, ours or upstream's, with the draws of one request."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from speech.checkpoint import TokenToSamples
from speech.conditionals import CODEBOOK_SIZE, Conditionals
from speech.t3.request import Decoded

SPEECH_TOKENS_PER_S = 25


def synthesize(
    token_to_wave: TokenToSamples, decoded: Decoded, conditionals: Conditionals
) -> NDArray[np.float32]:
    """Samples at 24 kHz, float32 [960 a token].

    Ids outside the codebook are dropped, as upstream's ``ChatterboxTTS.generate`` does; one at least must
    lie in it. Drawing goes on where the decoder's ended, through torch's global generators, which S3Gen uses:
    calls must not overlap.
    """
    _set_global_generators(decoded.generator)
    speech = decoded.tokens[decoded.tokens < CODEBOOK_SIZE]
    samples: NDArray[np.float32] = token_to_wave(speech, conditionals.decoder_prompt).cpu().numpy()
    return samples


def _set_global_generators(generator: torch.Generator) -> None:
    if generator.device.type == "cpu":
        torch.set_rng_state(generator.get_state())
    else:  # phases are drawn on the CPU even then, from where upstream's seed leaves that generator
        torch.manual_seed(generator.initial_seed())
        torch.cuda.set_rng_state(generator.get_state(), generator.device)

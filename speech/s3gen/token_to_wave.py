"""Speech tokens in a voice to samples: S3Gen without what only a new reference needs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.s3gen.encoder import encode
from speech.s3gen.flow import draw_mel
from speech.s3gen.hift import SAMPLE_RATE_HZ, synthesize
from speech.s3gen.weights import Part, linear

SILENT_SAMPLES = SAMPLE_RATE_HZ // 50  # 20 ms, and as long a fade after it (``S3Token2Wav.trim_fade``)


class TokenToWave:
    """``S3Gen.inference`` of chatterbox-tts 0.1.7 for one text.

    The same numbers within rounding, and the same draws from torch's global generators.
    """

    def __init__(self, weights: Part) -> None:
        self._flow, self._generator = weights / "flow", weights / "mel2wav"
        rise = (torch.cos(torch.linspace(torch.pi, 0, SILENT_SAMPLES)) + 1) / 2
        self._fade = torch.cat([torch.zeros(SILENT_SAMPLES), rise]).to(
            weights["flow.encoder_proj.weight"].device
        )

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, prompt: Mapping[str, Tensor | None]) -> Tensor:
        """Samples at 24 kHz, float32 [960 a token].

        tokens: int64 [T], within the codebook. prompt: see ``Conditionals.decoder_prompt``.
        """
        prompt_tokens, prompt_mel, voice = (
            prompt[name] for name in ("prompt_token", "prompt_feat", "embedding")
        )
        assert prompt_tokens is not None
        assert prompt_mel is not None
        assert voice is not None
        flow = self._flow
        speaker = linear(F.normalize(voice.float(), dim=1), flow / "spk_embed_affine_layer")
        embedded = flow["input_embedding.weight"][torch.cat([prompt_tokens[0].long(), tokens])][None]
        guide = linear(encode(flow / "encoder", embedded), flow / "encoder_proj").transpose(1, 2).contiguous()
        noise = torch.randn_like(guide)
        heard = F.pad(prompt_mel.float().transpose(1, 2), (0, guide.shape[2] - prompt_mel.shape[1]))
        mel = draw_mel(flow / "decoder" / "estimator", noise, guide, speaker, heard)
        samples = synthesize(self._generator, mel[:, :, prompt_mel.shape[1] :])
        samples[: len(self._fade)] *= self._fade
        return samples

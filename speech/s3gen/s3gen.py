"""S3Gen without what only a new reference needs: speech tokens in a voice to samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.spec import FlowSpec
from speech.reference.conditionals import Conditionals
from speech.s3gen.encoder import encode
from speech.s3gen.flow import solve_ode
from speech.s3gen.vocoder import SAMPLE_RATE_HZ, draw_phases, vocode
from speech.s3gen.weights import WeightsView, linear

SILENT_SAMPLES = SAMPLE_RATE_HZ // 50  # 20 ms, and as long a fade after it (``S3Token2Wav.trim_fade``)


@dataclass(frozen=True, eq=False)
class RenderRequest:
    """Speech tokens of one chunk of text, to be rendered in one voice."""

    tokens: Tensor  # int64 [T], within the codebook, at least two
    voice: Conditionals  # on the model's device
    generator: torch.Generator  # of the model's device, as the decoder's last draw left it


class Renderer(Protocol):
    """``S3Gen``, or upstream's behind the same interface."""

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        """Returns the samples of each request, float32 [960 a token], at 24 kHz, on the model's device."""
        ...


class S3Gen:
    """``S3Gen.inference`` of chatterbox-tts 0.1.7: the same samples within rounding, and the same draws.

    Draws come from the request's own generator; no global generator is read or written.
    """

    def __init__(self, weights: WeightsView, flow: FlowSpec) -> None:
        self._flow, self._hift, self._flow_spec = weights / "flow", weights / "mel2wav", flow
        device = (self._flow / "encoder_proj")["weight"].device
        rise = (torch.cos(torch.linspace(torch.pi, 0, SILENT_SAMPLES)) + 1) / 2
        self._fade = torch.cat([torch.zeros(SILENT_SAMPLES), rise]).to(device)

    def render(self, requests: Sequence[RenderRequest]) -> list[Tensor]:
        """Returns the samples of each request, float32 [960 a token], at 24 kHz, on the model's device."""
        return [self._render(request) for request in requests]

    @torch.inference_mode()
    def _render(self, request: RenderRequest) -> Tensor:
        voice, generator, flow = request.voice, request.generator, self._flow
        device = voice.prompt_mel.device
        # Copied first of all: a copy from pageable memory waits for what its stream was given before.
        phases = None if device.type == "cpu" else draw_phases(_phase_generator(generator)).to(device)
        speaker = linear(F.normalize(voice.xvector, dim=1), flow / "spk_embed_affine_layer")
        tokens = torch.cat([voice.prompt_tokens[0], request.tokens])
        embedded = (flow / "input_embedding")["weight"][tokens][None]
        mu = linear(encode(flow / "encoder", embedded), flow / "encoder_proj").transpose(1, 2).contiguous()
        noise = torch.randn(mu.shape, generator=generator, device=device)
        prompt_frames = voice.prompt_mel.shape[1]
        prompt_mel = F.pad(voice.prompt_mel.transpose(1, 2), (0, mu.shape[2] - prompt_frames))
        mel = solve_ode(flow / "decoder" / "estimator", noise, mu, speaker, prompt_mel, self._flow_spec)
        if phases is None:  # on a CPU upstream draws them from the same generator, after the flow's noise
            phases = draw_phases(generator)
        samples = vocode(self._hift, mel[:, :, prompt_frames:], phases, generator)
        samples[: len(self._fade)] *= self._fade
        return samples


def _phase_generator(generator: torch.Generator) -> torch.Generator:
    """The CPU generator that ``torch.manual_seed`` leaves beside a GPU's: nothing has been drawn from it."""
    return torch.Generator("cpu").manual_seed(generator.initial_seed())

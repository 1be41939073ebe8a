"""S3Gen without what only a new reference needs: speech tokens in a voice to samples."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.spec import MEL_CHANNELS, MEL_FRAMES_PER_TOKEN, FlowSpec
from speech.reference.conditionals import Conditionals
from speech.s3gen.encoder import encode
from speech.s3gen.flow import solve_ode
from speech.s3gen.padding import stack_padded
from speech.s3gen.stream import ChunkStream, Window
from speech.s3gen.vocoder import (
    HARMONICS,
    SAMPLE_RATE_HZ,
    SAMPLES_A_FRAME,
    draw_phases,
    vocode,
    vocode_windows,
)
from speech.s3gen.weights import WeightsView, linear
from speech.transfer import upload

SILENT_SAMPLES = SAMPLE_RATE_HZ // 50  # 20 ms, and as long a fade after it (``S3Token2Wav.trim_fade``)


@dataclass(frozen=True, eq=False)
class RenderRequest:
    """Speech tokens of one chunk of text, to be rendered in one voice."""

    tokens: Tensor  # int64 [T], within the codebook, at least two
    voice: Conditionals  # on the model's device
    generator: torch.Generator  # of the model's device, as the decoder's last draw left it


@dataclass(frozen=True, eq=False)
class PieceRequest:
    """The speech tokens so far of a chunk that is rendered in pieces."""

    tokens: Tensor  # int64 [T], within the codebook, from the chunk's first
    voice: Conditionals  # on the model's device
    stream: ChunkStream  # the state after the piece before this one
    is_last: bool  # whether these are all of the chunk's tokens


def frames_of(request: RenderRequest | PieceRequest) -> int:
    """Returns the number of mel frames that the flow solves for a request, those of the prompt included."""
    return MEL_FRAMES_PER_TOKEN * (request.voice.prompt_tokens.shape[1] + len(request.tokens))


@dataclass(frozen=True, eq=False)
class Draws:
    """All that is random in a chunk's samples, drawn from its request's generator as upstream draws it."""

    noise: Tensor  # the flow's, float32 [1, 80, T], on the generator's device
    phases: Tensor  # of the vocoder's harmonics, float32 [1, 9, 1], on the CPU
    source_noise: Tensor  # the vocoder's, float32 [1, 9, samples], on the generator's device

    @classmethod
    def of(cls, request: RenderRequest, flow: FlowSpec) -> Draws:
        """Draws for a request. T: two frames for each token, those of the prompt included."""
        generator, voice = request.generator, request.voice
        device = generator.device
        samples = SAMPLES_A_FRAME * (frames_of(request) - voice.prompt_mel.shape[1])
        # On a GPU upstream draws the phases from the CPU's generator, from which nothing has been drawn.
        on_cpu = device.type == "cpu"
        phase_generator = (
            generator if on_cpu else torch.Generator("cpu").manual_seed(generator.initial_seed())
        )
        return cls(
            _draw_flow_noise(request, flow),
            draw_phases(phase_generator),
            torch.randn(1, HARMONICS, samples, generator=generator, device=device),
        )


def _draw_flow_noise(request: RenderRequest, flow: FlowSpec) -> Tensor:
    """Returns the flow's noise for a whole chunk, float32 [1, 80, T], those of the prompt first."""

    def draw(frames: int) -> Tensor:
        generator = request.generator
        return torch.randn(1, MEL_CHANNELS, frames, generator=generator, device=generator.device)

    if not flow.is_meanflow:
        return draw(frames_of(request))
    # Upstream draws for the chunk first, and then for prompt and chunk, of which it takes the prompt's.
    chunk_noise = draw(MEL_FRAMES_PER_TOKEN * len(request.tokens))
    noise = draw(frames_of(request))
    noise[:, :, -chunk_noise.shape[2] :] = chunk_noise
    return noise


class Renderer(Protocol):
    """``S3Gen``, or upstream's behind the same interface, which renders whole chunks alone."""

    def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        """Returns the samples of each request, float32, at 24 kHz, on the model's device.

        They are 960 a token of a chunk, and for a piece those that no earlier piece had: there may be none.
        """
        ...


class S3Gen:
    """``S3Gen.inference`` of chatterbox-tts 0.1.7: the same samples within rounding, and the same draws.

    Chunks are rendered one after the other, in float32 or TF32: the reference of ``PackedS3Gen``. Draws come
    from the request's own generator; no global generator is read or written.
    """

    def __init__(self, weights: WeightsView, flow: FlowSpec) -> None:
        self._flow, self._hift, self._flow_spec = weights / "flow", weights / "mel2wav", flow
        device = (self._flow / "encoder_proj")["weight"].device
        self._fade = make_fade(device)

    def with_vocoder(self, weights: WeightsView) -> S3Gen:
        """Returns a renderer with another vocoder, which shares everything else with this one.

        weights: what lies below "mel2wav".
        """
        other = copy(self)
        other._hift = weights
        return other

    @torch.inference_mode()
    def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        """Returns the samples of each request, see ``Renderer.render``."""
        return [
            self._render(request) if isinstance(request, RenderRequest) else self._render_piece(request)
            for request in requests
        ]

    @torch.inference_mode()
    def mel(self, request: RenderRequest) -> Tensor:
        """Returns the mel spectrogram that the samples of a request are made of, float32 [2T, 80]."""
        return self._solve(request, Draws.of(request, self._flow_spec).noise)

    @torch.inference_mode()
    def vocode(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the vocoder's samples, float32 [480T], of a mel, float32 [1, T, 80], both on the device.

        generator: on the CPU for the phases, as upstream draws them, and then for the noise.
        """
        phases = draw_phases(generator)
        noise = torch.randn(1, HARMONICS, SAMPLES_A_FRAME * mel.shape[1], generator=generator)
        return vocode(self._hift, mel.transpose(1, 2), phases.to(mel.device), noise.to(mel.device))

    def _render(self, request: RenderRequest) -> Tensor:
        draws = Draws.of(request, self._flow_spec)
        phases = upload(draws.phases, request.voice.prompt_mel.device)
        mel = self._solve(request, draws.noise)
        samples = vocode(self._hift, mel.T[None], phases, draws.source_noise)
        samples[: len(self._fade)] *= self._fade
        return samples

    def _render_piece(self, request: PieceRequest) -> Tensor:
        stream = request.stream
        mel = self._solve(request, stream.flow_noise(frames_of(request)))
        window = stream.window(mel, is_last=request.is_last)
        if window.is_empty:
            return mel.new_zeros(0)
        samples, cycles = vocode_windows(self._hift, *window_batch([window], [stream], len(window.mel)))
        return finish_piece(stream, window, samples[0], cycles[0], self._fade)

    def _solve(self, request: RenderRequest | PieceRequest, noise: Tensor) -> Tensor:
        """Returns the mel of a request's tokens, float32 [T, 80]. noise: float32 [1, 80, P + T]."""
        voice, flow = request.voice, self._flow
        speaker = linear(F.normalize(voice.xvector, dim=1), flow / "spk_embed_affine_layer")
        tokens = torch.cat([voice.prompt_tokens[0], request.tokens])
        embedded = (flow / "input_embedding")["weight"][tokens][None]
        mu = linear(encode(flow / "encoder", embedded), flow / "encoder_proj").transpose(1, 2).contiguous()
        prompt_frames = voice.prompt_mel.shape[1]
        prompt_mel = F.pad(voice.prompt_mel.transpose(1, 2), (0, mu.shape[2] - prompt_frames))
        mel = solve_ode(flow / "decoder" / "estimator", noise, mu, speaker, prompt_mel, self._flow_spec)
        return mel[0, :, prompt_frames:].T


def window_batch(
    windows: Sequence[Window], streams: Sequence[ChunkStream], padded: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the arguments of ``vocode_windows`` for windows that are padded to so many frames."""
    device = windows[0].mel.device
    return (
        stack_padded([window.mel.T for window in windows], padded),
        upload(torch.tensor([len(window.mel) for window in windows]), device),
        torch.cat([stream.phases for stream in streams]),
        stack_padded([window.noise for window in windows], SAMPLES_A_FRAME * padded),
        upload(torch.tensor([window.start for window in windows]), device),
        torch.stack([window.cycles for window in windows]),
    )


def finish_piece(
    stream: ChunkStream, window: Window, samples: Tensor, cycles: Tensor, fade: Tensor
) -> Tensor:
    """Returns the new samples of a window that was rendered, the chunk's first ones faded in."""
    is_first = stream.is_at_start
    new = stream.advance(window, samples, cycles)
    if is_first:
        faded = min(len(fade), len(new))
        new = torch.cat([new[:faded] * fade[:faded], new[faded:]])
    return new


def make_fade(device: torch.device) -> Tensor:
    """Returns the factors of a chunk's first samples: silence, then a rise."""
    rise = (torch.cos(torch.linspace(torch.pi, 0, SILENT_SAMPLES)) + 1) / 2
    return torch.cat([torch.zeros(SILENT_SAMPLES), rise]).to(device)

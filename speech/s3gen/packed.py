"""S3Gen for a device that computes in bfloat16: the chunks of several jobs at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.spec import MEL_CHANNELS, MEL_FRAMES_PER_TOKEN, FlowSpec
from speech.s3gen.encoder import encode
from speech.s3gen.graphed_batches import Batch, StaticTensors
from speech.s3gen.packed_flow import CAPTURED_ALONE, FlowInput, PackedFlow
from speech.s3gen.padding import buckets, similar_lengths, stack_padded
from speech.s3gen.s3gen import (
    Draws,
    PieceRequest,
    RenderRequest,
    finish_piece,
    frames_of,
    make_fade,
    window_batch,
)
from speech.s3gen.vocoder import HARMONICS, SAMPLES_A_FRAME, vocode_batch, vocode_windows
from speech.s3gen.weights import WeightsView, channels_last, linear
from speech.transfer import upload

# A batch takes about the memory that the longest chunk takes alone: 1,000 tokens after a prompt of 250.
MAX_TOKEN_PAIRS = 2**21  # of the encoder: its memory is that of scores between tokens
MAX_VOCODER_FRAMES = 2048
# Of the graphs that are captured at the start, for one chunk alone: tokens, those of the prompt among them,
# and frames without the prompt's. The largest pieces that are usual are 200 frames and those around them.
CAPTURED_TOKENS = (CAPTURED_ALONE[0] // MEL_FRAMES_PER_TOKEN, CAPTURED_ALONE[1] // MEL_FRAMES_PER_TOKEN)
CAPTURED_FRAMES, LONGEST_PIECE = (1, 1024), 256

log = logging.getLogger(__name__)


class PackedS3Gen:
    """What ``S3Gen`` renders, for all requests of a call together, with the same draws.

    The encoder and the vocoder run in padded batches with masks, in float32 or TF32, and the flow's estimator
    in a dtype of its own. Which requests a call has changes rounding alone. With graphs, each batch and each
    Euler step is a CUDA graph; only the capture of one waits for the device. For use by the one thread that
    submits work to it.
    """

    def __init__(
        self,
        weights: WeightsView,
        flow: FlowSpec,
        dtype: torch.dtype = torch.bfloat16,
        *,
        graphs: bool = True,
        in_batches: bool = True,
        together: bool = True,
    ) -> None:
        """graphs: run CUDA graphs. in_batches: run encoder and vocoder in padded batches.

        A CPU gains nothing by batches, and computes what is padded. together: render all requests of a call
        at once; else one after the other, so that none depends on the others even in its rounding.
        """
        views = weights / "flow"
        self._flow_spec = flow
        # Of the estimator only the copy in its dtype is kept.
        self._flow = PackedFlow(views / "decoder" / "estimator", flow, dtype, graphs=graphs)
        self._encoder, self._projection = views / "encoder", views / "encoder_proj"
        self._speaker, self._embedding = views / "spk_embed_affine_layer", views / "input_embedding"
        self._device = self._projection["weight"].device
        self._fade = make_fade(self._device)
        self._in_batches, self._together = in_batches, together
        self._run_encoder: Batch = self._encode_batch
        if self._flow.graphs is not None:
            self._static = StaticTensors.empty(self._device, MAX_VOCODER_FRAMES)
            self._run_encoder = self._static.encoder(self._encode_batch, self._flow.graphs)
        self._set_vocoder(weights / "mel2wav")

    def _set_vocoder(self, weights: WeightsView) -> None:
        hift = weights.mapped(channels_last) if self._device.type == "cpu" else weights

        def run(*arguments: Tensor) -> tuple[Tensor, ...]:
            return (vocode_batch(hift, *arguments),)

        def run_windows(*arguments: Tensor) -> tuple[Tensor, ...]:
            return vocode_windows(hift, *arguments)

        self._run_vocoder: Batch = run
        self._run_windows: Batch = run_windows
        if self._flow.graphs is not None:
            self._run_vocoder = self._static.vocoder(run, self._flow.graphs)
            self._run_windows = self._static.windows(run_windows, self._flow.graphs)

    def with_vocoder(self, weights: WeightsView) -> PackedS3Gen:
        """Returns a renderer with another vocoder, see ``S3Gen.with_vocoder``."""
        other = copy(self)
        other._set_vocoder(weights)
        return other

    @torch.inference_mode()
    def capture(self) -> None:
        """Captures the CUDA graphs that most calls need, before the first call.

        Where memory does not suffice for all of them it drops them: calls capture what they need.
        """
        try:
            self._flow.capture()
            self._capture_batches()
        except Exception as error:
            if gpu_fault(error) is not GpuFault.MEMORY:
                raise
            self._flow.drop_graphs()
            log.warning("captures S3Gen's CUDA graphs when they are needed: memory ran out at the start")

    def _capture_batches(self) -> None:
        """Captures what a lone chunk and a lone piece need, the largest first, as the flow does."""
        if self._flow.graphs is None:
            return
        zeros = partial(torch.zeros, device=self._device)
        for tokens in reversed(buckets(*CAPTURED_TOKENS)):
            self._run_encoder(zeros(1, tokens, dtype=torch.int64), self._upload([tokens]))
        phases = zeros(1, HARMONICS, 1)
        anchors, cycles = zeros(1, dtype=torch.int64), zeros(1, dtype=torch.float64)
        for frames in reversed(buckets(*CAPTURED_FRAMES)):
            mel, lengths = zeros(1, MEL_CHANNELS, frames), self._upload([frames])
            noise = zeros(1, HARMONICS, SAMPLES_A_FRAME * frames)
            self._run_vocoder(mel, lengths, phases, noise)
            if frames <= LONGEST_PIECE:
                self._run_windows(mel, lengths, phases, noise, anchors, cycles)

    @torch.inference_mode()
    def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        """Returns the samples of each request, see ``Renderer.render``."""
        try:
            if self._together:
                return self._render(requests)
            return [samples for request in requests for samples in self._render([request])]
        except Exception as error:
            if gpu_fault(error) is GpuFault.MEMORY:
                self._flow.drop_graphs()  # whoever tries again has their memory, too
            raise

    @torch.inference_mode()
    def mel(self, request: RenderRequest) -> Tensor:
        """Returns the mel spectrogram that the samples of a request are made of, float32 [2T, 80]."""
        (mel,) = self._solve([request], [Draws.of(request, self._flow_spec).noise])
        return mel

    def _render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        draws: dict[int, Draws] = {}
        pieces: dict[int, PieceRequest] = {}
        noises = []
        for index, request in enumerate(requests):
            if isinstance(request, RenderRequest):
                draws[index] = Draws.of(request, self._flow_spec)
                noises.append(draws[index].noise)
            else:
                pieces[index] = request
                noises.append(request.stream.flow_noise(frames_of(request)))
        mels = self._solve(requests, noises)
        chunks = self._vocode([mels[index] for index in draws], list(draws.values()))
        parts = self._vocode_pieces([mels[index] for index in pieces], list(pieces.values()))
        samples = dict(zip(draws, chunks, strict=True)) | dict(zip(pieces, parts, strict=True))
        return [samples[index] for index in range(len(requests))]

    def _solve(
        self, requests: Sequence[RenderRequest | PieceRequest], noises: Sequence[Tensor]
    ) -> list[Tensor]:
        """Returns the mel of each request's tokens, float32 [T, 80]. noises: float32 [1, 80, P + T]."""
        voices = [request.voice for request in requests]
        mus = self._encode([torch.cat([each.voice.prompt_tokens[0], each.tokens]) for each in requests])
        speakers = linear(F.normalize(torch.cat([voice.xvector for voice in voices]), dim=1), self._speaker)
        inputs = [
            FlowInput(noise, mu, speaker, voice.prompt_mel[0])
            for noise, mu, speaker, voice in zip(noises, mus, speakers, voices, strict=True)
        ]
        return [
            mel[voice.prompt_mel.shape[1] :]
            for mel, voice in zip(self._flow.solve(inputs), voices, strict=True)
        ]

    def _encode(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Returns the µ of each chunk, float32 [2T, 80]. tokens: int64 [T]."""
        lengths = [len(each) for each in tokens]
        mus: dict[int, Tensor] = {}
        for batch, padded in self._batches(lengths, lambda padded: MAX_TOKEN_PAIRS // padded**2):
            (rows,) = self._run_encoder(
                stack_padded([tokens[index] for index in batch], padded),
                self._upload([lengths[index] for index in batch]),
            )
            for index, mu in zip(batch, rows, strict=True):
                mus[index] = mu[: MEL_FRAMES_PER_TOKEN * lengths[index]]
        return [mus[index] for index in range(len(tokens))]

    def _encode_batch(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor]:
        """Returns the µ of each chunk, float32 [B, 2T, 80].

        tokens: int64 [B, T], zeros beyond each length. lengths: int64 [B].
        """
        encoded = encode(self._encoder, self._embedding["weight"][tokens], lengths)
        return (linear(encoded, self._projection),)

    def _vocode(self, mels: Sequence[Tensor], draws: Sequence[Draws]) -> list[Tensor]:
        """Returns the samples of each chunk, float32 [480 T]. mels: float32 [T, 80]."""
        lengths = [len(mel) for mel in mels]
        samples: dict[int, Tensor] = {}
        for batch, padded in self._batches(lengths, lambda padded: MAX_VOCODER_FRAMES // padded):
            (rows,) = self._run_vocoder(
                stack_padded([mels[index].T for index in batch], padded),
                self._upload([lengths[index] for index in batch]),
                upload(torch.cat([draws[index].phases for index in batch]), self._device),
                stack_padded([draws[index].source_noise[0] for index in batch], SAMPLES_A_FRAME * padded),
            )
            for index, row in zip(batch, rows, strict=True):
                samples[index] = row[: SAMPLES_A_FRAME * lengths[index]]
                samples[index][: len(self._fade)] *= self._fade
        return [samples[index] for index in range(len(mels))]

    def _vocode_pieces(self, mels: Sequence[Tensor], requests: Sequence[PieceRequest]) -> list[Tensor]:
        """Returns the new samples of each piece, float32 [480 a frame]. mels: float32 [T, 80]."""
        streams = [request.stream for request in requests]
        windows = [
            request.stream.window(mel, is_last=request.is_last)
            for mel, request in zip(mels, requests, strict=True)
        ]
        samples = {index: mel.new_zeros(0) for index, mel in enumerate(mels)}
        audible = [index for index, window in enumerate(windows) if not window.is_empty]
        lengths = [len(windows[index].mel) for index in audible]
        for batch, padded in self._batches(lengths, lambda padded: MAX_VOCODER_FRAMES // padded):
            indices = [audible[position] for position in batch]
            arguments = window_batch(
                [windows[index] for index in indices], [streams[index] for index in indices], padded
            )
            rows, cycles = self._run_windows(*arguments)
            for position, index in enumerate(indices):
                samples[index] = finish_piece(
                    streams[index], windows[index], rows[position], cycles[position], self._fade
                )
        return list(samples.values())

    def _batches(self, lengths: Sequence[int], room: Callable[[int], int]) -> Iterable[tuple[list[int], int]]:
        """Which chunks are computed together, and the length that they are padded to."""
        if self._in_batches:
            return similar_lengths(lengths, room)
        return [([index], length) for index, length in enumerate(lengths)]

    def _upload(self, lengths: Sequence[int]) -> Tensor:
        return upload(torch.tensor(lengths), self._device)

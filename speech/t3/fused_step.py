"""A decoding step in few kernels: for a request of Chatterbox 153, where PyTorch's operators are 617.

``T3.step`` and ``RunningBatch`` with PyTorch's operators are the reference. A row attends to its own
positions only, so one CUDA graph serves every length.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.gpt2_t3 import LAYER_NORM_EPSILON, Affine, Gpt2T3
from speech.models.llama_t3 import RMS_EPSILON, LlamaT3
from speech.models.spec import SamplerStep
from speech.models.t3 import T3
from speech.t3.sampling import SamplingRows

log = logging.getLogger(__name__)

LEAST_CAPABILITY = (8, 0)  # bfloat16
PDL_CAPABILITY = (9, 0)
# The order that the draw kernel implements; top_p, wherever it stands, is not one of its steps.
DRAW_ORDER: tuple[SamplerStep, ...] = ("guidance", "repetition_penalty", "temperature", "min_p")

# Of attention: positions that a program reads at a time, warps, and how many programs share a head.
ATTENTION_BLOCK, ATTENTION_WARPS = 32, 2
LEAST_SPLITS, MOST_SPLITS, ROWS_TIMES_SPLITS = 4, 16, 128
SWIGLU_BLOCK = 1024
DRAW_WARPS = 16


class Gemv(NamedTuple):
    """How a product of one or two rows is cut into programs."""

    outputs: int  # of one program
    warps: int


# Found on an H200 for two rows of Llama; others work too. UP is GPT-2's.
QKV, OUT, GATE_UP, UP, DOWN, HEAD = Gemv(8, 4), Gemv(4, 2), Gemv(8, 4), Gemv(8, 4), Gemv(4, 8), Gemv(16, 8)


class Norm(NamedTuple):
    """The weights of RMSNorm, or with a bias those of LayerNorm, [D] each."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StepTensors:
    """What a step of a running batch reads and writes; tensors that stay where they are.

    For R rows and R slots, of which a step takes the first ones.
    """

    cache: Tensor  # [layers, 2, R, heads, positions, head width]
    tables: tuple[Tensor, ...]  # see ``T3.position_tables``, of as many positions as the cache has
    slot_of_row: Tensor  # int64 [R]
    row_of_slot: Tensor  # int64 [R]
    uncond_row_of_slot: Tensor  # int64 [R]
    tokens: Tensor  # int64 [R], the last ones, by slot
    counts: Tensor  # int64 [R], speech tokens so far, by slot
    positions: Tensor  # int64 [R], where the last token goes in the cache, by slot
    limits: Tensor  # int64 [R], of the counts
    spoken: Tensor  # int64 [R, positions], all tokens, by slot
    done: Tensor  # bool [R], by slot
    seen: Tensor  # bool [R, vocabulary], by slot
    noise: Tensor  # float32 [R, vocabulary], exponential draws, by slot
    sampling: SamplingRows  # by slot


class FusedStep(ABC):
    """The step of one running batch. Never waits for the device, so it can be captured as a CUDA graph.

    A subclass is for a backbone.
    """

    fewest_rows: ClassVar[int]  # of a step. So few have kernels that read each matrix once
    epsilon: ClassVar[float]  # of all norms

    def __init__(self, t3: T3, tensors: StepTensors, *, feed_forward: int, pdl: bool) -> None:
        """Allocates what a step keeps between its kernels.

        feed_forward: its width. pdl: the GPU has programmatic dependent launch.
        """
        from speech.t3 import triton_kernels

        self._kernels: Any = triton_kernels
        self._t3, self._tensors, self._pdl = t3, tensors, pdl
        rows, width = len(tensors.slot_of_row), t3.width

        def half(columns: int) -> Tensor:
            return torch.zeros(rows, columns, dtype=t3.dtype, device=t3.device)

        def singles(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float32, device=t3.device)

        self._hidden, self._normed, self._qkv = singles(rows, width), half(width), half(3 * width)
        self._attended, self._delta = half(width), half(width)
        self._widened = half(feed_forward)
        splits = (rows, t3.heads, MOST_SPLITS)
        self._sums, self._peaks, self._weights = (
            singles(*splits, t3.head_width),
            singles(*splits),
            singles(*splits),
        )
        self._arrived = torch.zeros(rows, t3.heads, dtype=torch.int32, device=t3.device)
        self._logits = singles(rows, t3.vocabulary)

    def logits(self, rows: int) -> Tensor:
        """Feeds the last token to the first rows, ``fewest_rows`` at least. Returns logits of the next token.

        They are float32 [rows, vocabulary]. The next call overwrites them.
        """
        return self._logits_of_fewest() if rows == self.fewest_rows else self._logits_of_many(rows)

    @abstractmethod
    def _logits_of_fewest(self) -> Tensor:
        """Reads every matrix with a kernel of ours, which is also what comes before and after it."""

    @abstractmethod
    def _logits_of_many(self, rows: int) -> Tensor:
        """Leaves the products to cuBLAS."""

    def draws(self, order: tuple[SamplerStep, ...], *, with_sort: bool) -> bool:
        """Whether ``draw`` is a model's sampler: one with these steps, in this order."""
        return not with_sort and tuple(step for step in order if step != "top_p") == DRAW_ORDER

    def draw(self, logits: Tensor, slots: int) -> None:
        """Draws the next token of the first slots from what ``logits`` returned, and records it."""
        tensors, sampling, vocabulary = self._tensors, self._tensors.sampling, self._t3.vocabulary
        self._kernels.draw_kernel[(slots,)](
            logits, tensors.row_of_slot, tensors.uncond_row_of_slot,
            tensors.noise, tensors.seen.view(torch.uint8),
            sampling.cfg_weight, sampling.temperature, sampling.min_p, sampling.repetition_penalty,
            tensors.tokens, tensors.counts, tensors.positions, tensors.limits, tensors.done.view(torch.uint8),
            tensors.spoken, tensors.spoken.shape[1],
            STOP=self._t3.spec.tokens.stop_speech, V=vocabulary, BLOCK=_power_of_2(vocabulary),
            num_warps=DRAW_WARPS, **self._with_pdl(len(logits)),
        )  # fmt: skip

    def try_kernels(self, rows: int) -> None:
        """Runs a step of so many rows, and draws where ``draw`` serves the model."""
        logits = self.logits(rows)
        if self.draws(self._t3.spec.sampler, with_sort=False):
            self.draw(logits, 1)

    def _embed(self, rows: int, embedding: Tensor, learned: Tensor, places: Tensor, norm: Norm) -> None:
        """Adds token and learned position, which is the one at ``places``, and normalizes the sum."""
        tensors, width = self._tensors, self._t3.width
        # Without PDL: what came before the step need not have waited for what came before that.
        self._kernels.embed_kernel[(rows,)](
            tensors.tokens, places, tensors.slot_of_row, embedding, learned,
            self._hidden, *_both(norm), self._normed,
            D=width, BLOCK=_power_of_2(width), EPSILON=self.epsilon, LAYER_NORM=norm.bias is not None,
        )  # fmt: skip

    def _add_norm(self, rows: int, norm: Norm) -> None:
        width = self._t3.width
        self._kernels.add_norm_kernel[(rows,)](
            self._hidden, self._delta, *_both(norm), self._normed,
            D=width, BLOCK=_power_of_2(width), EPSILON=self.epsilon, LAYER_NORM=norm.bias is not None,
        )  # fmt: skip

    def _attend(self, rows: int, layer_cache: Tensor, rotary: tuple[Tensor, ...] = ()) -> None:
        """rotary: cosines and sines; empty where positions are not rotated."""
        tensors, heads, (keys, values) = self._tensors, self._t3.heads, layer_cache
        cosines, sines = rotary or (self._qkv, self._qkv)
        splits = max(LEAST_SPLITS, min(MOST_SPLITS, ROWS_TIMES_SPLITS // rows))
        self._kernels.attend_kernel[(rows, heads, splits)](
            self._qkv, keys, values, cosines, sines, tensors.positions, tensors.slot_of_row,
            self._sums, self._peaks, self._weights, self._arrived, self._attended, keys.shape[2],
            H=heads, W=self._t3.head_width, BLOCK=ATTENTION_BLOCK, MOST_SPLITS=MOST_SPLITS,
            ROTARY=bool(rotary), num_warps=ATTENTION_WARPS, **self._with_pdl(rows),
        )  # fmt: skip

    def _with_pdl(self, rows: int) -> dict[str, Any]:
        """Options of a launch. Between cuBLAS's kernels, which wait for nothing early, PDL gains nothing."""
        return {"PDL": True, "launch_pdl": True} if self._pdl and rows == self.fewest_rows else {"PDL": False}


class LlamaStep(FusedStep):
    """The step of T3 on Llama."""

    fewest_rows = 2  # those of a request with guidance
    epsilon = RMS_EPSILON

    def __init__(self, t3: LlamaT3, tensors: StepTensors, *, pdl: bool) -> None:
        """pdl: the GPU has programmatic dependent launch."""
        gate_up = t3.weights.layers[0].gate_up
        super().__init__(t3, tensors, feed_forward=len(gate_up) // 2, pdl=pdl)
        self._wide = self._widened.new_zeros(len(self._widened), len(gate_up))
        self._parameters = t3.weights
        self._layers = list(zip(t3.weights.layers, tensors.cache.unbind(), strict=True))

    def _logits_of_fewest(self) -> Tensor:
        hidden, rotary = self._hidden[: self.fewest_rows], self._tensors.tables
        self._start(self.fewest_rows)
        for layer, layer_cache in self._layers:
            self._gemv(QKV, hidden, layer.qkv, self._qkv, norm=layer.attention_norm)
            self._attend(self.fewest_rows, layer_cache, rotary)
            self._gemv(OUT, self._attended, layer.out, hidden, residual=True)
            self._gemv(GATE_UP, hidden, layer.gate_up, self._widened, norm=layer.feed_forward_norm, glu=True)
            self._gemv(DOWN, self._widened, layer.down, hidden, residual=True)
        logits = self._logits[: self.fewest_rows]
        self._gemv(HEAD, hidden, self._parameters.head, logits, norm=self._parameters.norm)
        return logits

    def _logits_of_many(self, rows: int) -> Tensor:
        weights, rotary = self._parameters, self._tensors.tables
        normed, qkv, attended, delta, wide, widened = (
            each[:rows]
            for each in (self._normed, self._qkv, self._attended, self._delta, self._wide, self._widened)
        )
        feed_forward = widened.shape[1]
        blocks = -(-feed_forward // SWIGLU_BLOCK)
        self._start(rows)
        next_norms = [layer.attention_norm for layer in weights.layers[1:]] + [weights.norm]
        for (layer, layer_cache), next_norm in zip(self._layers, next_norms, strict=True):
            torch.mm(normed, layer.qkv.t(), out=qkv)
            self._attend(rows, layer_cache, rotary)
            torch.mm(attended, layer.out.t(), out=delta)
            self._add_norm(rows, Norm(layer.feed_forward_norm))
            torch.mm(normed, layer.gate_up.t(), out=wide)
            self._kernels.swiglu_kernel[(rows, blocks)](wide, widened, F=feed_forward, BLOCK=SWIGLU_BLOCK)
            torch.mm(widened, layer.down.t(), out=delta)
            self._add_norm(rows, Norm(next_norm))
        return _float32_product(normed, weights.head.t(), self._logits[:rows])

    def _start(self, rows: int) -> None:
        """A token's learned position is the number of speech tokens before it."""
        weights = self._parameters
        norm = Norm(weights.layers[0].attention_norm)
        self._embed(rows, weights.speech_embedding, weights.speech_positions, self._tensors.counts, norm)

    def _gemv(
        self,
        how: Gemv,
        x: Tensor,
        weight: Tensor,
        out: Tensor,
        *,
        norm: Tensor | None = None,
        glu: bool = False,
        residual: bool = False,
    ) -> None:
        outputs, columns = out.shape[1], x.shape[1]
        self._kernels.gemv_kernel[(-(-outputs // how.outputs),)](
            x, weight if norm is None else norm, weight, out,
            N=outputs, K=columns, BN=how.outputs, BK=columns & -columns, EPSILON=self.epsilon,
            NORM=norm is not None, GLU=glu, RESIDUAL=residual,
            num_warps=how.warps, **self._with_pdl(self.fewest_rows),
        )  # fmt: skip


class Gpt2Step(FusedStep):
    """The step of T3 on GPT-2."""

    fewest_rows = 1
    epsilon = LAYER_NORM_EPSILON

    def __init__(self, t3: Gpt2T3, tensors: StepTensors, *, pdl: bool) -> None:
        """pdl: the GPU has programmatic dependent launch."""
        super().__init__(t3, tensors, feed_forward=len(t3.weights.layers[0].up[1]), pdl=pdl)
        self._parameters = t3.weights
        self._layers = list(zip(t3.weights.layers, tensors.cache.unbind(), strict=True))

    def _logits_of_fewest(self) -> Tensor:
        self._start(1)
        for layer, layer_cache in self._layers:
            self._gemv(QKV, self._hidden, layer.qkv, self._qkv, norm=layer.attention_norm)
            self._attend(1, layer_cache)
            self._gemv(OUT, self._attended, layer.out, self._hidden, residual=True)
            self._gemv(UP, self._hidden, layer.up, self._widened, norm=layer.feed_forward_norm, gelu=True)
            self._gemv(DOWN, self._widened, layer.down, self._hidden, residual=True)
        self._gemv(HEAD, self._hidden, self._parameters.head, self._logits, norm=self._parameters.norm)
        return self._logits[:1]

    def _logits_of_many(self, rows: int) -> Tensor:
        weights = self._parameters
        normed, qkv, attended, delta, widened = (
            each[:rows] for each in (self._normed, self._qkv, self._attended, self._delta, self._widened)
        )
        self._start(rows)
        next_norms = [layer.attention_norm for layer in weights.layers[1:]] + [weights.norm]
        for (layer, layer_cache), next_norm in zip(self._layers, next_norms, strict=True):
            _affine(normed, layer.qkv, qkv)
            self._attend(rows, layer_cache)
            _affine(attended, layer.out, delta)
            self._add_norm(rows, Norm(*layer.feed_forward_norm))
            torch.ops.aten.gelu_(_affine(normed, layer.up, widened), approximate="tanh")
            _affine(widened, layer.down, delta)
            self._add_norm(rows, Norm(*next_norm))
        weight, bias = weights.head
        return _float32_product(normed, weight.t(), self._logits[:rows]).add_(bias)

    def _start(self, rows: int) -> None:
        """A token's learned position is its place in the whole sequence."""
        (learned,), tensors, weights = self._tensors.tables, self._tensors, self._parameters
        norm = Norm(*weights.layers[0].attention_norm)
        self._embed(rows, weights.speech_embedding, learned, tensors.positions, norm)

    def _gemv(
        self,
        how: Gemv,
        x: Tensor,
        affine: Affine,
        out: Tensor,
        *,
        norm: Affine | None = None,
        gelu: bool = False,
        residual: bool = False,
    ) -> None:
        """Computes the first row of ``out`` from that of x."""
        (weight, bias), outputs, columns = affine, out.shape[1], x.shape[1]
        self._kernels.row_gemv_kernel[(-(-outputs // how.outputs),)](
            x, *(norm or affine), weight, bias, out,
            N=outputs, K=columns, BN=how.outputs, BLOCK=_power_of_2(columns), EPSILON=self.epsilon,
            NORM=norm is not None, GELU=gelu, RESIDUAL=residual,
            num_warps=how.warps, **self._with_pdl(1),
        )  # fmt: skip


# By ``ModelSpec.family``.
FUSED_STEPS: dict[str, type[LlamaStep] | type[Gpt2Step]] = {"llama": LlamaStep, "gpt2": Gpt2Step}


def _both(norm: Norm) -> tuple[Tensor, Tensor]:
    """Weight and bias as a kernel takes them, which does not read the bias of an RMSNorm."""
    return norm.weight, norm.weight if norm.bias is None else norm.bias


def _affine(rows: Tensor, affine: Affine, out: Tensor) -> Tensor:
    """Writes a product of matrices plus a bias."""
    weight, bias = affine
    return torch.addmm(bias, rows, weight.t(), out=out)


def _float32_product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Writes a product of matrices with the sums in float32, since guidance enlarges what rounding does."""
    if left.dtype == torch.float32:
        return torch.mm(left, right, out=out)
    return torch.mm(left, right, out_dtype=torch.float32, out=out)


@torch.inference_mode()
def load_fused_step(t3: T3, tensors: StepTensors) -> FusedStep | None:
    """Compiles the kernels by running a step of an empty batch; None where PyTorch's operators have to do.

    That is on a CPU, in float32, on a GPU before Ampere, for heads of an unusual width, and, with a warning,
    where Triton or the C compiler that it needs is missing or fails.
    """
    make, rows = FUSED_STEPS[t3.spec.family], len(tensors.slot_of_row)
    if t3.device.type != "cuda" or t3.dtype != torch.bfloat16 or rows < make.fewest_rows:
        return None
    capability = torch.cuda.get_device_capability(t3.device)
    if capability < LEAST_CAPABILITY or t3.head_width != _power_of_2(t3.head_width):
        return None
    started = time.perf_counter()
    try:
        step = make(t3, tensors, pdl=capability >= PDL_CAPABILITY)  # type: ignore[arg-type]
        for count in sorted({make.fewest_rows, min(rows, 2 * make.fewest_rows)}):
            step.try_kernels(count)
    except Exception as error:  # of many kinds: Triton's, its compilers', the linker's
        if gpu_fault(error) is GpuFault.MEMORY:
            raise
        log.warning("T3's steps are slower here, without Triton's kernels: %s", _first_line(error))
        return None
    log.info("T3's kernels are ready after %.1f s", time.perf_counter() - started)
    return step


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _power_of_2(number: int) -> int:
    """The next power of two that is not less."""
    return 1 << (number - 1).bit_length()

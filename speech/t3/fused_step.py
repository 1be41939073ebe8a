"""A decoding step in few kernels: 153 of two rows and some 270 of more, where PyTorch's operators are 617.

``LlamaT3.step`` and ``RunningBatch`` with PyTorch's operators are the reference. A row attends to its own
positions only, so one CUDA graph serves every length.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.llama_t3 import RMS_EPSILON, LlamaT3
from speech.models.spec import SamplerStep
from speech.t3.sampling import SamplingRows

log = logging.getLogger(__name__)

FEWEST_ROWS = 2
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
    """How a product of two rows is cut into programs. Found on an H200; others work too."""

    outputs: int  # of one program
    warps: int


QKV, OUT, GATE_UP, DOWN, HEAD = Gemv(8, 4), Gemv(4, 2), Gemv(8, 4), Gemv(4, 8), Gemv(16, 8)


@dataclass(frozen=True, eq=False)
class StepTensors:
    """What a step of a running batch reads and writes; tensors that stay where they are.

    For R rows and R slots, of which a step takes the first ones.
    """

    cache: Tensor  # [layers, 2, R, heads, positions, head width]
    cosines: Tensor  # [positions, head width], as ``LlamaT3.position_tables`` returns them
    sines: Tensor
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


class FusedStep:
    """The step of one running batch. Never waits for the device, so it can be captured as a CUDA graph."""

    def __init__(self, t3: LlamaT3, tensors: StepTensors, *, pdl: bool) -> None:
        """Allocates what a step keeps between its kernels. pdl: the GPU has programmatic dependent launch."""
        from speech.t3 import triton_kernels

        self._kernels: Any = triton_kernels
        self._t3, self._tensors, self._pdl = t3, tensors, pdl
        weights, device, rows = t3.weights, t3.device, len(tensors.slot_of_row)
        width, wide = weights.width, weights.layers[0].gate_up.shape[0]
        self._layers = [
            (layer, keys_and_values[0], keys_and_values[1])
            for layer, keys_and_values in zip(weights.layers, tensors.cache.unbind(), strict=True)
        ]

        def half(columns: int) -> Tensor:
            return torch.zeros(rows, columns, dtype=weights.dtype, device=device)

        def singles(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float32, device=device)

        self._hidden, self._normed, self._qkv = singles(rows, width), half(width), half(3 * width)
        self._attended, self._delta = half(width), half(width)
        self._wide, self._widened = half(wide), half(wide // 2)
        splits = (rows, weights.heads, MOST_SPLITS)
        self._sums, self._peaks, self._weights = (
            singles(*splits, weights.head_width),
            singles(*splits),
            singles(*splits),
        )
        self._arrived = torch.zeros(rows, weights.heads, dtype=torch.int32, device=device)
        self._logits = singles(rows, t3.vocabulary)

    def draws(self, order: tuple[SamplerStep, ...], *, with_sort: bool) -> bool:
        """Whether ``draw`` is a model's sampler: one with these steps, in this order."""
        return not with_sort and tuple(step for step in order if step != "top_p") == DRAW_ORDER

    def logits(self, rows: int) -> Tensor:
        """Feeds the last token to the first rows, two at least. Returns logits of the next token.

        They are float32 [rows, vocabulary]. The next call overwrites them.
        """
        return self._logits_of_a_pair() if rows == FEWEST_ROWS else self._logits_of_many(rows)

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

    def _logits_of_a_pair(self) -> Tensor:
        """Reads every matrix with a kernel of ours, which is also what comes before and after it."""
        weights, hidden = self._t3.weights, self._hidden[:FEWEST_ROWS]
        self._embed(FEWEST_ROWS)
        for layer, keys, values in self._layers:
            self._gemv(QKV, hidden, layer.qkv, self._qkv, norm=layer.attention_norm)
            self._attend(FEWEST_ROWS, keys, values)
            self._gemv(OUT, self._attended, layer.out, hidden, residual=True)
            self._gemv(GATE_UP, hidden, layer.gate_up, self._widened, norm=layer.feed_forward_norm, glu=True)
            self._gemv(DOWN, self._widened, layer.down, hidden, residual=True)
        logits = self._logits[:FEWEST_ROWS]
        self._gemv(HEAD, hidden, weights.head, logits, norm=weights.norm)
        return logits

    def _logits_of_many(self, rows: int) -> Tensor:
        """Leaves the products to cuBLAS."""
        weights, kernels = self._t3.weights, self._kernels
        normed, qkv, attended, delta = (
            each[:rows] for each in (self._normed, self._qkv, self._attended, self._delta)
        )
        wide, widened = self._wide[:rows], self._widened[:rows]
        width, feed_forward = weights.width, widened.shape[1]

        def add_norm(norm: Tensor) -> None:
            kernels.add_norm_kernel[(rows,)](
                self._hidden, delta, norm, normed, D=width, BLOCK=_power_of_2(width), EPSILON=RMS_EPSILON
            )

        self._embed(rows)
        norms = [layer.attention_norm for layer in weights.layers[1:]] + [weights.norm]
        for (layer, keys, values), next_norm in zip(self._layers, norms, strict=True):
            torch.mm(normed, layer.qkv.t(), out=qkv)
            self._attend(rows, keys, values)
            torch.mm(attended, layer.out.t(), out=delta)
            add_norm(layer.feed_forward_norm)
            torch.mm(normed, layer.gate_up.t(), out=wide)
            blocks = -(-feed_forward // SWIGLU_BLOCK)
            kernels.swiglu_kernel[(rows, blocks)](wide, widened, F=feed_forward, BLOCK=SWIGLU_BLOCK)
            torch.mm(widened, layer.down.t(), out=delta)
            add_norm(next_norm)
        return _float32_product(normed, weights.head.t(), self._logits[:rows])

    def _embed(self, rows: int) -> None:
        weights, tensors = self._t3.weights, self._tensors
        # Without PDL: what came before the step need not have waited for what came before that.
        self._kernels.embed_kernel[(rows,)](
            tensors.tokens, tensors.counts, tensors.slot_of_row,
            weights.speech_embedding, weights.speech_positions,
            self._hidden, weights.layers[0].attention_norm, self._normed,
            D=weights.width, BLOCK=_power_of_2(weights.width), EPSILON=RMS_EPSILON,
        )  # fmt: skip

    def _attend(self, rows: int, keys: Tensor, values: Tensor) -> None:
        weights, tensors = self._t3.weights, self._tensors
        splits = max(LEAST_SPLITS, min(MOST_SPLITS, ROWS_TIMES_SPLITS // rows))
        self._kernels.attend_kernel[(rows, weights.heads, splits)](
            self._qkv, keys, values, tensors.cosines, tensors.sines, tensors.positions, tensors.slot_of_row,
            self._sums, self._peaks, self._weights, self._arrived, self._attended, keys.shape[2],
            H=weights.heads, W=weights.head_width, BLOCK=ATTENTION_BLOCK, MOST_SPLITS=MOST_SPLITS,
            num_warps=ATTENTION_WARPS, **self._with_pdl(rows),
        )  # fmt: skip

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
            N=outputs, K=columns, BN=how.outputs, BK=columns & -columns, EPSILON=RMS_EPSILON,
            NORM=norm is not None, GLU=glu, RESIDUAL=residual,
            num_warps=how.warps, **self._with_pdl(FEWEST_ROWS),
        )  # fmt: skip

    def _with_pdl(self, rows: int) -> dict[str, Any]:
        """Options of a launch. Between cuBLAS's kernels, which wait for nothing early, PDL gains nothing."""
        return {"PDL": True, "launch_pdl": True} if self._pdl and rows == FEWEST_ROWS else {"PDL": False}


def _float32_product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Writes a product of matrices with the sums in float32, since guidance enlarges what rounding does."""
    if left.dtype == torch.float32:
        return torch.mm(left, right, out=out)
    return torch.mm(left, right, out_dtype=torch.float32, out=out)


@torch.inference_mode()
def load_fused_step(t3: LlamaT3, tensors: StepTensors) -> FusedStep | None:
    """Compiles the kernels by running a step of an empty batch; None where PyTorch's operators have to do.

    That is on a CPU, in float32, on a GPU before Ampere, for heads of an unusual width, and, with a warning,
    where Triton or the C compiler that it needs is missing or fails.
    """
    device, weights, rows = t3.device, t3.weights, len(tensors.slot_of_row)
    if device.type != "cuda" or weights.dtype != torch.bfloat16 or rows < FEWEST_ROWS:
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY or weights.head_width != _power_of_2(weights.head_width):
        return None
    started = time.perf_counter()
    try:
        step = FusedStep(t3, tensors, pdl=capability >= PDL_CAPABILITY)
        for count in sorted({FEWEST_ROWS, min(rows, 2 * FEWEST_ROWS)}):
            step.draw(step.logits(count), 1)
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

"""From logits to the next token, for rows with parameters of their own.

The order and the formulas are those of upstream's loop (``T3.inference`` in chatterbox-tts 0.1.7)
and the processors that it takes from transformers: guidance, repetition penalty, temperature,
min_p, top_p, draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
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

    def without_extremes(self) -> Sampling:
        """The same distribution in numbers that do not overflow."""
        if self.temperature >= GREEDY_BELOW_TEMPERATURE:
            return self
        # A min_p of 1 keeps only what is as likely as the likeliest.
        return Sampling(self.cfg_weight, 1.0, self.top_p, 1.0, self.repetition_penalty)


@dataclass(frozen=True, eq=False)
class SamplingRows:
    """``Sampling`` as tensors, float32 [rows, 1] each: a captured graph bakes in no number.

    tail: 1 - top_p, what top_p may cut off.
    """

    cfg_weight: Tensor
    temperature: Tensor
    tail: Tensor
    min_p: Tensor
    repetition_penalty: Tensor

    @classmethod
    def neutral(cls, rows: int, device: torch.device) -> SamplingRows:
        def filled(value: float) -> Tensor:
            return torch.full((rows, 1), value, dtype=torch.float32, device=device)

        return cls(filled(0.0), filled(1.0), filled(0.0), filled(0.0), filled(1.0))

    def set(self, row: int, sampling: Sampling) -> None:
        values = (
            sampling.cfg_weight,
            sampling.temperature,
            1.0 - sampling.top_p,
            sampling.min_p,
            sampling.repetition_penalty,
        )
        for tensor, value in zip(self.all(), values, strict=True):
            tensor[row] = value

    def first(self, rows: int) -> SamplingRows:
        """A view of the first rows."""
        return SamplingRows(*(tensor[:rows] for tensor in self.all()))

    def all(self) -> tuple[Tensor, ...]:
        return self.cfg_weight, self.temperature, self.tail, self.min_p, self.repetition_penalty


def draw(
    logits: Tensor, guides: Tensor, seen: Tensor, sampling: SamplingRows, noise: Tensor, *, with_top_p: bool
) -> Tensor:
    """The next token of each row, int64 [rows].

    logits, guides: float32 [rows, vocabulary], with the text and without it. seen: bool
    [rows, vocabulary], what repetition_penalty applies to. noise: float32 [rows, vocabulary],
    exponential draws: the likeliest of p / noise is a draw from p, the one that
    ``torch.multinomial`` makes of the same generator. with_top_p: whether any row cuts by top_p,
    which costs a sort.
    """
    guided = logits + sampling.cfg_weight * (logits - guides)
    penalty = sampling.repetition_penalty
    penalised = torch.where(guided < 0, guided * penalty, guided / penalty)
    scaled = torch.where(seen, penalised, guided) / sampling.temperature
    likely = torch.softmax(scaled, dim=-1)
    kept = scaled.masked_fill(likely < sampling.min_p * likely.amax(dim=-1, keepdim=True), -torch.inf)
    if with_top_p:
        kept = _cut_tail(kept, sampling.tail)
    return (torch.softmax(kept, dim=-1) / noise).argmax(dim=-1)


def _cut_tail(scores: Tensor, tail: Tensor) -> Tensor:
    """``TopPLogitsWarper``: the least likely that add up to no more than the tail go."""
    ordered, order = torch.sort(scores, descending=False, dim=-1)
    cut = torch.softmax(ordered, dim=-1).cumsum(dim=-1) <= tail
    cut[:, -1] = False  # one is kept
    return scores.masked_fill(torch.empty_like(cut).scatter(1, order, cut), -torch.inf)

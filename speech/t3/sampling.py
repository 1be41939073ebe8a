"""From logits to the next token, for rows with parameters of their own.

The formulas are those of upstream's loops (``T3.inference`` and ``T3.inference_turbo`` in chatterbox-tts
0.1.7) and of the logits processors that they take from transformers. Their order is the model's,
``ModelSpec.sampler``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from speech.models.spec import SamplerStep

# Upstream divides logits by the temperature: from 1e-37 down they overflow and the draw fails, on
# CUDA with a device assert that ends the process. Long before that only the likeliest is drawn.
GREEDY_BELOW_TEMPERATURE = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. A temperature under 0.001 is greedy."""

    cfg_weight: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    top_k: int = 0  # 0: no limit

    @classmethod
    def of(cls, parameters: Mapping[str, float | int | None]) -> Sampling:
        """Takes what it has a use for from resolved parameters (``ModelInfo.resolve``)."""
        values = {field.name: parameters.get(field.name) for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]

    @property
    def uses_cfg(self) -> bool:
        """Whether a second, unconditional row is needed for classifier-free guidance."""
        return self.cfg_weight > 0

    def needs_sort(self, order: Sequence[SamplerStep]) -> bool:
        """Whether one of a model's steps has to sort the vocabulary for it."""
        return ("top_p" in order and self.top_p < 1.0) or ("top_k" in order and self.top_k > 0)

    def without_extremes(self, order: Sequence[SamplerStep]) -> Sampling:
        """The same distribution in numbers that do not overflow. order: the model's steps."""
        if self.temperature >= GREEDY_BELOW_TEMPERATURE:
            return self
        # Both keep only what is as likely as the likeliest. A model has the one step or the other.
        if "min_p" in order:
            return replace(self, temperature=1.0, min_p=1.0)
        return replace(self, temperature=1.0, top_k=1)


@dataclass(frozen=True, eq=False)
class SamplingRows:
    """``Sampling`` as tensors, [rows, 1] each, so that a captured graph bakes in no number.

    float32, except that top_k is int64.
    """

    cfg_weight: Tensor
    temperature: Tensor
    tail: Tensor  # 1 - top_p: the probability that top_p may cut off
    min_p: Tensor
    repetition_penalty: Tensor
    top_k: Tensor  # 0: no limit

    @classmethod
    def neutral(cls, rows: int, device: torch.device) -> SamplingRows:
        """Rows that change nothing."""

        def filled(value: float) -> Tensor:
            return torch.full((rows, 1), value, dtype=torch.float32, device=device)

        no_limit = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        return cls(filled(0.0), filled(1.0), filled(0.0), filled(0.0), filled(1.0), no_limit)

    def set(self, row: int, sampling: Sampling) -> None:
        """Writes one row."""
        values = (
            sampling.cfg_weight,
            sampling.temperature,
            1.0 - sampling.top_p,
            sampling.min_p,
            sampling.repetition_penalty,
            sampling.top_k,
        )
        for tensor, value in zip(self.all(), values, strict=True):
            tensor[row] = value

    def first(self, rows: int) -> SamplingRows:
        """A view of the first rows."""
        return SamplingRows(*(tensor[:rows] for tensor in self.all()))

    def all(self) -> tuple[Tensor, ...]:
        """The tensors, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


Ordering = tuple[Tensor, Tensor]  # scores from the lowest to the highest, and their ids, [rows, vocabulary]


def draw(
    logits: Tensor,
    uncond_logits: Tensor,
    seen: Tensor,
    sampling: SamplingRows,
    noise: Tensor,
    *,
    order: Sequence[SamplerStep],
    with_sort: bool,
) -> Tensor:
    """Draws the next token of each row, int64 [rows].

    logits, uncond_logits: float32 [rows, vocabulary], of the conditional and of the unconditional row.
    seen: bool [rows, vocabulary], the ids that repetition_penalty applies to. noise: float32 [rows,
    vocabulary], exponential draws: argmax(p / noise) is a draw from p, the one that ``torch.multinomial``
    makes of the same generator. order: the steps to apply. with_sort: whether any row cuts by top_p or top_k,
    which costs a sort.
    """
    scores = logits
    ordering: Ordering | None = None  # of the scores, where the step before has sorted them
    for step in order:
        known, ordering = ordering, None
        if step == "guidance":
            scores = scores + sampling.cfg_weight * (scores - uncond_logits)
        elif step == "repetition_penalty":
            penalty = sampling.repetition_penalty
            penalised = torch.where(scores < 0, scores * penalty, scores / penalty)
            scores = torch.where(seen, penalised, scores)
        elif step == "temperature":
            scores = scores / sampling.temperature
        elif step == "min_p":
            likely = torch.softmax(scores, dim=-1)
            scores = scores.masked_fill(
                likely < sampling.min_p * likely.amax(dim=-1, keepdim=True), -torch.inf
            )
        elif not with_sort:
            continue
        elif step == "top_p":
            scores = _cut_tail(scores, known or _ordering(scores), sampling.tail)
        else:
            scores, ordering = _keep_likeliest(scores, known or _ordering(scores), sampling.top_k)
    return (torch.softmax(scores, dim=-1) / noise).argmax(dim=-1)


def _ordering(scores: Tensor) -> Ordering:
    ordered, ids = torch.sort(scores, descending=False, dim=-1)
    return ordered, ids


def _cut_tail(scores: Tensor, ordering: Ordering, tail: Tensor) -> Tensor:
    """``TopPLogitsWarper``: masks the least likely ids whose probabilities add up to at most the tail."""
    ordered, ids = ordering
    cut = torch.softmax(ordered, dim=-1).cumsum(dim=-1) <= tail
    cut[:, -1] = False  # one is kept
    return scores.masked_fill(torch.empty_like(cut).scatter(1, ids, cut), -torch.inf)


def _keep_likeliest(scores: Tensor, ordering: Ordering, top_k: Tensor) -> tuple[Tensor, Ordering]:
    """``TopKLogitsWarper``: masks what is less likely than the k-th likeliest id.

    Returns the ordering of what it leaves, too.
    """
    (ordered, ids), vocabulary = ordering, scores.shape[-1]
    kept = torch.where(top_k > 0, top_k.clamp(max=vocabulary), vocabulary)
    least = ordered.gather(1, vocabulary - kept)
    masked, ordered = (each.masked_fill(each < least, -torch.inf) for each in (scores, ordered))
    return masked, (ordered, ids)

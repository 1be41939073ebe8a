"""T3, the language model from text tokens to speech tokens: what its backbones have in common."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from speech.models.linear import has_tiles
from speech.models.spec import ModelSpec
from speech.t3.request import DecodeRequest
from speech.text.duration import UNITS_PER_S
from speech.transfer import upload

log = logging.getLogger(__name__)

# What a prompt may have beside the voice and the letters: start and end of the text, its language, a full
# stop that is added, and the start of speech.
MARKS = 5

Head = tuple[int, int]  # layer and head of a backbone, both from 0


def cache_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of a KV cache. CPUs without AMX attend in float32 twice as fast as in bfloat16.

    dtype: of T3's weights.
    """
    return torch.float32 if device.type == "cpu" and not has_tiles() else dtype


class T3(ABC):
    """Computes a prompt into a KV cache, and one decoding step for several rows.

    A request takes one row, and with classifier-free guidance a second one. Keeps no state of any request.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        device: torch.device,
        dtype: torch.dtype,
        layers: int,
        heads: int,
        head_width: int,
        vocabulary: int,
    ) -> None:
        """dtype: of the weights. vocabulary: number of speech ids, marks included."""
        self.spec, self.device, self.dtype, self.vocabulary = spec, device, dtype, vocabulary
        self.layers, self.heads, self.head_width = layers, heads, head_width

    @property
    def width(self) -> int:
        """The width of the backbone."""
        return self.heads * self.head_width

    @property
    def cache_dtype(self) -> torch.dtype:
        """The dtype of the KV cache, see the function of this name."""
        return cache_dtype(self.device, self.dtype)

    def cache_shape(self, rows: int, positions: int) -> tuple[int, ...]:
        """The shape of a KV cache: [layers, 2, rows, heads, positions, head width]."""
        return (self.layers, 2, rows, self.heads, positions, self.head_width)

    @abstractmethod
    def position_tables(self, positions: int) -> tuple[Tensor, ...]:
        """Returns what ``prefill`` and ``step`` look up by position, for the first positions."""

    @abstractmethod
    def embed_prompt(self, request: DecodeRequest, *, use_cfg: bool) -> Tensor:
        """Returns what is read before the first step, [rows, N, D]; two rows with guidance."""

    @abstractmethod
    def embed_speech(self, tokens: Tensor) -> Tensor:
        """Returns what the steps read that are fed these tokens, [1, T, D]; the first is the first step.

        tokens: int64 [T], the start of speech first.
        """

    @property
    @abstractmethod
    def voice_positions(self) -> int:
        """The most positions of a prompt that a voice takes."""

    @property
    def longest_prompt(self) -> int:
        """The positions of the longest prompt that a chunk of English makes, with a text token a letter."""
        return self.voice_positions + int(self.spec.max_chunk_s * UNITS_PER_S) + MARKS

    @abstractmethod
    def text_positions(self, request: DecodeRequest) -> range:
        """The positions of the text's tokens in a prompt, without marks of its start and end."""

    @abstractmethod
    def attention(
        self, embedded: Tensor, tables: tuple[Tensor, ...]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields queries, keys and values of one layer after the other, [rows, heads, N, head width] each.

        embedded: [rows, N, D]. tables: see ``position_tables``, of the first N positions at least. What a
        layer makes of them is only computed when the next layer is asked for.
        """

    def prefill(self, prompt: Tensor, tables: tuple[Tensor, ...], cache: Tensor) -> None:
        """Fills a cache with the keys and values of a prompt.

        prompt: [rows, N, D]. tables: see ``position_tables``, of the first N positions at least.
        cache: see ``cache_shape``; its first N positions are written.
        """
        length = prompt.shape[1]
        for index, (_, keys, values) in enumerate(self.attention(prompt, tables)):
            cache[index, 0, :, :, :length] = keys
            cache[index, 1, :, :, :length] = values

    @property
    def all_heads(self) -> list[Head]:
        """Every attention head."""
        return [(layer, head) for layer in range(self.layers) for head in range(self.heads)]

    @torch.inference_mode()
    def attention_to_text(self, request: DecodeRequest, tokens: Tensor, heads: Collection[Head]) -> Tensor:
        """Returns where some heads look in the text while tokens are spoken, float32 [heads, T, N].

        It is the softmax over the N text tokens alone, of the conditional row. tokens: int64 [T], those that
        were decoded; row t belongs to the step that tells token t. The tokens are read in one pass, up to the
        highest layer of the heads.
        """
        fed = F.pad(upload(tokens, self.device)[:-1], (1, 0), value=self.spec.tokens.start_speech)
        prompt = self.embed_prompt(request, use_cfg=False)
        embedded = torch.cat([prompt, self.embed_speech(fed)], dim=1)
        at, text = prompt.shape[1], self.text_positions(request)
        scores: dict[Head, Tensor] = {}
        last = max(layer for layer, _ in heads)
        layers = self.attention(embedded, self.position_tables(embedded.shape[1]))
        for index, (queries, keys, _) in zip(range(last + 1), layers, strict=False):
            for head in (head for layer, head in heads if layer == index):
                products = queries[0, head, at:].float() @ keys[0, head, text.start : text.stop].float().T
                scores[index, head] = torch.softmax(products / self.head_width**0.5, dim=-1)
        return torch.stack([scores[head] for head in heads])

    @abstractmethod
    def step(
        self,
        tokens: Tensor,
        counts: Tensor,
        positions: Tensor,
        tables: tuple[Tensor, ...],
        cache: Tensor,
        row_ids: Tensor,
    ) -> Tensor:
        """Feeds one token to every row; returns logits of the next one, float32 [rows, vocabulary].

        tokens: int64 [rows], the last ones. counts: int64 [rows], speech tokens before them. positions: int64
        [rows], where they go in the cache. tables: see ``position_tables``. cache: see ``cache_shape``; its
        length is that of the longest row at least. row_ids: int64 [rows], 0 to rows - 1.
        """


def mask_of(positions: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Returns what attention adds to a step's scores, [rows, 1, 1, length]: -inf beyond a row's position.

    Numbers, since scaled_dot_product_attention would convert truth values again in every layer.
    """
    future = torch.arange(length, device=positions.device) > positions[:, None]
    return torch.zeros_like(future, dtype=dtype).masked_fill_(future, -torch.inf)[:, None, None]


def step_attention(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Chooses the attention of a decoding step on a GPU, which has one query a row and a mask.

    PyTorch's own choice is the memory-efficient kernel, which is made for many queries. On an H200, with 2
    rows and 512 positions, it takes 27 us in bfloat16 and cuDNN's 7; in float32 it takes 61 us and plain
    operators 24.
    """
    if device.type != "cuda":
        return nullcontext()
    if dtype == torch.float32:
        return sdpa_kernel(SDPBackend.MATH)
    if _cudnn_attends(device, dtype):
        return sdpa_kernel(SDPBackend.CUDNN_ATTENTION)
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


@functools.cache
def _cudnn_attends(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this cuDNN has an engine for one query with a mask: found out by a try."""
    queries = torch.zeros(2, 2, 1, 64, device=device, dtype=dtype)
    keys = torch.zeros(2, 2, 256, 64, device=device, dtype=dtype)
    mask = torch.zeros(2, 1, 1, 256, device=device, dtype=dtype)
    try:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            F.scaled_dot_product_attention(queries, keys, keys, attn_mask=mask)
    except RuntimeError as error:
        log.info("cuDNN has no attention for T3's steps here: %s", str(error).splitlines()[0])
        return False
    return True

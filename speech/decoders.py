"""Which decoder a loaded model gets, and in which precision its weights are read."""

from __future__ import annotations

import torch

from speech.architecture import upstream_decoder
from speech.checkpoint import Model
from speech.t3.batch import RunningBatch
from speech.t3.decoder import BatchDecoder
from speech.t3.request import Decoder
from speech.t3.weights import T3Weights

# Chunks of one text decode together; on a GPU each takes 0.4 GB in bfloat16, two rows of the cache.
MIN_CHUNKS_AT_ONCE = 4
STEPS_A_POLL = 8  # a GPU must not wait for the question whether a row is done


def make_decoder(model: Model, max_concurrency: int = 1) -> Decoder:
    """The decoder for a model's kind of T3, with room for a chunk of each of several jobs."""
    if not isinstance(model.t3, T3Weights):
        return upstream_decoder(model.t3)
    is_cuda = model.device.type == "cuda"
    rows = 2 * max(max_concurrency, MIN_CHUNKS_AT_ONCE)
    return BatchDecoder(
        RunningBatch(model.t3, rows, poll_every=STEPS_A_POLL if is_cuda else 1, graphs=is_cuda)
    )


def t3_dtype(device: torch.device, precision: str) -> torch.dtype:
    """precision: "exact" or "auto", see ``load_engine``."""
    return torch.bfloat16 if precision == "auto" and _computes_in_bfloat16(device) else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

"""Which decoder a loaded model gets, and in which precision its weights are read."""

from __future__ import annotations

import torch

from speech.checkpoint import Model
from speech.t3.batch import ROWS_OF_A_GUIDED_REQUEST, RunningBatch
from speech.t3.decoder import BatchDecoder
from speech.t3.request import Decoder
from speech.t3.weights import T3Weights

# Chunks of one text decode together; on a GPU each takes 0.4 GB in bfloat16, two rows of the cache.
CHUNKS_AT_ONCE = 4
STEPS_A_POLL = 8  # a GPU must not wait for the question whether a row is done


def make_decoder(model: Model, max_concurrency: int = 1) -> Decoder:
    """The decoder for a model's kind of T3: for several chunks of one job, and one of each other."""
    if not isinstance(model.t3, T3Weights):
        from speech.upstream import upstream_decoder

        return upstream_decoder(model.t3)
    is_cuda = model.device.type == "cuda"
    rows = ROWS_OF_A_GUIDED_REQUEST * (CHUNKS_AT_ONCE + max_concurrency - 1)
    batch = RunningBatch(model.t3, rows, poll_every=STEPS_A_POLL if is_cuda else 1, graphs=is_cuda)
    batch.capture()  # now, while no other thread uses the GPU
    return BatchDecoder(batch, max_concurrency)


def t3_dtype(device: torch.device, precision: str) -> torch.dtype:
    """precision: "exact" or "auto", see ``load_engine``."""
    return torch.bfloat16 if precision == "auto" and _computes_in_bfloat16(device) else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

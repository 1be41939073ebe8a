"""Requests to decode, short to write, how to decode them, and T3 with random weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cancel import CancelToken
from speech.contract import ModelInfo, SamplingParams
from speech.models.dimensions import ModelDimensions
from speech.models.gpt2_t3 import Gpt2T3, Gpt2Weights, gpt2_shapes
from speech.models.llama_t3 import LlamaT3, T3Weights, upstream_shapes
from speech.models.spec import CODEBOOK_SIZE, ModelSpec
from speech.runtime import Batch
from speech.t3.request import Decoded, DecodeRequest
from speech.t3.sampling import Sampling
from speech.weights.load import Model

USUAL = Sampling(cfg_weight=0.5, temperature=0.8, top_p=1.0, min_p=0.05, repetition_penalty=1.2)
TEXT = "Some words to speak."


def request(
    model: Model,
    text: str = TEXT,
    *,
    seed: int = 0,
    max_tokens: int = 400,
    exaggeration: float = 0.5,
    sampling: Sampling | None = None,
    prompt_tokens: torch.Tensor | None = None,
    cancel: CancelToken | None = None,
) -> DecodeRequest:
    """sampling: None for the model's own."""
    voice = model.builtin_voice
    assert voice is not None
    own = Sampling.of(ModelInfo(model.spec, model.revision).resolve(SamplingParams()))
    return DecodeRequest(
        speaker_embedding=voice.speaker_embedding,
        prompt_tokens=voice.t3_prompt_tokens if prompt_tokens is None else prompt_tokens,
        exaggeration=exaggeration,
        text_tokens=model.tokenizer.encode(text, model.spec.default_language),
        sampling=sampling or own,
        max_tokens=max_tokens,
        seed=seed,
        cancel=cancel or CancelToken(),
    )


def random_t3(
    spec: ModelSpec, dimensions: ModelDimensions, dtype: torch.dtype, device: torch.device
) -> LlamaT3 | Gpt2T3:
    """T3 of these dimensions, with matrices as they are on a GPU, and a residual stream with a mean."""
    generator = torch.Generator(device).manual_seed(0)
    state = {}
    for name, shape in (gpt2_shapes if spec.family == "gpt2" else upstream_shapes)(spec, dimensions).items():
        is_table, is_norm = "emb" in name or "wpe" in name, "norm.weight" in name or ".ln_" in name
        scale = 0.1 if len(shape) == 1 else 0.4 if is_table else 0.02
        state[name] = scale * torch.randn(shape, generator=generator, device=device)
        if is_norm and name.endswith("weight"):
            state[name] += 1.0
        if "wpe" in name:
            state[name] += 0.3
    if spec.family == "gpt2":
        return Gpt2T3(Gpt2Weights.from_upstream(state, dimensions.t3_heads, dtype), spec)
    return LlamaT3(T3Weights.from_upstream(state, dimensions.t3_heads, dtype), spec)


def random_request(
    spec: ModelSpec,
    seed: int,
    sampling: Sampling,
    *,
    max_tokens: int = 500,
    voice_tokens: int | None = None,
    text_tokens: int | None = None,
) -> DecodeRequest:
    """voice_tokens: None for the model's most. text_tokens: None for a number that depends on the seed."""
    generator = torch.Generator().manual_seed(seed)
    voice = spec.conditioning.t3_prompt_tokens if voice_tokens is None else voice_tokens
    text = 20 + 23 * seed % 90 if text_tokens is None else text_tokens
    return DecodeRequest(
        speaker_embedding=torch.randn(1, 256, generator=generator),
        prompt_tokens=torch.randint(0, CODEBOOK_SIZE, (1, voice), generator=generator),
        exaggeration=0.5,
        text_tokens=torch.randint(1, 255, (text,), generator=generator),
        sampling=sampling,
        max_tokens=max_tokens,
        seed=seed,
    )


def mixed_requests(model: Model, max_tokens: int = 400) -> list[DecodeRequest]:
    """Five of different lengths, voices, parameters and seeds."""
    other_voice = torch.randint(0, 6561, (1, 80), generator=torch.Generator().manual_seed(1))
    return [
        request(model, "Some words to speak.", seed=0, max_tokens=max_tokens),
        request(
            model,
            "More words, many of them, are spoken here by us.",
            seed=1,
            max_tokens=max_tokens,
            sampling=Sampling(0.0, 0.8, 1.0, 0.05, 1.2),
        ),
        request(
            model,
            "No.",
            seed=2,
            max_tokens=max_tokens,
            prompt_tokens=other_voice,
            sampling=Sampling(0.3, 1.3, 0.7, 0.0, 1.0),
        ),
        request(
            model,
            "Rows of different lengths and voices, one after the other.",
            seed=2**63 - 1,
            max_tokens=max_tokens,
            exaggeration=1.7,
            sampling=Sampling(1.0, 0.5, 1.0, 0.1, 2.0),
        ),
        request(
            model,
            "The last is greedy.",
            seed=4,
            max_tokens=max_tokens,
            sampling=Sampling(0.5, 0.0, 0.9, 0.0, 1.2),
        ),
    ]


def finish(batch: Batch) -> dict[DecodeRequest, Decoded]:
    """Steps a batch until nothing is in it."""
    found: dict[DecodeRequest, Decoded] = {}
    while batch.sequences:
        found |= {sequence.request: decoded for sequence, decoded in batch.step_many().items()}
    return found


def decode_all(batch: Batch, requests: Sequence[DecodeRequest], steps_apart: int = 0) -> list[Decoded]:
    """Decodes requests, as many at once as the batch has room for.

    steps_apart: looks at what is done between two additions.
    """
    waiting, found = list(requests), {}
    while waiting:
        while waiting and batch.has_room_for(waiting[0]):
            batch.add(waiting.pop(0))
            for _ in range(steps_apart):
                if batch.sequences:
                    found |= _step(batch)
        if waiting:
            found |= _step(batch)
    found |= finish(batch)
    return [found[each] for each in requests]


def _step(batch: Batch) -> dict[DecodeRequest, Decoded]:
    return {sequence.request: decoded for sequence, decoded in batch.step_many().items()}


class GraphsOnPaper:
    """Runs every step as it comes, and notes which shapes there were."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int, int, bool]] = []

    def run(self, shape, work) -> None:
        self.shapes.append(shape)
        work()

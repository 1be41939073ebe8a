"""Random weights and requests for the tests of packed rendering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from speech.models.dimensions import ModelDimensions
from speech.models.spec import (
    CHATTERBOX,
    CODEBOOK_SIZE,
    MEANFLOW,
    MEL_CHANNELS,
    SPEAKER_WIDTH,
    XVECTOR_WIDTH,
    FlowSpec,
)
from speech.reference.conditionals import Conditionals
from speech.s3gen.flow import solve_ode
from speech.s3gen.packed_flow import FlowInput
from speech.s3gen.s3gen import RenderRequest
from speech.s3gen.shapes import s3gen_shapes
from speech.s3gen.weights import WeightsView, prepare
from speech.weights.files import S3GEN_PREFIXES, read_weights

PITCH_HZ = 140.0
# Tokens of the prompt, mel frames that it has beyond two for each, and tokens to render.
CASES = {
    "one": [(11, 1, 23)],
    "two": [(40, 0, 2), (7, 1, 61)],
    "five": [(25, 0, 33), (9, 1, 2), (3, 0, 1), (25, 1, 118), (31, 0, 34)],
}


# As many chunks as a call usually has; lengths and voices all differ.
EIGHT = [
    (25, 0, 33),
    (9, 1, 2),
    (3, 0, 3),
    (25, 1, 118),
    (31, 0, 34),
    (60, 0, 1),
    (12, 0, 75),
    (40, 1, 260),
]


def read_s3gen(folder: Path, dimensions: ModelDimensions) -> WeightsView:
    """S3Gen's weights in a checkpoint."""
    state = read_weights(folder / CHATTERBOX.files.s3gen, torch.device("cpu"), S3GEN_PREFIXES)
    return prepare({name: state[name] for name in s3gen_shapes(dimensions, CHATTERBOX.flow)})


def random_weights(dimensions: ModelDimensions, device: torch.device) -> WeightsView:
    """S3Gen's weights at a scale that keeps activations near 1, and a voice of some pitch.

    They serve the flow of every published model.
    """
    draw = torch.Generator(device).manual_seed(0)
    state = {}
    shapes = s3gen_shapes(dimensions, CHATTERBOX.flow) | s3gen_shapes(dimensions, MEANFLOW)
    for name, shape in shapes.items():
        if name.endswith("alpha"):
            state[name] = torch.ones(shape, device=device)
        elif name.endswith("original0"):
            state[name] = torch.full(shape, 0.5, device=device)
        else:
            state[name] = torch.randn(shape, generator=draw, device=device)
            state[name] *= 0.05 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
            if name.endswith("weight") and len(shape) == 1:  # of a norm
                state[name] += 1.0
    state["mel2wav.f0_predictor.classifier.bias"].fill_(PITCH_HZ)
    return prepare(state)


def make_requests(cases: Sequence[tuple[int, int, int]], device: torch.device) -> list[RenderRequest]:
    """Requests with a voice each, the same whenever they are made."""
    requests = []
    for seed, (prompt, more, tokens) in enumerate(cases):
        draw = torch.Generator().manual_seed(1000 * seed + tokens)
        voice = Conditionals(
            speaker_embedding=torch.zeros(1, SPEAKER_WIDTH),
            t3_prompt_tokens=torch.zeros(1, 1, dtype=torch.int64),
            prompt_tokens=torch.randint(CODEBOOK_SIZE, (1, prompt), generator=draw),
            prompt_mel=torch.randn(1, 2 * prompt + more, MEL_CHANNELS, generator=draw) - 5.0,
            xvector=torch.randn(1, XVECTOR_WIDTH, generator=draw),
        )
        spoken = torch.randint(CODEBOOK_SIZE, (tokens,), generator=draw).to(device)
        requests.append(RenderRequest(spoken, voice.to(device), torch.Generator(device).manual_seed(seed)))
    return requests


def make_flow_inputs(lengths: Sequence[int], device: torch.device) -> list[FlowInput]:
    """Inputs of the flow of chunks with these numbers of frames, a third of each a prompt."""
    inputs = []
    for frames in lengths:
        draw = torch.Generator(device).manual_seed(frames)
        noise, mu, speaker, prompt_mel = (
            torch.randn(*shape, generator=draw, device=device)
            for shape in (
                (1, MEL_CHANNELS, frames),
                (frames, MEL_CHANNELS),
                (MEL_CHANNELS,),
                (frames // 3, MEL_CHANNELS),
            )
        )
        inputs.append(FlowInput(noise, mu, speaker, prompt_mel))
    return inputs


@torch.inference_mode()
def solve_alone(estimator: WeightsView, one: FlowInput, spec: FlowSpec) -> Tensor:
    """The mel that the reference makes, [T, 80]."""
    frames, prompt_frames = len(one.mu), len(one.prompt_mel)
    prompt_mel = torch.zeros(1, MEL_CHANNELS, frames, device=one.mu.device)
    prompt_mel[0, :, :prompt_frames] = one.prompt_mel.T
    mel = solve_ode(estimator, one.noise, one.mu.T[None].contiguous(), one.speaker[None], prompt_mel, spec)
    return mel[0].T


def distance(found: Tensor, expected: Tensor) -> float:
    """How far a tensor is from another, as a part of its norm."""
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())

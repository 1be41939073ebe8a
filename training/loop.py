"""The training loop that all stages share: resumable, the same for the same seed."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

# Returns the weighted losses of a step by name; their sum is minimised. Names in parentheses only inform.
StepLosses = Callable[[random.Random], dict[str, Tensor]]

CHECKPOINT_EVERY = 100  # steps
WARM_UP = 200  # steps
MAX_SKIPPED_STEPS = 20  # steps in a row without a finite gradient
LAST_RATE = 0.02  # of the learning rate, at the end
AVERAGE_DECAY = 0.998  # of the weights' moving average, which is what a stage gives on


def train(
    name: str,
    network: nn.Module,
    losses_of: StepLosses,
    folder: Path,
    *,
    steps: int,
    rate: float,
    seed: int = 0,
    weight_decay: float = 0.01,
    largest_gradient: float = 1.0,
    report: Callable[[str], None] = tqdm.write,
) -> nn.Module:
    """Trains a network, or goes on where a run before was stopped, and returns its moving average.

    name: of the network; FOLDER/NAME.pt is its checkpoint. network: changed in place. One that has had all
    its steps is only read. The learning rate rises, then falls along a cosine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.pt"
    average = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay)
    done = skipped = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["steps"]
    network.train()
    means: dict[str, float] = {}
    started = time.perf_counter()
    bar = tqdm(range(done, steps), initial=done, total=steps, desc=name, disable=None)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(step, steps)
        rng = random.Random(f"{seed} {name} {step}")  # noqa: S311
        torch.manual_seed(rng.getrandbits(62))
        losses = losses_of(rng)
        optimizer.zero_grad(set_to_none=True)
        summed = [loss for key, loss in losses.items() if not key.startswith("(")]
        torch.stack(summed).sum().backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, largest_gradient)
        if torch.isfinite(norm):
            skipped = 0
            optimizer.step()
            _move_average(average, network, min(AVERAGE_DECAY, (1 + step) / (10 + step)))
        else:
            skipped += 1
            if skipped == MAX_SKIPPED_STEPS:
                raise FloatingPointError(f"{name}: the gradients of {skipped} steps in a row are not finite")
        for key, value in losses.items() if skipped == 0 else ():
            means[key] = 0.98 * means.get(key, value.item()) + 0.02 * value.item()
        bar.set_postfix({key: f"{mean:.3f}" for key, mean in means.items()}, refresh=False)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            _save(file, network, average, optimizer, step + 1)
            seconds = (time.perf_counter() - started) / (step + 1 - done)
            report(
                f"{name} {step + 1}/{steps} {seconds:.2f} s a step: "
                + ", ".join(f"{key} {mean:.4f}" for key, mean in means.items())
            )
    return average


def _schedule(step: int, steps: int) -> float:
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))


@torch.no_grad()
def _move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    current = network.state_dict()
    seen = set()  # a module that another one also refers to is there twice
    for name, tensor in average.state_dict().items():
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1 - decay)
        else:
            tensor.copy_(current[name])


def _save(file: Path, network: nn.Module, average: nn.Module, optimizer: Any, steps: int) -> None:
    unfinished = file.with_suffix(".unfinished")
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "steps": steps,
    }
    torch.save(state, unfinished)
    unfinished.replace(file)

"""Upstream's encoders of a reference with weights that let mistakes be seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def unsettle(s3gen: Any, seed: int = 0) -> None:
    """Changes the untrained speech tokenizer and CAMPPlus of an S3Gen in place.

    New batch norms change nothing, so that one that is left out would not be missed. New projections to a
    token's digits are so small that all recordings get nearly the same tokens.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in s3gen.speaker_encoder.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0.0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
                if module.affine:
                    module.weight.uniform_(0.7, 1.4)
                    module.bias.normal_(0.0, 0.3)
        s3gen.tokenizer.quantizer._codebook.project_down.weight.mul_(3.0)

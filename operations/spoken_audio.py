"""The fields of a request for speech that say which audio is wanted."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from audio.encode import FORMATS, SAMPLE_RATES_HZ
from delivery import DeliveryMode
from operations.request import between, one_of

LARGEST_SEED = 2**63 - 1
RANDOM_SEED_BITS = 32  # a drawn seed is a number that every JSON reader keeps exactly

Seed = Annotated[int | None, between(0, LARGEST_SEED, "a whole number")]
Format = Annotated[str, Field(description=f"one of {', '.join(FORMATS)}"), one_of(FORMATS)]
SampleRate = Annotated[int, Field(description="a sample rate in Hz"), one_of(SAMPLE_RATES_HZ)]
DeliveryWay = Annotated[DeliveryMode, Field(description="one of auto, inline, s3, volume")]


def random_seed() -> int:
    """Returns a seed for a job that has none."""
    return secrets.randbits(RANDOM_SEED_BITS)

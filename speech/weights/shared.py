"""What the models of one worker have in common: loaded once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import torch

from speech.models.dimensions import ModelDimensions
from speech.models.spec import FlowSpec, ModelSpec
from speech.reference.encoder import RecordingEncoder, reference_shapes
from speech.reference.shapes import voice_encoder_shapes
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import S3Gen
from speech.s3gen.weights import WeightsView
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import FLOW_PREFIX, VOCODER_PREFIX, digest_of_tensors, read_shapes


class SharedParts:
    """The parts that models of one worker may have in common, each loaded once.

    They are known by what their weights hold: English and multilingual models have the same S3Gen and
    reference encoder, and so have turbo and nano; a single-language pack has a vocoder of its own.
    """

    def __init__(self) -> None:
        # By flow, then by vocoder.
        self._s3gens: dict[tuple[str, FlowSpec], dict[str, S3Gen | PackedS3Gen]] = {}
        self._encoders: dict[str, RecordingEncoder] = {}

    def s3gen(
        self,
        file: Path,
        flow: FlowSpec,
        read: Callable[[], WeightsView],
        make: Callable[[WeightsView], S3Gen | PackedS3Gen],
    ) -> S3Gen | PackedS3Gen:
        """Returns the renderer of a file's weights.

        read: reads them, when they are not there yet. make: makes a renderer of them.
        """
        flow_digest, vocoder_digest = _digests(file)
        with_flow = self._s3gens.setdefault((flow_digest, flow), {})
        if vocoder_digest not in with_flow:
            other = next(iter(with_flow.values()), None)
            weights = read()
            with_flow[vocoder_digest] = (
                make(weights) if other is None else other.with_vocoder(weights / "mel2wav")
            )
        return with_flow[vocoder_digest]

    def missing_bytes(self, file: Path, flow: FlowSpec) -> int:
        """Returns the bytes of a file's S3Gen, in float32, that ``s3gen`` would load."""
        flow_digest, vocoder_digest = _digests(file)
        with_flow = self._s3gens.get((flow_digest, flow))
        if with_flow is None:
            return file.stat().st_size
        if vocoder_digest in with_flow:
            return 0
        shapes = read_shapes(file)
        values = sum(math.prod(shapes[name]) for name in shapes if name.startswith(VOCODER_PREFIX))
        return values * torch.float32.itemsize

    def encoder(self, digest: str, load: Callable[[], RecordingEncoder]) -> RecordingEncoder:
        """Returns the reference encoder of ``digest_of_conditionals``. load: loads it."""
        if digest not in self._encoders:
            self._encoders[digest] = load()
        return self._encoders[digest]


def _digests(file: Path) -> tuple[str, str]:
    """Returns what names the flow's and the vocoder's weights in S3Gen's file."""
    names = read_shapes(file)
    flow, vocoder = (
        digest_of_tensors(file, [name for name in names if name.startswith(prefix)])
        for prefix in (FLOW_PREFIX, VOCODER_PREFIX)
    )
    return flow, vocoder


def digest_of_conditionals(checkpoint: Checkpoint, spec: ModelSpec, dimensions: ModelDimensions) -> str:
    """Returns 16 hex digits that name everything that conditionals depend on besides the recording.

    That is the networks of the reference encoder and what the model takes of a recording. Raises
    ModelUnavailable.
    """
    digest = hashlib.sha256(repr(spec.conditioning).encode())
    for file, names in (
        (spec.files.voice_encoder, voice_encoder_shapes(dimensions)),
        (spec.files.s3gen, reference_shapes(dimensions)),
    ):
        digest.update(digest_of_tensors(checkpoint.file(file), names).encode())
    return digest.hexdigest()[:16]

"""What the models of one worker have in common: loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from speech.models.dimensions import ModelDimensions
from speech.models.spec import FlowSpec, ModelSpec
from speech.reference.encoder import RecordingEncoder, reference_shapes
from speech.reference.shapes import voice_encoder_shapes
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import S3Gen
from speech.s3gen.weights import WeightsView
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import FLOW_PREFIX, VOCODER_PREFIX, digest_of_tensors, read_shapes

Shapes = Mapping[str, tuple[int, ...]]


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

    def missing_s3gen(self, file: Path, flow: FlowSpec, shapes: Shapes) -> Shapes:
        """Returns those of S3Gen's tensors in a file that ``s3gen`` would load.

        shapes: of all that it has in the file, by name.
        """
        flow_digest, vocoder_digest = _digests(file)
        with_flow = self._s3gens.get((flow_digest, flow))
        if with_flow is None:
            return shapes
        if vocoder_digest in with_flow:
            return {}
        return {name: shape for name, shape in shapes.items() if name.startswith(VOCODER_PREFIX)}

    def has_encoder(self, digest: str) -> bool:
        """Whether the reference encoder of ``digest_of_conditionals`` is loaded."""
        return digest in self._encoders

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

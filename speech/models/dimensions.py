"""The dimensions of a checkpoint's networks."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelDimensions:
    """Widths and depths in which a checkpoint may differ from the published one."""

    # T3's backbone. The width must be a multiple of 4, the number of the perceiver's heads.
    t3_width: int
    t3_layers: int
    t3_heads: int
    t3_feed_forward: int
    # S3Gen's encoder and flow decoder.
    flow_width: int
    flow_heads: int
    flow_feed_forward: int
    flow_encoder_layers: int
    flow_decoder_width: int
    flow_decoder_heads: int
    flow_blocks: int
    flow_mid_blocks: int
    # HiFT and its pitch predictor.
    vocoder_width: int
    f0_width: int
    # CAMPPlus, the speaker encoder of S3Gen.
    xvector_growth: int
    xvector_channels: int
    # The speech tokenizer, whose width is 64 times its heads.
    tokenizer_heads: int
    tokenizer_layers: int
    # The LSTM of the voice encoder.
    encoder_hidden: int

    @property
    def has_published_s3gen(self) -> bool:
        """Whether all but T3 has the published dimensions, which are those of every model."""
        t3 = {name: getattr(FULL, name) for name in T3_DIMENSIONS}
        return replace(self, **t3) == FULL

    @property
    def is_tiny(self) -> bool:
        """Whether it has the size that tests use."""
        return self.t3_width == TINY.t3_width


T3_DIMENSIONS = ("t3_width", "t3_layers", "t3_heads", "t3_feed_forward")

FULL = ModelDimensions(
    t3_width=1024,
    t3_layers=30,
    t3_heads=16,
    t3_feed_forward=4096,
    flow_width=512,
    flow_heads=8,
    flow_feed_forward=2048,
    flow_encoder_layers=6,
    flow_decoder_width=256,
    flow_decoder_heads=8,
    flow_blocks=4,
    flow_mid_blocks=12,
    vocoder_width=512,
    f0_width=512,
    xvector_growth=32,
    xvector_channels=128,
    tokenizer_heads=20,
    tokenizer_layers=6,
    encoder_hidden=256,
)

TINY = ModelDimensions(
    t3_width=64,
    t3_layers=2,
    t3_heads=2,
    t3_feed_forward=96,
    flow_width=32,
    flow_heads=2,
    flow_feed_forward=48,
    flow_encoder_layers=1,
    flow_decoder_width=32,
    flow_decoder_heads=1,
    flow_blocks=1,
    flow_mid_blocks=1,
    vocoder_width=32,
    f0_width=16,
    xvector_growth=4,
    xvector_channels=16,
    tokenizer_heads=1,
    tokenizer_layers=1,
    encoder_hidden=32,
)

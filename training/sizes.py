"""The dimensions of the small demonstration model."""

from speech.models.dimensions import ModelDimensions

SMALL = ModelDimensions(
    t3_width=192,
    t3_layers=5,
    t3_heads=3,
    t3_feed_forward=512,
    flow_width=96,
    flow_heads=2,
    flow_feed_forward=192,
    flow_encoder_layers=1,
    flow_decoder_width=128,
    flow_decoder_heads=2,
    flow_blocks=1,
    flow_mid_blocks=2,
    vocoder_width=96,
    f0_width=64,
    xvector_growth=4,
    xvector_channels=16,
    tokenizer_heads=2,
    tokenizer_layers=2,
    encoder_hidden=96,
)

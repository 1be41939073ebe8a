"""Names and shapes of the tensors of S3Gen that speaking needs, as upstream has them."""

from __future__ import annotations

from speech.models.dimensions import ModelDimensions
from speech.models.spec import CODEBOOK_SIZE, MEL_CHANNELS, XVECTOR_WIDTH, FlowSpec

ESTIMATOR_INPUT = 4 * MEL_CHANNELS  # noise, mu, speaker, prompt
ESTIMATOR_HEAD_WIDTH = 64
UP_LAYERS = 4
SPECTRUM = 18  # real and imaginary part of 9 bins
HARMONICS = 9
DILATIONS = 3
ESTIMATOR_PREFIX = "flow.decoder.estimator."  # of the tensors that compute in T3's dtype

Shapes = dict[str, tuple[int, ...]]


def s3gen_shapes(dimensions: ModelDimensions, flow: FlowSpec) -> Shapes:
    """Returns name and shape of flow and vocoder in ``S3Gen.state_dict()``, chatterbox-tts 0.1.7."""
    return {
        **_below("flow", _flow(dimensions, flow)),
        **_below("mel2wav", _vocoder(dimensions.vocoder_width, dimensions.f0_width)),
    }


def _below(name: str, shapes: Shapes) -> Shapes:
    return {f"{name}.{inner}": shape for inner, shape in shapes.items()}


def _affine(name: str, *shape: int) -> Shapes:
    """Shapes of a linear layer, a convolution or, with one number, a norm; with one bias for each output."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _normed(name: str, *shape: int, outputs: int | None = None) -> Shapes:
    """Shapes of a convolution with weight norm: its weight is stored as norms and directions."""
    return {
        f"{name}.bias": (outputs or shape[0],),
        f"{name}.parametrizations.weight.original0": (shape[0], 1, 1),
        f"{name}.parametrizations.weight.original1": shape,
    }


def _flow(dimensions: ModelDimensions, flow: FlowSpec) -> Shapes:
    width = dimensions.flow_width
    shapes = {
        "input_embedding.weight": (CODEBOOK_SIZE, width),
        **_affine("spk_embed_affine_layer", MEL_CHANNELS, XVECTOR_WIDTH),
        **_affine("encoder_proj", MEL_CHANNELS, width),
        **_affine("encoder.after_norm", width),
        **_affine("encoder.pre_lookahead_layer.conv1", width, width, 4),
        **_affine("encoder.pre_lookahead_layer.conv2", width, width, 3),
        **_affine("encoder.up_layer.conv", width, width, 5),
    }
    for part, layers, count in (
        ("embed", "encoders", dimensions.flow_encoder_layers),
        ("up_embed", "up_encoders", UP_LAYERS),
    ):
        shapes |= _affine(f"encoder.{part}.out.0", width, width) | _affine(f"encoder.{part}.out.1", width)
        for index in range(count):
            conformer = _conformer(width, dimensions.flow_heads, dimensions.flow_feed_forward)
            shapes |= _below(f"encoder.{layers}.{index}", conformer)
    return shapes | _below("decoder.estimator", _estimator(dimensions, flow))


def _conformer(width: int, heads: int, feed_forward: int) -> Shapes:
    shapes: Shapes = {"self_attn.linear_pos.weight": (width, width)}
    for part in ("q", "k", "v", "out"):
        shapes |= _affine(f"self_attn.linear_{part}", width, width)
    for bias in ("u", "v"):
        shapes[f"self_attn.pos_bias_{bias}"] = (heads, width // heads)
    shapes |= _affine("feed_forward.w_1", feed_forward, width) | _affine(
        "feed_forward.w_2", width, feed_forward
    )
    return shapes | _affine("norm_mha", width) | _affine("norm_ff", width)


def _estimator(dimensions: ModelDimensions, flow: FlowSpec) -> Shapes:
    width, time = dimensions.flow_decoder_width, 4 * dimensions.flow_decoder_width
    inner = ESTIMATOR_HEAD_WIDTH * dimensions.flow_decoder_heads

    def block(inputs: int) -> Shapes:
        shapes = _affine("0.mlp.1", width, time) | _affine("0.res_conv", width, inputs, 1)
        for part, channels in (("block1", inputs), ("block2", width)):
            shapes |= _affine(f"0.{part}.block.0", width, channels, 3) | _affine(f"0.{part}.block.2", width)
        for index in range(dimensions.flow_blocks):
            layer: Shapes = {f"attn1.to_{part}.weight": (inner, width) for part in "qkv"}
            layer |= (
                _affine("attn1.to_out.0", width, inner) | _affine("norm1", width) | _affine("norm3", width)
            )
            layer |= _affine("ff.net.0.proj", 4 * width, width) | _affine("ff.net.2", width, 4 * width)
            shapes |= _below(f"1.{index}", layer)
        return shapes

    shapes = {
        **_affine("time_mlp.linear_1", time, ESTIMATOR_INPUT),
        **_affine("time_mlp.linear_2", time, time),
        **_affine("final_block.block.0", width, width, 3),
        **_affine("final_block.block.2", width),
        **_affine("final_proj", MEL_CHANNELS, width, 1),
    }
    for name, inputs in (("down_blocks.0", ESTIMATOR_INPUT), ("up_blocks.0", 2 * width)):
        shapes |= _below(name, block(inputs) | _affine("2", width, width, 3))
    for index in range(dimensions.flow_mid_blocks):
        shapes |= _below(f"mid_blocks.{index}", block(width))
    if flow.is_meanflow:
        shapes["time_embed_mixer.weight"] = (time, 2 * time)
    return shapes


def _vocoder(width: int, pitch_width: int) -> Shapes:
    shapes = {
        **_normed("conv_pre", width, MEL_CHANNELS, 7),
        **_normed("conv_post", SPECTRUM, width // 8, 7),
        **_affine("m_source.l_linear", 1, HARMONICS),
        **_affine("f0_predictor.classifier", 1, pitch_width),
    }
    for index in range(5):
        inputs = MEL_CHANNELS if index == 0 else pitch_width
        shapes |= _normed(f"f0_predictor.condnet.{2 * index}", pitch_width, inputs, 3)
    for stage, (kernel, down, source_kernel) in enumerate(((16, 30, 7), (11, 6, 7), (7, 1, 11))):
        inputs, channels = width >> stage, width >> (stage + 1)
        shapes |= _normed(f"ups.{stage}", inputs, channels, kernel, outputs=channels)
        shapes |= _affine(f"source_downs.{stage}", channels, SPECTRUM, down)
        shapes |= _below(f"source_resblocks.{stage}", _residual(channels, source_kernel))
        for index, kernel_size in enumerate((3, 7, 11)):
            shapes |= _below(f"resblocks.{3 * stage + index}", _residual(channels, kernel_size))
    return shapes


def _residual(channels: int, kernel: int) -> Shapes:
    shapes: Shapes = {}
    for half in ("1", "2"):
        for index in range(DILATIONS):
            shapes[f"activations{half}.{index}.alpha"] = (channels,)
            shapes |= _normed(f"convs{half}.{index}", channels, channels, kernel)
    return shapes

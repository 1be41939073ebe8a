"""Names and shapes of the tensors that encode a reference, as upstream has them."""

from __future__ import annotations

from speech.models.dimensions import ModelDimensions
from speech.models.spec import SPEAKER_WIDTH, XVECTOR_WIDTH
from speech.reference.spectra import TOKENIZER_CHANNELS, VOICE_CHANNELS, XVECTOR_CHANNELS
from speech.reference.speech_tokenizer import CODE_DIGITS, HEAD_WIDTH, MEMORY_FRAMES

HEAD_CHANNELS = 32  # of CAMPPlus' two-dimensional convolutions
DENSE_LAYERS = (12, 24, 16)  # of its blocks
BOTTLENECK = 4  # width of a dense layer's bottleneck, in growth rates

Shapes = dict[str, tuple[int, ...]]


def tokenizer_shapes(dimensions: ModelDimensions) -> Shapes:
    """Returns name and shape of the tensors of ``S3Tokenizer.state_dict()`` without its tables."""
    width = HEAD_WIDTH * dimensions.tokenizer_heads
    shapes = {
        **_affine("encoder.conv1", width, TOKENIZER_CHANNELS, 3),
        **_affine("encoder.conv2", width, width, 3),
        **_affine("quantizer._codebook.project_down", CODE_DIGITS, width),
    }
    for index in range(dimensions.tokenizer_layers):
        block = f"encoder.blocks.{index}"
        for part in ("query", "value", "out"):
            shapes |= _affine(f"{block}.attn.{part}", width, width)
        shapes[f"{block}.attn.key.weight"] = (width, width)
        shapes[f"{block}.attn.fsmn_block.weight"] = (width, 1, MEMORY_FRAMES)
        shapes |= _affine(f"{block}.mlp.0", 4 * width, width) | _affine(f"{block}.mlp.2", width, 4 * width)
        shapes |= _affine(f"{block}.attn_ln", width) | _affine(f"{block}.mlp_ln", width)
    return shapes


def voice_encoder_shapes(dimensions: ModelDimensions) -> Shapes:
    """Returns name and shape of the tensors of ``VoiceEncoder.state_dict()``."""
    hidden = dimensions.encoder_hidden
    shapes: Shapes = {
        "similarity_weight": (1,),
        "similarity_bias": (1,),
        **_affine("proj", SPEAKER_WIDTH, hidden),
    }
    for layer in range(3):
        inputs = VOICE_CHANNELS if layer == 0 else hidden
        for part, width in (("ih", inputs), ("hh", hidden)):
            shapes[f"lstm.weight_{part}_l{layer}"] = (4 * hidden, width)
            shapes[f"lstm.bias_{part}_l{layer}"] = (4 * hidden,)
    return shapes


def xvector_shapes(dimensions: ModelDimensions) -> Shapes:
    """Returns name and shape of the tensors of ``CAMPPlus.state_dict()``."""
    growth, channels = dimensions.xvector_growth, dimensions.xvector_channels
    bottleneck = BOTTLENECK * growth
    shapes = {
        **_head(),
        "xvector.tdnn.linear.weight": (channels, HEAD_CHANNELS * XVECTOR_CHANNELS // 8, 5),
        **_batch_norm("xvector.tdnn.nonlinear.batchnorm", channels),
    }
    for block, layers in enumerate(DENSE_LAYERS, start=1):
        for index in range(1, layers + 1):
            layer = f"xvector.block{block}.tdnnd{index}"
            shapes |= _batch_norm(f"{layer}.nonlinear1.batchnorm", channels)
            shapes[f"{layer}.linear1.weight"] = (bottleneck, channels, 1)
            shapes |= _batch_norm(f"{layer}.nonlinear2.batchnorm", bottleneck)
            shapes[f"{layer}.cam_layer.linear_local.weight"] = (growth, bottleneck, 3)
            shapes |= _affine(f"{layer}.cam_layer.linear1", bottleneck // 2, bottleneck, 1)
            shapes |= _affine(f"{layer}.cam_layer.linear2", growth, bottleneck // 2, 1)
            channels += growth
        shapes |= _batch_norm(f"xvector.transit{block}.nonlinear.batchnorm", channels)
        shapes[f"xvector.transit{block}.linear.weight"] = (channels // 2, channels, 1)
        channels //= 2
    shapes |= _batch_norm("xvector.out_nonlinear.batchnorm", channels)
    shapes["xvector.dense.linear.weight"] = (XVECTOR_WIDTH, 2 * channels, 1)
    return shapes | _batch_norm("xvector.dense.nonlinear.batchnorm", XVECTOR_WIDTH, affine=False)


def _head() -> Shapes:
    """Shapes of CAMPPlus' first layers, ``FCM``, which have one size."""
    width = HEAD_CHANNELS
    shapes: Shapes = {"head.conv1.weight": (width, 1, 3, 3), "head.conv2.weight": (width, width, 3, 3)}
    norms = ["head.bn1", "head.bn2"]
    for layer in ("head.layer1", "head.layer2"):
        shapes[f"{layer}.0.shortcut.0.weight"] = (width, width, 1, 1)
        norms.append(f"{layer}.0.shortcut.1")
        for half in ("0", "1"):
            for number in ("1", "2"):
                shapes[f"{layer}.{half}.conv{number}.weight"] = (width, width, 3, 3)
                norms.append(f"{layer}.{half}.bn{number}")
    for norm in norms:
        shapes |= _batch_norm(norm, width)
    return shapes


def _affine(name: str, *shape: int) -> Shapes:
    """Shapes of a linear layer, a convolution or, with one number, a norm; with one bias for each output."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _batch_norm(name: str, channels: int, *, affine: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    shapes[f"{name}.num_batches_tracked"] = ()
    return shapes | _affine(name, channels) if affine else shapes

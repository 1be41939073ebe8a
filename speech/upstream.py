"""Chatterbox's own modules at a stated size, with shapes but no weights, and upstream's way to run them.

The only place that imports chatterbox, which takes seconds: for a reference that is new, and where
upstream's loops are asked for. Upstream fixes most sizes inside constructors; the
published size comes out of those untouched, and a small one by putting smaller parts into
the same classes, so that tests run upstream's own forward code.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speech.sizes import FULL, Sizes
from speech.t3.plain import PlainDecoder

with warnings.catch_warnings():
    # perth asks for pkg_resources, torch and diffusers for each other: nothing a user can act on.
    warnings.simplefilter("ignore")
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.s3gen import flow_matching as upstream_flow_matching
    from chatterbox.models.s3gen.configs import CFM_PARAMS
    from chatterbox.models.s3gen.decoder import ConditionalDecoder
    from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
    from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM
    from chatterbox.models.s3gen.hifigan import HiFTGenerator
    from chatterbox.models.s3gen.transformer.upsample_encoder import (
        PreLookaheadLayer,
        Upsample1D,
        UpsampleConformerEncoder,
    )
    from chatterbox.models.s3gen.xvector import CAMPPlus
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3 import t3 as upstream_t3
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
    from chatterbox.models.t3.modules.cond_enc import T3Cond
    from chatterbox.models.t3.modules.perceiver import Perceiver
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.voice_encoder import VoiceEncConfig, VoiceEncoder
    from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization
    from transformers.utils import logging as transformers_logging

__all__ = [
    "T3Cond",
    "UpstreamTokenToWave",
    "build_s3gen",
    "build_t3",
    "build_voice_encoder",
    "upstream_decoder",
]


def quiet_upstream() -> None:
    """Keep upstream's progress bars and chatter out of the worker's log.

    Upstream wraps its token and flow loops in tqdm and logs each end of speech at INFO.
    """

    def without_bar(iterable: Any = None, *_: Any, **__: Any) -> Any:
        return iterable

    upstream_t3.tqdm = without_bar
    upstream_flow_matching.tqdm = without_bar
    logging.getLogger("chatterbox").setLevel(logging.WARNING)
    transformers_logging.set_verbosity_error()


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules built inside get parameters without storage, so that initialising them is free.

    Buffers and plain tensors are computed as usual: those that no checkpoint file holds (rotary
    frequencies, positional tables, mel filters, windows, fades) come out ready. With
    ``torch.device("meta")`` they would all have to be found and made again.
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            module._parameters[name] = nn.Parameter(param.to("meta"), requires_grad=False)

    nn.Module.register_parameter = register_on_meta  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def build_t3(sizes: Sizes) -> Any:
    """Text tokens to speech tokens, upstream's ``T3`` with its English configuration."""
    config = T3Config.english_only()
    if sizes != FULL:
        name = f"worker_{sizes.t3_layers}x{sizes.t3_width}x{sizes.t3_feed_forward}_{sizes.t3_heads}"
        LLAMA_CONFIGS[name] = {
            **LLAMA_CONFIGS[config.llama_config_name],
            "hidden_size": sizes.t3_width,
            "intermediate_size": sizes.t3_feed_forward,
            "num_hidden_layers": sizes.t3_layers,
            "num_attention_heads": sizes.t3_heads,
            "num_key_value_heads": sizes.t3_heads,
            "head_dim": sizes.t3_width // sizes.t3_heads,
        }
        config.llama_config_name = name
    t3 = T3(config)
    if sizes != FULL:
        t3.cond_enc.perceiver = Perceiver(
            pre_attention_query_size=sizes.t3_width, embedding_dim=sizes.t3_width
        )
    return t3


class UpstreamTokenToWave:
    """``S3Gen.inference``: the plain twin of ``TokenToWave``."""

    def __init__(self, s3gen: Any) -> None:
        self._s3gen = s3gen

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, prompt: Mapping[str, Tensor | None]) -> Tensor:
        # S3Gen casts the entries of what it is given in place.
        samples, _ = self._s3gen.inference(speech_tokens=tokens, ref_dict=dict(prompt))
        return samples[0]  # type: ignore[no-any-return]


def upstream_decoder(t3: Any) -> PlainDecoder:
    """Around a T3 that ``build_t3`` made."""
    return PlainDecoder(t3, T3Cond)


def build_s3gen(sizes: Sizes) -> Any:
    """Speech tokens to samples, upstream's ``S3Gen``: speech tokenizer, flow and vocoder."""
    if sizes == FULL:
        return S3Gen()
    with parameters_on_meta():  # every part that holds weights is replaced below
        s3gen = S3Gen()
    tokenizer_width = 64 * sizes.tokenizer_heads
    s3gen.tokenizer.encoder = AudioEncoderV2(
        n_mels=128,
        n_state=tokenizer_width,
        n_head=sizes.tokenizer_heads,
        n_layer=sizes.tokenizer_layers,
        stride=2,
        use_sdpa=False,
    )
    s3gen.tokenizer.quantizer = FSQVectorQuantization(tokenizer_width, codebook_size=3**8)
    s3gen.speaker_encoder = CAMPPlus(
        growth_rate=sizes.xvector_growth, init_channels=sizes.xvector_channels, memory_efficient=False
    )
    s3gen.flow = _build_flow(sizes)
    s3gen.mel2wav = HiFTGenerator(
        base_channels=sizes.vocoder_width,
        sampling_rate=24_000,
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
        f0_predictor=ConvRNNF0Predictor(cond_channels=sizes.f0_width),
    )
    return s3gen


def _build_flow(sizes: Sizes) -> Any:
    encoder = UpsampleConformerEncoder(
        input_size=sizes.flow_width,
        output_size=sizes.flow_width,
        attention_heads=sizes.flow_heads,
        linear_units=sizes.flow_feed_forward,
        num_blocks=sizes.flow_encoder_layers,
        use_cnn_module=False,
    )
    encoder.pre_lookahead_layer = PreLookaheadLayer(channels=sizes.flow_width, pre_lookahead_len=3)
    encoder.up_layer = Upsample1D(channels=sizes.flow_width, out_channels=sizes.flow_width, stride=2)
    estimator = ConditionalDecoder(
        channels=[sizes.flow_decoder_width],
        n_blocks=sizes.flow_blocks,
        num_mid_blocks=sizes.flow_mid_blocks,
        num_heads=sizes.flow_decoder_heads,
    )
    decoder = CausalConditionalCFM(spk_emb_dim=80, cfm_params=CFM_PARAMS, estimator=estimator)
    return CausalMaskedDiffWithXvec(input_size=sizes.flow_width, encoder=encoder, decoder=decoder)


def build_voice_encoder(sizes: Sizes) -> Any:
    """Reference recording to a 256-value speaker embedding, upstream's ``VoiceEncoder``."""
    config = VoiceEncConfig()
    config.ve_hidden_size = sizes.encoder_hidden
    return VoiceEncoder(config)

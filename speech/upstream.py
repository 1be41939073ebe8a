"""Upstream's own modules: the reference engine (``ENGINE=upstream``).

The only place that imports the package chatterbox, which takes some 15 s of CPU time. Modules are built at
stated dimensions, without storage, and the tensors of the checkpoint's files become their parameters;
upstream's ``ChatterboxTTS.from_local`` initialises every weight at random first. The result is the same,
tensor by tensor. Upstream fixes most dimensions inside constructors: the published ones come out of those
untouched, and small ones by putting smaller parts into the same classes, so that tests run upstream's own
forward code.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from speech.models.dimensions import FULL, T3_DIMENSIONS, ModelDimensions
from speech.models.spec import CHATTERBOX, Conditioning, FlowSpec, ModelSpec
from speech.models.tokenizers import load_tokenizer
from speech.reference.conditionals import Conditionals
from speech.reference.encoder import RecordingEncoder, at_loudness, check_duration
from speech.reference.spectra import ENCODER_SAMPLE_RATE_HZ
from speech.s3gen.s3gen import PieceRequest, RenderRequest
from speech.t3.request import Decoded, DecodeRequest
from speech.t3.sampling import Sampling
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import fingerprint
from speech.weights.load import Model, check_config, read_builtin_voice, with_config
from speech.weights.modules import assign_weights, parameters_on_meta
from speech.weights.shared import digest_of_conditionals

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
    from chatterbox.models.s3tokenizer import S3Tokenizer
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3 import t3 as upstream_t3
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
    from chatterbox.models.t3.modules.cond_enc import T3Cond
    from chatterbox.models.t3.modules.perceiver import Perceiver
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.voice_encoder import VoiceEncConfig, VoiceEncoder
    from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization
    from transformers.utils import logging as transformers_logging

# S3Gen buffers that upstream computes and the published file leaves out.
COMPUTED_BUFFERS = frozenset({"tokenizer._mel_filters", "tokenizer.window"})


def load_upstream_model(spec: ModelSpec, checkpoint: Checkpoint, device: torch.device) -> Model:
    """Reads a checkpoint into upstream's modules. Raises ModelUnavailable, see ``load_model``."""
    config = check_config(checkpoint, spec)
    spec, dimensions = config.apply(spec), config.dimensions
    t3, s3gen = load_upstream_modules(spec, checkpoint, dimensions, device)
    with without_storage():
        voice_encoder = build_voice_encoder(dimensions)
    assign_weights(voice_encoder, checkpoint.file(spec.files.voice_encoder), device)
    return Model(
        spec=spec,
        dimensions=dimensions,
        revision=checkpoint.revision
        or with_config(checkpoint.folder, fingerprint(checkpoint.files(spec.files.all))),
        notice=config.notice,
        device=device,
        t3=t3,
        s3gen=UpstreamS3Gen(s3gen),
        reference_encoder=UpstreamReferenceEncoder(s3gen, voice_encoder, spec.conditioning),
        conditionals_digest=digest_of_conditionals(checkpoint, spec, dimensions),
        tokenizer=load_tokenizer(spec, checkpoint, may_have_fewer_ids=config.notice is not None),
        builtin_voice=read_builtin_voice(checkpoint.file(spec.files.builtin_voice)),
    )


def load_upstream_modules(
    spec: ModelSpec, checkpoint: Checkpoint, dimensions: ModelDimensions, device: torch.device
) -> tuple[Any, Any]:
    """Returns upstream's T3 and S3Gen. Raises ModelUnavailable."""
    with without_storage():
        t3, s3gen = build_t3(dimensions, spec), build_s3gen(dimensions, spec.flow)
    assign_weights(t3, checkpoint.file(spec.files.t3), device)
    s3gen_file = checkpoint.file(spec.files.s3gen)
    assign_weights(s3gen, s3gen_file, device, may_lack=COMPUTED_BUFFERS, may_exceed=True)
    return t3, s3gen


class UpstreamSequence:
    """A request in an ``UpstreamBatch``."""

    def __init__(self, request: DecodeRequest) -> None:
        self.request = request


class UpstreamBatch:
    """Upstream's ``T3.inference`` behind the interface of ``RunningBatch``, for one request at a time."""

    def __init__(self, t3: Any, spec: ModelSpec) -> None:
        self._t3, self._spec = t3, spec
        self.sequences: list[UpstreamSequence] = []
        self.rows = 2  # upstream always carries two

    @property
    def used_rows(self) -> int:
        """Number of rows that are taken."""
        return self.rows * len(self.sequences)

    def has_room_for(self, request: DecodeRequest, spare_rows: int = 0) -> bool:
        """Whether no other request is there."""
        return not self.sequences

    def add(self, request: DecodeRequest) -> UpstreamSequence:
        """Takes a request, which the next ``step_many`` decodes."""
        sequence = UpstreamSequence(request)
        self.sequences.append(sequence)
        return sequence

    def remove(self, sequences: Collection[UpstreamSequence]) -> None:
        """Forgets requests."""
        self.sequences = [sequence for sequence in self.sequences if sequence not in sequences]

    def capture(self) -> None:
        """Does nothing: upstream has no CUDA graphs."""

    def speech_so_far(self, sequence: UpstreamSequence, at_least: int) -> None:
        """Returns None: no tokens are known before the last."""

    def attention_to_text(self, request: DecodeRequest, tokens: Tensor, heads: Any) -> Tensor:
        """Raises NotImplementedError: no heads of upstream's T3 are looked for."""
        raise NotImplementedError

    def step_many(self) -> dict[UpstreamSequence, Decoded]:
        """Decodes the request to its end. Raises Cancelled within a step of its cancellation."""
        (sequence,) = self.sequences
        decoded = self._decode(sequence.request)
        self.sequences = []
        return {sequence: decoded}

    @torch.inference_mode()
    def _decode(self, request: DecodeRequest) -> Decoded:
        spec = self._spec
        t3, tokens = self._t3, spec.tokens
        sampling = request.sampling.without_extremes(spec.sampler)
        generator = torch.Generator(t3.device).manual_seed(request.seed)
        voice = T3Cond(
            speaker_emb=request.speaker_embedding.to(t3.device),
            cond_prompt_speech_tokens=request.prompt_tokens.to(t3.device),
            emotion_adv=request.exaggeration * torch.ones(1, 1, 1, device=t3.device),
        )
        # Upstream embeds one token a step.
        hook = t3.speech_emb.register_forward_pre_hook(lambda *_: request.cancel.raise_if_cancelled())
        try:
            with _as_global_generator(generator):
                if spec.loop == "turbo":
                    answer, stopped = _turbo_answer(t3, request, voice, sampling)
                else:
                    answer = _standard_answer(t3, request, voice, sampling, spec)
                    stopped = bool(answer[-1] == tokens.stop_speech)
        finally:
            hook.remove()
        return Decoded(answer[:-1] if stopped else answer, stopped, generator)


def _standard_answer(
    t3: Any, request: DecodeRequest, voice: Any, sampling: Sampling, spec: ModelSpec
) -> Tensor:
    """``T3.inference``: int64 [T], with the stop where it was drawn."""
    tokens = spec.tokens
    text = F.pad(request.text_tokens[None].to(t3.device), (1, 0), value=tokens.start_text)
    text = F.pad(text, (0, 1), value=tokens.stop_text)
    answer: Tensor = t3.inference(
        t3_cond=voice,
        # Upstream's loop always carries two rows; with one it fails when cfg_weight is 0 (it doubles only the
        # start token). The second row has no influence then: cond + 0 * (cond - uncond).
        text_tokens=text.expand(2, -1),
        max_new_tokens=request.max_tokens,
        temperature=sampling.temperature,
        min_p=sampling.min_p,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        cfg_weight=sampling.cfg_weight,
    )[0]
    return answer


def _turbo_answer(t3: Any, request: DecodeRequest, voice: Any, sampling: Sampling) -> tuple[Tensor, bool]:
    """``T3.inference_turbo``: int64 [T] with a last token to leave out if it stopped, and whether it did.

    Upstream removes the stop without saying so: an answer that is as long as it may be did not stop.
    """
    answer: Tensor = t3.inference_turbo(
        t3_cond=voice,
        text_tokens=request.text_tokens[None].to(t3.device),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        max_gen_len=request.max_tokens - 1,  # beside the first
    )[0]
    stopped = len(answer) < request.max_tokens
    return (F.pad(answer, (0, 1)) if stopped else answer), stopped


class UpstreamS3Gen:
    """Upstream's ``S3Gen.inference`` behind the interface of ``S3Gen``."""

    def __init__(self, s3gen: Any) -> None:
        self._s3gen = s3gen

    @torch.inference_mode()
    def render(self, requests: Sequence[RenderRequest | PieceRequest]) -> list[Tensor]:
        """Returns the samples of whole chunks, see ``Renderer.render``."""
        return [self._render(request) for request in requests]

    def mel(self, request: RenderRequest) -> Tensor:
        """Returns the mel spectrogram that the samples of a request are made of, float32 [2T, 80]."""
        prompt = _prompt(request.voice)
        with _as_global_generator(request.generator):
            mel = self._s3gen.flow_inference(speech_tokens=request.tokens, ref_dict=prompt, finalize=True)
        return mel[0].T  # type: ignore[no-any-return]

    def _render(self, request: RenderRequest | PieceRequest) -> Tensor:
        assert isinstance(request, RenderRequest), "UpstreamBatch tells of no tokens before the last"
        prompt = _prompt(request.voice)
        with _as_global_generator(request.generator):
            samples, _ = self._s3gen.inference(speech_tokens=request.tokens, ref_dict=prompt)
        return samples[0]  # type: ignore[no-any-return]


def _prompt(voice: Conditionals) -> dict[str, Tensor | None]:
    """Returns what ``S3Gen.embed_ref`` makes of a voice's recording."""
    return {
        "prompt_token": voice.prompt_tokens,
        "prompt_token_len": torch.tensor([voice.prompt_tokens.shape[1]], device=voice.xvector.device),
        "prompt_feat": voice.prompt_mel,
        "prompt_feat_len": None,
        "embedding": voice.xvector,
    }


class UpstreamReferenceEncoder(RecordingEncoder):
    """Upstream's ``ChatterboxTTS.prepare_conditionals`` behind the interface of ``ReferenceEncoder``."""

    def __init__(self, s3gen: Any, voice_encoder: Any, conditioning: Conditioning) -> None:
        self._s3gen, self._voice_encoder, self._conditioning = s3gen, voice_encoder, conditioning

    def prepare(self, waveform: Waveform) -> tuple[Waveform, NDArray[np.float32]]:
        """Resamples: returns the recording and its samples at 16 kHz."""
        check_duration(waveform, self._conditioning)
        waveform = at_loudness(waveform, self._conditioning.loudness_lufs)
        return waveform, resample(waveform, ENCODER_SAMPLE_RATE_HZ).samples

    @torch.inference_mode()
    def encode(self, prepared: tuple[Waveform, NDArray[np.float32]]) -> Conditionals:
        """Runs upstream's code, which does the rest of the host's work, too."""
        conditioning, (waveform, samples_16k) = self._conditioning, prepared
        t3_prompt = samples_16k[: round(conditioning.t3_prompt_s * ENCODER_SAMPLE_RATE_HZ)]
        # Copied: a stored voice's samples are read-only.
        prompt = self._s3gen.embed_ref(
            waveform.first(conditioning.s3gen_prompt_s).samples.copy(), MODEL_SAMPLE_RATE_HZ
        )
        t3_prompt_tokens, _ = self._s3gen.tokenizer([t3_prompt], max_len=conditioning.t3_prompt_tokens)
        speaker = self._voice_encoder.embeds_from_wavs([samples_16k], sample_rate=ENCODER_SAMPLE_RATE_HZ)
        return Conditionals(
            speaker_embedding=torch.from_numpy(speaker).mean(dim=0, keepdim=True),
            t3_prompt_tokens=t3_prompt_tokens,
            prompt_tokens=prompt["prompt_token"],
            prompt_mel=prompt["prompt_feat"],
            xvector=prompt["embedding"],
        ).to(torch.device("cpu"))

    @torch.inference_mode()
    def tokenize(self, samples_16k: NDArray[np.float32]) -> Tensor:
        """Runs upstream's speech tokenizer."""
        tokens, _ = self._s3gen.tokenizer([samples_16k])
        return tokens[0]  # type: ignore[no-any-return]


@contextmanager
def _as_global_generator(generator: torch.Generator) -> Iterator[None]:
    """Lets upstream's code, which knows only torch's global generators, draw from a request's own.

    The global ones are as before afterwards, and the request's own is where upstream left it.
    """
    device = generator.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.manual_seed(generator.initial_seed())  # the CPU's, from which phases are drawn
            torch.cuda.set_rng_state(generator.get_state(), device)
            yield
            generator.set_state(torch.cuda.get_rng_state(device))
        else:
            torch.set_rng_state(generator.get_state())
            yield
            generator.set_state(torch.get_rng_state())


def quiet_upstream() -> None:
    """Keeps upstream's progress bars and messages out of the worker's log.

    Upstream wraps its token and flow loops in tqdm, logs each end of speech at INFO, and prints a line for
    each mel spectrogram of meanflow.
    """

    def without_bar(iterable: Any = None, *_: Any, **__: Any) -> Any:
        return iterable

    upstream_t3.tqdm = without_bar
    upstream_flow_matching.tqdm = without_bar
    upstream_flow_matching.print = lambda *_, **__: None
    logging.getLogger("chatterbox").setLevel(logging.WARNING)
    transformers_logging.set_verbosity_error()


@contextmanager
def without_storage() -> Iterator[None]:
    """Builds upstream's modules inside without weights and without output."""
    quiet_upstream()
    with parameters_on_meta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside upstream's constructors
        yield


class MasterConfig(T3Config):  # type: ignore[misc]
    """A configuration for the loop of chatterbox's master, whatever the size of the vocabulary.

    With multilingual vocabularies, 0.1.7 runs an alignment analyzer in its loop, which master has removed.
    """

    is_multilingual = False


def build_t3(dimensions: ModelDimensions, spec: ModelSpec) -> Any:
    """Builds upstream's ``T3``, text tokens to speech tokens."""
    config = MasterConfig(text_tokens_dict_size=spec.text_vocabulary)
    config.speech_tokens_dict_size = spec.speech_vocabulary
    config.start_speech_token, config.stop_speech_token = spec.tokens.start_speech, spec.tokens.stop_speech
    config.speech_cond_prompt_len = spec.conditioning.t3_prompt_tokens
    if spec.family == "gpt2":
        return _build_gpt2(config, dimensions)
    config.start_text_token, config.stop_text_token = spec.tokens.start_text, spec.tokens.stop_text
    has_own_size = _t3_size(dimensions) != _t3_size(FULL)
    if has_own_size:
        config.llama_config_name = _own_config(
            config.llama_config_name,
            hidden_size=dimensions.t3_width,
            intermediate_size=dimensions.t3_feed_forward,
            num_hidden_layers=dimensions.t3_layers,
            num_attention_heads=dimensions.t3_heads,
            num_key_value_heads=dimensions.t3_heads,
            head_dim=dimensions.t3_width // dimensions.t3_heads,
        )
    t3 = T3(config)
    if has_own_size:
        t3.cond_enc.perceiver = Perceiver(
            pre_attention_query_size=dimensions.t3_width, embedding_dim=dimensions.t3_width
        )
    return t3


def _build_gpt2(config: Any, dimensions: ModelDimensions) -> Any:
    """What ``ChatterboxTurboTTS.from_local`` builds, in any dimensions: on master nano is built so."""
    config.llama_config_name = _own_config(
        "GPT2_medium",
        n_embd=dimensions.t3_width,
        hidden_size=dimensions.t3_width,
        n_inner=dimensions.t3_feed_forward,
        n_layer=dimensions.t3_layers,
        n_head=dimensions.t3_heads,
    )
    config.input_pos_emb = None
    config.use_perceiver_resampler = False
    config.emotion_adv = False
    return T3(config)


def _own_config(name: str, **changed: int) -> str:
    """Returns the name of a configuration of the backbone that differs from upstream's in some values."""
    own = f"{name} {changed}"
    LLAMA_CONFIGS[own] = {**LLAMA_CONFIGS[name], **changed}
    return own


def _t3_size(dimensions: ModelDimensions) -> tuple[int, ...]:
    return tuple(getattr(dimensions, name) for name in T3_DIMENSIONS)


def build_s3gen(dimensions: ModelDimensions, flow: FlowSpec = CHATTERBOX.flow) -> Any:
    """Builds upstream's ``S3Gen``: speech tokenizer, speaker encoder, flow and vocoder."""
    if dimensions.has_published_s3gen:
        return S3Gen(meanflow=flow.is_meanflow)
    with parameters_on_meta():  # every part that holds weights is replaced below
        s3gen = S3Gen(meanflow=flow.is_meanflow)
    s3gen.tokenizer = build_speech_tokenizer(dimensions)
    s3gen.speaker_encoder = build_speaker_encoder(dimensions)
    s3gen.flow = _build_flow(dimensions, flow)
    s3gen.mel2wav = HiFTGenerator(
        base_channels=dimensions.vocoder_width,
        sampling_rate=24_000,
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
        f0_predictor=ConvRNNF0Predictor(cond_channels=dimensions.f0_width),
    )
    return s3gen


def build_voice_encoder(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``VoiceEncoder``: a recording to a speaker embedding."""
    config = VoiceEncConfig()
    config.ve_hidden_size = dimensions.encoder_hidden
    return VoiceEncoder(config)


def build_speech_tokenizer(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``S3Tokenizer``: a recording to speech tokens."""
    tokenizer = S3Tokenizer("speech_tokenizer_v2_25hz")
    if not dimensions.has_published_s3gen:
        width = 64 * dimensions.tokenizer_heads
        tokenizer.encoder = AudioEncoderV2(
            n_mels=128,
            n_state=width,
            n_head=dimensions.tokenizer_heads,
            n_layer=dimensions.tokenizer_layers,
            stride=2,
            use_sdpa=False,
        )
        tokenizer.quantizer = FSQVectorQuantization(width, codebook_size=3**8)
    return tokenizer


def build_speaker_encoder(dimensions: ModelDimensions) -> Any:
    """Builds upstream's ``CAMPPlus``: a recording to an x-vector."""
    if dimensions.has_published_s3gen:
        return CAMPPlus(memory_efficient=False)
    return CAMPPlus(
        growth_rate=dimensions.xvector_growth,
        init_channels=dimensions.xvector_channels,
        memory_efficient=False,
    )


def _build_flow(dimensions: ModelDimensions, flow: FlowSpec) -> Any:
    encoder = UpsampleConformerEncoder(
        input_size=dimensions.flow_width,
        output_size=dimensions.flow_width,
        attention_heads=dimensions.flow_heads,
        linear_units=dimensions.flow_feed_forward,
        num_blocks=dimensions.flow_encoder_layers,
        use_cnn_module=False,
    )
    encoder.pre_lookahead_layer = PreLookaheadLayer(channels=dimensions.flow_width, pre_lookahead_len=3)
    encoder.up_layer = Upsample1D(
        channels=dimensions.flow_width, out_channels=dimensions.flow_width, stride=2
    )
    estimator = ConditionalDecoder(
        channels=[dimensions.flow_decoder_width],
        n_blocks=dimensions.flow_blocks,
        num_mid_blocks=dimensions.flow_mid_blocks,
        num_heads=dimensions.flow_decoder_heads,
        meanflow=flow.is_meanflow,
    )
    decoder = CausalConditionalCFM(spk_emb_dim=80, cfm_params=CFM_PARAMS, estimator=estimator)
    return CausalMaskedDiffWithXvec(input_size=dimensions.flow_width, encoder=encoder, decoder=decoder)

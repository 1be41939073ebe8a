"""A published Chatterbox model as a value. Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from speech.models.dimensions import FULL, ModelDimensions

# The steps from logits to the next token that a model's sampler may apply, see ``speech.t3.sampling``.
SamplerStep = Literal["guidance", "repetition_penalty", "temperature", "min_p", "top_p", "top_k"]

# What all published models share: S3Gen, its codebook, the voice encoder and the x-vector.
SPEECH_TOKENS_PER_S = 25
MEL_FRAMES_PER_TOKEN = 2
MEL_CHANNELS = 80
SPEAKER_WIDTH = 256  # of the voice encoder's embedding, which T3 takes
XVECTOR_WIDTH = 192  # of CAMPPlus' embedding, which S3Gen takes
SILENCE_TOKEN = 4299  # ``S3GEN_SIL``
CODEBOOK_SIZE = 6561  # speech tokens are 0 to 6560; higher ids are T3's own marks


@dataclass(frozen=True)
class WeightFiles:
    """Names of a model's files in its folder and in its repository."""

    t3: str
    s3gen: str
    voice_encoder: str
    tokenizer: tuple[str, ...]
    builtin_voice: str  # may be absent
    cangjie_table: str | None = None  # may be absent, but Chinese needs it; None: the model has no Chinese

    @property
    def required(self) -> tuple[str, ...]:
        """The files without which the model cannot speak."""
        return (self.voice_encoder, self.t3, self.s3gen, *self.tokenizer)

    @property
    def optional(self) -> tuple[str, ...]:
        """The files that may be absent."""
        return (
            (self.builtin_voice,) if self.cangjie_table is None else (self.builtin_voice, self.cangjie_table)
        )

    @property
    def all(self) -> tuple[str, ...]:
        """Every file that is read, the optional ones last."""
        return (*self.required, *self.optional)


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning of their own."""

    start_text: int | None  # None where a text has no marks
    stop_text: int | None
    start_speech: int
    stop_speech: int


@dataclass(frozen=True)
class TextRules:
    """How the multilingual models' text front end writes a text for its vocabulary."""

    # "nfkd_full_case": NFKD, capitals stay; "lowercase": small letters, then NFKD.
    form: Literal["nfkd_full_case", "lowercase"]
    capitalizes: bool  # whether the first letter is made a capital before that
    without_step: tuple[str, ...] = ()  # languages whose step, see ``speech.text.readings``, is left out
    more_ends: tuple[str, ...] = ()  # marks, beside English ones, after which no full stop is added


@dataclass(frozen=True)
class Conditioning:
    """What the model is told of a voice."""

    t3_prompt_s: float  # seconds of the recording whose speech tokens T3 sees
    t3_prompt_tokens: int  # the most of those tokens
    s3gen_prompt_s: float  # seconds of the recording whose tokens and mel S3Gen sees
    least_s: float = 0.0  # a recording must be longer
    loudness_lufs: float | None = None  # to which a recording is brought first


@dataclass(frozen=True)
class FlowSpec:
    """How S3Gen solves the flow's ODE."""

    steps: int  # Euler steps
    guidance: float  # classifier-free guidance rate; 0: none, and no unconditional rows
    schedule: Literal["cosine", "linear"] = "cosine"  # of the steps' times, from 0 to 1
    # Whether the estimator predicts the mean velocity of a step, from the times of its begin and its end, and
    # not the velocity at its begin. Its draws have another order, too, see ``speech.s3gen.s3gen.Draws``.
    is_meanflow: bool = False


# ``S3Gen(meanflow=True)`` in chatterbox-tts 0.1.7, as ``ChatterboxTurboTTS.generate`` calls it.
MEANFLOW = FlowSpec(steps=2, guidance=0.0, schedule="linear", is_meanflow=True)


@dataclass(frozen=True)
class ModelSpec:
    """A model. Adding one means adding a value, and a family where the architecture differs."""

    name: str
    repository: str  # on the Hugging Face hub
    files: WeightFiles
    family: Literal["llama", "gpt2"]  # the architecture of T3, see ``speech.models``
    dimensions: ModelDimensions  # of the published weights
    # The text front end, see ``speech.models.tokenizers``.
    tokenizer: Literal["english", "turbo", "multilingual"]
    languages: tuple[str, ...]  # codes of the languages that it speaks
    tokens: SpecialTokens
    text_vocabulary: int  # number of text ids
    speech_vocabulary: int  # number of speech ids, marks and unused ones included
    conditioning: Conditioning
    flow: FlowSpec
    sampler: tuple[SamplerStep, ...]  # in the order in which they are applied
    default_parameters: Mapping[str, float]  # by the names of ``SamplingParams``; others have no effect
    max_chunk_s: float  # longest chunk of text, at the pace of ``speech.text.duration``
    max_speech_tokens: int  # longest answer of T3
    # Which of upstream's loops draws the tokens: ``T3.inference`` or ``T3.inference_turbo``. In the second, a
    # stop that is drawn first ends nothing, and the start of speech is penalised as seen in the first draw
    # alone.
    loop: Literal["standard", "turbo"] = "standard"
    silence_tokens: int = 0  # speech tokens of silence that S3Gen renders after T3's
    knows_event_tags: bool = False  # those of ``speech.text.events``
    text: TextRules | None = None  # of the multilingual tokenizer
    # Whether the sound of the last speech token is cut, which the model tends to fill with noise.
    cut_last_token: bool = False
    # The repository of the files that the model's own lacks: voice encoder, built-in voice, optional files.
    base_repository: str | None = None

    @property
    def default_language(self) -> str:
        """English where the model speaks it, else its first language."""
        return "en" if "en" in self.languages else self.languages[0]


CHATTERBOX = ModelSpec(
    name="chatterbox",
    repository="ResembleAI/chatterbox",
    files=WeightFiles(
        t3="t3_cfg.safetensors",
        s3gen="s3gen.safetensors",
        voice_encoder="ve.safetensors",
        tokenizer=("tokenizer.json",),
        builtin_voice="conds.pt",
    ),
    family="llama",
    dimensions=FULL,
    tokenizer="english",
    languages=("en",),
    # ``T3Config`` and ``S3Gen`` in chatterbox-tts 0.1.7.
    tokens=SpecialTokens(start_text=255, stop_text=0, start_speech=6561, stop_speech=6562),
    text_vocabulary=704,
    speech_vocabulary=8194,
    # ``ChatterboxTTS.ENC_COND_LEN``, ``T3Config.speech_cond_prompt_len``, ``ChatterboxTTS.DEC_COND_LEN``.
    conditioning=Conditioning(t3_prompt_s=6, t3_prompt_tokens=150, s3gen_prompt_s=10),
    flow=FlowSpec(steps=10, guidance=0.7),
    sampler=("guidance", "repetition_penalty", "temperature", "min_p", "top_p"),
    # ``ChatterboxTTS.generate``.
    default_parameters={
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "top_p": 1.0,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
    },
    # Half of upstream's 40 s and a little less, so that a slow reading fits as well: 280 letters of English.
    max_chunk_s=18.7,
    max_speech_tokens=1000,
)

TURBO = ModelSpec(
    name="turbo",
    repository="ResembleAI/chatterbox-turbo",
    files=WeightFiles(
        t3="t3_turbo_v1.safetensors",
        s3gen="s3gen_meanflow.safetensors",
        voice_encoder="ve.safetensors",
        tokenizer=("vocab.json", "merges.txt", "added_tokens.json"),
        builtin_voice="conds.pt",
    ),
    family="gpt2",
    # ``GPT2_MEDIUM_CONFIG``.
    dimensions=replace(FULL, t3_layers=24),
    tokenizer="turbo",
    languages=("en",),
    # ``ChatterboxTurboTTS.from_local``; the text has neither start nor stop.
    tokens=SpecialTokens(start_text=None, stop_text=None, start_speech=6561, stop_speech=6562),
    text_vocabulary=50276,
    speech_vocabulary=6563,
    # ``ENC_COND_LEN``, ``speech_cond_prompt_len``, ``DEC_COND_LEN`` and ``norm_loudness``.
    conditioning=Conditioning(
        t3_prompt_s=15, t3_prompt_tokens=375, s3gen_prompt_s=10, least_s=5.0, loudness_lufs=-27.0
    ),
    flow=MEANFLOW,
    sampler=("temperature", "top_k", "top_p", "repetition_penalty"),
    # ``ChatterboxTurboTTS.generate``.
    default_parameters={"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.2, "top_k": 1000},
    # It was trained on answers of up to 604 tokens; longer ones turn into gibberish, as users report.
    max_chunk_s=15.35,
    max_speech_tokens=604,
    loop="turbo",
    silence_tokens=3,
    knows_event_tags=True,
)

# In the same repository layout, with the same S3Gen, voice encoder and tokenizer; chatterbox's master has it.
NANO = replace(
    TURBO,
    name="nano",
    repository="ResembleAI/chatterbox-nano",
    files=replace(TURBO.files, t3="t3_nano_v1.safetensors"),
    # ``GPT2_small``.
    dimensions=replace(FULL, t3_layers=12, t3_width=768, t3_heads=12, t3_feed_forward=3072),
)

CJK_ENDS = ("、", "，", "。", "？", "！")

# ``SUPPORTED_LANGUAGES`` of upstream's ``mtl_tts.py``.
MULTILINGUAL_LANGUAGES = (
    "ar", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "it", "ja", "ko", "ms", "nl", "no", "pl",
    "pt", "ru", "sv", "sw", "tr", "zh",
)  # fmt: skip

# ``mtl_tts.py`` of chatterbox's master (5de7a54), which differs from 0.1.7: no alignment analyzer, another
# repetition penalty, and the last token is cut.
MULTILINGUAL_V2 = replace(
    CHATTERBOX,
    name="multilingual-v2",
    files=replace(
        CHATTERBOX.files,
        t3="t3_mtl23ls_v2.safetensors",
        tokenizer=("grapheme_mtl_merged_expanded_v1.json",),
        cangjie_table="Cangjie5_TC.json",
    ),
    tokenizer="multilingual",
    languages=MULTILINGUAL_LANGUAGES,
    text_vocabulary=2454,
    # Upstream's stresser of Russian is on no package index, so that v2 speaks without one.
    text=TextRules("lowercase", capitalizes=True, more_ends=CJK_ENDS, without_step=("ru",)),
    cut_last_token=True,
)

# The same networks with other weights. Master feeds it v2's text; it was trained on text in full case, as
# Resemble's own demonstration of it has it. ``replace(MULTILINGUAL, text=MULTILINGUAL_V2.text)`` is master's.
MULTILINGUAL = replace(
    MULTILINGUAL_V2,
    name="multilingual",
    files=replace(MULTILINGUAL_V2.files, t3="t3_mtl23ls_v3.safetensors"),
    text=TextRules("nfkd_full_case", capitalizes=False, more_ends=CJK_ENDS),
)


def _pack(name: str, repository: str, t3: str, language: str) -> ModelSpec:
    """Returns a fine-tune of ``MULTILINGUAL`` for one language, with a vocoder of its own."""
    own_files = replace(
        MULTILINGUAL.files,
        t3=t3,
        s3gen="s3gen_v3.safetensors",
        cangjie_table=MULTILINGUAL.files.cangjie_table if language == "zh" else None,
    )
    return replace(
        MULTILINGUAL,
        name=name,
        repository=f"ResembleAI/Chatterbox-Multilingual-{repository}",
        base_repository=MULTILINGUAL.repository,
        files=own_files,
        languages=(language,),
        default_parameters={**MULTILINGUAL.default_parameters, "top_p": 0.95},
        text=TextRules("nfkd_full_case", capitalizes=True),
    )


# "Single Language Packs". A language's tag is its base code, whatever the region.
PACKS = (
    _pack("zh-cmn", "zh-cmn", "t3_zh_cmn.safetensors", "zh"),
    _pack("es-mx", "es-mx-latam", "t3_es_mx_latam.safetensors", "es"),
    _pack("es-es", "es-es", "t3_es_es.safetensors", "es"),
    _pack("pt-br", "pt-br", "t3_pt_br.safetensors", "pt"),
    _pack("pt-pt", "pt-pt", "t3_pt_pt.safetensors", "pt"),
    _pack("hi", "hi", "t3_hi.safetensors", "hi"),
)


@dataclass(frozen=True)
class ModelSource:
    """A model that a worker is to have, and where its weights are."""

    name: str
    revision: str = "main"  # branch, tag or commit on the hub
    folder: Path | None = None  # wins over every other place


MODELS: dict[str, ModelSpec] = {
    spec.name: spec for spec in (CHATTERBOX, MULTILINGUAL, MULTILINGUAL_V2, TURBO, NANO, *PACKS)
}

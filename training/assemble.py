"""The trained networks as a checkpoint in the published layout: ``samples/small``.

T3's embeddings and heads and the flow's embedding are stored in eight bits, everything else in sixteen.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from speech.models.spec import ModelSpec
from speech.reference.encoder import load_reference_encoder
from speech.smoke import letters_tokenizer
from speech.upstream import COMPUTED_BUFFERS, build_s3gen, build_t3, build_voice_encoder
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import write_config
from training.data import RATE_HZ, Sentence
from training.features import read_samples
from training.sizes import SMALL
from training.t3 import SHARPNESS

BUILTIN_SPEAKER = "rms*1.00"
BUILTIN_S = 5.0
# Chunks of more than one sentence are spoken worse: most sequences of the training are one.
MAX_CHUNK_S = 7.35  # 110 letters
# T3's logits are so sharp that with the model's default, 1.2, it repeats tokens: speech gets longer than the
# teacher's.
REPETITION_PENALTY = 1.8
EIGHT_BITS = (
    "_emb.weight",
    "_pos_emb.emb.weight",
    "speech_head.weight",
    "text_head.weight",
    "input_embedding.weight",
)


def read_average(file: Path, prefix: str) -> dict[str, Tensor]:
    """Reads, from a stage's checkpoint, the averaged weights of one of its modules."""
    state: dict[str, Tensor] = torch.load(file, weights_only=True)["average"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def write_encoders(folder: Path, work: Path, spec: ModelSpec) -> None:
    """Writes what a reference encoder needs, so that the data can be encoded as a worker does it.

    Flow and vocoder are those of ``work`` where they are trained, and random ones otherwise. Raises
    FileNotFoundError for an encoder that has not been trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = build_voice_encoder(SMALL)
    encoder.load_state_dict(read_average(work / "voice encoder.pt", "encoder."))
    save_file(_stored(encoder), folder / spec.files.voice_encoder, metadata={"format": "pt"})
    letters_tokenizer(spec).save(str(folder / spec.files.tokenizer[0]))
    s3gen = build_s3gen(SMALL)
    for name, file, prefix in (
        ("tokenizer", "tokenizer.pt", "tokenizer."),
        ("speaker_encoder", "x-vector.pt", ""),
        ("flow", "flow.pt", "flow."),
        ("mel2wav", "vocoder.pt", "hift."),
    ):
        if (work / file).exists() or name not in ("flow", "mel2wav"):
            getattr(s3gen, name).load_state_dict(read_average(work / file, prefix))
    save_file(_stored(s3gen), folder / spec.files.s3gen, metadata={"format": "pt"})
    write_config(
        folder,
        SMALL,
        "demonstration",
        max_chunk_s=MAX_CHUNK_S,
        default_parameters={"repetition_penalty": REPETITION_PENALTY},
    )


def write_checkpoint(
    folder: Path, work: Path, speech: Path, sentences: list[Sentence], spec: ModelSpec
) -> None:
    """Writes the whole checkpoint. Raises FileNotFoundError for a network that has not been trained."""
    write_encoders(folder, work, spec)
    t3 = build_t3(SMALL, spec)
    t3.load_state_dict(read_average(work / "t3.pt", "t3."))
    t3.speech_head.weight.data.mul_(SHARPNESS)
    save_file(_stored(t3), folder / spec.files.t3, metadata={"format": "pt"})
    torch.save(_builtin_voice(folder, speech, sentences, spec), folder / spec.files.builtin_voice)


def _stored(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: _narrow(name, tensor).contiguous()
        for name, tensor in module.state_dict().items()
        if name not in COMPUTED_BUFFERS
    }


def _narrow(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.float8_e4m3fn if name.endswith(EIGHT_BITS) else torch.float16)


def _builtin_voice(folder: Path, speech: Path, sentences: list[Sentence], spec: ModelSpec) -> dict[str, Any]:
    """Returns the content of ``conds.pt``, as upstream's ``Conditionals.save`` lays it out."""
    samples = np.concatenate(
        [
            read_samples(speech, one.number)
            for one in itertools.islice((one for one in sentences if one.speaker == BUILTIN_SPEAKER), 3)
        ]
    )
    voice = resample(Waveform(samples[: round(BUILTIN_S * RATE_HZ)], RATE_HZ), MODEL_SAMPLE_RATE_HZ)
    conditionals = load_reference_encoder(Checkpoint(folder, None), spec, SMALL, torch.device("cpu")).compute(
        voice
    )
    return {
        "t3": {
            "speaker_emb": conditionals.speaker_embedding,
            "clap_emb": None,
            "cond_prompt_speech_tokens": conditionals.t3_prompt_tokens,
            "cond_prompt_speech_emb": None,
            "emotion_adv": 0.5 * torch.ones(1, 1, 1),
        },
        "gen": {
            "prompt_token": conditionals.prompt_tokens,
            "prompt_token_len": torch.tensor([conditionals.prompt_tokens.shape[1]]),
            "prompt_feat": conditionals.prompt_mel,
            "prompt_feat_len": None,
            "embedding": conditionals.xvector,
        },
    }

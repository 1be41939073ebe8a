"""The models this worker can run, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A published model.

    repository: on the Hugging Face hub. weights: file names that must be there.
    builtin_voice: the file with the model's own voice; may be absent.
    top_p, min_p, repetition_penalty: upstream's defaults for this model
    (``ChatterboxTTS.generate`` in chatterbox-tts 0.1.7). ignored_parameters: sampling
    parameters that upstream's sampler for this model does not have.
    """

    name: str
    repository: str
    weights: tuple[str, ...]
    builtin_voice: str
    languages: tuple[str, ...]
    top_p: float
    min_p: float
    repetition_penalty: float
    ignored_parameters: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read, the optional one last."""
        return (*self.weights, self.builtin_voice)


CHATTERBOX = Variant(
    name="chatterbox",
    repository="ResembleAI/chatterbox",
    weights=("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json"),
    builtin_voice="conds.pt",
    languages=("en",),
    top_p=1.0,
    min_p=0.05,
    repetition_penalty=1.2,
    ignored_parameters=("top_k",),
)

VARIANTS = {variant.name: variant for variant in (CHATTERBOX,)}

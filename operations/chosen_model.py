"""The model that a job uses: the one that it names, else the first that speaks its language."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated

from pydantic import Field

from characters import printable_excerpt
from errors import InvalidRequest, UnsupportedLanguage
from operations.base import Services
from speech.contract import Models, Synthesizer

ModelName = Annotated[
    str | None, Field(description="the name of a model of this worker, such as 'chatterbox'")
]
Language = Annotated[str | None, Field(description="a language code such as 'en'")]


def named_model(name: str | None, models: Models) -> Synthesizer:
    """Returns the model of a name, the first one for None. Raises InvalidRequest."""
    found = models.first if name is None else models.named(name)
    if found is None:
        raise InvalidRequest(
            f"'{printable_excerpt(name or '')}' is not a model of this worker",
            field="model",
            hint=f"send one of {', '.join(models.names)}, or leave it out",
        )
    return found


def choose_model(
    name: str | None, language: str | None, services: Services, voice_language: str | None = None
) -> tuple[Synthesizer, str]:
    """Returns the model for a text, and its code for the text's language: "en-US" is spoken as "en".

    name, language: as they were sent; None: not sent. Without a language it is the voice's where a model
    speaks that, else the worker's default, else the model's first. Raises InvalidRequest,
    UnsupportedLanguage.
    """
    candidates = list(services.models) if name is None else [named_model(name, services.models)]
    if language is not None:
        found = _first_that_speaks(language, candidates)
        if found is None:
            raise _unsupported(language, name, candidates, services.models)
        return found
    for code in (voice_language, services.default_language):
        if code is not None and (found := _first_that_speaks(code, candidates)) is not None:
            return found
    readable = (each.info.languages for each in candidates)
    return next((each, codes[0]) for each, codes in zip(candidates, readable, strict=True) if codes)


def _first_that_speaks(language: str, candidates: Iterable[Synthesizer]) -> tuple[Synthesizer, str] | None:
    for each in candidates:
        code = _code_of(language, each.info.languages)
        if code is not None:
            return each, code
    return None


def _code_of(language: str, codes: Collection[str]) -> str | None:
    """Returns the code that a language tag begins with, whatever its case."""
    folded = {code.casefold(): code for code in codes}
    tag = language.casefold().replace("_", "-")
    while tag and tag not in folded:
        tag = tag.rpartition("-")[0]
    return folded.get(tag)


def _unsupported(
    language: str, name: str | None, candidates: Collection[Synthesizer], models: Models
) -> UnsupportedLanguage:
    """The error for a language that none of the candidates speaks. name: of the model that was asked for."""
    excerpt = f"'{printable_excerpt(language)}'"
    for each in candidates:
        code = _code_of(language, each.info.unavailable_languages)
        if code is not None:
            return UnsupportedLanguage(
                f"{excerpt} cannot be read by this worker: {each.info.unavailable_languages[code]}",
                field="language",
            )
    codes = dict.fromkeys(code for each in candidates for code in each.info.languages)
    hint = f"send one of {', '.join(codes)}"
    other = _first_that_speaks(language, models)
    if other is not None:
        hint += f", or {other[0].info.spec.name} as the model"
    by = "this worker" if name is None else f"the {name} model"
    return UnsupportedLanguage(f"{excerpt} is not spoken by {by}", field="language", hint=hint)

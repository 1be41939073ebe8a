"""The model that a job uses: the one that it names, else the first that speaks its language."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from characters import printable_excerpt
from errors import InvalidRequest, ModelUnavailable, Problem, UnsupportedLanguage
from operations.base import Services
from speech.contract import Models, Synthesizer

ModelName = Annotated[
    str | None, Field(description="the name of a model of this worker, such as 'chatterbox'")
]
# Codes for what the models' codes mean: Norwegian in either of its forms, Mandarin, Hebrew's old code.
SAME_LANGUAGE = {"nb": "no", "nn": "no", "cmn": "zh", "iw": "he"}
FALLBACK_LANGUAGE = "en"  # where no default is set
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


@dataclass(frozen=True)
class ChosenModel:
    """Which model speaks, and how it reads the text."""

    synthesizer: Synthesizer
    language: str  # its code for the text's language
    # That it is another language than the voice's or the worker's.
    warnings: tuple[str, ...] = ()


def choose_model(
    name: str | None, language: str | None, services: Services, voice_language: str | None = None
) -> ChosenModel:
    """Returns the model for a text, and its code for the text's language: "en-US" is spoken as "en".

    name, language: as they were sent; None: not sent. Without a language it is the voice's where a model
    speaks that, else the worker's default, else the model's own. A voice's may be a name of a language in
    English, since other programs store such. Raises InvalidRequest, and
    UnsupportedLanguage, also for a voice's or a default language that a model has and cannot read here.
    """
    candidates = list(services.models) if name is None else [named_model(name, services.models)]
    if language is not None:
        found = _first_that_speaks(language, candidates)
        if found is None:
            raise _unsupported(language, name, candidates, services.models)
        return ChosenModel(*found)
    passed_over: list[str] = []
    for stated, whose in ((voice_language, "the voice's"), (services.default_language, "the default")):
        if stated is None:
            continue
        code = _code_of_name(stated)
        found = _first_that_speaks(code, candidates)
        if found is None and any(_code_of(code, each.info.unavailable_languages) for each in candidates):
            raise _unsupported(code, name, candidates, services.models)
        if found is not None:
            return ChosenModel(*found, _substitutes(passed_over, found[1]))
        passed_over.append(f"{whose} language {printable_excerpt(stated)}")
    chosen, code = _first_that_speaks(FALLBACK_LANGUAGE, candidates) or (
        candidates[0],
        candidates[0].info.default_language,
    )
    return ChosenModel(chosen, code, _substitutes(passed_over, code))


def choose_common_model(
    name: str | None, texts: Mapping[tuple[str | None, str | None], str], services: Services
) -> list[ChosenModel]:
    """Returns for each of several texts the model, which is the same for all, and its code for the language.

    texts: by the language that was sent and that of the text's voice, the field that named it. Without a name
    it is the first model that speaks all of the languages. Raises what ``choose_model`` raises, naming all
    languages that nobody speaks, and UnsupportedLanguage where every one is spoken, but by no model all.
    """
    first, problems = [], []
    for (language, voices), field in texts.items():
        try:
            first.append(choose_model(name, language, services, voices))
        except UnsupportedLanguage as error:
            problems += [_of_field(each, field) for each in error.problems]
    if problems:
        raise UnsupportedLanguage.of(problems)
    if len({each.synthesizer.info.spec.name for each in first}) == 1:
        return first
    for candidate in services.models:
        try:
            own = candidate.info.spec.name
            chosen = [choose_model(own, language, services, voices) for language, voices in texts]
        except UnsupportedLanguage:
            continue
        if not any(each.warnings for each in chosen):
            return chosen
    codes = dict.fromkeys(each.language for each in first)
    raise UnsupportedLanguage(
        f"no model of this worker speaks all of {', '.join(codes)}, which one job has",
        hint="send a job for each language, or use a worker whose MODEL names multilingual",
    )


def _of_field(problem: Problem, field: str) -> Problem:
    """Returns a problem with a language as that of the field that named it."""
    if field.endswith("text"):
        return replace(
            problem, field=field, reason=f"names a language that cannot be spoken: {problem.reason}"
        )
    return replace(problem, field=field)


def check_default_language(code: str | None, models: Models) -> None:
    """Raises ModelUnavailable for a default language that no model of a worker speaks."""
    if code is not None and _first_that_speaks(code, list(models)) is None:
        unavailable = {code: why for each in models for code, why in each.info.unavailable_languages.items()}
        reason = unavailable.get(_code_of(code, unavailable) or "", "no model of MODEL speaks it")
        codes = dict.fromkeys(code for each in models for code in each.info.languages)
        raise ModelUnavailable(
            f"DEFAULT_LANGUAGE is {code!r}: {reason}",
            hint=f"set it to one of {', '.join(codes)}, or unset it",
        )


def _substitutes(passed_over: Sequence[str], code: str) -> tuple[str, ...]:
    return tuple(
        f"{language} is not spoken here: the text is read as {code}; send its language"
        for language in passed_over
    )


def _first_that_speaks(language: str, candidates: Collection[Synthesizer]) -> tuple[Synthesizer, str] | None:
    """Returns the model that is called as the language, else the first that speaks it, and its code for it.

    "pt-BR" is spoken by "pt-br", and "hi-IN" by "hi", as "hi" is. None where no model speaks it.
    """
    for each in sorted(candidates, key=lambda each: -_shared_subtags(each.info.spec.name, language)):
        code = _code_of(language, each.info.languages)
        if code is not None:
            return each, code
    return None


def _shared_subtags(name: str, language: str) -> int:
    """Returns how many subtags a model's name has, where the language's tag has all of them; else 0.

    The first is the language's code in both: "pt-br" is in "pt-BR" and "pt-Latn-BR", not in "pt" or "pt-PT".
    """
    code, *others = name.split("-")
    tag_code, *tag_others = _normalized(language).split("-")
    return 1 + len(others) if code == tag_code and set(others) <= set(tag_others) else 0


def _code_of(language: str, codes: Collection[str]) -> str | None:
    """Returns the code that a language tag begins with, whatever its case."""
    folded = {code.casefold(): code for code in codes}
    tag = _normalized(language)
    while tag:
        if found := folded.get(tag) or folded.get(SAME_LANGUAGE.get(tag, "")):
            return found
        tag = tag.rpartition("-")[0]
    return None


def _code_of_name(language: str) -> str:
    """Returns the code of a language that is named in English, such as "German"; any other text as it is."""
    if len(_normalized(language).partition("-")[0]) <= 3:  # a tag, which begins with a code
        return language
    return _codes_by_name().get(language.strip().casefold(), language)


@lru_cache(maxsize=1)
def _codes_by_name() -> Mapping[str, str]:
    """Returns CLDR's codes, such as "de" and "pt_BR", by their names in English in small letters."""
    from babel import Locale

    return {name.casefold(): code for code, name in Locale("en").languages.items()}


def _normalized(language: str) -> str:
    """Returns a language's tag as codes and names of models are written: "pt-br" for "pt_BR"."""
    return language.casefold().replace("_", "-")


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
    other = _first_that_speaks(language, list(models))
    if other is not None:
        hint += f", or {other[0].info.spec.name} as the model"
    by = "this worker" if name is None else f"the {name} model"
    return UnsupportedLanguage(f"{excerpt} is not spoken by {by}", field="language", hint=hint)

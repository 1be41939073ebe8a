"""What a caller can say about a voice, and how it is compared."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from characters import casefold_nfkc
from errors import InvalidRequest
from operations.parameters import DEFAULT_PARAMETERS, SpeechParameters
from operations.pronunciations import Pronunciations, as_stored
from operations.request import FieldError, Request, short_text
from voice_store.metadata import MAX_ALIASES
from voice_store.names import clean_name, fold_name

MAX_DESCRIPTION_CHARS = 1000
MAX_GENDER_CHARS = 32
MAX_LANGUAGE_CHARS = 35  # what RFC 5646, 4.4.1, asks to have room for
MAX_TAG_CHARS = 64
MAX_TAGS = 32
MAX_STATEMENT_CHARS = 2000
_MEMOIZED_TEXTS = 2**15  # of the stored ones, which are compared with every search: up to 32 MB
_MAX_MEMOIZED_CHARS = 256

_LINE_BREAKS = re.compile(r"\s*[\n\r\t\v\f\x85\u2028\u2029]\s*")


def _check_voice_name(name: str) -> str:
    """Applies the store's own rule early, so that its error comes together with the other fields'."""
    try:
        return clean_name(name)
    except InvalidRequest as error:
        raise FieldError(error.reason, error.hint) from error


def _on_one_line(text: str) -> str:
    """The store keeps no line breaks; the words beside one stay apart."""
    return _LINE_BREAKS.sub(" ", text)


def _check_tags(tags: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for index, tag in enumerate(tags):
        first = seen.setdefault(comparable(tag), index)
        if first != index:
            raise FieldError(f"holds the same tag at [{first}] and [{index}]", "send it once")
    return tags


def comparable(text: str) -> str:
    """The text for comparisons that ignore case, Unicode form, invisible characters and surrounding space."""
    # A library of ten thousand voices is searched while somebody waits.
    if text.isascii():
        return text.lower().strip()
    return _memoized_fold(text) if len(text) <= _MAX_MEMOIZED_CHARS else _fold(text)


def _fold(text: str) -> str:
    return casefold_nfkc(text).strip()


_memoized_fold = functools.lru_cache(_MEMOIZED_TEXTS)(_fold)

NewVoiceName = Annotated[
    str, Field(description="a name of 1 to 64 visible characters"), AfterValidator(_check_voice_name)
]


def _check_aliases(aliases: list[str]) -> list[str]:
    folded = list(map(fold_name, aliases))
    for index, alias in enumerate(folded):
        if folded.index(alias) != index:
            raise FieldError(f"holds the same name at [{folded.index(alias)}] and [{index}]", "send it once")
    return aliases


class Consent(Request):
    """Who agreed to the clone of a voice, when, and in which words."""

    by: Annotated[str, Field(description="a name of at most 256 characters"), short_text(256)]
    date: Annotated[str, Field(description="a date such as '2026-11-27'"), short_text(64)]
    statement: Annotated[
        str,
        Field(
            max_length=MAX_STATEMENT_CHARS, description=f"a text of at most {MAX_STATEMENT_CHARS} characters"
        ),
        AfterValidator(_on_one_line),
    ] = ""


class VoiceDetails(Request):
    """What is kept with a voice besides its name. What is sent empty is to be unknown."""

    voice_description: Annotated[
        str | None,
        Field(
            max_length=MAX_DESCRIPTION_CHARS,
            description=f"a text of at most {MAX_DESCRIPTION_CHARS} characters",
        ),
        AfterValidator(_on_one_line),
    ] = None
    gender: Annotated[
        str | None,
        Field(description="a word such as 'female'"),
        short_text(MAX_GENDER_CHARS, may_be_empty=True),
    ] = None
    language: Annotated[
        str | None,
        Field(description="a language code such as 'en'"),
        short_text(MAX_LANGUAGE_CHARS, may_be_empty=True),
    ] = None
    tags: Annotated[
        list[Annotated[str, short_text(MAX_TAG_CHARS)]] | None,
        Field(
            max_length=MAX_TAGS,
            description=f"a list of at most {MAX_TAGS} texts of 1 to {MAX_TAG_CHARS} visible characters",
        ),
        AfterValidator(_check_tags),
    ] = None
    default_parameters: Annotated[
        SpeechParameters | None,
        Field(description=f"an object that holds some of {', '.join(SpeechParameters.model_fields)}"),
    ] = None
    aliases: Annotated[
        list[Annotated[str, AfterValidator(_check_voice_name)]] | None,
        Field(max_length=MAX_ALIASES, description=f"a list of at most {MAX_ALIASES} further names"),
        AfterValidator(_check_aliases),
    ] = None
    consent: Annotated[
        Consent | None, Field(description="an object that holds by, date and, if wanted, statement")
    ] = None
    pronunciations: Pronunciations = None

    def as_stored(self) -> dict[str, Any]:
        """The details as the voice store's methods take them; None for those not sent."""
        parameters = self.default_parameters
        return {
            "description": self.voice_description,
            "gender": self.gender,
            "language": self.language,
            "tags": self.tags,
            DEFAULT_PARAMETERS: None if parameters is None else parameters.sent_parameters(),
            "aliases": self.aliases,
            "consent": None if self.consent is None else self.consent.model_dump(),
            "pronunciations": as_stored(self.pronunciations),
        }

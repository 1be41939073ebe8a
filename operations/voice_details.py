"""What a caller can say about a voice, and how it is compared."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from errors import InvalidRequest
from operations.parameters import DEFAULT_PARAMETERS, SpeechParameters
from operations.request import Request, label
from voice_store.names import clean_name

LONGEST_DESCRIPTION_CHARS = 1000
LONGEST_GENDER_CHARS = 32
LONGEST_LANGUAGE_CHARS = 35  # what RFC 5646, 4.4.1, asks to have room for
LONGEST_TAG_CHARS = 64
MOST_TAGS = 32
_MEMOIZED_TEXTS = 2**15  # of the stored ones, which are compared with every search: up to 32 MB
_LONGEST_MEMOIZED_CHARS = 256

_LINE_BREAKS = re.compile(r"\s*[\n\r\t\v\f\x85\u2028\u2029]\s*")


def _check_voice_name(name: str) -> str:
    """The store's own rule, asked early, so that its error comes together with the other fields'."""
    try:
        return clean_name(name)
    except InvalidRequest as error:
        raise ValueError(f"{error.reason}: {error.hint}") from error


def _on_one_line(text: str) -> str:
    """The store keeps no line breaks; the words beside one stay apart."""
    return _LINE_BREAKS.sub(" ", text)


def _check_tags(tags: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for index, tag in enumerate(tags):
        first = seen.setdefault(folded(tag), index)
        if first != index:
            raise ValueError(f"holds the same tag at [{first}] and [{index}]: send it once")
    return tags


def folded(text: str) -> str:
    """For comparing without regard to case, Unicode form and surrounding space."""
    # A library of ten thousand voices is searched while somebody waits.
    if text.isascii():
        return text.lower().strip()
    return _memoized_fold(text) if len(text) <= _LONGEST_MEMOIZED_CHARS else _fold(text)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


_memoized_fold = functools.lru_cache(_MEMOIZED_TEXTS)(_fold)

NewVoiceName = Annotated[
    str, Field(description="a name of 1 to 64 visible characters"), AfterValidator(_check_voice_name)
]


class VoiceDetails(Request):
    """What is kept with a voice besides its name. What is sent empty is to be unknown."""

    voice_description: Annotated[
        str | None,
        Field(
            max_length=LONGEST_DESCRIPTION_CHARS,
            description=f"a text of at most {LONGEST_DESCRIPTION_CHARS} characters",
        ),
        AfterValidator(_on_one_line),
    ] = None
    gender: Annotated[
        str | None,
        Field(description="a word such as 'female'"),
        label(LONGEST_GENDER_CHARS, may_be_empty=True),
    ] = None
    language: Annotated[
        str | None,
        Field(description="a language code such as 'en'"),
        label(LONGEST_LANGUAGE_CHARS, may_be_empty=True),
    ] = None
    tags: Annotated[
        list[Annotated[str, label(LONGEST_TAG_CHARS)]] | None,
        Field(
            max_length=MOST_TAGS,
            description=f"a list of at most {MOST_TAGS} texts of 1 to {LONGEST_TAG_CHARS} visible characters",
        ),
        AfterValidator(_check_tags),
    ] = None
    default_parameters: Annotated[
        SpeechParameters | None,
        Field(description=f"an object that holds some of {', '.join(SpeechParameters.model_fields)}"),
    ] = None

    def as_stored(self) -> dict[str, Any]:
        """The details as the voice store's methods take them; None for those not sent."""
        parameters = self.default_parameters
        return {
            "description": self.voice_description,
            "gender": self.gender,
            "language": self.language,
            "tags": self.tags,
            DEFAULT_PARAMETERS: None if parameters is None else parameters.sent_parameters(),
        }

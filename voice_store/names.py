"""What a voice may be called, and when two names are the same one."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from errors import InvalidRequest

MAX_VISIBLE_CHARACTERS = 64
MAX_CODE_POINTS = 256  # combining marks and emoji joiners are not counted as visible, but not free either
# Normalising takes time by the square of a run of combining marks: seconds for 100 kB. No name that could
# be stored is longer than this in any Unicode form.
MAX_UNNORMALIZED = 4 * MAX_CODE_POINTS

_REORDERING = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # reorder what surrounds them
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt): drawn as nothing, or changing how the
# character before is drawn; and the interlinear annotation characters.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_BLANK = "\u2800"  # a braille pattern without dots: drawn as a space, and none by its category
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators
_RIDING_ALONG = frozenset({"Mn", "Me", "Cf"})  # marks and joiners, drawn with the character they follow

_VOICE_ID = re.compile(r"\w[\w.-]{0,99}")  # 8 hex digits, or what old programs made up; never a path
_MAX_ID_BYTES = 200  # file systems take 255, and the ending and a temporary's name come on top


def is_voice_id(text: str) -> bool:
    """Whether a text may be the id of a voice, and thus part of a file name."""
    return _VOICE_ID.fullmatch(text) is not None and len(text.encode()) <= _MAX_ID_BYTES


def voice_file_name(voice_id: str) -> str:
    """Returns what the file of a voice is called in ``embeddings/``."""
    return f"{voice_id}.pkl.gz"


def clean_name(name: str, field: str = "voice_name") -> str:
    """The name as it is stored: NFC, without surrounding spaces.

    Raises InvalidRequest, naming ``field``, unless it has 1 to 64 visible characters and holds neither
    control characters nor path separators. Any script will do.
    """
    too_long = InvalidRequest(
        "is too long", field=field, hint=f"shorten the name to at most {MAX_VISIBLE_CHARACTERS} characters"
    )
    if len(name) > MAX_UNNORMALIZED:
        raise too_long
    cleaned = unicodedata.normalize("NFC", name).strip()
    if any(_is_unprintable(character) for character in cleaned):
        raise InvalidRequest(
            "holds characters that are not printed",
            field=field,
            hint="remove control characters and line breaks",
        )
    if "/" in cleaned or "\\" in cleaned:
        raise InvalidRequest("holds a slash", field=field, hint="remove the slashes; a name is not a path")
    seen = _INVISIBLE.sub("", cleaned).replace(_BLANK, " ")
    visible = sum(unicodedata.category(character) not in _RIDING_ALONG for character in seen)
    drawn = any(unicodedata.category(character)[0] in "LNPS" for character in seen)
    if not drawn:
        raise InvalidRequest(
            "shows nothing", field=field, hint="give a name of at least one visible character"
        )
    if visible > MAX_VISIBLE_CHARACTERS or len(cleaned) > MAX_CODE_POINTS:
        raise too_long
    return cleaned


def fold_name(name: str) -> str:
    """What two names share when they differ only in case, width, Unicode form or what nobody sees.

    Unicode's NFKC_Casefold, with a single space for every run of spaces.
    """
    cut = name.strip()[:MAX_UNNORMALIZED]
    return seen_name(unicodedata.normalize("NFKC", cut).casefold(), form="NFKC")


def seen_name(name: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """What a reader sees of a name: without invisible characters, and with single spaces between words."""
    seen = _INVISIBLE.sub("", name).replace(_BLANK, " ")
    return " ".join(unicodedata.normalize(form, seen).split())


def readable(text: object, max_characters: int = MAX_CODE_POINTS) -> str:
    """Text from a file that anyone may have written, fit to be shown and sent; "" for anything else."""
    if not isinstance(text, str):
        return ""
    if text.isascii() and text.isprintable():  # nearly always, and a hundred times as fast
        return text[:max_characters].strip()
    kept = "".join(character for character in text[:max_characters] if not _is_unprintable(character))
    return unicodedata.normalize("NFC", kept).strip()


def _is_unprintable(character: str) -> bool:
    return character in _REORDERING or unicodedata.category(character) in _UNPRINTABLE

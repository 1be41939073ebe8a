"""What a voice may be called, and when two names are the same one."""

from __future__ import annotations

import unicodedata

from errors import InvalidRequest

MAX_VISIBLE_CHARACTERS = 64
MAX_CODE_POINTS = 256  # combining marks and emoji joiners are not counted as visible, but not free either
# Normalising takes time by the square of a run of combining marks: seconds for 100 kB. No name that could
# be stored is longer than this in any Unicode form.
MAX_UNNORMALIZED = 4 * MAX_CODE_POINTS

_REORDERING = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # reorder what surrounds them
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators
_RIDING_ALONG = frozenset({"Mn", "Me", "Cf"})  # marks and joiners, drawn with the character they follow


def clean_name(name: str) -> str:
    """The name as it is stored: NFC, without surrounding spaces.

    Raises InvalidRequest, naming ``voice_name``, unless it has 1 to 64 visible characters and holds neither
    control characters nor path separators. Any script will do.
    """
    if len(name) > MAX_UNNORMALIZED:
        raise InvalidRequest(f"voice_name: shorten the name to at most {MAX_VISIBLE_CHARACTERS} characters")
    cleaned = unicodedata.normalize("NFC", name).strip()
    if any(_is_unprintable(character) for character in cleaned):
        raise InvalidRequest("voice_name: remove the control characters and line breaks")
    if "/" in cleaned or "\\" in cleaned:
        raise InvalidRequest("voice_name: remove the slashes; a name is not a path")
    visible = sum(unicodedata.category(character) not in _RIDING_ALONG for character in cleaned)
    drawn = any(unicodedata.category(character)[0] in "LNPS" for character in cleaned)
    if not drawn:
        raise InvalidRequest("voice_name: give the voice a name of at least one visible character")
    if visible > MAX_VISIBLE_CHARACTERS or len(cleaned) > MAX_CODE_POINTS:
        raise InvalidRequest(f"voice_name: shorten the name to at most {MAX_VISIBLE_CHARACTERS} characters")
    return cleaned


def fold_name(name: str) -> str:
    """What two names share when they differ only in case, width or Unicode form."""
    cut = name.strip()[:MAX_UNNORMALIZED]
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", cut).casefold())


def readable(text: object, max_characters: int = MAX_CODE_POINTS) -> str:
    """Text from a file that anyone may have written, fit to be shown and sent; "" for anything else."""
    if not isinstance(text, str):
        return ""
    kept = "".join(character for character in text[:max_characters] if not _is_unprintable(character))
    return unicodedata.normalize("NFC", kept).strip()


def _is_unprintable(character: str) -> bool:
    return character in _REORDERING or unicodedata.category(character) in _UNPRINTABLE

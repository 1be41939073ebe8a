"""The text as the model is given it: cleaned, then with upstream's punctuation rules."""

from __future__ import annotations

import unicodedata

# English `punc_norm` of chatterbox-tts 0.1.7 (chatterbox/tts.py), in its order: later rules see
# what earlier ones left.
_REPLACEMENTS = (
    ("...", ", "),
    ("…", ", "),
    (":", ","),
    (" - ", ", "),
    (";", ", "),
    ("—", "-"),
    ("–", "-"),
    (" ,", ","),
    ("“", '"'),
    ("”", '"'),
    ("‘", "'"),
    ("’", "'"),
)
_ENDERS = (".", "!", "?", "-", ",")

# Cc control, Cf format (bidi marks, byte order mark, soft hyphen, zero-width space), Cs surrogate.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = frozenset("\u200c\u200d")  # Persian and Indic spelling and emoji sequences need them


def has_speakable(text: str) -> bool:
    """True when there is a letter or a digit of any script: something to say."""
    return any(map(str.isalnum, text))


def clean_text(text: str) -> str:
    """Text without what nobody can see or hear; line breaks and other white space stay.

    Halves of surrogate pairs are joined, lone halves dropped (JSON can carry them, UTF-8 cannot).
    Control and format characters are dropped, save white space and the two zero-width joiners.
    The result is in NFC, so that a letter and its accent are one character as in the training text.
    """
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    visible = (
        char
        for char in whole
        if char.isspace() or char in _JOINERS or unicodedata.category(char) not in _INVISIBLE
    )
    return unicodedata.normalize("NFC", "".join(visible))


def normalize_text(text: str) -> str:
    """What the English model is given for ``text``: exactly upstream's ``punc_norm``, but for two things.

    - The text is cleaned first (``clean_text``); ordinary text in NFC is left as it is.
    - Blank text gives an empty string: upstream puts a spoken placeholder, or a lone full stop, there.

    So CJK and other non-Latin sentence ends get a full stop added here too, as upstream does: it
    is the one sentence end that an English model knows.
    """
    text = clean_text(text)
    if not text.strip():
        return ""
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for old, new in _REPLACEMENTS:
        text = text.replace(old, new)
    text = text.rstrip(" ")
    return text if text.endswith(_ENDERS) else text + "."

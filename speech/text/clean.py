"""Text clean-up: ``clean_text`` for every use, and what each model's text front end begins with."""

from __future__ import annotations

from characters import drop_invisible, normalize_unicode

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
# That of ``tts_turbo.py``, in its order.
_TURBO_REPLACEMENTS = (
    ("…", ", "),
    (":", ","),
    ("—", "-"),
    ("–", "-"),
    (" ,", ","),
    ("“", '"'),
    ("”", '"'),
    ("‘", "'"),
    ("’", "'"),
)
_ENDS = (".", "!", "?", "-", ",")


def clean_text(text: str) -> str:
    """Returns the text in NFC without its invisible characters; line breaks and white space stay.

    The halves of a surrogate pair are joined, lone halves are dropped: JSON can carry them, UTF-8 cannot.
    NFC makes a letter and its accent one character, as in the model's training text. Of more than 30
    combining marks in a row, 30 stay.
    """
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return normalize_unicode("NFC", drop_invisible(whole))


def normalize_text(text: str) -> str:
    """Returns what the English model is given for the text: the result of upstream's ``punc_norm``.

    Two things differ:

    - The text is cleaned first (``clean_text``), which leaves ordinary text in NFC as it is.
    - Blank text gives an empty string. Upstream puts a spoken placeholder, or a lone full stop, there.

    Sentence ends of other scripts get a full stop added, as upstream does: the English model knows no
    other sentence end.
    """
    return _normalized(text, _REPLACEMENTS)


def normalize_multilingual_text(text: str, *, capitalizes: bool, more_ends: tuple[str, ...]) -> str:
    """Returns what a multilingual model's tokenizer is given, see ``normalize_text``.

    capitalizes, more_ends: see ``speech.models.spec.TextRules``.
    """
    return _normalized(text, _REPLACEMENTS, capitalizes=capitalizes, more_ends=more_ends)


def normalize_turbo_text(text: str) -> str:
    """Returns what the turbo and nano models are given, see ``normalize_text``.

    They read three dots, a dash between spaces and a semicolon as they are.
    """
    return _normalized(text, _TURBO_REPLACEMENTS)


def _normalized(
    text: str,
    replacements: tuple[tuple[str, str], ...],
    *,
    capitalizes: bool = True,
    more_ends: tuple[str, ...] = (),
) -> str:
    text = clean_text(text)
    if not text.strip():
        return ""
    if capitalizes and text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for old, new in replacements:
        text = text.replace(old, new)
    text = text.rstrip(" ")
    return text if text.endswith(_ENDS + more_ends) else text + "."

"""Markup of texts: pauses, voices, languages and rates, in tags or in SSML. docs/markup.md describes both."""

from __future__ import annotations

from typing import Literal

from characters import has_speakable
from speech.text.markup.script import Passage, SayAs, Script, nothing_to_say
from speech.text.markup.ssml import parse_ssml
from speech.text.markup.tags import parse_tags

Markup = Literal["tags", "ssml", "plain"]

__all__ = ["Markup", "Passage", "SayAs", "Script", "parse_markup"]


def parse_markup(text: str, markup: Markup, *, strict: bool = False, field: str = "text") -> Script:
    """Returns the passages and pauses that a text describes.

    A text without markup is the same under "tags" and "plain": one passage with that text, unchanged.

    strict: what has no effect is an error instead of a warning. field: where the text was sent, for errors.

    Takes time linear in the length of the text. Raises InvalidRequest for markup that is malformed, for
    values out of range, for SSML that the worker refuses, and for a text with nothing to say.
    """
    match markup:
        case "tags":
            return parse_tags(text, strict=strict, field=field)
        case "ssml":
            return parse_ssml(text, strict=strict, field=field)
        case "plain":
            if not has_speakable(text):
                raise nothing_to_say(field)
            return Script((Passage(text),))

"""Event tags such as "[laugh]": sounds that some models make, and others would read aloud as words."""

from __future__ import annotations

import re

# In the order of their ids in the published ``added_tokens.json`` of turbo and nano.
EVENT_TAGS = (
    "[angry]", "[fear]", "[surprised]", "[whispering]", "[advertisement]", "[dramatic]", "[narration]",
    "[crying]", "[happy]", "[sarcastic]", "[clear throat]", "[sigh]", "[shush]", "[cough]", "[groan]",
    "[sniff]", "[gasp]", "[chuckle]", "[laugh]",
)  # fmt: skip
# White space is one space by the time a model reads a text, so that any of it makes a tag.
_TAG = re.compile("|".join(re.escape(tag).replace(r"\ ", r"\s+") for tag in EVENT_TAGS), re.IGNORECASE)
_AT_A_START = rf"^(?:(?:{_TAG.pattern})[ \t]*)+"
# From the first of several spaces alone, so that a run of them is looked at once.
_BEHIND_SPACES = rf"(?<![ \t])[ \t]*(?:{_TAG.pattern})"
_TAG_AND_SPACE = re.compile(rf"{_AT_A_START}|{_BEHIND_SPACES}", re.IGNORECASE | re.MULTILINE)


def event_tags(text: str) -> list[str]:
    """Returns the tags in a text in small letters, each once, in the order in which they come."""
    return list(dict.fromkeys(" ".join(tag.lower().split()) for tag in _TAG.findall(text)))


def tag_spans(text: str) -> list[tuple[int, int]]:
    """Returns the start and end index of each tag with the space before it, see ``without_tags``."""
    return [match.span() for match in _TAG_AND_SPACE.finditer(text)]


def known_tag_spans(text: str) -> list[tuple[int, int]]:
    """Returns the start and end index of each tag."""
    return [match.span() for match in _TAG.finditer(text)]


def tags_as_words(text: str) -> str:
    """Returns a text of the same length in which tags are words: spaces in place of their brackets."""
    return _TAG.sub(lambda match: f" {match.group()[1:-1]} ", text)


def with_known_tags(text: str) -> str:
    """Returns a text of the same length with its tags in the small letters in which models know them."""
    return _TAG.sub(lambda match: match.group().lower(), text)


def without_tags(text: str) -> str:
    """Returns the text without its tags and the space before each, or behind those that begin a line.

    What only becomes a tag when another one is left out of it is a word.
    """
    return _TAG.sub(lambda match: match.group()[1:-1], _TAG_AND_SPACE.sub("", text))

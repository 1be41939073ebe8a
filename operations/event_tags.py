"""Event tags in a text for a model that may not know them."""

from __future__ import annotations

from collections.abc import Sequence

from characters import has_speakable
from errors import InvalidRequest
from speech.contract import ModelInfo
from speech.text.events import tag_spans
from speech.text.replacements import Replacement


def sayable(text: str, info: ModelInfo, *, field: str, strict: bool = False) -> tuple[str, list[str]]:
    """Returns a text with the event tags that the model makes sounds of, and warnings about others.

    field: the text's. Raises InvalidRequest for tags that it cannot say, when strict, and for a text of such
    tags alone.
    """
    rest, unknown = info.sayable(text)
    if not unknown:
        return rest, []
    if strict or not has_speakable(rest):
        raise _unknown(unknown, info, field)
    return rest, [_left_out(unknown, info)]


def sayable_replacements(
    replacements: Sequence[Replacement], info: ModelInfo, *, field: str, strict: bool
) -> tuple[list[Replacement], list[str]]:
    """Returns replacements without the event tags that the model does not know, and warnings about those.

    Arguments and errors: see ``sayable``.
    """
    sayable_ones, unknown = [], dict[str, None]()
    for each in replacements:
        spoken, tags = info.sayable(each.spoken)
        unknown |= dict.fromkeys(tags)
        sayable_ones.append(Replacement(each.start, each.end, spoken))
    if unknown and strict:
        raise _unknown(list(unknown), info, field)
    return sayable_ones, [_left_out(list(unknown), info)] if unknown else []


def _unknown(tags: Sequence[str], info: ModelInfo, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"has event tags that the {info.spec.name} model does not know: {', '.join(tags)}",
        field=field,
        hint="leave them out, or use a model that knows them, such as turbo",
    )


def _left_out(tags: Sequence[str], info: ModelInfo) -> str:
    return f"the {info.spec.name} model does not know event tags: left out {', '.join(tags)}"


def unknown_tags(
    text: str, info: ModelInfo, *, field: str, strict: bool = False
) -> tuple[list[Replacement], list[str]]:
    """Returns the event tags in a text that the model does not know, as what is not spoken, and warnings.

    Unlike ``sayable`` takes a text of such tags alone, unless strict.
    """
    unknown = info.sayable(text)[1]
    if not unknown:
        return [], []
    if strict:
        raise _unknown(unknown, info, field)
    return [Replacement(*span, "") for span in tag_spans(text)], [_left_out(unknown, info)]

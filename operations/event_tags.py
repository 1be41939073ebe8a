"""Event tags in a text for a model that may not know them."""

from __future__ import annotations

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
    listed, name = ", ".join(unknown), info.spec.name
    if strict or not has_speakable(rest):
        raise InvalidRequest(
            f"has event tags that the {name} model does not know: {listed}",
            field=field,
            hint="leave them out, or use a model that knows them, such as turbo",
        )
    return rest, [f"the {name} model does not know event tags: left out {listed}"]


def unknown_tags(
    text: str, info: ModelInfo, *, field: str, strict: bool = False
) -> tuple[list[Replacement], list[str]]:
    """Returns the event tags in a text that the model does not know, as what is not spoken, and warnings.

    Arguments and errors: see ``sayable``.
    """
    _, warnings = sayable(text, info, field=field, strict=strict)
    return ([Replacement(start, end, "") for start, end in tag_spans(text)] if warnings else []), warnings

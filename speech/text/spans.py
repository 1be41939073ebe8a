"""Where in a text its chunks come from."""

from __future__ import annotations

from collections.abc import Sequence


def chunk_spans(text: str, chunks: Sequence[str]) -> list[tuple[int, int]]:
    """Returns for each chunk the start and end index in the text that it was split from.

    text: in the form that ``clean_text`` gives. chunks: as ``split_text`` gives them: together they hold the
    letters and digits of the text, in order. Marks belong to the chunk that has them; white space and what
    was dropped between two chunks belong to neither.
    """
    spans: list[tuple[int, int]] = []
    at = 0
    for chunk in chunks:
        while at < len(text) and (text[at].isspace() or not _begins_with(chunk, text[at])):
            at += 1
        start, remaining = at, sum(map(str.isalnum, chunk))
        while at < len(text) and remaining:
            remaining -= text[at].isalnum()
            at += 1
        marks = iter(_marks_after(chunk))
        mark = next(marks, None)
        while mark is not None and at < len(text) and not text[at].isalnum():
            if text[at] == mark:
                mark = next(marks, None)
            elif not text[at].isspace():
                break
            at += 1
        spans.append((start, start + len(text[start:at].rstrip())))
    return spans


def _begins_with(chunk: str, char: str) -> bool:
    """Whether a character that is no space is the chunk's first, or the first letter of it."""
    return char == chunk[:1] or char.isalnum()


def _marks_after(chunk: str) -> str:
    """Returns the marks after the last letter or digit of a chunk, without spaces."""
    end = len(chunk)
    while end and not chunk[end - 1].isalnum():
        end -= 1
    return "".join(chunk[end:].split())

"""The pause that follows a stretch of text by its own last mark."""

from __future__ import annotations

import regex

from speech.text.sentences import CLOSERS
from speech.text.split import CLAUSE_PAUSE_S, SENTENCE_PAUSE_S

_ENDS_SENTENCE = regex.compile(rf"[\p{{Sentence_Terminal}}…][{regex.escape(CLOSERS)}]*$")
_ENDS_CLAUSE = regex.compile(rf"[,;:—–،؛、，；：][{regex.escape(CLOSERS)}]*$")
_LONGEST_END = 20


def usual_pause_s(text: str) -> float:
    """Returns the seconds of silence after a text whose sentence, or the next one, goes on behind it."""
    end = text.rstrip()[-_LONGEST_END:]
    if _ENDS_SENTENCE.search(end):
        return SENTENCE_PAUSE_S
    return CLAUSE_PAUSE_S if _ENDS_CLAUSE.search(end) else 0.0

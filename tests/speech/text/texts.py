"""Text as callers and attackers send it, for Hypothesis."""

from hypothesis import strategies as st

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAGS = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7"
# What generated text rarely hits by chance: marks in rows, scripts without spaces, joiners, halves.
FRAGMENTS = [
    "a", "B", "word ", "Dr. Smith ", "e.g. ", "U.S. ", "7", "1,234.56 ", "10:30 ", "2024-05-01", "NASA ",
    "https://example.com/a?b=c ", "me@example.org ", ". ", "! ", "? ", "... ", "…", " - ", "—", ", ", "; ",
    '"', "“", "”", "’", "(", ")", "\n", "\n\n", "\r\n", "\u2029", "\t", "\u00a0", "- ", "# ", "1. ", ": ",
    "。", "、", "你好", "「", "」", "きゃ", "한국어", "स्त्री ", "।", "ไทย", "เก", "مرحبا ", "؟",
    "e\u0301", "\u0301", FAMILY, "👍🏽", FLAGS[:2], FLAGS[0], "\u200b", "\ufeff", "\x00", "\ud83d", "\ude00",
    "_", "%", "½", "ß", "ǆ",
]  # fmt: skip
_ROWS = st.lists(st.sampled_from(FRAGMENTS), max_size=200).map("".join)
ANY_TEXT = st.text(st.characters(), max_size=400) | _ROWS

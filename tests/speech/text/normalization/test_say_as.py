"""SSML's say-as: what is read as the author says, and what cannot be."""

import pytest

from speech.text.normalization import say_as


@pytest.mark.parametrize(
    ("interpret_as", "text", "language", "format_", "spoken"),
    [
        ("characters", "AB-12", "en", None, "A B one two"),
        ("cardinal", "1,234", "en", None, "one thousand two hundred thirty-four"),
        ("cardinal", "1.234", "de", None, "eintausendzweihundertvierunddreißig"),
        ("cardinal", "-5", "ja", None, "マイナス五"),
        ("cardinal", "five", "en", None, None),
        ("ordinal", "3", "en", None, "third"),
        ("ordinal", "3rd", "en", None, "third"),
        ("ordinal", "3", "fr", None, "troisième"),
        ("ordinal", "x", "en", None, None),
        ("date", "5/3/2024", "en", None, "May third, twenty twenty-four"),
        ("date", "5/3/2024", "en", "dmy", "March fifth, twenty twenty-four"),
        ("date", "5/3/2024", "de", "mdy", "dritter Mai zweitausendvierundzwanzig"),
        ("date", "2024-05", "en", "ym", "May twenty twenty-four"),
        ("date", "05-03", "ja", "md", "五月三日"),
        ("date", "1998", "en", "y", "nineteen ninety-eight"),
        ("date", "13/13/2024", "en", "dmy", None),
        ("date", "2024-05-03", "en", "nonsense", None),
        ("date", "tomorrow", "en", None, None),
        ("time", "10:30", "de", None, "zehn Uhr dreißig"),
        ("time", "5pm", "en", None, "five p.m."),
        ("time", "25:00", "en", None, None),
        (
            "telephone",
            "+1 (555) 123-4567",
            "en",
            None,
            "plus one, five five five, one two three, four five six seven",
        ),
        ("currency", "$5.50", "en", None, "five dollars and fifty cents"),
        ("currency", "USD 5.50", "fr", None, "cinq dollars et cinquante cents"),
        ("currency", "five", "en", None, None),
        ("address", "5", "en", None, None),
        ("cardinal", "5", "xx", None, None),
        ("cardinal", "", "en", None, None),
    ],
)
def test_say_as(interpret_as, text, language, format_, spoken):
    assert say_as(interpret_as, text, language, format_) == spoken

"""Markup of texts: what tags and SSML become, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from audio import speed
from characters import has_speakable
from errors import InvalidRequest
from speech.text import clean_text
from speech.text.events import EVENT_TAGS
from speech.text.markup import Markup, Passage, SayAs, Script, parse_markup
from speech.text.markup import script as limits
from speech.text.markup.ssml import (
    ATTRIBUTES_WITHOUT_EFFECT,
    ELEMENTS,
    ELEMENTS_WITHOUT_EFFECT,
    MAX_DEPTH,
    NAMESPACE,
    REFUSED_ELEMENTS,
)
from speech.text.replacements import Replacement
from speech.text.split import split_text
from tests.speech.text.texts import ANY_TEXT
from voice_store import names

DOCUMENT = (Path(__file__).parents[3] / "docs" / "markup.md").read_text()
SAMPLE_RATE_HZ = 24_000


def passages(text: str, markup: Markup = "tags") -> list[Passage]:
    return list(parse_markup(text, markup).passages)


def ssml(content: str) -> list[Passage]:
    return passages(f"<speak>{content}</speak>", "ssml")


def refusal(text: str, markup: Markup = "tags", *, strict: bool = False) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_markup(text, markup, strict=strict)
    assert caught.value.field == "text"
    assert caught.value.message.isprintable()
    return caught.value.message


def parsed(text: str, markup: Markup, *, strict: bool = False) -> Script | InvalidRequest:
    try:
        return parse_markup(text, markup, strict=strict)
    except InvalidRequest as error:
        return error


def letters_and_digits(text: str) -> str:
    return "".join(filter(str.isalnum, clean_text(text)))


TAGS = {
    "One.[pause:1.5s]Two.": [Passage("One.", pause_after_s=1.5), Passage("Two.")],
    "One. [pause:300ms] Two.": [Passage("One.", pause_after_s=0.3), Passage("Two.")],
    "[PAUSE:1S]One.[Pause:.5s][pause:500MS]": [Passage("One.", pause_after_s=1.0)],
    "One.[pause:0s]Two.": [Passage("One.", pause_after_s=0.0), Passage("Two.")],
    "One.[pause:60s]Two.": [Passage("One.", pause_after_s=60.0), Passage("Two.")],
    "One.[pause:1s] ... [pause:2s]Two.": [Passage("One.", pause_after_s=3.0), Passage("Two.")],
    "[voice:Ann]One. [voice:Bob]Two. [voice:]Three.": [
        Passage("One.", voice="Ann"),
        Passage("Two.", voice="Bob"),
        Passage("Three."),
    ],
    "[voice:Ann]Hello.\n[voice:Bob]Hi.\n\n[voice:Ann]Bye.": [
        Passage("Hello.", voice="Ann"),
        Passage("Hi.", voice="Bob", ends_paragraph=True),
        Passage("Bye.", voice="Ann"),
    ],
    "One.\u2029[voice:Ann]Two.": [Passage("One.", ends_paragraph=True), Passage("Two.", voice="Ann")],
    "[voice:Zoë O'Neil-Ruiz, 2nd (日本)]One.": [Passage("One.", voice="Zoë O'Neil-Ruiz, 2nd (日本)")],
    "[voice:" + "e\u0301" * 64 + "]One.": [Passage("One.", voice="e\u0301" * 64)],
    "One [lang:de]zwei[lang:pt-BR]três[lang:]four": [
        Passage("One"),
        Passage("zwei", language="de"),
        Passage("três", language="pt-BR"),
        Passage("four"),
    ],
    "[rate:1.2]One. [rate:.25]Two. [rate:4]Three. [rate:]Four.": [
        Passage("One.", rate=1.2),
        Passage("Two.", rate=0.25),
        Passage("Three.", rate=4.0),
        Passage("Four."),
    ],
    "[voice:Ann][lang:de][rate:2]One.": [Passage("One.", voice="Ann", language="de", rate=2.0)],
    # What changes nothing leaves a text in one piece.
    "One [rate:1] two[voice:]\nthree": [Passage("One two\nthree")],
    "One\n[lang:de]\n\n[lang:]\ntwo": [Passage("One\n\ntwo")],
    "[voice:Ann]One [voice:Bob][voice:Ann]two": [Passage("One two", voice="Ann")],
    # What has nothing to say joins the words before it.
    "He said [lang:fr]bonjour[lang:].": [Passage("He said"), Passage("bonjour.", language="fr")],
    "One [lang:fr]— [lang:] two": [Passage("One — two")],
    "“[voice:Ann]One.": [Passage("One.", voice="Ann")],
    # Other brackets are text.
    "One [laugh] two [pause:1s] [sigh]": [Passage("One [laugh] two", pause_after_s=1.0), Passage("[sigh]")],
}


@pytest.mark.parametrize(("text", "expected"), TAGS.items())
def test_a_text_with_tags_becomes_passages(text: str, expected: list[Passage]) -> None:
    assert passages(text) == expected


def test_a_pause_before_the_first_words_is_the_scripts() -> None:
    assert parse_markup("[pause:1s] … [pause:200ms]One.", "tags") == Script((Passage("One."),), 1.2)
    assert parse_markup('<speak><break time="2s"/>One.</speak>', "ssml") == Script((Passage("One."),), 2.0)


@pytest.mark.parametrize("value", ["1.5", "0.1", "0.2", "0.3", "1.001", "59.99", "0.000041666", "33.3333"])
def test_a_pause_is_exact_to_the_sample(value: str) -> None:
    whole, _, decimals = value.partition(".")
    samples = round(int(whole + decimals) * SAMPLE_RATE_HZ / 10 ** len(decimals))
    (passage,) = passages(f"One.[pause:{value}s]")
    assert round((passage.pause_after_s or 0) * SAMPLE_RATE_HZ) == samples
    (passage,) = ssml(f'One.<break time="{value}s"/>')
    assert round((passage.pause_after_s or 0) * SAMPLE_RATE_HZ) == samples


def test_pauses_in_a_row_add_up_without_rounding() -> None:
    (passage,) = passages("One." + "[pause:100ms]" * 100)
    assert passage.pause_after_s == 10.0


OTHER_BRACKETS = [
    "[pause]", "[pause 1s]", "[pauses:1s]", "[ pause:1s]", "[pause=1s]", "(pause:1s)", "[pau\u017fe:1s]",
    "[emphasis]", "[1]", "[sic]", "[[x]]", "[", "]", "[]", "a[b:c]d", "[voice:", "[voice:Ann\n]", "[rate:1.2",
]  # fmt: skip


@pytest.mark.parametrize("bracket", [*OTHER_BRACKETS, *EVENT_TAGS])
def test_any_other_bracket_is_text(bracket: str) -> None:
    text = f" One {bracket}\n\ntwo "
    assert parse_markup(text, "tags", strict=True) == Script((Passage(text),))


NEARLY_TAGS = [
    "[pause:1]", "[pause: 1s]", "[pause:1,5s]", "[pause:soon]", "[pause:]", "[pause:1 s]", "[pause:1e3s]",
    "[pause:１s]", "[voice: Ann]", "[voice: ]", "[lang:d]", "[lang:de ]", "[lang:a language]", "[rate:fast]",
    "[rate:120%]", "[rate:1.]", "[rate:nan]",
]  # fmt: skip


@pytest.mark.parametrize("bracket", NEARLY_TAGS)
def test_what_is_nearly_a_tag_is_text_with_a_warning(bracket: str) -> None:
    text = f"One {bracket} two"
    script = parse_markup(text, "tags")
    assert script.passages == (Passage(text),)
    (warning,) = script.warnings
    assert f"text has {bracket} at position 4, which is no tag and is read aloud; write it like [" in warning
    assert f"{bracket} at position 4" in refusal(text, strict=True)


def test_few_warnings_stand_for_many() -> None:
    warnings = parse_markup("One [pause:1] " * 50, "tags").warnings
    assert len(warnings) == 4
    assert "47 more" in warnings[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("One.[pause:90s]", "the tag [pause:90s] at position 4; a pause lasts 0 to 60 s"),
        ("One.[pause:60001ms]", "[pause:60001ms]"),
        ("One.[pause:-1s]", "[pause:-1s]"),
        (f"One.[pause:{'9' * 5000}ms]", "a pause lasts 0 to 60 s"),
        ("[rate:9]One.", "the tag [rate:9] at position 0; a rate is 0.25 to 4"),
        ("[rate:0]One.", "[rate:0]"),
        ("[rate:-1]One.", "[rate:-1]"),
        ("[voice:a" + "\u0301" * 300 + "]One.", "a voice's name has at most 64 characters"),
        (f"[voice:{'a' * 65}]One.", "a voice's name has at most 64 characters"),
        ("One.[pause:40s] - [pause:20.5s]", "pauses in a row of 60.5 s together, up to position 18"),
        ("[pause:40s][pause:30s]One.", "pauses in a row of 70 s"),
        ("One.[pause:60s]" * 61, "pauses that last more than 3600 s together"),
        ("[pause:1s]", "has nothing in it to say"),
        ("[voice:Ann] ... [rate:2]!", "has nothing in it to say"),
    ],
)
def test_a_tag_out_of_range_is_named_and_not_read_aloud(text: str, words: str) -> None:
    assert words in refusal(text)


def test_an_error_names_the_field_that_was_sent() -> None:
    for text, markup in (("[rate:9]One.", "tags"), ("<speak><x/></speak>", "ssml"), ("...", "plain")):
        with pytest.raises(InvalidRequest) as caught:
            parse_markup(text, markup, field="turns[3].text")
        assert caught.value.message.startswith("turns[3].text ")


def test_limits_are_those_of_speed_and_of_stored_names() -> None:
    assert (float(limits.MIN_RATE), float(limits.MAX_RATE)) == (speed.SLOWEST, speed.FASTEST)
    assert limits.MAX_NAME_CHARS == names.MAX_VISIBLE_CHARACTERS


SSML = {
    "One <emphasis>two</emphasis>.": [Passage("One two.")],
    "<p>One.</p><p><s>Two</s><s>Three</s></p>": [Passage("One.\n\nTwo\nThree", ends_paragraph=True)],
    "<p> One </p> two <s> three </s> four": [Passage("One\n\ntwo\nthree\nfour")],
    "  One \n\t two\n<!-- no -->  three<?no?>  ": [Passage("One two three")],
    "One<!-- joined --> two<![CDATA[ & <p>three</p>]]>": [Passage("One two & <p>three</p>")],
    "&lt;&amp;&gt;&quot;&apos;&#65;&#x1F600;": [Passage("<&>\"'A\U0001f600")],
    "One <break/> two": [Passage("One", pause_after_s=0.5), Passage("two")],
    'One<break time="1.5s"/>two<break time="300ms" strength="strong"/>': [
        Passage("One", pause_after_s=1.5),
        Passage("two", pause_after_s=0.3),
    ],
    'One<break strength="x-strong"/><break strength="weak"/>two': [
        Passage("One", pause_after_s=1.75),
        Passage("two"),
    ],
    'One<break strength="none"/>two<break strength="x-weak"/>three': [
        Passage("One", pause_after_s=0.0),
        Passage("two", pause_after_s=0.0),
        Passage("three"),
    ],
    '<p>One.</p><break time="2s"/><p>Two.</p>': [
        Passage("One.", pause_after_s=2.0, ends_paragraph=True),
        Passage("Two.", ends_paragraph=True),
    ],
    '<voice name="Ann">One</voice>. <voice name="Bob" xml:lang="de">Zwei</voice>!': [
        Passage("One.", voice="Ann"),
        Passage("Zwei!", voice="Bob", language="de"),
    ],
    'One <lang xml:lang="fr">deux <lang xml:lang="">three</lang></lang> four': [
        Passage("One"),
        Passage("deux", language="fr"),
        Passage("three four"),
    ],
    '<p xml:lang="de">Eins.</p><s xml:lang="fr">Deux.</s>': [
        Passage("Eins.", language="de", ends_paragraph=True),
        Passage("Deux.", language="fr"),
    ],
    'One <sub alias="World Wide\n Web"> W3C </sub>, two': [
        Passage("One W3C , two", (Replacement(4, 7, "World Wide Web"),))
    ],
    '<sub alias="heart">♥</sub><sub alias="two">2</sub>': [
        Passage("♥2", (Replacement(0, 1, "heart"), Replacement(1, 2, "two")))
    ],
    'On <say-as interpret-as="date" format="YYYYMMDD">2026-01-02</say-as>, '
    '<say-as interpret-as="spell-out">ab</say-as>.': [
        Passage("On 2026-01-02, ab.", (), (SayAs(3, 13, "date", "ymd"), SayAs(15, 17, "characters", None)))
    ],
    'A <say-as interpret-as="time" format="hms24">10:30</say-as>': [
        Passage("A 10:30", (), (SayAs(2, 7, "time", "hms24"),))
    ],
    # Spans stay where they are when a passage takes up what follows it.
    '<lang xml:lang="fr">Un</lang><lang xml:lang="de">—</lang><lang xml:lang="fr"><sub alias="deux">2</sub>, '
    '<say-as interpret-as="cardinal">3</say-as></lang>': [
        Passage("Un—2, 3", (Replacement(3, 4, "deux"),), (SayAs(6, 7, "cardinal", None),), language="fr")
    ],
    "[pause:1s] and [laugh] are text": [Passage("[pause:1s] and [laugh] are text")],
    "<metadata><a:b xmlns:a='urn:x'>no words</a:b></metadata>One": [Passage("One")],
    "<w>One</w> <token>two</token><mark name='m'/> three": [Passage("One two three")],
    '<voice name="Ann">One <w>two</w></voice>': [Passage("One two", voice="Ann")],
    '<s xml:id="a">One</s>': [Passage("One")],
    '<sub alias="heart">♥</sub>': [Passage("♥", (Replacement(0, 1, "heart"),))],
    'One<sub alias="two"> 2 </sub>3': [Passage("One 2 3", (Replacement(4, 5, "two"),))],
    '<prosody pitch="high" rate=" fast\n">One</prosody>': [Passage("One", rate=1.25)],
    "a\u00a0 b\u3000c": [Passage("a\u00a0 b\u3000c")],
}


@pytest.mark.parametrize(("content", "expected"), SSML.items())
def test_ssml_becomes_passages(content: str, expected: list[Passage]) -> None:
    assert ssml(content) == expected
    assert passages(f'<speak version="1.1" xmlns="{NAMESPACE}">{content}</speak>', "ssml") == expected


@pytest.mark.parametrize(
    ("rate", "factor"),
    [
        ("x-slow", 0.5), ("slow", 0.75), ("medium", None), ("fast", 1.25), ("x-fast", 1.5), ("default", None),
        ("120%", 1.2), ("1.2", 1.2), ("+20%", 1.2), ("-20%", 0.8), ("100%", None), ("25%", 0.25), ("4", 4.0),
    ],
)  # fmt: skip
def test_a_rate_is_a_factor(rate: str, factor: float | None) -> None:
    assert ssml(f'<prosody rate="{rate}">One</prosody>') == [Passage("One", rate=factor)]


def test_rates_within_each_other_are_multiplied_and_default_is_the_jobs() -> None:
    content = '<prosody rate="200%">b <prosody rate="default">c</prosody></prosody>'
    content = f'<prosody rate="slow">a {content}</prosody>'
    assert ssml(content) == [Passage("a", rate=0.75), Passage("b", rate=1.5), Passage("c")]


@pytest.mark.parametrize(
    "start",
    [
        f'<ssml:speak xmlns:ssml="{NAMESPACE}"><ssml:s>One</ssml:s></ssml:speak>',
        '<?xml version="1.0" encoding="UTF-16"?><speak><s>One</s></speak>',
        '\ufeff<?xml version="1.0" encoding="nonsense"?><speak><s>One</s></speak>',
        '<?xml version="1.0" standalone="yes"?>\n<!-- first --><speak><s>One</s></speak>\n',
        f'<speak xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xsi:schemaLocation="{NAMESPACE} https://example.com/x.xsd" xml:base="https://x"><s>One</s></speak>',
    ],
)
def test_a_document_may_begin_in_several_ways(start: str) -> None:
    assert parse_markup(start, "ssml", strict=True) == Script((Passage("One"),))


def test_sentences_and_paragraphs_of_ssml_are_those_of_the_splitter() -> None:
    (passage,) = ssml("<p><s>It was late</s><s>The sea was calm</s></p><p>Then it rained</p>")
    assert [(chunk.text, chunk.pause_after_s) for chunk in split_text(passage.text)] == [
        ("It was late. The sea was calm", 0.5),
        ("Then it rained", 0.0),
    ]


WITHOUT_EFFECT = [
    *(f"<{name}>One</{name}>" for name in sorted(ELEMENTS_WITHOUT_EFFECT - {"metadata"})),
    *(
        f'<{name} {attribute}="x"{required}>One</{name}>'
        for name, required in {
            "p": "", "s": "", "prosody": "", "voice": ' name="Ann"', "lang": ' xml:lang="de"',
            "say-as": ' interpret-as="cardinal"',
        }.items()
        for attribute in sorted(ATTRIBUTES_WITHOUT_EFFECT[name])
    ),
]  # fmt: skip


@pytest.mark.parametrize("content", WITHOUT_EFFECT)
def test_what_has_no_effect_is_spoken_with_a_warning(content: str) -> None:
    text = f"<speak>{content} {content}</speak>"
    script = parse_markup(text, "ssml")
    assert "".join(passage.text for passage in script.passages).count("One") == 2
    (warning,) = script.warnings
    assert re.fullmatch(r"the SSML \w+ .+, first at line 1, column 8, has no effect", warning)
    assert "which has no effect at line 1, column 8; leave it out" in refusal(text, "ssml", strict=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((f"<{name}>One</{name}>", f"has <{name}> at line 1, column 8; ") for name in REFUSED_ELEMENTS),
        ("\n é<paragraph/>", "the unknown element <paragraph> at line 2, column 3; its elements are speak"),
        ('<m:express-as xmlns:m="urn:m"/>', "<express-as> of the namespace urn:m at line 1"),
        ('<s id="1">One</s>', "the unknown attribute id of <s>"),
        ('<s x:lang="de" xmlns:x="urn:x">One</s>', "the unknown attribute {urn:x}lang of <s>"),
        ("<speak>One</speak>", "has <speak> in <speak>"),
        ('<break time="61s"/>', '<break time="61s"> at line 1, column 8; a break lasts 0 to 60 s'),
        ('<break time="1"/>', "a break lasts 0 to 60 s"),
        ('<break time="-1s"/>', "a break lasts 0 to 60 s"),
        ('<break strength="huge"/>', '<break strength="huge">'),
        ("<break>One</break>", "has text in <break>"),
        ("<break><s/></break>", "has <s> in <break>"),
        ('One<break time="40s"/><break time="40s"/>', "in a row of 80 s together, up to line 1, column 30"),
        ("<voice>One</voice>", "has <voice> without a name"),
        (f'<voice name="{"a" * 65}">One</voice>', "at most 64 characters"),
        ("<lang>One</lang>", "has <lang> without xml:lang"),
        ('<lang xml:lang="d e">One</lang>', 'has xml:lang="d e"'),
        ('<prosody rate="5">One</prosody>', 'has the rate "5"'),
        ('<prosody rate="quick">One</prosody>', 'has the rate "quick"'),
        ('<prosody rate="">One</prosody>', 'has the rate ""'),
        (f'<prosody rate="{"9" * 5000}%">One</prosody>', "a rate is 0.25 to 4"),
        ('<prosody rate="3"><prosody rate="2">One</prosody></prosody>', 'the rate "2" within a rate of 3'),
        ("<sub>One</sub>", "has <sub> without an alias to speak"),
        ('<sub alias="...">One</sub>', "has <sub> without an alias to speak"),
        ('<sub alias="one"> </sub>', "has <sub> without text"),
        ('<sub alias="one">1<break/></sub>', "has <break> in <sub> at line 1, column 26; <sub> holds text"),
        ("<say-as>1</say-as>", 'has <say-as interpret-as="">'),
        ('<say-as interpret-as="address">1</say-as>', 'has <say-as interpret-as="address">'),
        ('<say-as interpret-as="date" format="dmx">1</say-as>', 'has the format "dmx" of a date'),
        ("a & b", "is malformed SSML at line 1, column 11: not well-formed (invalid token); "),
        ("a & b", "; close every element, and write & as &amp; and < as &lt;"),
        ("a\n日本 &nbsp;", "at line 2, column 4: undefined entity; write the character itself"),
        ("<s>", "mismatched tag"),
        ("<x:s/>", "unbound prefix"),
        ("\x00", "not well-formed"),
        ("\x1b", "not well-formed"),
        ("\uffff", "not well-formed"),
        ("&#0;", "invalid character number"),
        ("&#xD800;", "invalid character number"),
        ("\ud83d", "half a character (a lone surrogate) at position 7"),
        ("<s/>", "has nothing in it to say"),
        ("<metadata>One</metadata>", "has nothing in it to say"),
        ("<!-- One -->", "has nothing in it to say"),
        ("<!DOCTYPE speak>", "malformed"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_place(content: str, words: str) -> None:
    assert words in refusal(f"<speak>{content}</speak>", "ssml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello", "is no SSML: it does not begin with <speak>"),
        ("", "is no SSML"),
        ("<s>One</s>", "has <s> outside <speak>"),
        ("<speak>One</speak><speak>Two</speak>", "junk after document element"),
        ("<speak>One", "no element found"),
        (
            ' <?xml version="1.0"?><speak>One</speak>',
            "not at start of entity; leave out what is before <?xml",
        ),
        ("<!DOCTYPE speak><speak>One</speak>", "has a document type (<!DOCTYPE ...>) at line 1"),
    ],
)
def test_what_is_no_document_of_ssml_is_refused(text: str, words: str) -> None:
    assert words in refusal(text, "ssml")


BILLION_LAUGHS = (
    '<!DOCTYPE speak [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{level + 1} "{f"&a{level};" * 10}">' for level in range(9))
    + "]><speak>&a9;</speak>"
)


@pytest.mark.parametrize(
    "text",
    [
        BILLION_LAUGHS,
        '<!DOCTYPE speak [<!ENTITY x SYSTEM "file:///etc/passwd">]><speak>&x;</speak>',
        '<!DOCTYPE speak [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><speak>One</speak>',
        '<!DOCTYPE speak SYSTEM "http://127.0.0.1:9/x.dtd"><speak>One</speak>',
        f'<?xml version="1.0"?>\n<!-- {"x" * 200_000} -->\n{BILLION_LAUGHS}',
    ],
    ids=["billion laughs", "external entity", "parameter entity", "external subset", "behind a comment"],
)
def test_no_document_type_is_read(text: str) -> None:
    assert "has a document type (<!DOCTYPE ...>)" in refusal(text, "ssml")


def test_elements_are_nested_ten_deep_at_most() -> None:
    inner = MAX_DEPTH - 1
    assert ssml("<s>" * inner + "One" + "</s>" * inner) == [Passage("One")]
    assert "more than 10 elements within each other" in refusal("<speak>" + "<s>" * MAX_DEPTH, "ssml")
    assert "more than 10" in refusal("<speak>" + "<s>" * 300_000, "ssml")
    assert "more than 10" in refusal("<speak><metadata>" + "<x>" * 300_000, "ssml")


# A quadratic way through any of them would take minutes.
LONG_TEXTS: list[tuple[str, Markup]] = [
    ("[" * 1_000_000 + "a", "tags"),
    ("[voice:" * 140_000, "tags"),
    ("[voice:" + "a" * 1_000_000, "tags"),
    ("[voice:" + " " * 1_000_000 + "]a", "tags"),
    ("[pause:" + "9" * 1_000_010 + "ms]a", "tags"),
    ("[rate:" + "9" * 1_000_000 + ".]a", "tags"),
    ("[lang:" + "de-" * 300_000 + "]a", "tags"),
    ("[pause:1ms]a" * 80_000, "tags"),
    ("[voice:a]a[voice:b]-" * 50_000, "tags"),
    ("[rate:1]\n" * 100_000 + "a", "tags"),
    (" " * 1_000_000 + "a[rate:1]" + "\n" * 1_000_000 + "b", "tags"),
    ("<" * 1_000_000, "ssml"),
    ("<speak>" + "<" * 1_000_000, "ssml"),
    ("<speak>" + "a " * 500_000 + "</speak>", "ssml"),
    ("<speak>" + "&amp;a" * 150_000 + "</speak>", "ssml"),
    ("<speak>" + "<s>a</s>" * 120_000 + "</speak>", "ssml"),
    ('<speak><sub alias="a">' + "&#97;" * 200_000 + "</sub></speak>", "ssml"),
    ("<speak " + " ".join(f'a{index}=""' for index in range(100_000)) + "/>", "ssml"),
    ('<speak a="' + "x" * 1_000_000, "ssml"),
    ("<speak><!--" + "-a" * 500_000, "ssml"),
]


@pytest.mark.parametrize(("text", "markup"), LONG_TEXTS, ids=lambda value: value[:24])
def test_a_million_characters_are_read_or_refused(text: str, markup: Markup) -> None:
    outcome = parsed(text, markup)
    if isinstance(outcome, InvalidRequest):
        assert len(outcome.message) < 400
    else:
        assert sum(len(passage.text) for passage in outcome.passages) <= len(text)


MARKED_UP = st.lists(
    st.sampled_from(
        [
            "[pause:1.5s]", "[pause:0ms]", "[PAUSE:.5s]", "[voice:Ann]", "[voice:Bob]", "[voice:]",
            "[lang:de]", "[lang:]", "[rate:1.2]", "[rate:1]", "[rate:]", "[laugh]", "[pause:", "]", "[",
            " ", "\n", "\n\n", "\u2029", "…", ". ", "\ud83d", "a", "B7 ", "“", "\u3164",
        ]
    ),
    max_size=40,
).map("".join)  # fmt: skip
ANY_SSML = st.lists(
    st.sampled_from(
        [
            "<speak>", "</speak>", "<p>", "</p>", "<s>", "</s>", "<break/>", '<break time="1s"/>', "</voice>",
            '<voice name="Ann">', '<lang xml:lang="de">', "</lang>", '<prosody rate="2">', "</prosody>",
            '<sub alias="x y">', "</sub>", '<say-as interpret-as="date" format="dmy">', "</say-as>", "<w>",
            "</w>", "<![CDATA[", "]]>", "<!--", "-->", "<?x", "?>", "<!DOCTYPE x [", "]>", '<!ENTITY a "b">',
            "&a;", "&#1;", "&amp;", "<x>", "xmlns='urn:x'", "\x00", "\ud800", "\ufeff", "a", " ", "\n",
            "<", ">", "&",
        ]
    ),
    max_size=30,
).map("".join)  # fmt: skip
TAG = re.compile(r"\[(?:pause:[0-9.]+m?s|voice:[A-Za-z]*|lang:[a-z]*|rate:[0-9.]*)\]", re.IGNORECASE)


@settings(max_examples=400, deadline=None)
@given(
    text=ANY_TEXT | MARKED_UP | ANY_SSML | ANY_SSML.map(lambda content: f"<speak>{content}</speak>"),
    markup=st.sampled_from(["tags", "ssml", "plain"]),
    strict=st.booleans(),
)
def test_no_text_does_harm(text: str, markup: Markup, strict: bool) -> None:
    script = parsed(text, markup, strict=strict)
    if isinstance(script, InvalidRequest):
        assert script.field == "text"
        assert script.message.encode()
        return
    assert 0 <= script.pause_before_s <= 60
    for passage in script.passages:
        assert has_speakable(passage.text) or passage.replacements
        assert passage.pause_after_s is None or 0 <= passage.pause_after_s <= 60
        at = 0
        spans = sorted([*passage.replacements, *passage.say_as], key=lambda span: span.start)
        for span in spans:
            assert at <= span.start < span.end <= len(passage.text)
            at = span.end


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT | st.text("[]:spauevoicrtlng1. \n"))
def test_a_text_without_markup_is_the_same_under_tags_and_plain(text: str) -> None:
    assume(not TAG.search(text))
    if has_speakable(text):
        assert parse_markup(text, "plain") == Script((Passage(text),))
        assert parse_markup(text, "tags").passages == (Passage(text),)
    else:
        assert refusal(text) == refusal(text, "plain")


@settings(max_examples=400, deadline=None)
@given(MARKED_UP)
@example("a[lang:de]\u3164[lang:]b")
def test_passages_hold_every_letter_and_digit_outside_tags(text: str) -> None:
    written = TAG.sub("", text)
    script = parsed(text, "tags")
    if isinstance(script, InvalidRequest):
        assert not has_speakable(written)
        return
    assert letters_and_digits("".join(each.text for each in script.passages)) == letters_and_digits(written)


@settings(max_examples=400, deadline=None)
@given(MARKED_UP)
def test_neighbours_differ_or_have_a_pause_between_them(text: str) -> None:
    assume(has_speakable(TAG.sub("", text)))
    script = parse_markup(text, "tags")
    for first, second in zip(script.passages, script.passages[1:], strict=False):
        style = (first.voice, first.language, first.rate)
        assert first.pause_after_s is not None or style != (second.voice, second.language, second.rate)


XML_TEXT = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), max_size=300)
    | ANY_TEXT
).map(lambda text: re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text))


@settings(max_examples=300, deadline=None)
@given(XML_TEXT)
def test_an_escaped_text_comes_back_from_ssml(text: str) -> None:
    assume(has_speakable(text))
    document = f"<speak>{escape(text)}</speak>"
    script = parse_markup(document, "ssml", strict=True)
    assert script == Script((Passage(re.sub("[ \t\r\n]+", " ", text).strip(" ")),))


def test_every_element_and_attribute_is_documented() -> None:
    tables = [line.split("|") for line in DOCUMENT.splitlines() if line.startswith("|")]
    named = {each for cells in tables for cell in cells for each in re.findall(r"`([^`]+)`", cell)}
    without_effect = {name for attributes in ATTRIBUTES_WITHOUT_EFFECT.values() for name in attributes}
    assert named >= {*ELEMENTS_WITHOUT_EFFECT, *REFUSED_ELEMENTS, *without_effect}
    documented = {
        name: frozenset(re.findall(r"`([^`]+)`", cells[2]))
        for cells in tables
        for name in re.findall(r"^ `([^`]+)` $", cells[1])
        if name in ELEMENTS
    }
    assert documented == ELEMENTS


@pytest.mark.parametrize("text", re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.M | re.S))
def test_a_documented_text_with_tags_is_read_without_a_warning(text: str) -> None:
    script = parse_markup(text, "tags", strict=True)
    assert script != Script((Passage(text),))


@pytest.mark.parametrize("text", re.findall(r"^```xml\n(.*?)^```", DOCUMENT, re.M | re.S))
def test_a_documented_document_of_ssml_is_read_without_a_warning(text: str) -> None:
    parse_markup(text, "ssml", strict=True)

"""A subset of SSML 1.1, W3C's Speech Synthesis Markup Language (https://www.w3.org/TR/speech-synthesis11/)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NoReturn
from xml.parsers import expat

from characters import has_speakable, printable_excerpt
from errors import InvalidRequest
from speech.text.markup.script import (
    MAX_NAME_CHARS,
    MAX_PAUSE_S,
    MAX_RATE,
    MIN_RATE,
    Script,
    ScriptBuilder,
    Style,
    is_language_tag,
    is_name,
    is_pause,
    is_rate,
    read_duration,
    read_factor,
)

MAX_DEPTH = 10  # of elements within each other, ``speak`` included
NAMESPACE = "http://www.w3.org/2001/10/synthesis"
_XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
# Examples of the specification have its ``schemaLocation``.
_XSI_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"

# The elements that are done, with the attributes that are.
ELEMENTS: Mapping[str, frozenset[str]] = {
    "speak": frozenset({"version", "xml:lang", "xml:base"}),
    "p": frozenset({"xml:lang"}),
    "s": frozenset({"xml:lang"}),
    "break": frozenset({"time", "strength"}),
    "voice": frozenset({"name", "xml:lang"}),
    "lang": frozenset({"xml:lang"}),
    "prosody": frozenset({"rate"}),
    "sub": frozenset({"alias"}),
    "say-as": frozenset({"interpret-as", "format"}),
}
# What has no effect but to be warned of: no word is lost without it.
ELEMENTS_WITHOUT_EFFECT = frozenset({"emphasis", "mark", "meta", "metadata", "token", "w"})
ATTRIBUTES_WITHOUT_EFFECT: Mapping[str, frozenset[str]] = {
    "speak": frozenset({"startmark", "endmark", "onlangfailure"}),
    "p": frozenset({"onlangfailure"}),
    "s": frozenset({"onlangfailure"}),
    "voice": frozenset(
        {"gender", "age", "variant", "languages", "required", "ordering", "onvoicefailure", "onlangfailure"}
    ),
    "lang": frozenset({"onlangfailure"}),
    "prosody": frozenset({"pitch", "contour", "range", "duration", "volume"}),
    "say-as": frozenset({"detail"}),
}
# What of SSML is refused, and what to do instead.
REFUSED_ELEMENTS: Mapping[str, str] = {
    "phoneme": "models read letters: write the word as it sounds, in <sub alias=...> or in pronunciations",
    "audio": "recordings are not mixed in: leave it out, and keep the words in it if they are to be spoken",
    "desc": "it describes a recording, and none is mixed in: leave it out",
    "lexicon": "send its words in pronunciations",
    "lookup": "send the words of its lexicon in pronunciations",
}

_BREAK_S: Mapping[str, Decimal] = {
    "none": Decimal(0),
    "x-weak": Decimal(0),
    "weak": Decimal("0.25"),
    "medium": Decimal("0.5"),
    "strong": Decimal(1),
    "x-strong": Decimal("1.5"),
}
_RATES: Mapping[str, Decimal] = {
    "x-slow": Decimal("0.5"),
    "slow": Decimal("0.75"),
    "medium": Decimal(1),
    "fast": Decimal("1.25"),
    "x-fast": Decimal("1.5"),
}
_INTERPRETATIONS: Mapping[str, str] = {
    "characters": "characters",
    "spell-out": "characters",
    "cardinal": "cardinal",
    "ordinal": "ordinal",
    "date": "date",
    "time": "time",
    "telephone": "telephone",
    "currency": "currency",
}
# W3C's note "SSML 1.0 say-as attribute values".
_DATE_FORMATS = ("mdy", "dmy", "ymd", "md", "dm", "ym", "my", "d", "m", "y")

_TEXT_ONLY = ("sub", "say-as")
_WHITE_SPACE = " \t\r\n"  # XML's; others are characters of the text
_WHITE_SPACES = re.compile(f"[{_WHITE_SPACE}]+")
_REPEATED = re.compile(r"(.)\1+")
# By expat's code of an error.
_HINTS: Mapping[int, str] = {
    expat.errors.codes[expat.errors.XML_ERROR_MISPLACED_XML_PI]: "leave out what is before <?xml",
    expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]: (
        "write the character itself; known are &amp; &lt; &gt; &quot; &apos; and numbers such as &#233;"
    ),
}
# Expat reads on to the end of what it has been given once a handler has raised.
_BLOCK_BYTES = 65_536


def parse_ssml(text: str, *, strict: bool = False, field: str = "text") -> Script:
    """Returns the passages and pauses of an SSML document.

    White space is collapsed as in HTML. A paragraph (``p``) ends with an empty line, a sentence (``s``) with
    a line break. Comments and processing instructions are left out; CDATA is text.

    strict: SSML that has no effect is an error instead of a warning. Raises InvalidRequest as
    ``parse_markup`` does; lines and columns count from 1.
    """
    if not text.lstrip("\ufeff" + _WHITE_SPACE).startswith("<"):
        raise InvalidRequest(
            "is no SSML: it does not begin with <speak>",
            field=field,
            hint='put the text into <speak>...</speak>, or send markup "tags" or "plain"',
        )
    return _Reader(strict, field).read(text)


@dataclass
class _Element:
    name: str
    style: Style  # of the text in it
    attributes: Mapping[str, str]
    text: list[str] = field(default_factory=list)  # of an element that holds text only


class _Reader:
    """Reads one document."""

    def __init__(self, strict: bool, field: str) -> None:
        self._strict, self._field = strict, field
        self._builder = ScriptBuilder(field)
        self._open: list[_Element] = []
        self._warnings: dict[str, str] = {}  # by what they are about
        # The encoding is that of ``read``, whatever the document says. Names are "<namespace> <name>".
        self._parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add_text

    def read(self, text: str) -> Script:
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"holds half a character (a lone surrogate) at position {error.start}",
                field=self._field,
                hint="send whole Unicode",
            ) from None
        try:
            for start in range(0, len(content), _BLOCK_BYTES):
                self._parser.Parse(content[start : start + _BLOCK_BYTES], False)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise InvalidRequest(
                f"is malformed SSML at line {error.lineno}, column {error.offset + 1}: "
                f"{expat.ErrorString(error.code)}",
                field=self._field,
                hint=_HINTS.get(error.code, "close every element, and write & as &amp; and < as &lt;"),
            ) from None
        return self._builder.script(self._warnings.values())

    def _refuse_doctype(self, name: str, *_: object) -> NoReturn:
        self._refuse("has a document type (<!DOCTYPE ...>)", "leave it out: no entities are declared")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) == MAX_DEPTH:
            self._refuse(f"has more than {MAX_DEPTH} elements within each other", "nest fewer")
        parent = self._open[-1] if self._open else None
        if parent is not None and parent.name == "metadata":  # may hold elements of any kind
            self._open.append(_Element("metadata", parent.style, {}))
            return
        name = self._element_name(tag)
        if (name == "speak") == (parent is not None):
            where = f"in <{parent.name}>" if parent else "outside <speak>"
            self._refuse(f"has <{name}> {where}", "put all of the text into one <speak>...</speak>")
        if parent is not None and parent.name in (*_TEXT_ONLY, "break"):
            holds = "text only" if parent.name in _TEXT_ONLY else "nothing"
            self._refuse(f"has <{name}> in <{parent.name}>", f"<{parent.name}> holds {holds}")
        style = parent.style if parent else Style()
        if name in ELEMENTS_WITHOUT_EFFECT:
            self._open.append(_Element(name, style, {}))
            self._warn(f"the SSML element <{name}>")
            return
        known = self._known_attributes(name, attributes)
        self._open.append(_Element(name, self._changed_style(style, name, known), known))
        if name == "break":
            self._builder.add_pause(self._break_s(known), self._place())
        elif name == "sub" and not has_speakable(known.get("alias", "")):
            self._refuse("has <sub> without an alias to speak", 'write <sub alias="what is spoken">')
        elif name == "say-as":
            self._check_say_as(known)
        else:
            self._add_line_breaks(name)

    def _end(self, tag: str) -> None:
        element = self._open.pop()
        if element.name not in _TEXT_ONLY:
            self._add_line_breaks(element.name)
            return
        text = "".join(element.text)
        words = _collapse(text)
        if not words:
            self._refuse(f"has <{element.name}> without text", "put the text into it, or leave it out")
        self._add_space_of(text[: len(text) - len(text.lstrip(_WHITE_SPACE))])
        if element.name == "sub":
            self._builder.add_words(words, element.style, spoken=_collapse(element.attributes["alias"]))
        else:
            interpretation = _INTERPRETATIONS[element.attributes["interpret-as"]]
            format_ = element.attributes.get("format")
            self._builder.add_words(words, element.style, say_as=(interpretation, format_))
        self._add_space_of(text[len(text.rstrip(_WHITE_SPACE)) :])

    def _add_text(self, text: str) -> None:
        element = self._open[-1]
        if element.name == "metadata":
            return
        if element.name in _TEXT_ONLY:
            element.text.append(text)
            return
        words = _collapse(text)
        if words and element.name == "break":
            self._refuse("has text in <break>", "write <break/> and the text behind it")
        if not words:
            self._add_space_of(text)
            return
        self._add_space_of(text[:1])
        self._builder.add_words(words, element.style)
        self._add_space_of(text[-1:])

    def _add_space_of(self, text: str) -> None:
        if text and text[0] in _WHITE_SPACE:
            self._builder.add_space(" ")

    def _add_line_breaks(self, name: str) -> None:
        if name == "p":
            self._builder.add_space("\n\n")
        elif name == "s":
            self._builder.add_space("\n")

    def _element_name(self, tag: str) -> str:
        namespace, _, name = tag.rpartition(" ")
        if namespace not in ("", NAMESPACE):
            self._refuse(
                f"has <{printable_excerpt(name)}> of the namespace {printable_excerpt(namespace)}",
                "leave it out: only SSML's own elements are read",
            )
        if name in REFUSED_ELEMENTS:
            self._refuse(f"has <{name}>", REFUSED_ELEMENTS[name])
        if name not in ELEMENTS and name not in ELEMENTS_WITHOUT_EFFECT:
            self._refuse(
                f"has the unknown element <{printable_excerpt(name)}>",
                f"its elements are {', '.join(ELEMENTS)}",
            )
        return name

    def _known_attributes(self, element: str, attributes: Mapping[str, str]) -> dict[str, str]:
        """Returns the attributes that are done, by name as in a document. Warns of or refuses others."""
        known = {}
        for qualified, value in attributes.items():
            namespace, _, name = qualified.rpartition(" ")
            if namespace == _XML_NAMESPACE:
                name = f"xml:{name}"
            elif namespace == _XSI_NAMESPACE:
                continue
            elif namespace:
                name = f"{{{namespace}}}{name}"
            if name in ELEMENTS[element]:
                known[name] = value.strip(_WHITE_SPACE)
            elif name in ATTRIBUTES_WITHOUT_EFFECT.get(element, ()):
                self._warn(f"the SSML attribute {name} of <{element}>")
            elif name != "xml:id":
                listed = ", ".join(sorted(ELEMENTS[element]))
                self._refuse(
                    f"has the unknown attribute {printable_excerpt(name)} of <{element}>",
                    f"its attributes are {listed}",
                )
        return known

    def _changed_style(self, style: Style, element: str, attributes: Mapping[str, str]) -> Style:
        language = attributes.get("xml:lang")
        if language is not None:
            if language and not is_language_tag(language):
                self._refuse(
                    f'has xml:lang="{printable_excerpt(language)}"',
                    'a language is written like "de" or "pt-BR"',
                )
            style = style._replace(language=language or None)
        elif element == "lang":
            self._refuse("has <lang> without xml:lang", 'write <lang xml:lang="de">')
        if element == "voice":
            name = attributes.get("name")
            if not name:
                self._refuse("has <voice> without a name", 'write <voice name="a stored voice">')
            if not is_name(name):
                self._refuse(
                    f'has <voice name="{printable_excerpt(name)}">',
                    f"a voice's name has at most {MAX_NAME_CHARS} characters",
                )
            style = style._replace(voice=name)
        if element == "prosody" and "rate" in attributes:
            style = style._replace(rate=self._rate(attributes["rate"], style.rate))
        return style

    def _rate(self, value: str, outer: Decimal) -> Decimal:
        """Returns the rate in an element within text of the rate ``outer``."""
        if value == "default":
            return Decimal(1)
        factor = _RATES.get(value)
        if factor is None and value.endswith("%"):
            percent = read_factor(value[:-1])
            # "+20%" and "-20%" are changes, as SSML 1.0 has them.
            factor = None if percent is None else (percent + 100 * value.startswith(("+", "-"))) / 100
        elif factor is None:
            factor = read_factor(value)
        if factor is None:
            self._refuse(
                f'has the rate "{printable_excerpt(value)}"',
                f'a rate is a number, a percentage such as "120%", default, or one of {", ".join(_RATES)}',
            )
        if not is_rate(factor * outer):
            within = f" within a rate of {printable_excerpt(str(outer))}" if outer != 1 else ""
            self._refuse(
                f'has the rate "{printable_excerpt(value)}"{within}',
                f"a rate is {MIN_RATE} to {MAX_RATE} (25% to 400%); rates within each other are multiplied",
            )
        return factor * outer

    def _break_s(self, attributes: Mapping[str, str]) -> Decimal:
        time, strength = attributes.get("time"), attributes.get("strength", "medium")
        if strength not in _BREAK_S:
            self._refuse(
                f'has <break strength="{printable_excerpt(strength)}">', f"it is one of {', '.join(_BREAK_S)}"
            )
        if time is None:
            return _BREAK_S[strength]
        seconds = read_duration(time)
        if seconds is None or not is_pause(seconds):
            self._refuse(
                f'has <break time="{printable_excerpt(time)}">',
                f'a break lasts 0 to {MAX_PAUSE_S} s, written like "1.5s" or "300ms"',
            )
        return seconds

    def _check_say_as(self, attributes: dict[str, str]) -> None:
        interpret_as = attributes.get("interpret-as", "")
        if interpret_as not in _INTERPRETATIONS:
            self._refuse(
                f'has <say-as interpret-as="{printable_excerpt(interpret_as)}">',
                f"it is one of {', '.join(_INTERPRETATIONS)}",
            )
        if interpret_as == "date" and "format" in attributes:
            order = _REPEATED.sub(r"\1", attributes["format"].lower())  # "yyyymmdd" is "ymd"
            if order not in _DATE_FORMATS:
                self._refuse(
                    f'has the format "{printable_excerpt(attributes["format"])}" of a date',
                    f"it is one of {', '.join(_DATE_FORMATS)}",
                )
            attributes["format"] = order

    def _warn(self, what: str) -> None:
        if self._strict:
            self._refuse(f"has {what}, which has no effect", "leave it out, or send strict: false")
        if what not in self._warnings:
            self._warnings[what] = f"{what}, first at {self._place()}, has no effect"

    def _refuse(self, reason: str, hint: str) -> NoReturn:
        raise InvalidRequest(f"{reason} at {self._place()}", field=self._field, hint=hint)

    def _place(self) -> str:
        return f"line {self._parser.CurrentLineNumber}, column {self._parser.CurrentColumnNumber + 1}"


def _collapse(text: str) -> str:
    return _WHITE_SPACES.sub(" ", text).strip(" ")

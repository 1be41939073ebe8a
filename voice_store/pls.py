"""Lexicons in the W3C's Pronunciation Lexicon Specification 1.0 (https://www.w3.org/TR/pronunciation-lexicon/).

Aliases can be spoken; phonemes cannot, since the models read letters.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from voice_store.names import readable
from voice_store.pronunciations import Entry

NAMESPACE = "http://www.w3.org/2005/01/pronunciation-lexicon"
_ELEMENT = f"{{{NAMESPACE}}}"  # how ElementTree writes a namespace
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_MAX_SHOWN_CHARS = 64


class Lexicon(NamedTuple):
    """What can be used of a file."""

    entries: list[Entry]  # one for each grapheme
    passed_over: list[str]  # sentences that name the graphemes that have no entry, and say why
    language: str  # of the graphemes, such as "en-US"; "" if the file does not say


def parse_pls(data: bytes) -> Lexicon:
    """Returns the graphemes that have an alias, with the first one that is preferred, or else the first.

    A grapheme with a capital letter in it is case-sensitive; another one may begin a sentence. Roles are not
    looked at: of several lexemes with one grapheme the first that has an alias counts.

    Raises ValueError, whose text is the predicate of a sentence about the file, for what is no such lexicon
    and for a document type: entities are not expanded.
    """
    try:
        parser = ElementTree.XMLParser(target=_TreeWithoutDoctype())  # noqa: S314  no entities but XML's own
        root = ElementTree.fromstring(data, parser)  # noqa: S314
    except ElementTree.ParseError as error:
        line, reason = error.position[0], expat.ErrorString(error.code)
        raise ValueError(f"is no XML, line {line}: {reason}") from error
    if root.tag != f"{_ELEMENT}lexicon":
        raise ValueError(f"is no PLS lexicon: its root is not lexicon of {NAMESPACE}")
    entries: dict[str, Entry] = {}
    passed_over: dict[str, str] = {}  # sentence -> grapheme, unless that has an entry
    for lexeme in root.iterfind(f"{_ELEMENT}lexeme"):
        # Stable: the preferred ones come first, in the order of the document.
        found = sorted(lexeme.iterfind(f"{_ELEMENT}alias"), key=lambda alias: alias.get("prefer") != "true")
        aliases = [text for text in map(_text_of, found) if text]
        for grapheme in map(_text_of, lexeme.iterfind(f"{_ELEMENT}grapheme")):
            shown = readable(grapheme, _MAX_SHOWN_CHARS)
            if grapheme in entries:
                passed_over[f"{shown}: another lexeme before has the same grapheme"] = ""
            elif aliases:
                is_case_sensitive = grapheme != grapheme.lower()
                entries[grapheme] = {"text": grapheme, "say": aliases[0], "case_sensitive": is_case_sensitive}
            elif lexeme.find(f"{_ELEMENT}phoneme") is not None:
                passed_over[f"{shown}: it has phonemes, which cannot be spoken, and no alias"] = grapheme
            else:
                passed_over[f"{shown}: it has no alias"] = grapheme
    named = [says for says, grapheme in passed_over.items() if grapheme not in entries]
    return Lexicon(list(entries.values()), named, readable(root.get(_LANGUAGE), 35))


class _TreeWithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> NoReturn:
        raise ValueError("has a document type, which is not read; remove its <!DOCTYPE ...>")


def _text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())

"""Lexicons in the W3C's Pronunciation Lexicon Specification 1.0 (https://www.w3.org/TR/pronunciation-lexicon/).

Aliases can be spoken; phonemes cannot, since the models read letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from voice_store.names import readable
from voice_store.pronunciations import Entry

NAMESPACE = "http://www.w3.org/2005/01/pronunciation-lexicon"
MAX_DEPTH = 32  # of elements within each other, those of a lexicon's metadata included
_XML = "http://www.w3.org/XML/1998/namespace"
_MAX_SHOWN_CHARS = 64


@dataclass(frozen=True)
class Lexicon:
    """What can be used of a file."""

    entries: list[Entry]  # one for each grapheme
    passed_over: list[str]  # sentences that name the graphemes that have no entry, and say why
    language: str  # of the graphemes, such as "en-US"; "" if the file does not say


@dataclass
class _Lexeme:
    graphemes: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)  # the preferred ones first
    has_phonemes: bool = False


def parse_pls(data: bytes) -> Lexicon:
    """Returns the graphemes that have an alias. Of several aliases the preferred one counts, else the first.

    A grapheme with a capital letter in it is case-sensitive; another one may begin a sentence.
    Roles are not looked at: of several lexemes with one grapheme the first that has an alias counts. Raises
    ValueError, whose text is the predicate of a sentence about the file, for what is no such lexicon and for
    a document type: entities are not expanded.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"is no XML, line {error.lineno}: {expat.ErrorString(error.code)}") from error
    entries: dict[str, Entry] = {}
    passed_over: dict[str, str] = {}
    for lexeme in reader.lexemes:
        for grapheme in lexeme.graphemes:
            shown = readable(grapheme, _MAX_SHOWN_CHARS)
            if grapheme in entries:
                passed_over[f"{shown}: another lexeme before has the same grapheme"] = ""
            elif lexeme.aliases:
                entries[grapheme] = {
                    "text": grapheme,
                    "say": lexeme.aliases[0],
                    "case_sensitive": grapheme != grapheme.lower(),
                }
            elif lexeme.has_phonemes:
                passed_over[f"{shown}: it has phonemes, which cannot be spoken, and no alias"] = grapheme
            else:
                passed_over[f"{shown}: it has no alias"] = grapheme
    named = [says for says, grapheme in passed_over.items() if grapheme not in entries]
    return Lexicon(list(entries.values()), named, reader.language)


class _Reader:
    def __init__(self) -> None:
        self.lexemes: list[_Lexeme] = []
        self.language = ""
        self._open: list[str] = []  # names of the elements around
        self._text: list[str] = []
        self._is_preferred = False
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text_of
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        if not self._open:
            if (namespace, element) != (NAMESPACE, "lexicon"):
                raise ValueError(f"is no PLS lexicon: its root is not lexicon of {NAMESPACE}")
            self.language = readable(attributes.get(f"{_XML} lang"), 35)
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"has more than {MAX_DEPTH} elements within each other")
        self._open.append(element if namespace == NAMESPACE else "")
        if self._open == ["lexicon", "lexeme"]:
            self.lexemes.append(_Lexeme())
        self._text = []
        self._is_preferred = attributes.get("prefer") == "true"

    def _end(self, _: str) -> None:
        match self._open:
            case ["lexicon", "lexeme", "grapheme"]:
                self.lexemes[-1].graphemes.append(self._word())
            case ["lexicon", "lexeme", "alias"] if word := self._word():
                aliases = self.lexemes[-1].aliases
                aliases.insert(0 if self._is_preferred else len(aliases), word)
            case ["lexicon", "lexeme", "phoneme"]:
                self.lexemes[-1].has_phonemes = True
        self._open.pop()
        self._text = []

    def _text_of(self, text: str) -> None:
        self._text.append(text)

    def _word(self) -> str:
        return " ".join("".join(self._text).split())

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise ValueError("has a document type, which is not read; remove its <!DOCTYPE ...>")

"""Sentence ends of a paragraph: which marks end a sentence, and which full stops do not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import regex

from speech.text import abbreviations as lists

# After a mark: in German “ and « close what „ and » opened; Hebrew quotes with gershayim.
CLOSERS = "\"'`“”‘’«»‹›״)]}」』）】》〉"
_OPENERS = "“‘«‹„「『（《〈"
_CLOSERS_AFTER_FULL_WIDTH = CLOSERS.translate({ord(opener): None for opener in "“‘«‹"})

# A row of marks with the quotes and brackets that close behind it; French puts a space before those. The
# semicolon is Greek's question mark.
_MARKS = regex.compile(
    rf"""
    (?P<marks> \.(?:\ \.)+ | [\p{{Sentence_Terminal}}…]+ | (?<=\p{{Greek}}); )
    (?P<closers>
        (?<=[。！？]) [{regex.escape(_CLOSERS_AFTER_FULL_WIDTH)}]*+
      | (?<![。！？]) [{regex.escape(CLOSERS)}]*+ (?:\ [»›](?=[\s.,;:!?…]|$))?
    )
    (?:\ ?\[\p{{Nd}}{{1,3}}\]){{0,9}}  # a footnote's number
    """,
    regex.VERBOSE,
)
_LAST_WORDS = regex.compile(r"(?:(\S{1,40})\ )?(?<!\S)(\S{1,40})$", regex.REVERSE)
_NEXT_WORD = regex.compile(r"[^\p{L}\p{N}]{0,20}((?:\p{L}\.)+(?!\w)|[\p{L}\p{N}][\p{L}\p{M}\p{N}'’-]{0,40})")
_LONGEST_LOOKBACK = 100
_QUOTE_START = regex.compile(r"""(\S)\ ?["“«„״「『]""", regex.REVERSE)
_LONGEST_QUOTE = 300
_LONGEST_TITLE = 40
# Finnish and Swedish open with the quotes that close elsewhere.
_CANNOT_START = regex.compile(r"[.,;:!?…%)\]}」』）】》〉、。，；：！？]|[’”»›](?![\p{L}\p{N}])")

# "U.S", "Ph.D", "z.B", "S.p.A", "J.-P", "LL.M"; not "example.com" or "3.14".
_DOTTED = regex.compile(r"(?:\p{L}\p{M}*+){1,4}(?:\.-?(?:\p{L}\p{M}*+){1,3})+")
# Not a Korean syllable or a Han character, which may be a word.
_SINGLE_LETTER = regex.compile(
    r"(?:\p{L}\p{M}*-)?[\p{L}--[\p{Hangul}\p{Han}\p{scx=Hiragana}]]\p{M}*", regex.V1
)
_ROMAN_NUMERAL = regex.compile(r"[IVXLCDM]+")
# No vowel and not all capitals ("TV", "BBC"): "Rgt", "Mgr". Not the sounds that people write so.
_VOWELLESS = regex.compile(
    r"""
    (?! \p{Lu}+$ | (?i: h?m+ | s+h+ | tsk | br+ | gr+ | ps+t | pf+t | z+ | nth )$ )
    (?i: [b-df-hj-np-tv-xz]{2,5} | [бвгджзйклмнпрстфхцчшщ]{2,5} )
    """,
    regex.VERBOSE,
)
_ELISION = regex.compile(r"^\p{L}{1,5}'(?=\p{L}{2})")  # "l'Ing", but not "gov't"
_AMOUNT_WITH_UNIT = regex.compile(r"[\d.,]*\d(\p{L}[\p{L}.]*)")


def sentence_ends(text: str, language: str | None = None) -> Iterator[int]:
    """Yields the positions in the text, in order, between a sentence and the space or letter after it.

    The text is one paragraph whose only white space is single spaces; its own end is left out. Where it is
    unclear whether a full stop ends a sentence, it does not: a pause that is missing disturbs a listener
    less than one in the middle of "Ms. Johnson".

    language: the code of the text's language; None: it is not known.
    """
    rules = _rules(language)
    for match in _MARKS.finditer(text):
        end = match.end()
        if end < len(text) and rules.ends_sentence(text, match):
            yield end


@lru_cache(maxsize=64)
def _rules(language: str | None) -> _Rules:
    return _Rules(language)


class _Rules:
    """Sentence ends in a language."""

    def __init__(self, language: str | None) -> None:
        changes = lists.CHANGES.get(language or "", lists.Changes())
        self._words = changes.words
        self._connectors = lists.CONNECTORS - changes.words | changes.connectors
        self._titles = lists.TITLES - changes.words | changes.titles
        self._list_ends = lists.LIST_ENDS | changes.list_ends
        self._references = lists.REFERENCES - changes.words
        self._references_before_digits = (
            lists.REFERENCES_BEFORE_DIGITS | (lists.REFERENCES | lists.MONTHS) & changes.words
        )
        self._abbreviations = self._connectors | self._titles | lists.OTHERS - changes.words | changes.others
        self._has_i = language in (None, "en")  # a capital in the middle of a sentence
        self._has_ordinals = language in lists.WITH_ORDINALS
        self._longest_of_date = lists.LONGEST_OF_DATE.get(language or "", 0)
        self._has_ordinals_before_names = language in lists.WITH_ORDINALS_BEFORE_NAMES

    def ends_sentence(self, text: str, match: regex.Match[str]) -> bool:
        """Whether a sentence ends with a match of ``_MARKS``."""
        marks, closers, end = match["marks"], match["closers"], match.end()
        if text[end] != " ":  # "。" and the like need no space
            between_digits = text[match.start() - 1 : match.start()].isnumeric() and text[end].isnumeric()
            return (
                marks[-1] not in ".!?…;"
                and (
                    not closers
                    or closers[-1] in "）】"  # "（他走了。）她来了。"
                    or text[end] in "“‘「『"  # “走吧。”“好。”
                    or _is_introduced(text, match.start())
                )
                and not between_digits
                and not _is_in_title(text, match.start())
                and (text[end].isalnum() or text[end] in _OPENERS)
            )
        following = _NEXT_WORD.match(text, end)
        if following is None or _CANNOT_START.match(text, end + 1):
            return False
        word = following[1].replace("’", "'")
        goes_on = word[0].islower()
        if goes_on and (closers or text[match.start() - 1 : match.start()] == " " or text[end + 1] in "–—-"):
            return False  # “Out!” he said; Oh ! dit-il; Да? – сказал он
        if closers and marks[-1] in "?!؟" and not (word[0].isupper() or word[0].isdigit()):
            return _is_introduced(text, match.start())  # the same in a script without capitals
        if "…" in marks or ".." in marks or ". ." in marks:
            return not (goes_on or word[0].isdigit() or (self._has_i and word.partition("'")[0] == "I"))
        return marks != "." or self._full_stop_ends_sentence(text, match.start(), word)

    def _full_stop_ends_sentence(self, text: str, stop: int, following: str) -> bool:
        """Whether the sentence ends with the full stop at ``stop``. following: the word after it."""
        before, word = _words_before(text, stop)
        if amount := _AMOUNT_WITH_UNIT.fullmatch(word):  # "5ft", "5p.m"
            before, word = "0", amount[1]
            if _SINGLE_LETTER.fullmatch(word):  # "the 1990s"
                return True
        if word[-1:].isdigit():
            return not self._is_ordinal(before, word, following)
        if following[0].isdigit() or following[0].islower():
            return not self._goes_on(before, word, following)
        return self._capital_starts_sentence(before, word, following)

    def _is_ordinal(self, before: str, number: str, following: str) -> bool:
        """Whether the full stop makes an ordinal, part of a date or an item's number.

        "der 2. Weltkrieg", "5. 3. 2024", "1. First".
        """
        if not number.isdigit():
            return False
        if following.isdigit() and len(number) <= self._longest_of_date:
            return True
        if len(number) > 2:
            return False
        starts_item = not before or before[-1] in "!?:•-–—*"
        starts_item = starts_item or (before[-1] == "." and not self._takes_number(before[:-1]))
        return (
            starts_item
            or following in lists.MONTH_NAMES
            or before.lower() in lists.ORDINAL_DETERMINERS
            or (self._has_ordinals and following[0].islower())
            or (self._has_ordinals_before_names and not _is_starter(following))
        )

    def _takes_number(self, word: str) -> bool:
        return (
            self._is_abbreviation("", word)
            or _is_listed(word, self._references)
            or _is_listed(word, self._references_before_digits)
        )

    def _goes_on(self, before: str, word: str, following: str) -> bool:
        """Whether the sentence goes on after a full stop before a digit or a small letter."""
        if _is_listed(word, self._references_before_digits) and not _is_unit(before, word):
            return following[0].isdigit()
        return (
            self._is_abbreviation(before, word)
            or _is_listed(word, self._references)
            or _is_listed(word, self._list_ends)
            or (_ROMAN_NUMERAL.fullmatch(word) is not None and following[0].islower())
        )

    def _capital_starts_sentence(self, before: str, word: str, following: str) -> bool:
        """Whether a full stop before a capital, or a letter of a script without capitals, ends a sentence."""
        spaced = before + word  # "p. ex", "a. m", "т. д" as "p.ex", "a.m", "т.д"
        if _is_listed(word, self._connectors) or _is_listed(spaced, self._connectors):
            return False
        if _is_unit(before, word):
            return _is_starter(following)
        if _is_listed(word, self._titles):
            return following in lists.STARTERS_AFTER_TITLE
        if _is_listed(word, self._list_ends) or _is_listed(spaced, self._list_ends):
            return True
        if _is_listed(word, lists.TIMES) or _is_listed(spaced, lists.TIMES):
            return following.replace(".", "") not in lists.WITH_TIMES
        if _is_listed(word, self._references):
            is_number = following in lists.NUMBER_WORDS or _ROMAN_NUMERAL.fullmatch(following) is not None
            return not (is_number or len(following) == 1)
        if _is_listed(word, self._references_before_digits):
            return _ROMAN_NUMERAL.fullmatch(following) is None or len(following) == 1
        if _ROMAN_NUMERAL.fullmatch(word) and self._has_ordinals_before_names:
            return _is_starter(following)
        return _is_starter(following) or not self._is_abbreviation(before, word)

    def _is_abbreviation(self, before: str, word: str) -> bool:
        """Whether the word, without its full stop, is an abbreviation whatever stands behind it."""
        return (
            (_SINGLE_LETTER.fullmatch(word) is not None and word not in self._words)
            or _DOTTED.fullmatch(word) is not None
            or _VOWELLESS.fullmatch(word) is not None
            or _is_listed(word, self._abbreviations)
            or _is_unit(before, word)
            or word.endswith("str")  # "Goethestr"
        )


def _is_introduced(text: str, position: int) -> bool:
    """Whether a colon introduces the quotation before the position, as in "他说：“走吧。”"."""
    opener = _QUOTE_START.search(text, max(0, position - _LONGEST_QUOTE), position)
    return opener is not None and opener[1] in ":："


def _is_in_title(text: str, position: int) -> bool:
    """Whether the position is inside the name of a work, as in "《摔跤吧！爸爸》"."""
    start = max(0, position - _LONGEST_TITLE)
    return text.rfind("《", start, position) > text.rfind("》", start, position)


def _words_before(text: str, stop: int) -> tuple[str, str]:
    """Returns the last two words before the position, the last one without what opens or joins it."""
    match = _LAST_WORDS.search(text, max(0, stop - _LONGEST_LOOKBACK), stop)
    if match is None:
        return "", ""
    word = match[2].rpartition("/")[2].lstrip("([{<\"'“‘„«‹»›¿¡—–-*_")
    return match[1] or "", _ELISION.sub("", word.replace("’", "'"))


def _is_starter(word: str) -> bool:
    stem, apostrophe, _ = word.partition("'")  # "It's", "Don't", "C'est"
    if word.isupper():
        stem = stem.title()
    return f"{stem}'" in lists.STARTERS if apostrophe and len(stem) < 2 else stem in lists.STARTERS


def _is_unit(before: str, word: str) -> bool:
    return before.rstrip(".")[-1:].isdigit() and _is_listed(word, lists.UNITS)  # "5 km", "5. jan"


def _is_listed(word: str, words: frozenset[str]) -> bool:
    return word in words or word.lower() in words

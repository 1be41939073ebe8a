"""Number words: CLDR's rules through ``unicode-rbnf``, Arabic through ``num2words``.

The two packages are imported when a number is first said. Both are called by one thread at a time: the
converters of ``num2words`` keep the number that they work on, and CLDR's rules are read on demand. What was
said before comes from a cache.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Any, Literal

Gender = Literal["m", "f", "n", ""]

LARGEST = 10**15  # larger numbers are read digit by digit

# Names of CLDR's rule sets. A language that is not listed has "spellout-numbering" alone.
_CARDINALS: dict[str, dict[str, str]] = {
    "da": {"m": "cardinal-common", "f": "cardinal-common", "n": "cardinal-neuter"},
    "de": {"m": "cardinal-masculine", "f": "cardinal-feminine", "n": "cardinal-neuter"},
    "el": {"m": "cardinal-masculine", "f": "cardinal-feminine", "n": "cardinal-neuter"},
    "es": {"m": "cardinal-masculine", "f": "cardinal-feminine"},
    "fr": {"m": "cardinal-masculine", "f": "cardinal-feminine"},
    "he": {
        "m": "cardinal-masculine",
        "f": "cardinal-feminine",
        "two m": "construct-masculine",
        "two f": "construct-feminine",
    },
    "it": {"m": "cardinal-masculine", "f": "cardinal-feminine"},
    "ko": {"": "cardinal-sinokorean", "native": "cardinal-native-attributive"},
    "no": {"m": "cardinal-masculine", "f": "cardinal-feminine", "n": "cardinal-neuter"},
    "pl": {"m": "cardinal-masculine", "f": "cardinal-feminine", "n": "cardinal-neuter"},
    "pt": {"m": "cardinal-masculine", "f": "cardinal-feminine"},
    "ru": {"m": "cardinal-masculine", "f": "cardinal-feminine", "n": "cardinal-neuter"},
    "sv": {"m": "cardinal-reale", "f": "cardinal-reale", "n": "cardinal-neuter"},
    "zh": {"": "cardinal"},
}
_ORDINALS: dict[str, dict[str, str]] = {
    "ar": {"m": "ordinal-masculine", "f": "ordinal-feminine"},
    "da": {"": "ordinal-common"},
    "el": {"m": "ordinal-masculine", "f": "ordinal-feminine", "n": "ordinal-neuter"},
    "es": {"m": "ordinal-masculine", "f": "ordinal-feminine", "adjective": "ordinal-masculine-adjective"},
    "fr": {"m": "ordinal-masculine", "f": "ordinal-feminine"},
    "hi": {"m": "ordinal-masculine", "f": "ordinal-feminine"},
    "it": {"m": "ordinal-masculine", "f": "ordinal-feminine"},
    "ko": {"": "ordinal-native-count"},
    "no": {"": "ordinal-masculine"},
    "pt": {"m": "ordinal-masculine", "f": "ordinal-feminine"},
    "ru": {
        "m": "ordinal-masculine",
        "f": "ordinal-feminine",
        "n": "ordinal-neuter",
        "genitive": "ordinal-masculine-genitive",
        "locative": "ordinal-masculine-locative",
        "dative": "ordinal-masculine-dative",
        "plural-genitive": "ordinal-plural-genitive",
        "plural": "ordinal-plural",
    },
    "sv": {"": "ordinal-reale"},
}
_MASCULINE_FIRST = ("m", "")
# Languages whose years are not read as CLDR's cardinal says. CLDR's rules of the others agree with it, or are
# wrong: those of Chinese and Japanese leave zeros out, French ones say "dix-neuf-cent".
_WITH_YEARS = frozenset({"da", "de", "en", "no", "sv"})
# Danish and Norwegian years from 2000 on are said as cardinals: CLDR's "tyvehundrede" is hardly ever heard.
_YEARS_UNTIL = {"da": 1999, "no": 1999}
_ZERO = {"ja": "ゼロ", "ko": "영", "zh": "零"}
# What CLDR's rules misspell. Italian writes the accent at the end of a word alone.
_CORRECTIONS = {
    "da": (("etog", "enog"),),
    "no": (("tjueende", "tjuende"),),
    "pt_PT": (("um mil ", "mil "),),
    "el": (("χίλιάδες", "χιλιάδες"), ("εννενήντα", "ενενήντα")),
    "it": (("trémila", "tremila"),),
}

_lock = threading.Lock()
_engines: dict[str, Any] = {}


class NumberRulesUnavailable(Exception):
    """A package that says numbers is missing or damaged, or has no rule for a number."""


@lru_cache(maxsize=8192)
def cardinal(value: int, language: str, form: str = "") -> str:
    """Returns a number in words, of 0 to ``LARGEST``.

    language: a code, or one with a region where CLDR's rules differ by it ("pt_PT"). form: gender of what is
    counted ("m", "f", "n"), or "native" for Korean numbers before counters; "": counting, nothing follows.
    Raises NumberRulesUnavailable.
    """
    base = language.partition("_")[0]
    if value == 0 and base in _ZERO:
        return _ZERO[base]
    if base == "nl" and value == 1:
        return "één"  # "een" is also the article
    if base == "ar":
        return _num2words(value, base, "cardinal")
    rulesets = _CARDINALS.get(base, {})
    ruleset = rulesets.get(form) or rulesets.get("") or "numbering"
    return _spelled(value, language, f"spellout-{ruleset}")


@lru_cache(maxsize=4096)
def ordinal(value: int, language: str, form: str = "") -> str:
    """Returns an ordinal in words.

    form: gender, or what else ``_ORDINALS`` names; German: the ending ("", "n", "r", "s", "m"); Polish: the
    ending ("y", "a", "e", "ego", "ym", "ej"). Raises NumberRulesUnavailable.
    """
    base = language.partition("_")[0]
    if base == "pl":
        return _polish_ordinal(value, form or "y")
    if base == "nl" and value == 1:
        return "eerste"
    if base == "de":
        return _spelled(value, language, f"spellout-ordinal-{form}" if form else "spellout-ordinal")
    rulesets = _ORDINALS.get(base, {})
    ruleset = rulesets.get(form) or next(
        (rulesets[each] for each in _MASCULINE_FIRST if each in rulesets), "ordinal"
    )
    words = _spelled(value, language, f"spellout-{ruleset}")
    if base == "ru" and words.startswith("одна тысяча"):
        return words.removeprefix("одна ")
    return words + "ं" if base == "hi" and words.endswith("वी") else words  # CLDR leaves the nasal out


@lru_cache(maxsize=4096)
def year(value: int, language: str) -> str:
    """Returns a year in words, as it is read alone. Raises NumberRulesUnavailable."""
    base = language.partition("_")[0]
    if base == "zh":
        return digits(str(value), language)
    if base == "nl" and 1100 <= value < 2000 and value % 1000:
        hundreds, rest = divmod(value, 100)  # CLDR's "negentienvijf" is not said
        return cardinal(hundreds, language) + "honderd" + (cardinal(rest, language) if rest else "")
    if base in _WITH_YEARS and value <= _YEARS_UNTIL.get(base, 9999):
        return _spelled(value, language, "spellout-numbering-year").replace("oh-", "oh ")
    return cardinal(value, language)


def digits(text: str, language: str) -> str:
    """Returns decimal digits in words, one by one. Raises NumberRulesUnavailable."""
    joiner = "" if language in ("ja", "ko", "zh") else " "
    return joiner.join(cardinal(int(digit), language) for digit in text)


def _spelled(value: int, language: str, ruleset: str) -> str:
    with _lock:
        try:
            engine = _engines.get(language)
            if engine is None:
                from unicode_rbnf import RbnfEngine

                engine = _engines[language] = RbnfEngine.for_language(language)
            words = "".join(engine.iter_format_number(value, ruleset_name=ruleset))
        except Exception as error:  # a missing or damaged package, or a number without a rule
            raise NumberRulesUnavailable(str(error)) from error
    words = words.replace("\xad", "")
    for wrong, right in _CORRECTIONS.get(language, ()):
        words = words.replace(wrong, right)
    if not words or any(char.isdecimal() for char in words):
        raise NumberRulesUnavailable(f"no words for {value}")
    return words


def _num2words(value: int, language: str, to: str) -> str:
    with _lock:
        try:
            from num2words import num2words

            words = str(num2words(value, lang=language, to=to))
        except Exception as error:  # a missing or damaged package, or a number without a rule
            raise NumberRulesUnavailable(str(error)) from error
    if not words or any(char.isdecimal() for char in words):
        raise NumberRulesUnavailable(f"no words for {value}")
    # Arabic: "and" is part of the word after it, and the dual keeps its ending where nothing follows.
    return re.sub(r"(مئتا|ألفا|مليونا|مليارا)$", r"\1ن", re.sub(r"\bو ", "و", words))


def _polish_ordinal(value: int, ending: str) -> str:
    """Returns a Polish ordinal, which CLDR lacks, with "y", "a", "e", "ego", "ym" or "ej" as its ending."""
    words = _num2words(value, "pl", "ordinal").split(" ")
    return " ".join(_polish_adjective(word, ending) for word in words)


def _polish_adjective(word: str, ending: str) -> str:
    if ending == "y" or not word.endswith(("y", "i")):
        return word
    stem, last = word[:-1], word[-1]
    if last == "y":
        return stem + ending
    soft = {"a": "a", "e": "ie", "ego": "iego", "ym": "im", "ej": "iej"}[ending]
    return stem + ("ia" if ending == "a" and stem.endswith("c") else soft)

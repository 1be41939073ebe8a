"""Where in a text something stands that is not read as it is written: one pattern for each language.

Every repeat is bounded or possessive, and an alternative begins at a digit, at a sign or at the start of a
word, so that a search takes time linear in the text. The pattern reads a text with ASCII digits and plain
spaces, see ``plain``.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import regex

from speech.text.events import EVENT_TAGS
from speech.text.normalization import cldr
from speech.text.normalization.languages import Language

# Signs of money by their codes. "$" and others are read by the name that the language has for them.
CURRENCY_CODES = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY", "₪": "ILS",
    "zł": "PLN", "R$": "BRL", "RM": "MYR", "₴": "UAH", "₫": "VND", "₱": "PHP", "₦": "NGN", "฿": "THB", "₿": "BTC",
    "CHF": "CHF", "KSh": "KES", "A$": "AUD", "C$": "CAD",
}  # fmt: skip
_SIGNS_BY_CODE = {code: sign for sign, code in CURRENCY_CODES.items()} | {"US$": "$"}
_OTHER_SIGNS = {"Rs": "₹", "Rs.": "₹", 'ש"ח': "₪", "ש״ח": "₪", "￥": "¥"}
_CROWNS = {"sv": "SEK", "no": "NOK", "da": "DKK"}
_PLAIN_SIGNS = {"％": "%", "＄": "$", "＋": "+", "－": "-", "：": ":", "／": "/", "．": ".", "，": ",", "＆": "&",
                "＠": "@", "＃": "#", "＝": "=", "＜": "<", "＞": ">", "＊": "*", "～": "~",
                "٫": ".", "٬": ",", "٪": "%", "\xa0": " ", "\u202f": " ", "\u2009": " ", "\u3000": " ",
                "‐": "-", "‑": "-", "‒": "–", "〜": "~"}  # fmt: skip

# Top-level domains that are no common words, and those that are read only in an address with a path.
_DOMAINS = "com|org|net|edu|gov|info|io|ai|app|dev|eu|de|fr|es|pt|br|nl|se|dk|fi|pl|ru|gr|tr|il|jp|cn|kr|uk|ca|au|ch|tv"
_FILES = "pdf|txt|docx?|xlsx?|pptx?|jpe?g|png|gif|mp3|mp4|wav|flac|json|csv|zip|html?|xml|py|js"
_HTML_TAGS = (
    "a|abbr|article|b|blockquote|body|br|button|center|code|dd|del|details|div|dl|dt|em|figure|font|footer|form|h[1-6]"
    "|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|p|pre|q|s|samp|script|section"
    "|small|span|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var|video|wbr"
)
_GERMAN_ORDINAL_NOUNS = (
    "Jahrhunderts?|Platz|Klasse|Stock|Etage|Mal|Tag|Kapitel|Auflage|Weltkriegs?|Liga|Bezirk|Geburtstag|Semester|"
    "Spieltag|Runde|Juni|Advent"
)
# Fractions with a sign of their own: those whose denominator and numerator are small.
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"


def plain(text: str) -> str:
    """Returns a text of the same length with ASCII digits, plain spaces and narrow signs."""
    if text.isascii():
        return text
    table = {
        ord(char): _PLAIN_SIGNS.get(char) or _ascii_digit(char) for char in set(text) if not char.isascii()
    }
    return text.translate({code: char for code, char in table.items() if char})


def _ascii_digit(char: str) -> str | None:
    digit = unicodedata.decimal(char, None)
    return None if digit is None else str(digit)


def money_signs(language: Language) -> dict[str, str]:
    """Returns how money is marked in a text of a language, and the key of ``Language.money`` for each mark."""
    own = {entry.partition(" ")[0] for entry in language.money.split(";")}
    signs = _OTHER_SIGNS | {sign: sign for sign in (*own, *CURRENCY_CODES)}
    signs |= {code: sign for code, sign in _SIGNS_BY_CODE.items() if len(code) == 3 or code == "US$"}
    if language.code in _CROWNS:
        signs[_CROWNS[language.code]] = "kr"
    if language.code == "zh":
        signs |= {"CNY": "¥", "RMB": "¥"}
    return signs


def unit_symbols(language: Language) -> dict[str, str]:
    """Returns how units are written in a language, and the key of ``cldr.UNITS`` for each."""
    own = dict(each.split("=") for each in language.units.split())
    return {symbol: symbol for symbol in cldr.UNITS} | own


@lru_cache(maxsize=64)
def number_pattern(decimal: str, is_indian: bool) -> str:
    """Returns the pattern of a number with its grouping and its decimal mark, in one group or more."""
    group = "," if decimal == "." else r"\."
    indian = r"[0-9]{1,2}(?:,[0-9]{2}){1,6},[0-9]{3}(?![0-9])|" if is_indian else ""
    whole = (
        rf"{indian}[0-9]{{1,3}}(?:{group}[0-9]{{3}}){{1,6}}(?![0-9])"
        r"|[0-9]{1,3}(?:[ '’][0-9]{3}){1,6}(?![0-9]|[ ][0-9])|[0-9]++"
    )
    foreign = (
        r"[0-9]{1,3}(?:,[0-9]{3}){1,6}\.[0-9]{1,20}+|[0-9]{1,3}(?:\.[0-9]{3}){1,6},[0-9]{1,20}+"
        r"|[0-9]{1,3}(?:,[0-9]{3}){2,6}(?![0-9])|[0-9]{1,3}(?:\.[0-9]{3}){2,6}(?![0-9])"
    )
    return rf"(?:{foreign}|(?:{whole})(?:[.,][0-9]{{1,20}}+(?![0-9]|[.,][0-9]))?)"


@lru_cache(maxsize=64)
def pattern_of(language: Language) -> regex.Pattern[str]:
    """Returns the pattern of a language. The name of the group that matched is the kind, see ``reading``."""
    signs, words = _at_signs(language), _at_words(language)
    return regex.compile(
        rf"(?=[^\p{{L}}\p{{M}}\s.,;!?'\"-]|[-`])(?:{'|'.join(signs)})|(?<![\p{{L}}\p{{M}}0-9_.@])(?=\p{{L}})(?:{'|'.join(words)})",
        regex.V0,
    )


def _at_signs(language: Language) -> list[str]:
    """Returns the alternatives that begin with a digit or a sign, the more special ones first."""
    number = number_pattern(language.decimal, language.code == "hi")
    months = _months(language)
    money = _alternatives(sorted(money_signs(language), key=len, reverse=True))
    units = _alternatives(sorted(unit_symbols(language), key=len, reverse=True))
    tag = "|".join(re.escape(tag) for tag in EVENT_TAGS)
    not_in_number = r"(?<![0-9])(?<![0-9][.,])"
    word_end = r"(?![\p{L}\p{M}0-9])"
    scale = rf"(?:\s?(?P<scale>{language.scales}){word_end})?+" if language.scales else "(?P<scale>(?!))?"
    short_scale = r"(?P<short>bn|[kKmMB])?+" if language.code == "en" else "(?P<short>(?!))?"
    found = [
        rf"(?P<tag>(?i:{tag}))",
        r"(?P<comment><!--[^<>]{0,1000}-->)",
        rf"(?P<markup></?(?i:{_HTML_TAGS})(?:\s[^<>=]{{1,40}}=[^<>]{{0,300}}+|\s?/)?+>)",
        r"(?P<entity>&(?:[A-Za-z]{2,8}|\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6});)",
        r"(?P<rule>(?<![^\n])[ ]{0,3}(?:(?:\*[ ]?){3,80}|-{3,80}|={3,80}|_{3,80}|~{3,80}|`{3,80}[\w+-]{0,20})[ ]{0,3}(?![^\n]))",
        r"(?P<heading>(?<![^\n])\#{1,6}[ ]{1,4})",
        r"(?P<quote>(?<![^\n])>{1,5}[ ]{0,4})",
        r"(?P<bullet>(?<![^\n])[*+•‣▪][ ]{1,4}(?=\S))",
        r"(?P<image>!?\[(?P<alt>[^\[\]\n]{0,200})\]\([^()\s]{1,1000}\))",
    ]
    if months:
        link = f"(?:(?:{language.month_link})[ ]{{0,2}})?" if language.month_link else ""
        found.append(
            rf"(?P<day_month>{not_in_number}(?P<day>[0-9]{{1,2}}+)(?:st|nd|rd|th|er|\.?[ºª°]|\.)?[ ]{{0,2}}"
            rf"(?:of[ ])?{link}(?P<month>(?i:{months}))(?:\.(?![ ]?$))?{word_end}"
            rf"(?:,?[ ]{{1,2}}{link}(?P<year>[12][0-9]{{3}})(?![0-9]|[.,:][0-9]))?+(?P<era>[ ]?(?:года|год|г\.|roku|r\.))?+)"
        )
    if language.code == "en":
        found.append(rf"(?P<decade>(?<![0-9])(?:['’]?[2-9]0|1[1-9][0-9]0|20[1-9]0)['’]?s{word_end})")
        found.append(r"(?P<always>(?<![0-9/])(?:24/7|9/11|20/20|50/50)(?![0-9/]))")
    if language.code == "ru":
        found.append(
            r"(?P<of_year>(?<![0-9.,])[12][0-9]{3}[ ]?(?P<year_noun>года|году|годом|год|г\.)(?!\p{L}))"
        )
    if language.code == "pl":
        found.append(r"(?P<of_year>(?<![0-9.,])[12][0-9]{3}[ ](?P<year_noun>roku|rok|r\.)(?!\p{L}))")
    if language.code == "zh":
        found.append(r"(?P<of_year>(?<![0-9.,])(?:1[0-9]|2[01])[0-9]{2}(?P<year_noun>)(?=年))")
    found += [
        r"(?P<iso>(?<![0-9/.-])(?P<iso_y>[12][0-9]{3})(?P<iso_s>[-/.])(?P<iso_m>[01]?[0-9])(?P=iso_s)(?P<iso_d>[0-3]?[0-9])"
        r"(?:T(?=[0-9]))?(?![0-9]|[-/.][0-9]))",
        r"(?P<numeric>(?<![0-9/.-])(?P<num_a>[0-3]?[0-9])(?P<num_s>[./-])(?P<num_b>[0-3]?[0-9])(?P=num_s)"
        r"(?P<num_y>[12][0-9]{3}|[0-9]{2})(?![0-9]|[-/.:,][0-9]))",
        r"(?P<phone>(?<![0-9(+])(?:\+[0-9]{1,3}(?:[ .\-/()]{1,2}[0-9]{1,12}+){1,7}|\+[0-9]{7,15}"
        r"|\([0-9]{2,5}\)[ ]?[0-9]{2,10}(?:[ -][0-9]{2,10}){0,4}|(?<![.,-])0[0-9]{1,5}(?:[ /-][0-9]{2,10}){1,5}|(?<=〒)[0-9]{3}-[0-9]{4}"
        r"|[0-9]{3}-[0-9]{3}-[0-9]{4}"
        + (r"|1[0-9]{2}[ -]?[0-9]{4}[ -]?[0-9]{4}" if language.code == "zh" else "")
        + r")(?![0-9]))",
        r"(?P<version>(?<![0-9.])(?![0-9]{1,3}(?:\.[0-9]{3}){1,6}(?![0-9]|\.[0-9]))[0-9]{1,5}(?:\.[0-9]{1,5}){2,5}+(?![0-9]))",
        r"(?P<time>(?<![0-9:.,])(?P<hour>[01]?[0-9]|2[0-4])(?:" + _time_marks(language) + ")"
        rf"(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?+(?![0-9]|[:,.][0-9])(?P<half>[ ]?(?:[ap]\.m\.|[apAP][mM]{word_end}))?+"
        rf"(?:[ ]?(?:Uhr|uur|heures?|hrs|h|बजे){word_end})?+)",
        rf"(?P<clock>(?<![0-9:.,])(?P<clock_hour>1[0-2]|0?[1-9])[ ]?(?P<clock_half>[ap]\.m\.|[apAP][mM]{word_end}))"
        if language.code == "en"
        else rf"(?P<clock>(?<![0-9:.,])(?P<clock_hour>[01]?[0-9]|2[0-4])(?P<clock_half>[ ]?Uhr|h{word_end}){word_end})"
        if language.code in ("de", "fr", "pt")
        else "(?P<clock>(?!))",
        rf"(?P<money>(?<![\p{{L}}\p{{Sc}}0-9])(?P<sign>{money})[ ]?(?P<amount>{number})(?:[ ]?[–-][ ]?(?P<amount_to>{number}))?+"
        rf"{scale}{short_scale}(?![0-9]))",
        rf"(?P<money_after>{not_in_number}(?P<amount_2>{number})(?:,[-–])?(?:[ ](?P<scale_2>{language.scales or '(?!)'}))?[ ]?(?P<sign_2>{money}){word_end}(?:(?<=kr)\.(?=[ ]?[\p{{Ll}},]))?)",
        rf"(?P<unit>{not_in_number}(?<![A-Za-z])(?P<quantity>{number})[ ]?(?P<symbol>{units})(?![\p{{L}}\p{{M}}0-9²³/]|['’][\p{{L}}]))",
        rf"(?P<permille>{not_in_number}(?P<per>{number})[ ]?‰)",
        rf"(?P<vulgar>(?:{not_in_number}(?P<whole>[0-9]{{1,9}})[ ]?)?(?P<part>[{_VULGAR}]))",
        r"(?P<fraction>(?<![0-9/.,])(?:(?P<whole_2>[0-9]{1,6})[ ])?(?P<numerator>[0-9]{1,3})[/⁄](?P<denominator>[0-9]{1,3})(?![0-9/⁄]|[.,][0-9]))",
    ]
    thousands = r"[0-9]{1,3}(?:,[0-9]{3}){1,2}|" if language.decimal == "." else ""
    for index, (suffix, _) in enumerate(language.ordinals):
        found.append(rf"(?P<ordinal_{index}>(?<![0-9.,])(?:{thousands}[0-9]{{1,9}})-?(?:{suffix}){word_end})")
    if language.code == "de":
        found.append(
            rf"(?P<ordinal_dot>(?<![0-9.,])[0-9]{{1,3}}\.(?=[ ](?:{_GERMAN_ORDINAL_NOUNS}){word_end}))"
        )
    elif language.code in ("da", "fi", "no", "pl", "tr"):
        found.append(r"(?P<ordinal_dot>(?<![0-9.,])[0-9]{1,3}\.(?=[ ]\p{Ll}))")
    found += [
        rf"(?P<range>(?<![-0-9])(?<![0-9][.,])(?P<low>{number})(?:[ ]?–[ ]?|-|~)(?=(?P<high>{number})(?!-[0-9])))",
        rf"(?P<digits>(?:(?<=[0-9][.,])(?P<value>[0-9]++)|(?<![0-9])(?P<value>{number})))",
        r"(?P<dash>(?<=[%°\p{L}0-9])[ ]?–[ ]?(?=\p{Sc}?[0-9])|(?<=[%°])-(?=[0-9]))",
        r"(?P<minus>(?<![\p{L}\p{M}0-9)\]_.,%°-])-(?=[0-9]|\p{Sc}[0-9])|−)",
        r"(?P<plus>\+)",
        r"(?P<hash>(?:\#|№)[ ]?(?=[0-9]))",
        r"(?P<times>(?<=[0-9])(?:[ ]?[*×][ ]?)(?=[0-9]))",
        r"(?P<operator>[=×÷±≈≤≥]|(?<=[ 0-9])[<>](?=[ 0-9]))",
        r"(?P<ampersand>&[ ]?)",
        r"(?P<at>@)",
        r"(?P<percent>%)",
        r"(?P<emoji>(?:(?![0-9#*])(?:\p{Extended_Pictographic}|\p{Regional_Indicator})"
        r"[\uFE0E\uFE0F\u200D\u20E3\U0001F3FB-\U0001F3FF\U000E0020-\U000E007F]{0,8}+){1,40}+)",
        r"(?P<code_mark>[`*|\\~^_{}<>\#]{1,40}+|[©®™•‣▪←→↑↓⇒⇐↔°\uFE0F\u20E3\U0001F3FB-\U0001F3FF])",
        r"(?P<other_number>\p{No})",
    ]  # fmt: skip
    return found


def _at_words(language: Language) -> list[str]:
    """Returns the alternatives that begin with a letter at the start of a word."""
    label = "[A-Za-z0-9-]{1,63}+"
    scales, word_end = language.scales or "(?!)", r"(?![\p{L}\p{M}0-9])"
    path = r"(?:[/?\#][^\s<>\"]{0,2000}+)?+"
    money = _alternatives(
        sorted((sign for sign in money_signs(language) if sign[0].isalpha()), key=len, reverse=True)
    )
    number = number_pattern(language.decimal, language.code == "hi")
    found = [
        rf"(?P<url>(?i:https?|ftp)://[^\s<>\"]{{1,2000}}+|www\.(?:{label}\.){{1,5}}[A-Za-z]{{2,24}}{path})",
        rf"(?P<email>[A-Za-z0-9._%+-]{{1,64}}+@(?:{label}\.){{1,5}}[A-Za-z]{{2,24}}(?![\p{{L}}0-9]))",
        rf"(?P<domain>(?:{label}\.){{1,5}}(?:(?:{_DOMAINS})(?![\p{{L}}0-9@-]|\.[\p{{L}}0-9]){path}|[a-z]{{2}}(?=/)[/][^\s<>\"]{{0,2000}}+))",
        rf"(?P<file>[A-Za-z0-9_-]{{1,80}}+\.(?:{_FILES})(?![\p{{L}}0-9]))",
        rf"(?P<money_word>(?P<sign_3>{money})[ ]?(?P<amount_3>{number})(?:[ ](?P<scale_3>{scales}){word_end})?+(?![0-9\p{{L}}]))",
    ]
    if language.code == "en" and (months := _months(language)):
        found.append(
            rf"(?P<month_day>(?P<month_2>{months})\.?[ ]{{1,2}}(?P<day_2>[0-3]?[0-9])(?:st|nd|rd|th)?(?![0-9]|[.,:/%][0-9]|[ ]?%|[\p{{L}}])"
            r"(?:,?[ ]{1,2}(?P<year_2>[12][0-9]{3})(?![0-9]|[.,:][0-9]|[ ]?%))?+)"
        )
    if language.code == "ms":
        found.append(r"(?P<ordinal_ke>ke-[0-9]{1,9}(?![0-9\p{L}]))")
    if language.number_abbreviations:
        found.append(rf"(?P<number_word>(?:{language.number_abbreviations})[ ]?(?=[0-9]))")
    if language.abbreviations:
        words = _alternatives(sorted(language.abbreviations, key=len, reverse=True))
        found.append(rf"(?P<abbreviation>(?:{words})(?![\p{{L}}0-9]))")
    if language.titles:
        words = _alternatives(sorted(language.titles, key=len, reverse=True))
        found.append(rf"(?P<title>(?:{words})(?=[ ]{{1,2}}[\p{{Lu}}\p{{Lt}}\p{{Lo}}]))")
    return found


def _alternatives(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in words)


def _months(language: Language) -> str:
    names = cldr.months_by_name(language.locale)
    if language.code in ("ja", "ko", "zh"):
        return ""
    return _alternatives([*sorted({*names, *(name.capitalize() for name in names)}, key=len, reverse=True)])


def _time_marks(language: Language) -> str:
    """Returns the pattern of what stands between hour and minute."""
    if language.code == "de":
        return r":|\.(?=[0-5][0-9][ ]?Uhr)"
    if language.code == "nl":
        return r":|\.(?=[0-5][0-9][ ]uur)"
    if language.code in ("fr", "pt"):
        return r":|[ ]?h[ ]?"
    if language.code in ("da", "no", "sv", "fi"):
        return r":|(?<=kl(?:\.|o)?[ ][0-9]{1,2})\."
    return ":"

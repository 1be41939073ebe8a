"""What is said for a match of a language's pattern, by its kind: one method of ``Reader`` for each."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import regex

from speech.text.normalization import cldr, numbers
from speech.text.normalization.languages import Language
from speech.text.normalization.numbers import LARGEST, NumberRulesUnavailable
from speech.text.normalization.scan import (
    CURRENCY_CODES,
    money_signs,
    number_pattern,
    pattern_of,
    unit_symbols,
)

Match = Any  # regex.Match[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# How far words before and after a number are looked at.
_REACH = 24
_WORD_BEFORE = regex.compile(r"([\p{L}\p{M}'’]{1,20})[ .]{0,2}$")
_WORD_AFTER = regex.compile(r"[ ]{1,2}([\p{L}\p{M}'’-]{1,20})")
_FIRST_YEAR, _LAST_YEAR = 1100, 2099
_LONGEST_HOST = 60
_DIGIT_GROUP = regex.compile("[0-9]+")
_AFTER_SENTENCE = regex.compile(r"\s*$|\s{0,3}\n|\s{1,2}\p{Lu}|[ ]?[\"”’)]")
# Spanish and Portuguese nouns in "a" that are masculine.
_MASCULINE_A = ("día", "dia", "mapa", "planeta", "ma")
_HEBREW_FEMININE = _words("שנים נשים מילים פעמים ערים אבנים ביצים")
_ITALIAN_LINKS = _words("a e o di da in su per con tra fra che non del al dal nel sul della alla")
_ITALIAN_ONE = regex.compile(r"\buna (?=[aeiou])")
_KOREAN_COUNTERS = "개(?!월)|명|사람|살|시간|시|번째|번|마리|병|잔|장|권|대|그루|벌|켤레|송이|곳|가지|달"
_COUNTER = regex.compile(rf"[ ]?(?:{_KOREAN_COUNTERS})(?![가-힣]{{2}})")
_CHINESE_MEASURES = frozenset("个位次天年周种点条张本只辆台件间家座名米岁倍句场口双杯瓶")
_GERMAN_SUFFIX = regex.compile(r"(?:er|fach|mal|ige[nrsm]?|te|ten|ter|tes)(?!\p{L})")
_RUSSIAN_TENTHS = ("десят", "сот", "тысячн")
_GERMAN_EN = _words("am vom zum dem den im beim des seit ab bis jedem jeden einem einen nach")
_GERMAN_E = _words("der die das jede")
# Letters that are never joined to a word by a space: what is before or after them is written together.
_ATTACHED_BEFORE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Arabic}\p{Hebrew}]")
_ATTACHED_AFTER = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
_SHORT_SCALES = {
    "k": "thousand",
    "K": "thousand",
    "M": "million",
    "m": "million",
    "B": "billion",
    "bn": "billion",
}
_SIGNS = "=<>×÷±≈≤≥"


@lru_cache(maxsize=64)
def reader_of(language: Language) -> Reader:
    """Returns the reader of a language."""
    return Reader(language)


class Reader:
    """Says what matches a language's pattern. Thread-safe."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.pattern = pattern_of(language)
        # A number by itself, for what seemed to be more.
        number = number_pattern(language.decimal, language.code == "hi")
        self.plain_pattern = regex.compile(rf"(?P<digits>(?P<value>{number}))")
        self._locale = language.locale
        self._code = language.code
        self._signs = money_signs(language)
        self._units = unit_symbols(language)
        self._money = _money_forms(language)
        self._genders = {
            unit: gender
            for gender, _, units in (part.partition(":") for part in language.genders.split(";") if part)
            for unit in units.split()
        }
        # Abbreviations that may be the last word of a sentence.
        self._closing = frozenset(language.closing.split("|"))
        self._year_before = frozenset(language.year_before.split("|")) - {""}
        self._year_after = frozenset(language.year_after.split("|")) - {""}
        self._operators = dict(zip(_SIGNS, language.signs.split("|"), strict=True))
        # A method for each kind, by the name of its group in the pattern.
        self._readings: dict[str, Callable[[Match, str], str | None]] = {
            name.removeprefix("_read_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_read_")
        }

    def read(self, match: Match, text: str) -> str | None:
        """Returns what is said for a match, with the spaces that part it from its neighbours.

        text: the text that was searched. Returns None where it is to stay as it is written.
        """
        kind = match.lastgroup
        reading = self._readings.get(
            kind.rstrip("0123456789").rstrip("_") if kind not in self._readings else kind
        )
        assert reading is not None, kind
        try:
            spoken = reading(match, text)
        except NumberRulesUnavailable:
            return None
        if spoken is None or not spoken.strip():
            return self._dropped(match, text, spoken) if spoken is not None else None
        return self._spaced(spoken, text, match.start(), match.end())

    def say_if(self, text: str, kinds: tuple[str, ...]) -> str | None:
        """Returns a whole text in words if it is of one of some kinds, see ``scan``; None if it is not.

        text: as ``scan.plain`` returns it. Raises NumberRulesUnavailable.
        """
        match = self.pattern.fullmatch(text)
        return self._readings[match.lastgroup](match, text) if match and match.lastgroup in kinds else None

    # Numbers

    def say_number(self, written: str, form: str = "") -> str:
        """Returns a number as it is written in this language in words. Raises NumberRulesUnavailable."""
        whole, fraction = self._parse(written)
        if not fraction:
            return self._say_whole(whole, form)
        return self._say_decimal(whole, fraction, form)

    def _parse(self, written: str) -> tuple[str, str]:
        """Returns the digits before and after the decimal mark."""
        written = written.replace(" ", "").replace("'", "").replace("’", "")
        marks = [char for char in written if char in ".,"]
        if not marks:
            return written, ""
        last = marks[-1]
        is_group = (
            (len(set(marks)) == 1 and len(marks) > 1)
            or (len(marks) == 1 and last != self.language.decimal and len(written.rpartition(last)[2]) == 3
                and written[0] != "0" and len(written.partition(last)[0]) <= 3)
            or (self._code == "hi" and last == ",")
        )  # fmt: skip
        if is_group:
            return written.replace(",", "").replace(".", ""), ""
        whole, _, fraction = written.rpartition(last)
        return whole.replace(",", "").replace(".", ""), fraction

    def _say_whole(self, whole: str, form: str = "") -> str:
        if (len(whole) > 1 and whole[0] == "0") or len(whole) > 16 or int(whole) > LARGEST:
            return numbers.digits(whole, self._locale)
        return numbers.cardinal(int(whole), self._locale, form)

    def _say_decimal(self, whole: str, fraction: str, form: str) -> str:
        language = self.language
        if self._code == "ru" and len(fraction) <= 3 and len(whole) <= 15:
            return _russian_decimal(int(whole), fraction)
        before = self._say_whole(whole)
        zeros = len(fraction) - len(fraction.lstrip("0"))
        if language.decimals == "digits" or len(fraction) - zeros > 2 or zeros == len(fraction):
            after = numbers.digits(fraction, self._locale)
        else:
            after = " ".join(
                [numbers.digits("0", self._locale)] * zeros + [self._say_whole(fraction[zeros:], "")]
            )
        if not language.is_spaced:
            return f"{before}{language.point}{after}"
        return f"{before} {language.point} {after}"

    def _counted(self, written: str, gender: str) -> tuple[str, str]:
        """Returns a number before a noun in words, and the plural category of the noun."""
        whole, fraction = self._parse(written)
        category = "other"
        if len(whole) <= 15:
            category = cldr.plural_category(Fraction(int(whole)), fraction, self._locale)
        return (
            self._say_decimal(whole, fraction, gender) if fraction else self._say_whole(whole, gender)
        ), category

    def _read_digits(self, match: Match, text: str) -> str:
        written = match["value"]
        start, end = match.span("value")
        before, after = _word_before(text, start), _word_after(text, end)
        if (
            len(written) == 4
            and written.isdigit()
            and self._is_year(written, text, start, end, before, after)
        ):
            return numbers.year(int(written), self._locale)
        if self._code == "ko" and len(written) <= 2 and (counter := self._korean_counter(written, text, end)):
            return counter
        if self._code == "zh" and written == "2" and text[end : end + 1] in _CHINESE_MEASURES:
            return "两"
        is_in_a_word = bool(regex.match(r"[A-Za-z]", text[start - 1 : start])) if start else False
        if written.isdigit() and len(written) > 4 and is_in_a_word:
            return numbers.digits(written, self._locale)
        return self.say_number(written, self._form_before(written, after))

    def _is_year(self, written: str, text: str, start: int, end: int, before: str, after: str) -> bool:
        if not self._year_after or not _FIRST_YEAR <= int(written) <= _LAST_YEAR:
            return False
        if text[start - 1 : start] in ("-", "–") and text[start - 5 : start - 1].isdigit():
            return True
        if before.lower() in self._year_before:
            return True
        following = text[end : end + 1]
        if self._code == "sv" and text.startswith("-tal", end):
            return True
        if following in ("-", "–"):
            return False
        if after:
            return after.lower() in self._year_after
        return not before or not (following.isalpha() or following in "%")

    def _form_before(self, written: str, noun: str) -> str:
        """Returns the gender that the noun after a number seems to have; "" where none shows."""
        whole, fraction = self._parse(written)
        if not noun or fraction or len(whole) > 15:
            return ""
        value, noun = int(whole), noun.rstrip(".,'’")
        last, last_two = value % 10, value % 100
        if self._code in ("es", "pt"):
            if (
                len(noun) < 4
                or not noun.islower()
                or noun in ("como", "para", "pero", "porque", "quando", "cuando", "mais")
            ):
                return ""
            singular = noun.removesuffix("s")
            return "f" if singular.endswith("a") and not singular.endswith(_MASCULINE_A) else "m"
        if value == 1 and self._code == "it" and noun.islower() and noun not in _ITALIAN_LINKS:
            return "f" if noun.endswith("a") else "m"
        if value == 1 and self._code == "de" and noun[:1].isupper():
            return "f" if noun.endswith(("ung", "heit", "keit", "ion", "tät", "e")) else "m"
        if self._code == "ru" and last_two not in (11, 12) and len(noun) > 2:
            if last == 1:
                return "f" if noun.endswith(("а", "я")) else "n" if noun.endswith(("о", "е")) else "m"
            if last == 2:
                return "f" if noun.endswith(("ы", "и")) else "m"
        if self._code == "he" and noun.endswith(("ים", "ות")):
            gender = "f" if noun.endswith("ות") or noun in _HEBREW_FEMININE else "m"
            return f"two {gender}" if value == 2 else gender
        if value == 1 and self._code in ("da", "no", "sv") and noun.islower():
            return "m"
        return ""

    def _korean_counter(self, written: str, text: str, end: int) -> str | None:
        if text[end : end + 1] == "월" and written.isdigit() and int(written) in (6, 10):
            return "유" if int(written) == 6 else "시"
        following = _COUNTER.match(text, end)
        if not following or not written.isdigit() or not 1 <= int(written) <= 99:
            return None
        counter = following[0].strip()
        if counter == "번째" and int(written) == 1:
            return "첫 "
        if counter == "시" and int(written) > 12:
            return None
        words = numbers.cardinal(int(written), self._locale, "native")
        return words if following[0].startswith(" ") else f"{words} "

    def _read_minus(self, match: Match, text: str) -> str:
        return self._apart(self.language.minus, match, text)

    def _read_plus(self, match: Match, text: str) -> str:
        return self._apart(self.language.plus, match, text)

    def _read_times(self, match: Match, text: str) -> str:
        return self._apart(self._operators["×"], match, text)

    def _read_operator(self, match: Match, text: str) -> str:
        return self._apart(self._operators[match["operator"]], match, text)

    def _read_hash(self, match: Match, text: str) -> str:
        return self._apart(self.language.number, match, text)

    def _read_number_word(self, match: Match, text: str) -> str:
        return self._apart(self.language.number, match, text)

    def _apart(self, word: str, match: Match, text: str) -> str:
        """Returns a word that is said before what follows, with a space where there is none."""
        following = text[match.end() : match.end() + 1]
        return f"{word} " if self.language.is_spaced and following and not following.isspace() else word

    def _read_other_number(self, match: Match, text: str) -> str | None:
        value = unicodedata.numeric(match[0], -1.0)
        return self._say_whole(str(int(value))) if value >= 0 and value == int(value) else None

    def _read_version(self, match: Match, text: str) -> str:
        joiner = f" {self.language.dot} " if self.language.is_spaced else self.language.dot
        return joiner.join(self._say_whole(part) for part in match[0].split("."))

    def _read_always(self, match: Match, text: str) -> str:
        return " ".join(self._say_whole(part) for part in match[0].split("/"))

    def _read_range(self, match: Match, text: str) -> str | None:
        low, high = match["low"], match["high"]
        is_years = len(low) == 4 and low.isdigit() and high.isdigit() and low < low[: 4 - len(high)] + high
        is_years = is_years and len(high) in (2, 4)  # "1990-95"
        if match[0].endswith("-") and not (
            is_years and len(high) == 2
        ):  # a hyphen: a range only where the numbers rise
            if not low.isdigit() or not high.isdigit() or int(low[:20]) >= int(high[:20]) or len(low) > 15:
                return None
            if low[0] == "0" or high[0] == "0":
                return None
        if is_years and self._year_after and _FIRST_YEAR <= int(low) <= _LAST_YEAR:
            words = numbers.year(int(low), self._locale)
        else:
            words = self.say_number(low)
        to = self.language.to
        if not self.language.is_spaced:
            return words + to
        return f"{words}{to} " if self._code == "ko" else f"{words} {to} "

    def _read_dash(self, match: Match, text: str) -> str:
        return f" {self.language.to} " if self.language.is_spaced else self.language.to

    def _read_fraction(self, match: Match, text: str) -> str | None:
        return self._fraction(match["whole_2"], int(match["numerator"]), int(match["denominator"]))

    def _read_vulgar(self, match: Match, text: str) -> str | None:
        top, _, bottom = unicodedata.normalize("NFKC", match["part"]).partition("⁄")
        return self._fraction(match["whole"], int(top), int(bottom))

    def _fraction(self, whole: str | None, top: int, bottom: int) -> str | None:
        if bottom == 0:
            return None
        language = self.language
        named = language.fractions.split("|")
        places = {(1, 2): 0, (1, 3): 1, (2, 3): 2, (1, 4): 3, (3, 4): 4}
        if language.fractions and (top, bottom) in places:
            words = named[places[top, bottom]]
        else:
            words = language.over.format(n=self._say_whole(str(top)), d=self._say_whole(str(bottom)))
        if whole is None:
            return words
        if not language.is_spaced or self._code == "ko":
            return (
                f"{self._say_whole(whole)} {words}"
                if self._code == "ko"
                else f"{self._say_whole(whole)}と{words}"
                if self._code == "ja"
                else f"{self._say_whole(whole)}又{words}"
            )
        return f"{self._say_whole(whole)} {self._joined_by_and(words, self.language.and_)}"

    def _read_ordinal(self, match: Match, text: str) -> str | None:
        index = int(str(match.lastgroup).rpartition("_")[2])
        value = int(_leading_digits(match[0].replace(",", "")))
        form = self.language.ordinals[index][1]
        if value == 0 or value > LARGEST:
            return None
        return numbers.ordinal(value, self._locale, form)

    def _read_ordinal_dot(self, match: Match, text: str) -> str | None:
        value = int(match[0][:-1])
        if value == 0:
            return None
        form = _german_ending(_word_before(text, match.start())) if self._code == "de" else ""
        if self._code == "pl":
            noun = _word_after(text, match.end())
            form = "a" if noun.endswith("a") else "e" if noun.endswith(("o", "e")) else "y"
        return numbers.ordinal(value, self._locale, form)

    def _read_ordinal_ke(self, match: Match, text: str) -> str | None:
        value = int(match[0][3:])
        return numbers.ordinal(value, self._locale) if value else None

    def _read_decade(self, match: Match, text: str) -> str:
        written = _leading_digits(match[0].lstrip("'’"))
        words = (
            numbers.year(int(written), "en") if len(written) == 4 else numbers.cardinal(int(written), "en")
        )
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    # Quantities

    def _read_unit(self, match: Match, text: str) -> str | None:
        symbol = self._units[match["symbol"]]
        name = cldr.unit_name(symbol)
        gender = self._genders.get(name.partition("-per-")[0], self.language.gender)
        if self._code == "he" and match["quantity"] == "2":
            gender = f"two {gender}"
        if self._code == "ko" and name == "hour" and len(match["quantity"]) <= 2:
            gender = "native"
        words, category = self._counted(match["quantity"], gender)
        pattern = cldr.unit_pattern(symbol, category, self._locale)
        if pattern is None and symbol == "%":
            pattern = self.language.percent.replace("{}", "{0}")
        if pattern is None:
            return None
        if not self.language.is_spaced:
            pattern = pattern.replace(" ", "")
            if self._code == "zh" and match["quantity"] == "2":
                words = "二" if symbol == "%" else "两"
        spoken = pattern.replace("{0}", words)
        if gender == "native":
            spoken = pattern.replace("{0}", f"{words} ")
        return _ITALIAN_ONE.sub("un'", spoken) if self._code == "it" else spoken

    def _read_permille(self, match: Match, text: str) -> str:
        return self.language.permille.format(self.say_number(match["per"]))

    def _read_percent(self, match: Match, text: str) -> str:
        return self._apart(self.language.percent.replace("{}", "").strip(), match, text)

    def _read_money(self, match: Match, text: str) -> str | None:
        scale = match["scale"] or _SHORT_SCALES.get(match["short"] or "")
        return self._sum(match["sign"], match["amount"], scale, match["amount_to"])

    def _read_money_after(self, match: Match, text: str) -> str | None:
        return self._sum(match["sign_2"], match["amount_2"], match["scale_2"], None)

    def _read_money_word(self, match: Match, text: str) -> str | None:
        return self._sum(match["sign_3"], match["amount_3"], match["scale_3"], None)

    def _sum(self, mark: str, amount: str, scale: str | None, amount_to: str | None) -> str | None:
        language = self.language
        sign = self._signs[mark]
        own = self._money.get(sign)
        whole, fraction = self._parse(amount)
        gender = own.gender if own else ""
        if scale or amount_to:
            end = amount_to or amount
            words, category = self._counted(end, "" if scale else gender)
            if amount_to:
                words = f"{self.say_number(amount)} {language.to} {words}"
            if scale:
                words += f" {scale}" if language.is_spaced else scale
                category = "many" if own and "many" in own.main else "other"
            unit = self._currency(sign, category)
            if unit is None:
                return None
            if scale and language.of and not scale.endswith(("mil", "thousand")):
                of = (
                    "d'"
                    if self._code == "fr" and unit[0] in "aeiouy"
                    else language.of.partition("|")[0] + " "
                )
                unit = of + unit
            return f"{words} {unit}" if language.is_spaced else words + unit
        if own and own.part and len(fraction) == 2:
            main = self._coins(whole, sign, own.main, own.gender)
            part = self._coins(str(int(fraction)), sign, own.part, own.part_gender)
            if int(fraction) == 0:
                return main
            if not whole.strip("0"):
                return part
            and_ = language.and_ if language.money_and is None else language.money_and
            if not language.is_spaced:
                return main + part
            return f"{main} {self._joined_by_and(part, and_)}" if and_ else f"{main} {part}"
        if fraction and int(fraction) == 0:
            amount = whole
        words, category = self._counted(amount, gender)
        unit = self._currency(sign, category)
        return None if unit is None else self._with_noun(words, unit, category)

    def _coins(self, whole: str, sign: str, forms: dict[str, str], gender: str) -> str:
        words, category = self._counted(whole, gender)
        return self._with_noun(words, forms.get(category) or forms["other"], category)

    def _with_noun(self, words: str, noun: str, category: str) -> str:
        """Returns a number with its noun, which comes first in Swahili, and for one in Arabic and Hebrew."""
        if noun.startswith("<") or (category == "one" and self._code in ("ar", "he")):
            return f"{noun.removeprefix('<')} {words}"
        return f"{words} {noun}" if self.language.is_spaced else words + noun

    def _currency(self, sign: str, category: str) -> str | None:
        own = self._money.get(sign)
        if own:
            return own.main.get(category) or own.main["other"]
        return cldr.currency_name(CURRENCY_CODES[sign], category, self._locale)

    def _joined_by_and(self, words: str, and_: str) -> str:
        """Returns words after "and", which Hebrew and Arabic write together with them."""
        return and_ + words if self._code in ("ar", "he") else f"{and_} {words}"

    # Dates and times

    def _read_day_month(self, match: Match, text: str) -> str | None:
        month = cldr.months_by_name(self._locale).get(match["month"].lower())
        day = int(match["day"])
        if month is None or not 1 <= day <= 31:
            return None
        era = (match["era"] or "").strip()
        if era and not match["year"]:
            return None
        words = self._date(match["year"], match["month"], month, day, _word_before(text, match.start()))
        is_stop = not match["year"] and text[match.end("month") : match.end()] == "."
        is_end = match["month"].lower() in cldr.full_months(self._locale) or _ends_sentence(text, match.end())
        return f"{words}." if words and is_stop and is_end else words

    def _read_month_day(self, match: Match, text: str) -> str | None:
        month = cldr.months_by_name(self._locale).get(match["month_2"].lower())
        day = int(match["day_2"])
        if month is None or not 1 <= day <= 31:
            return None
        name = self._month_name(match["month_2"], month)
        words = f"{name} {numbers.ordinal(day, self._locale)}"
        return f"{words}, {numbers.year(int(match['year_2']), self._locale)}" if match["year_2"] else words

    def _read_iso(self, match: Match, text: str) -> str | None:
        return self._numeric_date(
            match["iso_y"], int(match["iso_m"]), int(match["iso_d"]), text, match.start()
        )

    def _read_numeric(self, match: Match, text: str) -> str | None:
        first, second, year, mark = int(match["num_a"]), int(match["num_b"]), match["num_y"], match["num_s"]
        if len(year) == 2 and mark == "-":
            return None
        if mark == "." and self.language.decimal == "." and len(year) == 2:
            return None
        if self._code == "en" and mark == "/" and first <= 12:
            first, second = second, first
        return self._numeric_date(year, second, first, text, match.start())

    def _numeric_date(self, year: str, month: int, day: int, text: str, start: int) -> str | None:
        if not 1 <= month <= 12 or not 1 <= day <= 31:
            return None
        return self._date(year, None, month, day, _word_before(text, start))

    def _date(
        self, year: str | None, written_month: str | None, month: int, day: int, before: str
    ) -> str | None:
        """Returns a date in words. before: the word before it, on which a German ending depends."""
        language = self.language
        if self._code in ("ja", "ko", "zh"):
            name = (
                {6: "유월", 10: "시월"}.get(month, f"{self._say_whole(str(month))}월")
                if self._code == "ko"
                else self._say_whole(str(month))
            )
        else:
            name = self._month_name(written_month, month)
        if not name:
            return None
        if self._code == "en":
            the = "" if before.lower() == "the" else "the "
            if written_month:  # "3 May 2024"
                words = f"{the}{numbers.ordinal(day, self._locale)} of {name}"
                return f"{words}, {numbers.year(int(year), self._locale)}" if year else words
            words = f"{name} {numbers.ordinal(day, self._locale)}"
            return f"{words}, {self._year_of_date(year)}" if year else words
        day_words = self._day(day, before)
        if year is None and not language.is_spaced:
            return f"{name}月{day_words}日"
        if year is None:
            pattern = language.date.partition("{m}")[0] + "{m}"
            return pattern.format(d=day_words, m=name)
        return language.date.format(d=day_words, m=name, y=self._year_of_date(year))

    def _year_of_date(self, year: str) -> str:
        if len(year) == 2:
            return self._say_whole(year)
        value = int(year)
        if self._code == "ru":
            return numbers.ordinal(value, self._locale, "genitive") + " года"
        if self._code == "pl":
            return numbers.ordinal(value, self._locale, "ego") + " roku"
        return numbers.year(value, self._locale)

    def say_date(self, year: str | None, month: int, day: int) -> str | None:
        """Returns a date in words; None where the names of months are missing.

        Raises NumberRulesUnavailable.
        """
        return self._date(year, None, month, day, "")

    def say_time(self, hour: int, minute: int, half: str) -> str:
        """Returns a time in words. half: "am", "pm" or "". Raises NumberRulesUnavailable."""
        return self._time(hour, minute, half, "")

    def _day(self, day: int, before: str) -> str:
        language = self.language
        match language.day_form:
            case "ordinal":
                return numbers.ordinal(day, self._locale)
            case "german":
                return numbers.ordinal(day, self._locale, _german_ending(before))
            case "russian":
                return numbers.ordinal(day, self._locale, "genitive")
            case "polish":
                return numbers.ordinal(day, self._locale, "ego")
            case "first" if day == 1:
                return language.first
        return numbers.cardinal(day, self._locale, language.day_gender)

    def _month_name(self, written: str | None, month: int) -> str:
        """Returns a month's name: as it is written, unless that is an abbreviation."""
        names = cldr.month_names(self._locale)
        if not names:
            return ""
        name = names[month - 1]
        if written is None:
            return name
        standalone = cldr.full_months(self._locale)
        return written if written.lower() in standalone else name

    def _read_of_year(self, match: Match, text: str) -> str:
        value, noun = int(match[0][:4]), match["year_noun"]
        before = _word_before(text, match.start()).lower()
        if self._code == "zh":
            return numbers.digits(match[0][:4], self._locale)
        if self._code == "pl":
            is_locative = before in ("w", "o", "po")
            form = "y" if noun == "rok" else "ym" if is_locative else "ego"
            return f"{numbers.ordinal(value, self._locale, form)} {'roku' if noun == 'r.' else noun}"
        if noun in ("г", "г."):
            noun = "году" if before in ("в", "о") else "года"
        forms = {"год": "m", "года": "genitive", "году": "dative" if before in ("к", "по") else "locative"}
        if noun not in forms:  # "годом"
            return f"{self._say_whole(str(value))} {noun}"
        return f"{numbers.ordinal(value, self._locale, forms[noun])} {noun}"

    def _read_time(self, match: Match, text: str) -> str | None:
        hour, minute = int(match["hour"]), int(match["minute"])
        words = self._time(hour, minute, (match["half"] or "").strip(), _word_before(text, match.start()))
        if match["second"] and int(match["second"]):
            seconds, category = self._counted(
                str(int(match["second"])), self._genders.get("second", self.language.gender)
            )
            pattern = cldr.unit_pattern("s", category, self._locale)
            if pattern:
                words = (
                    f"{words} {pattern.replace('{0}', seconds)}"
                    if self.language.is_spaced
                    else words + pattern.replace("{0}", seconds).replace(" ", "")
                )
        return words

    def _read_clock(self, match: Match, text: str) -> str | None:
        return self._time(int(match["clock_hour"]), 0, match["clock_half"] if self._code == "en" else "", "")

    def _time(self, hour: int, minute: int, half: str, before: str) -> str:
        """Returns a time in words. half: "am" or "pm". before: the word before it, for a Polish ending."""
        language = self.language
        if self._code == "en":
            return _english_time(hour, minute, half)
        if language.hour_form == "ordinal" and hour:
            form = (
                "f"
                if self._code == "ar"
                else "ej"
                if before in ("o", "po", "do", "od", "godz", "godzinie")
                else "a"
            )
            hour_words = numbers.ordinal(hour, self._locale, form)
            if self._code == "ar" and hour == 1:
                hour_words = "الواحدة"
        elif language.hour_form == "native" and not 1 <= hour <= 12:
            hour_words = numbers.cardinal(hour, self._locale)
        elif self._code == "zh" and hour == 2:
            hour_words = "两"
        else:
            hour_words = numbers.cardinal(hour, self._locale, language.hour_form)
        pattern = language.time if minute else language.full_hour
        if self._code == "ru" and not minute:
            category = cldr.plural_category(Fraction(hour), "", self._locale)
            return (cldr.unit_pattern("h", category, self._locale) or pattern).replace("{0}", hour_words)
        if self._code == "fr" and hour <= 1:
            pattern = pattern.replace("heures", "heure")
        if self._code == "pt" and hour == 1:
            pattern = pattern.replace("horas", "hora")
        minute_words = numbers.cardinal(minute, self._locale)
        if self._code == "zh" and minute < 10:
            minute_words = f"零{minute_words}"
        return pattern.format(h=hour_words, m=minute_words)

    def _read_phone(self, match: Match, text: str) -> str:
        groups = _DIGIT_GROUP.findall(match[0])
        if len(groups) == 1 and len(groups[0]) > 4:  # "+15551234567" has no groups of its own
            digits = groups[0]
            groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        joiner = {"ar": "، ", "ja": "、", "zh": "，"}.get(self._code, ", ")
        words = joiner.join(numbers.digits(group, self._locale) for group in groups)
        if not match[0].startswith("+"):
            return words
        return f"{self.language.plus} {words}" if self.language.is_spaced else self.language.plus + words

    # Addresses

    def _read_url(self, match: Match, text: str) -> str:
        return self._host(match[0].partition("://")[2] or match[0])

    def _read_domain(self, match: Match, text: str) -> str:
        return self._host(match[0])

    def _host(self, address: str) -> str:
        """Returns a host in words. The rest of the address is not said, but for marks that end a sentence."""
        authority = regex.split(r"[/?#]", address, maxsplit=1)[0].rpartition("@")[2]
        host = regex.sub(r":[0-9]{0,5}$", "", authority)
        end = _sentence_end(address)
        host = host.rstrip(".,;:!?)]}'\"»”’。、")
        labels = [label for label in host.removeprefix("www.").split(".") if label]
        if len(".".join(labels)) > _LONGEST_HOST:
            labels = labels[-2:]
        labels = [label for label in labels if len(label) <= _LONGEST_HOST]
        return self._dotted(labels) + end

    def _dotted(self, labels: list[str]) -> str:
        return f" {self.language.dot} ".join(label.replace("-", " ").replace("_", " ") for label in labels)

    def _read_file(self, match: Match, text: str) -> str:
        return self._dotted(match[0].split("."))

    def _read_email(self, match: Match, text: str) -> str:
        local, _, host = match[0].partition("@")
        named = regex.sub(r"[_%-]+", " ", local.strip(".")).replace("+", f" {self.language.plus} ")
        name = self._dotted([part for part in named.split(".") if part])
        return f"{name} {self.language.at} {self._dotted(host.split('.'))}"

    # Words and marks

    def _read_abbreviation(self, match: Match, text: str) -> str:
        words = self.language.abbreviations[match[0]]
        # The full stop also ended the sentence.
        is_end = match[0].endswith(".") and _ends_sentence(text, match.end())
        return f"{words}." if is_end and match[0] in self._closing else words

    def _read_title(self, match: Match, text: str) -> str | None:
        # "Elm Dr. Springfield" is a street.
        before = _word_before(text, match.start())
        is_after_a_name = before[:1].isupper() and text[: match.start()].rstrip()[-1:] not in ".!?:"
        return None if is_after_a_name and self._code == "en" else self.language.titles[match[0]]

    def _read_ampersand(self, match: Match, text: str) -> str:
        if self._code in ("ar", "he"):
            return self.language.and_
        after_space = match[0].endswith(" ")
        return self.language.and_ + (" " if after_space else "")

    def _read_at(self, match: Match, text: str) -> str:
        return self.language.at

    def _read_entity(self, match: Match, text: str) -> str | None:
        char = html.unescape(match[0])
        return None if char == match[0] else char if char.isprintable() and len(char) == 1 else " "

    def _read_image(self, match: Match, text: str) -> str:
        return str(match["alt"])

    def _read_bullet(self, match: Match, text: str) -> str:
        return ""

    _read_comment = _read_markup = _read_rule = _read_heading = _read_quote = _read_bullet
    _read_emoji = _read_code_mark = _read_bullet

    def _dropped(self, match: Match, text: str, spoken: str) -> str:
        """Returns what stands for something that is not said: a space where two words would become one."""
        start, end = match.span()
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        if match.lastgroup == "code_mark" and match[0][0] in "*`~":
            return ""
        return " " if before.isalnum() and after.isalnum() else ""

    def _spaced(self, spoken: str, text: str, start: int, end: int) -> str:
        """Returns spoken words, parted from a letter or a digit before and after them."""
        if self.language.is_spaced:
            before, after = text[start - 1 : start] if start else "", text[end : end + 1]
            if before.isalnum() and spoken[0].isalnum() and not _ATTACHED_BEFORE.match(before):
                spoken = " " + spoken
            is_glued = _ATTACHED_AFTER.match(after) or (
                self._code == "de" and _GERMAN_SUFFIX.match(text, end)
            )
            if after.isalpha() and spoken[-1].isalnum() and not is_glued:
                spoken += " "
        return spoken


class _Money:
    """Forms of a currency's name, and of its hundredth's, by plural category."""

    def __init__(self, entry: str, plurals: list[str]) -> None:
        main, _, part = entry.partition("/")
        self.main, self.gender = self._forms(main, plurals)
        self.part, self.part_gender = self._forms(part, plurals) if part else ({}, "")

    @staticmethod
    def _forms(text: str, plurals: list[str]) -> tuple[dict[str, str], str]:
        gender, colon, forms = text.partition(":")
        if not colon:
            gender, forms = "", text
        named = forms.split("|")
        mark = "<" if named[0].startswith("<") else ""
        by_category = {
            name: mark + form.removeprefix("<") for name, form in zip(plurals, named, strict=False)
        }
        if "other" not in by_category:  # Russian: what follows a fraction is the form after 2
            by_category["other"] = by_category.get("few", mark + named[-1].removeprefix("<"))
        return by_category, gender


def _money_forms(language: Language) -> dict[str, _Money]:
    plurals = language.plurals.split("|")
    found = {}
    for entry in language.money.split(";"):
        sign, _, forms = entry.strip().partition(" ")
        found[sign] = _Money(forms, plurals)
    return found


def _word_before(text: str, start: int) -> str:
    found = _WORD_BEFORE.search(text[max(0, start - _REACH) : start])
    return str(found[1]) if found else ""


def _word_after(text: str, end: int) -> str:
    found = _WORD_AFTER.match(text, end)
    return str(found[1]) if found else ""


def _ends_sentence(text: str, end: int) -> bool:
    return bool(_AFTER_SENTENCE.match(text[end : end + 4]))


def _leading_digits(text: str) -> str:
    found = regex.match("[0-9]+", text)
    assert found, text
    return str(found[0])


def _sentence_end(address: str) -> str:
    """Returns the marks after an address that belong to the sentence."""
    found = regex.search(r"[.,;:!?)\]}'\"»”’。、]{1,20}$", address[-20:])
    return str(found[0]) if found else ""


def _german_ending(before: str) -> str:
    before = before.lower()
    return "n" if before in _GERMAN_EN else "" if before in _GERMAN_E else "r"


def _english_time(hour: int, minute: int, half: str) -> str:
    """Returns a time in English words: "ten oh five", "seventeen hundred", "five p.m."."""
    half = {"a": " a.m.", "p": " p.m."}.get(half[:1].lower(), "")
    hour_words = numbers.cardinal(hour, "en")
    if minute:
        minute_words = numbers.cardinal(minute, "en")
        return f"{hour_words} {'oh ' if minute < 10 else ''}{minute_words}{half}"
    if half:
        return hour_words + half
    if hour == 0:
        return "midnight"
    return f"{hour_words} hundred" if hour > 12 else f"{hour_words} o'clock"


def _russian_decimal(whole: int, fraction: str) -> str:
    """Returns "пять целых пять десятых"."""
    parts = numbers.cardinal(int(fraction), "ru", "f")
    tenths = _RUSSIAN_TENTHS[len(fraction) - 1]
    ending = "ая" if int(fraction) % 10 == 1 and int(fraction) % 100 != 11 else "ых"
    wholes = "целая" if whole % 10 == 1 and whole % 100 != 11 else "целых"
    return f"{numbers.cardinal(whole, 'ru', 'f')} {wholes} {parts} {tenths}{ending}"

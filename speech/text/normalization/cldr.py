"""Names of units and months, and plural forms, as CLDR has them, through Babel.

Babel reads a language's data when it is first asked. Without Babel no unit and no month is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

# Symbols of units by CLDR's names.
UNITS: dict[str, str] = {
    "km": "length-kilometer", "m": "length-meter", "cm": "length-centimeter", "mm": "length-millimeter",
    "µm": "length-micrometer", "nm": "length-nanometer", "mi": "length-mile", "ft": "length-foot",
    "yd": "length-yard", "kg": "mass-kilogram", "g": "mass-gram", "mg": "mass-milligram", "t": "mass-tonne",
    "lb": "mass-pound", "lbs": "mass-pound", "oz": "mass-ounce", "l": "volume-liter", "L": "volume-liter",
    "ml": "volume-milliliter", "mL": "volume-milliliter", "cl": "volume-centiliter", "dl": "volume-deciliter",
    "km/h": "speed-kilometer-per-hour", "kmh": "speed-kilometer-per-hour", "kph": "speed-kilometer-per-hour",
    "mph": "speed-mile-per-hour", "m/s": "speed-meter-per-second",
    "km²": "area-square-kilometer", "m²": "area-square-meter", "cm²": "area-square-centimeter",
    "ha": "area-hectare", "m³": "volume-cubic-meter", "cm³": "volume-cubic-centimeter",
    "km³": "volume-cubic-kilometer", "h": "duration-hour", "min": "duration-minute", "s": "duration-second",
    "ms": "duration-millisecond", "kB": "digital-kilobyte", "KB": "digital-kilobyte",
    "MB": "digital-megabyte",
    "GB": "digital-gigabyte", "TB": "digital-terabyte", "Hz": "frequency-hertz", "kHz": "frequency-kilohertz",
    "MHz": "frequency-megahertz", "GHz": "frequency-gigahertz", "W": "power-watt", "kW": "power-kilowatt",
    "MW": "power-megawatt", "GW": "power-gigawatt", "kWh": "energy-kilowatt-hour", "V": "electric-volt",
    "mA": "electric-milliampere", "kJ": "energy-kilojoule",
    "kcal": "energy-kilocalorie", "hPa": "pressure-hectopascal",
    "°C": "temperature-celsius", "℃": "temperature-celsius",
    "°F": "temperature-fahrenheit", "℉": "temperature-fahrenheit",
    "°": "angle-degree", "%": "concentr-percent",
}  # fmt: skip
# Where CLDR's long form holds a sign.
_PATTERNS = {
    ("tr", "speed-kilometer-per-hour"): "saatte {0} kilometre",
    ("tr", "speed-mile-per-hour"): "saatte {0} mil",
    ("tr", "speed-meter-per-second"): "saniyede {0} metre",
    ("ar", "energy-kilowatt-hour"): "{0} كيلوواط ساعة",
}
_MONTHS = range(1, 13)


@lru_cache(maxsize=64)
def _locale(locale: str) -> Any:
    """Returns Babel's data of a locale, or None where it cannot be read."""
    try:
        from babel import Locale

        return Locale.parse(locale)
    except Exception:  # a missing or damaged package
        return None


def is_available(locale: str) -> bool:
    """Whether names of units and months can be had."""
    return _locale(locale) is not None


def plural_category(value: Fraction, digits_after_mark: str, locale: str) -> str:
    """Returns CLDR's plural category of a number: "one", "few", ...

    digits_after_mark: as they are written, since 1.0 may have another plural than 1.
    """
    found = _locale(locale)
    if found is None:
        return "one" if value == 1 else "other"
    try:
        if digits_after_mark:
            from decimal import Decimal

            return str(found.plural_form(Decimal(f"{int(value)}.{digits_after_mark}")))
        return str(found.plural_form(int(value)))
    except Exception:
        return "other"


@lru_cache(maxsize=2048)
def unit_pattern(symbol: str, category: str, locale: str) -> str | None:
    """Returns how a number with a unit is said, with "{0}" for the number; None where that is not known."""
    name = UNITS[symbol]
    own = _PATTERNS.get((locale, name))
    if own:
        return own
    found = _locale(locale)
    try:
        forms = found._data["unit_patterns"][name]["long"]
        pattern = str(forms.get(category) or forms["other"])
    except Exception:  # no data, or another form of them
        return None
    if category == "one" and locale in ("ar", "he") and pattern.startswith("{0} "):
        pattern = pattern.removeprefix("{0} ") + " {0}"  # one comes after its noun
    pattern = pattern.replace("\xa0", " ").replace("\u200f", "")
    return None if any(char in "/%٪" for char in pattern) else pattern


def currency_name(code: str, category: str, locale: str) -> str | None:
    """Returns a currency's name in a plural form, such as "Indian rupees"; None where it is not known."""
    found = _locale(locale)
    try:
        forms = found._data["currency_names_plural"][code]
        return str(forms.get(category) or forms["other"])
    except Exception:
        return None


def unit_name(symbol: str) -> str:
    """Returns CLDR's name of a unit without its kind: "kilometer"."""
    return UNITS[symbol].partition("-")[2]


@lru_cache(maxsize=64)
def month_names(locale: str) -> tuple[str, ...]:
    """Returns the names of the twelve months as they stand in a date; empty where they are not known."""
    found = _locale(locale)
    try:
        return tuple(str(found.months["format"]["wide"][month]) for month in _MONTHS)
    except Exception:
        return ()


@lru_cache(maxsize=64)
def months_by_name(locale: str) -> Mapping[str, int]:
    """Returns the months by their full and their short names in small letters, without full stops."""
    found = _locale(locale)
    months: dict[str, int] = {}
    if found is None:
        return months
    for context in ("format", "stand-alone"):
        for width in ("wide", "abbreviated"):
            for month in _MONTHS:
                name = unicodedata.normalize("NFC", str(found.months[context][width][month])).rstrip(".॰׳")
                if len(name) > 2 and not any(char.isdecimal() for char in name):
                    months.setdefault(name.lower(), month)
    if locale == "en":
        months["sept"] = 9
    return months


@lru_cache(maxsize=64)
def full_months(locale: str) -> frozenset[str]:
    """Returns the months' full names in small letters, in every form that CLDR has."""
    found = _locale(locale)
    if found is None:
        return frozenset()
    names = (
        found.months[context]["wide"][month] for context in ("format", "stand-alone") for month in _MONTHS
    )
    return frozenset(unicodedata.normalize("NFC", str(name)).lower() for name in names)

"""Every kind of what is normalised, in every language, against words that were written down beforehand."""

from collections import Counter

import pytest

from speech.models.spec import MODELS
from speech.text.normalization import normalize
from tests.speech.text.normalization.cases import CASES

LANGUAGES = sorted({language for spec in MODELS.values() for language in spec.languages})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}-{case.kind}-{case.written}")
def test_is_read_as_the_table_says(case):
    result = normalize(case.written, case.language)
    assert result.text == case.spoken
    assert not result.warnings


def test_table_covers_every_language_and_has_three_hundred_cases():
    by_language = Counter(case.language for case in CASES)
    assert sorted(by_language) == LANGUAGES
    assert min(by_language.values()) >= 20
    assert len(CASES) >= 300


@pytest.mark.parametrize(
    ("tag", "written", "spoken"),
    [
        ("pt-PT", "5 km", "cinco quilómetros"),
        ("pt-BR", "5 km", "cinco quilômetros"),
        ("pt_pt", "1000000000", "mil milhões"),
        ("es-MX", "1,234.5", "mil doscientos treinta y cuatro punto cinco"),
        ("es-ES", "1.234,5", "mil doscientos treinta y cuatro coma cinco"),
        ("zh-CN", "5 km", "五公里"),
        ("EN", "5", "five"),
    ],
)
def test_regions(tag, written, spoken):
    assert normalize(written, tag).text == spoken

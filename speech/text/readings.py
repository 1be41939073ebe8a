"""What happens to a text by its language before a multilingual model's tokenizer reads it.

Three languages need a step: Japanese (``speech.text.japanese``), Chinese (``speech.text.chinese``) and
Russian (``speech.text.russian``). Korean syllables become jamo by the tokenizer's NFKD. Hebrew and Arabic are
read as they come, with or without vowel signs. Nothing is downloaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from errors import ModelUnavailable, UnsupportedLanguage

log = logging.getLogger(__name__)

LanguageStep = Callable[[str], str]
Result = TypeVar("Result")

CANGJIE_TABLE = "Cangjie5_TC.json"
CANGJIE_REPOSITORY = "ResembleAI/chatterbox"


@dataclass(frozen=True)
class LanguageSteps:
    """The steps of a model's languages."""

    # By language code, for languages that need one: pure functions of a text in any case and normal form, to
    # be called from any thread. The tokenizer normalizes what they return.
    steps: Mapping[str, LanguageStep]
    unavailable: Mapping[str, str]  # by language code: what is missing, and what to do


def load_language_steps(languages: Collection[str], cangjie_table: Path | None) -> LanguageSteps:
    """Returns the steps of some languages. What is missing makes its language alone unavailable.

    The table of Chinese is read here. The packages of the others are looked for here, and imported when a
    step is first called: that of Russian takes seconds and 200 MB.

    languages: their codes. cangjie_table: the checkpoint's ``Cangjie5_TC.json``; None: it has none.
    """
    loaders: dict[str, Callable[[], LanguageStep]] = {
        "ja": _load_japanese,
        "ru": _load_russian,
        "zh": lambda: _load_chinese(cangjie_table),
    }
    steps: dict[str, LanguageStep] = {}
    unavailable: dict[str, str] = {}
    for language in loaders.keys() & languages:
        try:
            steps[language] = loaders[language]()
        except ModelUnavailable as error:
            unavailable[language] = error.message
    return LanguageSteps(steps, unavailable)


def _load_japanese() -> LanguageStep:
    _require_package("Japanese", "pyopenjtalk", "pyopenjtalk-plus")

    def load() -> LanguageStep:
        from speech.text.japanese import JapaneseReadings

        return JapaneseReadings()

    return _OnDemand("Japanese", load)


def _load_russian() -> LanguageStep:
    _require_package("Russian", "silero_stress", "silero-stress")

    def load() -> LanguageStep:
        from speech.text.russian import RussianStress

        return RussianStress()

    return _OnDemand("Russian", load)


def _load_chinese(table: Path | None) -> LanguageStep:
    _require_package("Chinese", "rjieba", "rjieba")
    hint = f"put {CANGJIE_TABLE} of {CANGJIE_REPOSITORY} beside the weights"
    if table is None:
        raise ModelUnavailable(f"Chinese needs {CANGJIE_TABLE}, which the checkpoint lacks", hint=hint)
    from speech.text.chinese import CangjieCodes, load_segmenter

    try:
        return CangjieCodes(table, _OnDemand("Chinese", load_segmenter))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{table.name} cannot be read, which Chinese needs", hint=hint) from error


def _require_package(language: str, module: str, package: str) -> None:
    """Raises ModelUnavailable unless the module can be imported."""
    if find_spec(module) is None:
        raise ModelUnavailable(
            f"{language} needs the package {package}, which is not installed",
            hint="install what requirements.txt lists",
        )


class _OnDemand(Generic[Result]):
    """What reads a text, loaded when it is first called, and called by one thread at a time."""

    def __init__(self, language: str, load: Callable[[], Callable[[str], Result]]) -> None:
        self._language, self._load = language, load
        self._step: Callable[[str], Result] | None = None
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Result:
        """Returns what is read. Raises UnsupportedLanguage if it cannot be loaded."""
        with self._lock:
            if self._step is None:
                try:
                    self._step = self._load()
                except Exception as error:  # whatever a damaged package raises
                    log.exception("what %s needs cannot be loaded", self._language)
                    raise UnsupportedLanguage(
                        f"{self._language} cannot be read here: the package that it needs is damaged",
                        hint="send another language, or have what requirements.txt lists installed again",
                    ) from error
            return self._step(text)

"""What it costs to read and to split a long text, by language.

    python -m benchmarks.text [--characters 1000000] [--languages en,de,ja] [--json FILE]

A text of prose in which every tenth sentence holds a date, a sum of money, a distance, a time or an
abbreviation, each with numbers of its own, and every hundredth ends with a pause. It goes the way of a job:
markup, 1,500 pronunciations in three lists, normalisation, splitting. Every language in a fresh process:
seconds of the first sentence, which reads the rules, and of each step; and the memory that all of it takes
beyond the interpreter and the text. The processor's time is beside that of the clock, for a machine that has
other work. Limits: 60 s and 300 MB for a million characters.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import describe, keep, results_file

Result = TypeVar("Result")

SENTENCE_A_TENTH = 10
SENTENCES_A_PAUSE = 100
PAUSE = "[pause:300ms]"
ENTRIES = 500  # of each of the three lists of pronunciations
STEPS = ("markup", "pronounce", "normalise", "split")
# A plain sentence, and one with something to normalise.
SENTENCES = {
    "en": (
        "The harbour was quiet, and the boats lay still on the water. ",
        "On May {day}, 2024 we paid ${n}.50 for {n} km at 10:30, e.g. by train. ",
    ),
    "de": (
        "Der Hafen war still, und die Boote lagen ruhig auf dem Wasser. ",
        "Am {day}. Mai 2024 kosteten {n} km um 10:30 Uhr genau {n},50 €, z. B. im Zug. ",
    ),
    "ja": (
        "港は静かで、船は水の上にじっと浮かんでいた。",
        "2024年5月{day}日10:30に{n} kmの道を行き、¥{n}を払った。",
    ),
    "ru": (
        "В гавани было тихо, и лодки неподвижно лежали на воде. ",
        "Мы заплатили {day} мая 2024 года в 10:30 за {n} км ровно {n},50 ₽, т. е. немного. ",
    ),
}


def prose(language: str, characters: int) -> str:
    """Returns sentences: each tenth holds something to normalise, a pause follows each hundredth."""
    plain, marked = SENTENCES[language]
    sentences, length, number = [], 0, 0
    while length < characters:
        number += 1
        sentence = plain if number % SENTENCE_A_TENTH else marked.format(day=number % 28 + 1, n=number)
        if number % SENTENCES_A_PAUSE == 0:
            sentence += PAUSE
        sentences.append(sentence)
        length += len(sentence)
    return "".join(sentences)[:characters]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(language: str, characters: int) -> dict[str, float]:
    """Reads and splits a text in this process. Returns seconds, megabytes and counts."""
    text = prose(language, characters)
    before_mb, started = peak_mb(), time.perf_counter()
    from speech.text import split_text
    from speech.text.markup import parse_markup
    from speech.text.normalization import normalize
    from speech.text.pronunciations import Pronunciation, find_pronunciations

    normalize(SENTENCES[language][1].format(day=3, n=5), language)
    figures = {"first_s": time.perf_counter() - started}

    def timed(step: str, work: Callable[[], Result]) -> Result:
        started, started_cpu = time.perf_counter(), time.process_time()
        result = work()
        figures[f"{step}_s"] = time.perf_counter() - started
        figures[f"{step}_cpu_s"] = time.process_time() - started_cpu
        return result

    levels = [
        [Pronunciation(f"name{level}x{number}", "win") for number in range(ENTRIES)] for level in range(3)
    ]
    passages = timed("markup", lambda: parse_markup(text, "tags").passages)
    found = timed("pronounce", lambda: [find_pronunciations(each.text, levels) for each in passages])
    spoken = timed(
        "normalise",
        lambda: [normalize(each.text, language, own) for each, own in zip(passages, found, strict=True)],
    )
    chunks = timed("split", lambda: [split_text(each.text, language=language) for each in spoken])
    figures["all_s"] = sum(figures[f"{step}_s"] for step in STEPS)
    figures["peak_mb"] = peak_mb() - before_mb
    figures["replacements"] = sum(len(each.replacements) for each in spoken)
    return figures | {"passages": len(passages), "chunks": sum(map(len, chunks))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text")
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--languages", default=",".join(SENTENCES), help=f"of {', '.join(SENTENCES)}")
    parser.add_argument("--json", type=results_file)
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    languages = options.languages.split(",")
    if unknown := set(languages) - set(SENTENCES):
        parser.error(f"there is no text in {', '.join(sorted(unknown))}")
    if options.in_this_process:
        print(json.dumps(measure(languages[0], options.characters)))
        return
    print(describe())
    print(
        "language  first, s "
        + "".join(f"{step + ', s (CPU)':>22}" for step in STEPS)
        + "   all, s   peak, MB"
    )
    figures = {}
    for language in languages:
        command = [sys.executable, "-m", "benchmarks.text", "--in-this-process", "--languages", language]
        result = subprocess.run(  # noqa: S603
            [*command, "--characters", str(options.characters)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        each = figures[language] = json.loads(result.stdout)
        steps = "".join(f"{each[f'{step}_s']:14.2f} ({each[f'{step}_cpu_s']:5.2f})" for step in STEPS)
        print(
            f"{language:8} {each['first_s']:9.2f} {steps} {each['all_s']:8.2f} {each['peak_mb']:10.0f}",
            flush=True,
        )
    keep(options.json, "cpu", characters=options.characters, by_language=figures)


if __name__ == "__main__":
    main()

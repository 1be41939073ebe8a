"""``add`` and ``import``: voices that come into the store."""

from __future__ import annotations

import argparse
from collections import Counter

from voice_store.commands.options import Subparsers, add_details, add_jobs, given, path
from voice_store.commands.terminal import complain, say, sentence_of, with_bar
from voice_store.transfer.intake import Fate, keep_all
from voice_store.transfer.sources import Source, find_items, find_named_recordings


def add_commands(commands: Subparsers) -> None:
    command = commands.add_parser("add", help="keep recordings as voices")
    command.add_argument(
        "paths",
        nargs="+",
        type=path,
        metavar="FILE_OR_FOLDER",
        help="WAV, FLAC, OGG, Opus or MP3, or folders with such at any depth",
    )
    command.add_argument("--name", help="of a single recording's voice (default: the file's own name)")
    add_details(command)
    command.add_argument("--overwrite", action="store_true", help="replace voices of the same names")
    add_jobs(command)
    command.set_defaults(run=add, fail=command.error)

    command = commands.add_parser("import", help="take in what export made, recordings or another store")
    command.add_argument(
        "path",
        type=path,
        metavar="PATH",
        help="a tar or a folder made by export, a folder of recordings, or the folder of another store",
    )
    command.add_argument("--overwrite", action="store_true", help="replace voices of the same names")
    add_jobs(command)
    command.set_defaults(run=take_in)


def add(options: argparse.Namespace) -> int:
    if options.name is not None and (len(options.paths) > 1 or options.paths[0].is_dir()):
        options.fail("--name names one voice, so give it with one file")
    return _keep(find_named_recordings(options.paths, options.name, given(options)), options)


def take_in(options: argparse.Namespace) -> int:
    return _keep(find_items(options.path), options)


def _keep(source: Source, options: argparse.Namespace) -> int:
    """A line for each voice; what was left out comes last, where it is seen."""
    fates: Counter[Fate] = Counter()
    faults = []
    names = {"voice_name": "--name" if getattr(options, "name", None) is not None else "its name"}
    outcomes = keep_all(source.items, options.dir, overwrite=options.overwrite, jobs=options.jobs)
    for outcome in with_bar(outcomes, len(source.items)):
        fates[outcome.fate] += 1
        if outcome.fault is not None:
            sentence = sentence_of(outcome.fault, names)
            label = outcome.says
            faults.append(sentence if sentence.startswith(label) else f"{label}: {sentence}")
        else:
            say(f"{outcome.fate.value}: {outcome.says}")
        for warning in outcome.warnings:
            complain(f"warning: {warning}")
    faults += source.faults
    for fault in faults:
        complain(f"voice_store: {fault}")
    if len(source.items) + len(source.faults) > 1:
        added, there = fates[Fate.ADDED], fates[Fate.ALREADY_THERE]
        say(f"{added} added, {there} already there, {len(faults)} left out")
    return 1 if faults else 0

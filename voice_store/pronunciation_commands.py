"""``pronunciations``: how words are spoken, for all voices of the store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errors import InvalidRequest
from voice_store.commands import Subparsers, open_store, path
from voice_store.names import readable
from voice_store.plain_files import PlainFile
from voice_store.pls import parse_pls
from voice_store.pronunciations import check_entry, parse_file
from voice_store.terminal import complain, complain_of_many, print_json, print_table, say

MAX_IMPORT_BYTES = 2**23


def add_commands(commands: Subparsers) -> None:
    """Describes the commands to the parser. Each sets ``run``, which returns the exit status."""
    group = commands.add_parser("pronunciations", help="say how words are spoken, in all voices")
    actions = group.add_subparsers(required=True, metavar="ACTION")

    command = actions.add_parser("list", help="print them")
    command.add_argument("--json", action="store_true", help="as JSON, which import takes")
    command.set_defaults(run=list_entries)

    command = actions.add_parser("add", help="add one, or replace that of the same text")
    command.add_argument("text", metavar="TEXT", help="as it is written")
    command.add_argument("say", metavar="SAY", help="as it is to be spoken")
    command.add_argument("--case-sensitive", action="store_true", help="only where the case is the same")
    command.add_argument("--within-words", action="store_true", help="also as a part of a longer word")
    command.set_defaults(run=add)

    command = actions.add_parser("remove", help="remove that of a text, in any case")
    command.add_argument("text", metavar="TEXT")
    command.set_defaults(run=remove)

    command = actions.add_parser("import", help="add those of a file")
    command.add_argument(
        "file", type=path, metavar="FILE", help="JSON as list writes it, or a PLS lexicon (XML)"
    )
    command.set_defaults(run=import_file)


def list_entries(options: argparse.Namespace) -> int:
    known = open_store(options).pronunciations()
    for warning in known.warnings:
        complain(f"warning: {warning}")
    if options.json:
        print_json({"pronunciations": list(known.entries)})
    elif known.entries:
        rows = ((entry["text"], entry["say"], _options_of(entry)) for entry in known.entries)
        print_table([("TEXT", "SAY", "OPTIONS"), *rows])
    else:
        say("no pronunciations")
    return 1 if known.warnings else 0


def add(options: argparse.Namespace) -> int:
    entry = {
        "text": options.text.strip(),
        "say": options.say.strip(),
        "case_sensitive": options.case_sensitive,
        "whole_word": not options.within_words,
    }
    replaced = open_store(options).put_pronunciations([entry])
    say(f"{'replaced' if replaced else 'added'}: {entry['text']} is spoken as {entry['say']}")
    return 0


def remove(options: argparse.Namespace) -> int:
    if open_store(options).remove_pronunciations(options.text.strip()) == 0:
        complain(f'voice_store: no pronunciation is for "{options.text}"; list shows all')
        return 1
    say(f"removed: {options.text}")
    return 0


def import_file(options: argparse.Namespace) -> int:
    """Adds the entries that can be used, and names the others."""
    entries, passed_over = _read(options.file)
    usable, faults = list[Mapping[str, Any]](), list[str]()
    for index, entry in enumerate(entries):
        problems = check_entry(entry) if isinstance(entry, dict) else None
        if problems == []:
            usable.append(entry)
        else:
            name = (isinstance(entry, dict) and readable(entry.get("text"), 64)) or f"entry {index + 1}"
            says = "; ".join(problem.render() for problem in problems or []) or "it is no object"
            faults.append(f"{name}: {says}")
    complain_of_many("passed over: ", passed_over)
    for fault in faults:
        complain(f"voice_store: {fault}")
    if not usable:
        raise InvalidRequest(f"{options.file} holds no pronunciation that can be used")
    replaced = open_store(options).put_pronunciations(usable)
    counts = [f"{len(usable) - replaced} added", f"{replaced} replaced"]
    counts += [f"{len(passed_over)} passed over"] * bool(passed_over)
    counts += [f"{len(faults)} left out"] * bool(faults)
    say(", ".join(counts))
    return 1 if faults else 0


def _read(file: Path) -> tuple[list[Any], list[str]]:
    """Returns the entries of a file, which may hold anything, and sentences about what cannot become one."""
    data = PlainFile(file).read(MAX_IMPORT_BYTES, str(file))
    try:
        if file.suffix.lower() == ".json":
            return parse_file(data)["pronunciations"], []
        lexicon = parse_pls(data)
    except ValueError as error:
        raise InvalidRequest(f"{file} {error}") from error
    if lexicon.language:
        complain(f"note: {file} is for {lexicon.language}; what is kept is for texts of every language")
    return list(lexicon.entries), lexicon.passed_over


def _options_of(entry: Mapping[str, Any]) -> str:
    options = ["case-sensitive"] * entry["case_sensitive"] + ["within words"] * (not entry["whole_word"])
    return ", ".join(options)

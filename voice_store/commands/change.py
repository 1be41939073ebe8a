"""``update`` and ``remove``: what changes a voice that is there."""

from __future__ import annotations

import argparse

from voice_store.commands.options import Subparsers, add_details, find_voice, given, open_store
from voice_store.commands.terminal import confirm, say


def add_commands(commands: Subparsers) -> None:
    command = commands.add_parser(
        "update", help="rename a voice, or change what is said about it", epilog='"" forgets a detail'
    )
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.add_argument("--new-name")
    add_details(command)
    command.set_defaults(run=update, fail=command.error)

    command = commands.add_parser("remove", help="remove a voice for good")
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(run=remove)


def update(options: argparse.Namespace) -> int:
    details = given(options)
    if options.new_name is None and all(value is None for value in details.values()):
        options.fail("say what is to change, with --new-name, --description, --gender, --language or --tag")
    voice_id = find_voice(options, options.voice)["voice_id"]
    voice = open_store(options).update(voice_id=voice_id, new_name=options.new_name, **details)
    say(f"updated: {voice['speaker_name']} ({voice_id})")
    return 0


def remove(options: argparse.Namespace) -> int:
    voice = find_voice(options, options.voice)
    voice_id, name = voice["voice_id"], voice["speaker_name"]
    shown = voice_id if name == voice_id else f"{name} ({voice_id})"
    if not options.yes and not confirm(f"remove {shown}? [y/N] "):
        say("kept")
        return 0
    result = open_store(options).delete(voice_id=voice_id)
    say(f"removed: {shown}" if result.deleted else f"already removed: {shown}")
    return 0

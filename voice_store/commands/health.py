"""``check`` and ``repair``: is the store as it should be, and making it so."""

from __future__ import annotations

import argparse

from voice_store.commands.options import Subparsers, add_jobs
from voice_store.commands.terminal import confirm, say, with_bar
from voice_store.health import QUARANTINE, Report, check, repair


def add_commands(commands: Subparsers) -> None:
    command = commands.add_parser("check", help="read everything and say what is wrong; changes nothing")
    add_jobs(command)
    command.set_defaults(run=run_check)

    command = commands.add_parser(
        "repair", help=f"rebuild indexes and put damaged files into {QUARANTINE}/; loses nothing"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_jobs(command)
    command.set_defaults(run=run_repair)


def run_check(options: argparse.Namespace) -> int:
    report = _check(options)
    _print(report)
    return 1 if report.problems else 0


def run_repair(options: argparse.Namespace) -> int:
    report = _check(options)
    _print(report)
    if not report.problems:
        return 0
    if not options.yes and not confirm("repair? [y/N] "):
        say("left as it is")
        return 1
    repairs = repair(options.dir, report.problems)
    for file, place in repairs.moved:
        say(f"moved: {file} is now {place}")
    for file, reason in repairs.left:
        say(f"left: {file} {reason}")
    say("checking again")
    return run_check(options)


def _check(options: argparse.Namespace) -> Report:
    return check(options.dir, jobs=options.jobs, watch=with_bar)


def _print(report: Report) -> None:
    for problem in report.problems:
        say(str(problem))
    for note in report.notes:
        say(f"note: {note}")
    count = len(report.problems)
    verdict = "no problems" if count == 0 else "1 problem" if count == 1 else f"{count} problems"
    minutes = report.audio_s / 60
    say(f"{verdict}; {report.sound_voices} of {report.voices} voices are sound, {minutes:.1f} minutes in all")

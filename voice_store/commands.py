"""The commands of ``python -m voice_store`` for voices.

``list``, ``show``, ``stats``, ``export`` and ``check`` write nothing into the store.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from audio.samples import MAX_SAMPLES
from audio.speed import FASTEST, SLOWEST
from characters import casefold_nfkc, is_blank, is_printable
from errors import InvalidRequest, VoiceNotFound
from voice_store.export import FORMATS, TAR_SUFFIX, export_voices, open_target
from voice_store.health import QUARANTINE, Report, check, repair
from voice_store.intake import ADDED, ALREADY_THERE, Source, as_samples, find_items, find_recordings, keep_all
from voice_store.live import Timing
from voice_store.metadata import CONSENT_KEYS, MAX_STATEMENT_CHARACTERS, embedding_file
from voice_store.names import MAX_VISIBLE_CHARACTERS, clean_name, readable
from voice_store.pronunciations import check_entry
from voice_store.reader import StoreReader
from voice_store.store import VoiceStore
from voice_store.terminal import (
    complain,
    complain_of_many,
    confirm,
    print_json,
    print_table,
    say,
    sentence_of,
    with_bar,
)

Subparsers = Any  # argparse has no public name for what add_subparsers() returns

_OTHER_ARCHIVES = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})
_CONSENT_CHARACTERS = {"by": 256, "date": 64, "statement": MAX_STATEMENT_CHARACTERS}
_CONSENT_HELP = {"by": "who agreed to the clone", "date": "when", "statement": "in which words"}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def add_commands(commands: Subparsers) -> None:
    """Describes the commands to the parser. Each sets ``run``, which returns the exit status."""
    command = _add(commands, "list", list_voices, "print all voices, or those that match")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--gender")
    command.add_argument("--language")
    command.add_argument(
        "--tag", action="append", default=[], dest="tags", metavar="TAG", help="many: voices that have all"
    )
    command.add_argument("--query", metavar="TEXT", help="part of a name, a description, a tag or an id")

    command = _add(commands, "show", show, "print what is known about a voice")
    command.add_argument("voice", metavar="NAME_OR_ID")

    command = _add(commands, "stats", show_stats, "count voices, hours and bytes")
    command.add_argument("--json", action="store_true", help="as JSON")

    command = _add(commands, "add", add, "keep recordings as voices")
    command.add_argument(
        "paths",
        nargs="+",
        type=path,
        metavar="FILE_OR_FOLDER",
        help="WAV, FLAC, OGG, Opus, MP3, M4A, MP4, 3GP, WebM, AAC or AMR, or folders with such at any depth",
    )
    command.add_argument("--name", help="of a single recording's voice (default: the file's own name)")
    command.add_argument(
        "--samples",
        action="store_true",
        help=f"the recordings, at most {MAX_SAMPLES}, are of one voice, which --name names",
    )
    _add_details(command)
    _add_intake_options(command)

    command = _add(commands, "import", take_in, "take in what export made, recordings or another store")
    command.add_argument(
        "path",
        type=path,
        metavar="PATH",
        help="a tar or a folder made by export, a folder of recordings, the folder of another store, or one "
        "with voices of ElevenLabs",
    )
    _add_intake_options(command)

    command = _add(
        commands, "update", update, "rename a voice, or change what is said about it", '"" forgets a detail'
    )
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.add_argument("--new-name")
    _add_details(command)

    command = _add(commands, "remove", remove, "remove a voice for good")
    command.add_argument("voice", metavar="NAME_OR_ID")
    command.add_argument("--yes", action="store_true", help="do not ask")

    command = _add(commands, "export", export, "write voices as audio files and JSON, to a folder or a tar")
    command.add_argument("voices", nargs="*", metavar="NAME_OR_ID", help="which (default: all)")
    command.add_argument("--to", type=path, required=True, metavar="FOLDER_OR_FILE.tar")
    command.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="wav: 32-bit float, the very samples (default); flac: 24 bit, smaller and not quite the same",
    )
    command.add_argument("--force", action="store_true", help="replace files that are there")

    command = _add(commands, "check", run_check, "read everything and say what is wrong; changes nothing")
    _add_jobs(command)

    command = _add(
        commands, "repair", run_repair, f"rebuild indexes and put damaged files into {QUARANTINE}/"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    _add_jobs(command)


def path(text: str) -> Path:
    """A file or a folder, as an argument; an empty text, of a variable that is not set, names neither."""
    if not text:
        raise argparse.ArgumentTypeError("give a file or a folder, not an empty text")
    return Path(text)


def open_store(options: argparse.Namespace) -> VoiceStore:
    """Opens the store to change it. A name that is not there is not waited for."""
    return VoiceStore(options.dir, Timing(settle_s=0))


def list_voices(options: argparse.Namespace) -> int:
    there = StoreReader(options.dir).library.voices.values() if os.path.lexists(options.dir) else ()
    voices = [voice for voice in there if _matches(voice, options)]
    if options.json:
        print_json(voices)
    elif voices:
        header = ("ID", "NAME", "GENDER", "LANGUAGE", "SECONDS", "CREATED", "TAGS", "DESCRIPTION")
        print_table([header, *map(_row, voices)])
    else:
        say("no voices")
    return 0


def show(options: argparse.Namespace) -> int:
    reader = StoreReader(options.dir)
    print_json(reader.metadata(_find(reader, options.voice)))
    return 0


def show_stats(options: argparse.Namespace) -> int:
    stats = _count(StoreReader(options.dir), options.dir)
    if options.json:
        print_json(stats)
        return 0
    damaged = stats["damaged_voices"]
    say(
        f"voices   {stats['total_voices']}"
        + (f", of which {damaged} damaged; check says more" * (damaged > 0))
    )
    minutes, seconds = divmod(round(stats["audio_seconds"]), 60)
    say(f"audio    {minutes // 60}:{minutes % 60:02}:{seconds:02} (h:mm:ss)")
    say(f"on disk  {stats['bytes_on_disk'] / 1e6:.1f} MB")
    for heading, key in (("GENDER", "genders"), ("LANGUAGE", "languages"), ("TAG", "tags")):
        if stats[key]:
            say("")
            print_table([(heading, "VOICES"), *((name, str(count)) for name, count in stats[key].items())])
    return 0


def add(options: argparse.Namespace) -> int:
    is_single = options.samples or (len(options.paths) == 1 and not options.paths[0].is_dir())
    if options.samples and options.name is None:
        options.fail(
            "--samples makes one voice of all recordings, so give its --name; a folder is not a list of "
            "samples: all recordings in it become that voice"
        )
    for option, value in (("--name", options.name), ("--alias", options.aliases)):
        if value is not None and not is_single:
            options.fail(f"{option} names one voice, so give it with one file, or with --samples")
    details = _details(options)
    source = find_recordings(options.paths, options.name, details)
    if options.samples:
        source = as_samples(source, options.name, details)
    status = _keep(source.without_namesakes(), options)
    if options.aliases and status == 0:
        _warn_of_aliases(options, source.items[0].name)
    return status


def take_in(options: argparse.Namespace) -> int:
    return _keep(find_items(options.path), options)


def update(options: argparse.Namespace) -> int:
    if options.new_name is None and not _details(options, check_consent=False):
        options.fail("say what is to change, with --new-name, --description, --gender and so on, see --help")
    reader = StoreReader(options.dir)
    voice_id = _find(reader, options.voice)
    details = _details(options, reader.metadata(voice_id))
    voice = open_store(options).update(voice_id=voice_id, new_name=options.new_name, **details)
    say(f"updated: {voice['speaker_name']} ({voice_id})")
    _warn_of_aliases(options, voice["speaker_name"])
    return 0


def remove(options: argparse.Namespace) -> int:
    reader = StoreReader(options.dir)
    voice_id = _find(reader, options.voice)
    name = reader.metadata(voice_id)["speaker_name"]
    shown = voice_id if name == voice_id else f"{name} ({voice_id})"
    if not options.yes and not confirm(f"remove {shown}? [y/N] "):
        say("kept")
        return 0
    result = open_store(options).delete(voice_id=voice_id)
    say(f"removed: {shown}" if result.deleted else f"already removed: {shown}")
    return 0


def export(options: argparse.Namespace) -> int:
    if options.to.suffix.lower() in _OTHER_ARCHIVES:
        options.fail(f"--to takes a folder or a file that ends in {TAR_SUFFIX}")
    reader = StoreReader(options.dir)
    # Looked for before anything is written.
    voice_ids = list(dict.fromkeys(_find(reader, voice) for voice in options.voices)) or reader.voice_ids
    if not voice_ids:
        say("no voices")
        return 0
    with open_target(options.to, replaces=options.force) as write:
        results = export_voices(reader, voice_ids, write, options.format)
        faults = [fault for fault in with_bar(results, len(voice_ids)) if fault is not None]
        for label, error in faults:
            complain(f"voice_store: {label}: {sentence_of(error)}")
        if len(faults) == len(voice_ids):
            raise InvalidRequest("nothing was exported")
    say(f"exported: {len(voice_ids) - len(faults)} of {len(voice_ids)} voices to {options.to}")
    return 1 if faults else 0


def run_check(options: argparse.Namespace) -> int:
    report = check(options.dir, jobs=options.jobs, watch=with_bar)
    _print_report(report)
    return 1 if report.problems else 0


def run_repair(options: argparse.Namespace) -> int:
    report = check(options.dir, jobs=options.jobs, watch=with_bar)
    _print_report(report)
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


def _add(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, epilog=epilog)
    command.set_defaults(run=run, fail=command.error)
    return command


def _add_details(command: argparse.ArgumentParser) -> None:
    many = functools.partial(command.add_argument, action="append", help="may be given many times")
    command.add_argument("--description")
    command.add_argument("--gender")
    command.add_argument("--language", help="a code such as en")
    many("--tag", dest="tags", metavar="TAG")
    many("--alias", dest="aliases", metavar="NAME", type=_alias)
    command.add_argument("--speed", type=_speed, help=f"of speech, {SLOWEST:g} to {FASTEST:g}")
    for key, max_characters in _CONSENT_CHARACTERS.items():
        check_text = _text(max_characters, is_line=key != "statement")
        command.add_argument(f"--consent-{key}", type=check_text, help=_CONSENT_HELP[key])
    many("--pronunciation", dest="pronunciations", metavar="TEXT=SAY", type=_pronunciation)


def _add_intake_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--overwrite", action="store_true", help="replace voices of the same names")
    _add_jobs(command)


def _add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--jobs", type=_count_of_jobs, default=1, metavar="N", help="files read at the same time (default: 1)"
    )


def _details(
    options: argparse.Namespace, known: Mapping[str, Any] = _NOTHING, *, check_consent: bool = True
) -> dict[str, Any]:
    """Returns the details that are given, as the store's methods take them.

    known: metadata of the voice that is to change; of its default parameters the others stay, and of its
    consent what is not given.
    """
    keys = ("description", "gender", "language", "tags", "aliases", "pronunciations")
    details = {key: getattr(options, key) for key in keys}
    if details["pronunciations"] is not None:
        details["pronunciations"] = [entry for entry in details["pronunciations"] if entry is not None]
    if options.speed is not None:
        others = {key: value for key, value in known.get("default_parameters", {}).items() if key != "speed"}
        details["default_parameters"] = others | ({"speed": options.speed} if options.speed else {})
    given = {key: getattr(options, f"consent_{key}") for key in CONSENT_KEYS}
    if any(text is not None for text in given.values()):
        given = {key: text for key, text in given.items() if text is not None}
        consent = {key: text for key, text in {**known.get("consent", {}), **given}.items() if text}
        if check_consent and consent and not {"by", "date"} <= consent.keys():
            options.fail("consent says who agreed, and when: give --consent-by and --consent-date")
        details["consent"] = consent
    return {key: value for key, value in details.items() if value is not None}


def _alias(text: str) -> str:
    try:
        return clean_name(text) if text else ""
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(f"{error.reason}; {error.hint}") from error


def _speed(text: str) -> float:
    """0 for an empty text, which forgets the voice's speed."""
    if not text:
        return 0.0
    with suppress(ValueError):
        if SLOWEST <= (speed := float(text)) <= FASTEST:
            return speed
    raise argparse.ArgumentTypeError(f"give a number from {SLOWEST:g} to {FASTEST:g}")


def _text(max_characters: int, *, is_line: bool) -> Callable[[str], str]:
    """The rules of the worker's API. An empty text forgets; a blank one would do so unasked."""

    def check_text(text: str) -> str:
        if text and (is_blank(text) or not readable(text)):
            raise argparse.ArgumentTypeError("is blank; give at least one visible character")
        if len(text) > max_characters:
            raise argparse.ArgumentTypeError(f"has {len(text)} characters; give at most {max_characters}")
        hidden = next((char for char in text if is_line and not is_printable(char)), None)
        if hidden is not None:
            raise argparse.ArgumentTypeError(
                f"holds the invisible character U+{ord(hidden):04X}; give it without"
            )
        return text

    return check_text


def _pronunciation(text: str) -> dict[str, Any] | None:
    """None for an empty text, which forgets the voice's pronunciations."""
    if not text:
        return None
    written, equals, spoken = text.partition("=")
    entry = {"text": written.strip(), "say": spoken.strip()}
    if not equals:
        raise argparse.ArgumentTypeError("give TEXT=SAY, such as Nguyen=win")
    if problems := check_entry(entry):
        raise argparse.ArgumentTypeError("; ".join(problem.render(str.upper) for problem in problems))
    return entry


def _count_of_jobs(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number from 1 on")
    return number


def _find(reader: StoreReader, name_or_id: str) -> str:
    """Returns the id of a voice, a damaged one too; a name goes before an id.

    Raises VoiceNotFound with the nearest names.
    """
    if (found := reader.library.find(name_or_id)) is not None:
        return found
    if name_or_id in reader.voice_ids:
        return name_or_id
    says = f'no voice is named "{readable(name_or_id, MAX_VISIBLE_CHARACTERS)}"'
    if nearest := reader.library.nearest_names(name_or_id):
        quoted = ", ".join(f'"{name}"' for name in nearest)
        raise VoiceNotFound(f"{says}; the nearest names are {quoted}")
    raise VoiceNotFound(says, hint="list_voices shows all names")


def _matches(voice: Mapping[str, Any], options: argparse.Namespace) -> bool:
    for field in ("gender", "language"):
        wanted = getattr(options, field)
        if wanted is not None and casefold_nfkc(voice[field] or "") != casefold_nfkc(wanted):
            return False
    if not set(map(casefold_nfkc, options.tags)) <= set(map(casefold_nfkc, voice["tags"])):
        return False
    texts = (voice["voice_id"], voice["speaker_name"], voice["description"] or "", *voice["tags"])
    return options.query is None or any(casefold_nfkc(options.query) in casefold_nfkc(text) for text in texts)


def _row(voice: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = "?" if voice["duration"] is None else f"{voice['duration']:.1f}"
    facts = (voice["gender"], voice["language"] or "", seconds, voice["created_at"])
    words = (", ".join(voice["tags"]), voice["description"] or "")
    return voice["voice_id"], voice["speaker_name"], *facts, *words


def _count(reader: StoreReader, root: Path) -> dict[str, Any]:
    """damaged_voices: those that are known to be, without reading them all."""
    voices = list(reader.library.voices.values())
    durations_s = [voice["duration"] for voice in voices if voice["duration"] is not None]
    words = {
        "genders": Counter(voice["gender"] for voice in voices),
        "languages": Counter(voice["language"] for voice in voices if voice["language"]),
        "tags": Counter(tag for voice in voices for tag in voice["tags"]),
    }
    return {
        "total_voices": len(reader.voice_ids),
        "damaged_voices": len(reader.voice_ids) - len(durations_s),
        "audio_seconds": round(sum(durations_s), 2),
        "bytes_on_disk": sum(_size(root / embedding_file(voice_id)) for voice_id in reader.voice_ids),
        **{key: dict(counter.most_common()) for key, counter in words.items()},
    }


def _size(file: Path) -> int:
    with suppress(OSError):  # removed meanwhile
        return file.lstat().st_size
    return 0


def _keep(source: Source, options: argparse.Namespace) -> int:
    """Prints a line for each voice; what was left out or passed over comes last, where it is seen."""
    fates: Counter[str] = Counter()
    faults = []
    names = {"voice_name": "--name" if getattr(options, "name", None) is not None else "its name"}
    outcomes = keep_all(source.items, options.dir, overwrite=options.overwrite, jobs=options.jobs)
    for outcome in with_bar(outcomes, len(source.items)):
        fates[outcome.fate] += 1
        if outcome.error is not None:
            sentence, label = sentence_of(outcome.error, names), outcome.text
            faults.append(sentence if sentence.startswith(label) else f"{label}: {sentence}")
        else:
            say(f"{outcome.fate}: {outcome.text}")
        for warning in outcome.warnings:
            complain(f"warning: {warning}")
    complain_of_many("warning: ", source.warnings)
    complain_of_many("passed over: ", source.passed_over)
    faults += source.faults
    for fault in faults:
        complain(f"voice_store: {fault}")
    if len(source.items) + len(source.faults) + len(source.passed_over) > 1:
        added, there = fates[ADDED], fates[ALREADY_THERE]
        passed_over = f", {len(source.passed_over)} passed over" if source.passed_over else ""
        say(f"{added} added, {there} already there, {len(faults)} left out{passed_over}")
    return 1 if faults else 0


def _warn_of_aliases(options: argparse.Namespace, name: str) -> None:
    """Warns of aliases of a voice that mean another one."""
    library = StoreReader(options.dir).library
    voice_id = library.find(name)
    for alias in options.aliases or ():
        if (meant := library.find(alias)) not in (None, voice_id):
            why = "which has it as its name, or is newer"
            complain(f'warning: the alias "{alias}" means the voice {meant}, {why}')


def _print_report(report: Report) -> None:
    for problem in report.problems:
        say(str(problem))
    for note in report.notes:
        say(f"note: {note}")
    count = len(report.problems)
    verdict = "no problems" if count == 0 else "1 problem" if count == 1 else f"{count} problems"
    minutes = report.audio_s / 60
    say(f"{verdict}; {report.sound_voices} of {report.voices} voices are sound, {minutes:.1f} minutes in all")

"""The command ``voice-worker``."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from chatterbox_voice.addresses import ENDPOINT, RUNPOD_KEY, URL, WORKER_KEY
from chatterbox_voice.client import TIMEOUT_S, AsyncClient, Client
from chatterbox_voice.errors import (
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    PlatformError,
    TooLarge,
    VoiceWorkerError,
)
from chatterbox_voice.flow import Progress
from chatterbox_voice.formats import FORMATS, format_of
from chatterbox_voice.operations import DEFAULT_FORMAT, Speech
from chatterbox_voice.players import PLAYERS, find_player
from chatterbox_voice.replies import number, strings

PROGRAM = "voice-worker"
DISTRIBUTION = "chatterbox-voice-client"
SERVE_KEY = "VOICE_WORKER_SERVE_KEY"
DEFAULT_PORT = 8001
# Progress while nobody knows how long it takes, and while chunks of text are counted.
WAITING, BAR = (
    "{desc} {elapsed}{postfix}",
    "{desc} |{bar:30}| {n_fmt} of {total_fmt} parts, {elapsed}{postfix}",
)
MARKUP, SUBTITLES = ("tags", "ssml", "plain"), ("srt", "vtt")
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
EPILOG = (
    f"The worker is the queue endpoint of --endpoint or {ENDPOINT}, with the key in {RUNPOD_KEY}, or the "
    f"HTTP server of --url or {URL}, with its key in {WORKER_KEY}. Exit status: {OK} success, {FAILED} the "
    f"worker refused the job, {USAGE} wrong usage, {UNREACHABLE} the worker could not be asked, "
    f"{INTERRUPTED} interrupted."
)


class _Wrong(Exception):
    """A command cannot be done as it was given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. Errors are one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read stdout has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except VoiceWorkerError as error:
        if options.json:
            print(json.dumps({"error": str(error), "error_code": error.code}))
        return _complain(str(error), _status_of(error))
    except _Wrong as error:
        return _complain(str(error), USAGE)
    except OSError as error:
        return _complain(_sentence_of(error), USAGE)


def _complain(sentence: str, status: int) -> int:
    print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    return status


def _sentence_of(error: OSError) -> str:
    """Returns what the operating system says of a file, without its number."""
    if error.filename is None or error.strerror is None:
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename}"
    return f"{error.filename} cannot be opened: {error.strerror.lower()}"


def _status_of(error: VoiceWorkerError) -> int:
    if isinstance(error, ConfigurationError | TooLarge):
        return USAGE
    is_unreachable = isinstance(error, PlatformError | ConnectionFailed | CallTimedOut)
    return UNREACHABLE if is_unreachable else FAILED


# --- commands


def _speak(options: argparse.Namespace) -> int:
    if options.subtitles is not None and options.output in (None, "-"):
        raise _Wrong("--subtitles are written beside the audio: set -o FILE")
    text = _text_of(options) if options.turns is None else None
    fields = {"voice": options.voice, "voice_id": options.voice_id, "reference": options.reference}
    fields |= {"seed": options.seed, "speed": options.speed, "turns": _turns_of(options)}
    fields |= {"model": options.model, "language": options.language}
    fields |= {"markup": options.markup, "pronunciations": _pronunciations_of(options)}
    fields |= {"normalize_text": options.normalize_text, "subtitles": options.subtitles, **options.set}
    if options.output is None:
        return _play(options, text, fields)
    _check_folder(options.output)
    format = options.format or _format_of(options.output)
    with _client(options) as client:
        speech = client.speak(text, format=format, **fields)
    if options.subtitles is not None and speech.subtitles:
        speech.save_subtitles(Path(options.output).with_suffix(f".{options.subtitles}"))
    return _write(options, speech)


def _play(options: argparse.Namespace, text: str | None, fields: Mapping[str, Any]) -> int:
    player = find_player()
    if player is None:
        names = ", ".join(player.name for player in PLAYERS)
        raise _Wrong(f"no program is here that plays audio ({names}); write a file with -o FILE")
    format = options.format or player.format
    with _client(options) as client, client.stream(text, format=format, **fields) as stream:
        first = next(stream, b"")  # a job that is refused starts no player
        status = player.play(itertools.chain([first], stream))
        if status != 0:
            raise _Wrong(f"{player.name} ended with status {status}; write a file with -o FILE")
        receipt = stream.receipt or {}
    _report(options, receipt, None)
    return OK


def _convert(options: argparse.Namespace) -> int:
    _check_folder(options.output)
    format = options.format or _format_of(options.output)
    fields = {"voice": options.voice, "voice_id": options.voice_id, "reference": options.reference}
    with _client(options) as client:
        fields |= {"model": options.model, **options.set}
        speech = client.convert(_recording(options.source), format=format, **fields)
    return _write(options, speech)


def _check(options: argparse.Namespace) -> int:
    with _client(options) as client:
        check = client.check_watermark(_recording(options.recording))
    if options.json:
        print(json.dumps(check.receipt, ensure_ascii=False))
        return OK
    _warn(check.warnings)
    print(f"{'watermarked' if check.is_marked else 'not watermarked'}  (confidence {check.confidence:.2f})")
    return OK


def _clone(options: argparse.Namespace) -> int:
    _check_folder(options.preview)
    fields: dict[str, Any] = {
        "voice_description": options.description,
        "gender": options.gender,
        "language": options.language,
        "tags": options.tag or None,
        "overwrite": options.overwrite or None,
        "preview": options.preview is not None,
        "keep_preview": options.keep_preview or None,
        **options.set,
    }
    recordings = [_recording(name) for name in (options.recording, *options.sample)]
    with _client(options) as client:
        sent = recordings if options.sample else recordings[0]
        voice = client.clone(sent, options.name, **fields)
    if options.preview is not None and voice.preview is not None:
        options.preview.write_bytes(voice.preview)
    if options.json:
        print(json.dumps(voice.receipt, ensure_ascii=False))
        return OK
    _warn(voice.warnings)
    state = "stored" if voice.is_new else "was there already"
    print(f"{voice.id}  {voice.name}  ({state})")
    return OK


def _voices(options: argparse.Namespace) -> int:
    with _client(options) as client:
        if options.delete is not None:
            was_there = client.delete(options.delete)
            said = "deleted" if was_there else "had been deleted before"
            print(json.dumps({"deleted": was_there}) if options.json else f"{options.delete}: {said}")
            return OK
        voices = client.voices(query=options.query)
    if options.json:
        print(json.dumps([voice.details for voice in voices], ensure_ascii=False))
        return OK
    for voice in voices:
        details = [voice.details.get(name) for name in ("gender", "language", "description")]
        print("  ".join([voice.id, voice.name, *(str(detail) for detail in details if detail)]))
    return OK


def _serve(options: argparse.Namespace) -> int:
    try:
        from chatterbox_voice.bridge import serve
    except ImportError as error:
        raise _missing(error, "serve") from None
    if options.url is not None or (options.endpoint is None and not os.environ.get(ENDPOINT)):
        raise _Wrong(
            "serve stands in front of a queue endpoint: set --endpoint. A worker's HTTP server has OpenAI's "
            "API itself, below its own address"
        )
    client = AsyncClient(options.endpoint, streaming=_streaming(options), timeout_s=options.timeout)
    serve(client, options.port, os.environ.get(SERVE_KEY) or None, lambda address: print(address, flush=True))
    return OK


def _mcp(options: argparse.Namespace) -> int:
    try:
        from chatterbox_voice.mcp_server import build_server
    except ImportError as error:
        raise _missing(error, "mcp") from None
    if options.folder is not None and not options.folder.is_dir():
        raise _Wrong(f"{options.folder} is no folder")
    client = AsyncClient(
        options.endpoint, url=options.url, streaming=_streaming(options), timeout_s=options.timeout
    )
    build_server(client, options.folder, _version()).run()
    return OK


def _missing(error: ImportError, extra: str) -> _Wrong:
    return _Wrong(f"{error.name} is not installed: pip install '{DISTRIBUTION}[{extra}]'")


# --- what commands share


@contextmanager
def _client(options: argparse.Namespace) -> Iterator[Client]:
    """Yields a client that shows its progress on a terminal."""
    with (
        tqdm(disable=None, leave=False, file=sys.stderr, bar_format=WAITING, delay=0.5) as bar,
        Client(
            options.endpoint,
            url=options.url,
            streaming=_streaming(options),
            timeout_s=options.timeout,
            on_progress=_shown(bar),
        ) as client,
    ):
        yield client


def _streaming(options: argparse.Namespace) -> bool | None:
    """Returns whether the endpoint streams; None where nobody said so."""
    return None if options.streaming is None else options.streaming == "yes"


def _shown(bar: Any) -> Callable[[Progress], None]:
    """Returns what shows progress on a bar."""

    def show(progress: Progress) -> None:
        words = {"waiting": "waiting for a worker", "retrying": "trying again", "running": "speaking"}
        bar.set_description(words.get(progress.state, progress.state), refresh=False)
        if progress.chunks is not None:
            bar.total, bar.bar_format = progress.chunks, BAR
        if progress.chunk > bar.n:
            bar.n = progress.chunk
        if progress.audio_s:
            bar.set_postfix_str(f"{progress.audio_s:.0f} s of audio", refresh=False)
        bar.refresh()

    return show


def _text_of(options: argparse.Namespace) -> str:
    if options.text is not None and options.file is not None:
        raise _Wrong("both a text and --file are set; set one")
    if options.file is not None:
        return _decoded(options.file.read_bytes(), str(options.file))
    if options.text is not None and options.text != "-":
        text: str = options.text
        return text
    if options.text is None and sys.stdin.isatty():
        raise _Wrong("there is no text: give it as an argument, with --file, or on stdin")
    return _decoded(sys.stdin.buffer.read(), "stdin")


def _turns_of(options: argparse.Namespace) -> list[Any] | None:
    if options.turns is None:
        return None
    if options.text is not None or options.file is not None:
        raise _Wrong("both a text and --turns are set; set one")
    return _list_of(options.turns, "turns")


def _pronunciations_of(options: argparse.Namespace) -> list[Any] | None:
    return None if options.pronunciations is None else _list_of(options.pronunciations, "pronunciations")


def _list_of(file: Path, name: str) -> list[Any]:
    """Returns the list of objects that a JSON file holds, itself or as a member of that name."""
    try:
        content = json.loads(_decoded(file.read_bytes(), str(file)))
    except ValueError as error:
        raise _Wrong(f"{file} is not JSON: {error}") from None
    found = content.get(name) if isinstance(content, dict) else content
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _Wrong(f"{file} must hold a list of objects, as the field {name} does")
    return found


def _decoded(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Wrong(f"{source} is not text in UTF-8") from None


def _format_of(file: str) -> str:
    """Returns the format of a file that is to be written. Raises _Wrong for one that no worker makes."""
    ending = Path(file).suffix
    if not ending:
        return DEFAULT_FORMAT
    if (format := format_of(file)) is None:
        raise _Wrong(f"{file} ends with {ending}, which is none of {', '.join(FORMATS)}; set --format")
    return format


def _recording(name: str) -> str | bytes:
    return sys.stdin.buffer.read() if name == "-" else name


def _check_folder(file: str | Path | None) -> None:
    """Raises _Wrong for a file in no folder, before any audio is made for it."""
    if file is not None and not Path(file).absolute().parent.is_dir():
        raise _Wrong(f"{Path(file).parent} is no folder")


def _write(options: argparse.Namespace, speech: Speech) -> int:
    if options.output == "-":
        sys.stdout.buffer.write(speech.audio)
        sys.stdout.buffer.flush()
        _warn(speech.warnings)
        return OK
    path = speech.save(options.output)
    _report(options, speech.receipt, path)
    return OK


def _report(options: argparse.Namespace, receipt: Mapping[str, Any], path: Path | None) -> None:
    """Prints what came: the receipt with --json, else a line and the warnings."""
    if options.json:
        file = {} if path is None else {"file": str(path)}
        print(json.dumps({**receipt, **file}, ensure_ascii=False))
        return
    _warn(strings(receipt, "warnings"))
    if path is not None:
        print(f"{path}: {number(receipt, 'duration'):.1f} s, seed {receipt.get('seed')}")


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"{PROGRAM}: warning: {warning}", file=sys.stderr)


def _field(text: str) -> tuple[str, Any]:
    """Returns FIELD and VALUE of "FIELD=VALUE", whose value is JSON or else a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class _Fields(argparse.Action):
    """Collects FIELD=VALUE options in a dict."""

    def __call__(self, _parser: Any, options: argparse.Namespace, values: Any, _option: Any = None) -> None:
        name, value = values
        setattr(options, self.dest, {**getattr(options, self.dest), name: value})


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--endpoint", metavar="ID", help="a RunPod queue endpoint")
    common.add_argument("--url", metavar="URL", help="a worker's HTTP server")
    common.add_argument("--timeout", metavar="S", type=float, default=TIMEOUT_S, help="seconds for a call")
    common.add_argument(
        "--streaming",
        choices=("yes", "no"),
        help="whether the endpoint has ENDPOINT_MODE=streaming; by default that is found out",
    )
    common.add_argument("--json", action="store_true", help="print the worker's reply, or its error, as JSON")

    further = argparse.ArgumentParser(add_help=False)
    further.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        type=_field,
        action=_Fields,
        default={},
        help="any other field of the operation",
    )

    voice = argparse.ArgumentParser(add_help=False)
    voice.add_argument("--voice", metavar="NAME", help="a stored voice; none: the built-in voice")
    voice.add_argument("--voice-id", metavar="ID", help="a stored voice, by its id")
    voice.add_argument("--reference", metavar="FILE|URL", help="speak like this recording")
    voice.add_argument("--model", metavar="NAME", help="a model of the worker; by default it chooses one")
    voice.add_argument("--format", choices=FORMATS, help="by default what FILE ends with, else mp3")

    parser = argparse.ArgumentParser(
        PROGRAM, description="Speaks in cloned voices, with a Chatterbox Voice Worker.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        about: str,
        *parents: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=about, description=about.capitalize(), parents=[common, *parents]
        )
        command.set_defaults(run=run)
        return command

    speak = add("speak", _speak, "speak a text: play it, or write a file", voice, further)
    speak.add_argument("text", nargs="?", help="the text; - or none: read it from stdin")
    speak.add_argument("--file", "-f", metavar="FILE", type=Path, help="read the text from a file")
    speak.add_argument("--output", "-o", metavar="FILE", help="write the audio; - is stdout")
    speak.add_argument("--seed", type=int, help="the same one gives the same audio")
    speak.add_argument("--speed", type=float, help="0.25 to 4")
    speak.add_argument("--language", metavar="CODE", help="of the text, such as de; by default the voice's")
    speak.add_argument("--turns", metavar="FILE", type=Path, help="speak a dialogue: a JSON list of turns")
    speak.add_argument("--markup", choices=MARKUP, help=f"what the text may hold; by default {MARKUP[0]}")
    speak.add_argument("--pronunciations", metavar="FILE", type=Path, help="a JSON list of text and say")
    speak.add_argument(
        "--no-normalize", dest="normalize_text", action="store_false", default=None, help="read numbers as is"
    )
    speak.add_argument("--subtitles", choices=SUBTITLES, help="write them beside the audio's FILE")

    clone = add("clone", _clone, "make a voice of a recording", further)
    clone.add_argument("recording", help="a file or an https address; - is stdin")
    clone.add_argument("name", help="the voice's name")
    clone.add_argument(
        "--sample",
        metavar="FILE|URL",
        action="append",
        default=[],
        help="a further recording of the same person; up to four, the best 30 s of all are taken",
    )
    clone.add_argument("--description", metavar="TEXT")
    clone.add_argument("--gender", metavar="WORD")
    clone.add_argument("--language", metavar="CODE")
    clone.add_argument("--tag", action="append", help="may be repeated")
    clone.add_argument("--overwrite", action="store_true", help="replace a voice of this name")
    clone.add_argument("--preview", metavar="FILE", type=Path, help="write a sentence in the voice, a WAV")
    clone.add_argument("--keep-preview", action="store_true", help="keep that sentence with the voice")

    convert = add("convert", _convert, "speak what a recording says in another voice", voice, further)
    convert.add_argument("source", help="a file or an https address; - is stdin")
    convert.add_argument("--output", "-o", metavar="FILE", required=True, help="- is stdout")

    check = add("check", _check, "say whether a recording carries the watermark of Chatterbox's makers")
    check.add_argument("recording", help="a file or an https address; - is stdin")

    voices = add("voices", _voices, "list the stored voices, or delete one")
    voices.add_argument("query", nargs="?", help="only voices with this text in their details")
    voices.add_argument("--delete", metavar="NAME", help="delete this voice for good")

    serve = add("serve", _serve, "serve OpenAI's speech API on 127.0.0.1 in front of a queue endpoint")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"by default {DEFAULT_PORT}")
    serve.epilog = f"With {SERVE_KEY} set, requests need it as their key."

    mcp = add("mcp", _mcp, "serve the tools speak and list_voices by MCP over stdio")
    mcp.add_argument("--folder", metavar="FOLDER", type=Path, help="write speech into files there")
    return parser


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from its folder
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())

"""flite, the program that speaks what the small model is trained on and compared with."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from audio.decode import decode_audio
from audio.waveform import Waveform

VOICES = ("slt", "rms", "awb", "kal16")  # those of 16 kHz, made from recordings of four people


class FliteFailed(RuntimeError):
    """flite is not installed, does not have the voice, or ended with an error."""


def speak(text: str, voice: str) -> Waveform:
    """Lets flite speak a text. Raises FliteFailed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        check_voices([voice])
        run(["-voice", voice, "-t", text, "-o", str(file)])
        return decode_audio(file.read_bytes())


def check_voices(wanted: Sequence[str]) -> None:
    """Raises FliteFailed if flite does not have a voice: it would take another one, and say nothing."""
    missing = [voice for voice in wanted if voice not in installed_voices()]
    if missing:
        raise FliteFailed(f"flite has no voice {', '.join(missing)}; it has {', '.join(installed_voices())}")


def run(arguments: Sequence[str]) -> str:
    """Runs flite and returns what it printed. Raises FliteFailed."""
    try:
        done = subprocess.run(["flite", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607
    except FileNotFoundError:
        raise FliteFailed("flite is not installed: apt-get install flite") from None
    except subprocess.CalledProcessError as error:
        raise FliteFailed(f"flite failed: {error.stderr}") from None
    return done.stdout


@functools.cache
def installed_voices() -> list[str]:
    """Returns the names of flite's voices. Raises FliteFailed."""
    return run(["-lv"]).partition(":")[2].split()

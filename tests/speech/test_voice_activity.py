import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio.vad import detect_speech
from audio.waveform import Waveform
from speech.voice_activity import contains_speech
from tests.recordings import music, speech_like, white_noise

REPOSITORY = Path(__file__).parents[2]
RECORDINGS = ["samples/reference.flac", "samples/starters/american.flac", "samples/starters/scottish.flac"]


def is_speech(samples, rate_hz=24_000):
    waveform = Waveform(np.asarray(samples, np.float32), rate_hz)
    return contains_speech(waveform, detect_speech(waveform).speech_s)


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("change", ["as it is", "quiet", "clipped", "in noise", "over music"])
def test_speech_is_speech(recording, change):
    samples, rate_hz = soundfile.read(REPOSITORY / recording, dtype="float32")
    rms, duration_s = samples.std(), len(samples) / rate_hz
    noise, song = white_noise(duration_s, rate_hz), music(duration_s, rate_hz)
    changed = {
        "as it is": samples,
        "quiet": samples * 0.01,
        "clipped": np.clip(samples * 20, -0.3, 0.3),
        "in noise": samples + noise[: len(samples)] / noise.std() * rms,
        "over music": samples + song[: len(samples)] / song.std() * rms,
    }[change]
    assert is_speech(changed, rate_hz)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
@pytest.mark.parametrize("seed", range(3))
def test_music_is_not(seed, rate_hz):
    assert not is_speech(music(6.0, rate_hz, seed), rate_hz)


def test_recordings_judged_at_once_do_not_mix():
    said = {}

    def judge(number):
        said[number] = [is_speech(music(3.0) if number % 2 else speech_like(3.0)) for _ in range(5)]

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: [number % 2 == 0] * 5 for number in range(4)}


def test_torch_keeps_its_threads():
    """In an interpreter that has not imported the package yet, which sets them to one."""
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from speech.voice_activity import contains_speech\n"
        "from audio.waveform import Waveform\n"
        "from tests.recordings import speech_like\n"
        "print(contains_speech(Waveform(speech_like(3.0), 24_000), 3.0), torch.get_num_threads())"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=True)
    assert said.stdout.split() == [b"True", b"2"]

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from errors import InvalidRequest, ReferenceInvalid, ReferenceTooShort, VoiceExists
from tests.recordings import speech_like
from tests.voice_store.conftest import make_waveform
from voice_store import VoiceStore, save_voice_embedding, save_voice_from_file


@pytest.fixture
def recording(tmp_path) -> Path:
    path = tmp_path / "小明 recording.flac"
    soundfile.write(path, speech_like(6.0, 44_100), 44_100)
    return path


def test_signatures_are_the_published_ones():
    assert list(inspect.signature(save_voice_embedding).parameters) == [
        "audio_array",
        "sample_rate",
        "voice_name",
        "embeddings_dir",
        "voice_description",
        "gender",
        "original_file",
    ]
    assert list(inspect.signature(save_voice_from_file).parameters) == [
        "audio_file_path",
        "voice_name",
        "embeddings_dir",
        "voice_description",
        "gender",
    ]
    for function in (save_voice_embedding, save_voice_from_file):
        assert inspect.signature(function).parameters["embeddings_dir"].default == "voice_embeddings"


def test_an_array_becomes_a_voice(root):
    saved = save_voice_embedding(
        make_waveform(1).samples,
        24_000,
        "Amy",
        str(root),
        voice_description="calm",
        gender="female",
        original_file="a.wav",
    )
    voice = VoiceStore(root).get(name="Amy")
    assert saved == {
        "success": True,
        "voice_id": voice.voice_id,
        "voice_name": "Amy",
        "embedding_file": f"{root}/embeddings/{voice.voice_id}.pkl.gz",
        "metadata_file": f"{root}/metadata/{voice.voice_id}.json",
        "duration": 0.25,
        "sample_rate": 24_000,
    }
    assert Path(saved["embedding_file"]).is_file()
    assert Path(saved["metadata_file"]).is_file()
    details = {key: voice.metadata[key] for key in ("description", "gender", "original_file")}
    assert details == {"description": "calm", "gender": "female", "original_file": "a.wav"}
    assert voice.digest == make_waveform(1).digest()


@pytest.mark.parametrize(
    "array",
    [
        make_waveform(1).samples.astype(np.float64),
        make_waveform(1).samples[np.newaxis],
        np.stack([make_waveform(1).samples] * 2, axis=1),
        make_waveform(1).samples.tolist(),
    ],
    ids=["float64", "one row", "two columns", "list"],
)
def test_arrays_of_other_kinds_become_the_same_voice(root, array):
    save_voice_embedding(array, 24_000, "Amy", root)
    assert VoiceStore(root).get(name="Amy").digest == make_waveform(1).digest()


def test_an_array_of_another_rate_is_resampled(root):
    saved = save_voice_embedding((make_waveform(1).samples * 2**15).astype(np.int16), 48_000, "Amy", root)
    assert (saved["duration"], saved["sample_rate"]) == (0.125, 24_000)


@pytest.mark.parametrize(
    ("array", "rate"),
    [
        ([], 24_000),
        (0.5, 24_000),
        ([float("nan")] * 9, 24_000),
        (["a"], 24_000),
        ([1 + 1j], 24_000),
        ([[[0.5]]], 24_000),
        (np.zeros(9, dtype=np.uint8), 24_000),
        ([0.5], 0),
        ([0.5], 10**9),
    ],
)
def test_an_array_that_is_no_audio_is_refused(root, array, rate):
    with pytest.raises(ReferenceInvalid, match="audio_array"):
        save_voice_embedding(array, rate, "Amy", root)
    assert not root.exists()


def test_saving_again_is_the_same_voice_and_other_audio_is_not(root):
    first, second = (save_voice_embedding(make_waveform(1).samples, 24_000, "Amy", root) for _ in range(2))
    assert first == second
    with pytest.raises(VoiceExists):
        save_voice_embedding(make_waveform(2).samples, 24_000, "Amy", root)


def test_a_recording_becomes_a_voice(root, recording):
    saved = save_voice_from_file(str(recording), "小明", str(root), gender="male")
    voice = VoiceStore(root).get(name="小明")
    assert saved["voice_id"] == voice.voice_id
    assert voice.metadata["original_file"] == recording.name
    assert 4.0 < voice.waveform.duration_s <= 6.0


def test_a_recording_without_enough_speech_is_refused(root, tmp_path):
    short, silent = tmp_path / "short.wav", tmp_path / "silent.wav"
    soundfile.write(short, speech_like(1.0), 24_000)
    soundfile.write(silent, np.zeros(24_000 * 5), 24_000)
    with pytest.raises(ReferenceTooShort, match="audio_file_path"):
        save_voice_from_file(short, "Amy", root)
    with pytest.raises(ReferenceInvalid, match="audio_file_path"):
        save_voice_from_file(silent, "Amy", root)


def test_a_recording_that_is_not_there_is_told_without_its_path(root, tmp_path):
    for path in (tmp_path / "nothing.wav", tmp_path):
        with pytest.raises(
            InvalidRequest, match="audio_file_path (is|cannot) .*; give a recording"
        ) as caught:
            save_voice_from_file(path, "Amy", root)
        assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("kind", ["a pipe", "a device", "larger than 25 MiB"])
def test_what_is_no_small_file_is_refused_without_reading_it(root, tmp_path, kind):
    path = tmp_path / "x.wav"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(InvalidRequest, match=kind):
        save_voice_from_file(path, "Amy", root)


def test_the_room_needs_neither_torch_nor_a_request():
    script = (
        "import sys, voice_store, voice_store.__main__\n"
        "print({'torch', 'runpod', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.stdout == "set()\n"

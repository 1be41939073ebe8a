"""The whole pipeline with upstream's modules at small size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from chatterbox.tts import punc_norm

from audio.waveform import Waveform
from benchmarks.upstream import load as load_upstream
from errors import InvalidRequest, ModelUnavailable
from speech.checkpoint import load_model
from speech.contract import Reference, SpeechParams
from speech.decoders import make_decoder
from speech.engine import SpeechEngine, load_engine
from speech.locate import Checkpoint
from speech.t3.linear import pack
from speech.t3.request import START_SPEECH, STOP_SPEECH, Decoded, Decoder, DecodeRequest, never
from speech.text import split_text
from speech.variants import CHATTERBOX
from speech.watermark import Watermarker
from tests.recordings import speech_like
from tests.speaker_contract import SpeakerContract
from tests.speech.detector import confidence

SENTENCE = "The harbour was quiet, and the boats lay still."
PAGE = " ".join(
    f"Sentence number {count} tells of {count * 7} boats that came home late." for count in range(1, 86)
)


def reference(seed: int, duration_s: float = 4.0) -> Reference:
    return Reference.of(Waveform(speech_like(duration_s, 24_000, seed=seed), 24_000))


def speak(engine: SpeechEngine, text: str = SENTENCE, voice: Reference | None = None, **params) -> np.ndarray:
    return engine.speak(text, voice, SpeechParams(**{"seed": 7} | params)).waveform.samples


class TestSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self, engine) -> SpeechEngine:
        return engine


def test_one_sentence_equals_upstreams_generate(engine, smoke_checkpoint):
    upstream = load_upstream(smoke_checkpoint)
    torch.manual_seed(7)
    theirs = upstream.generate(SENTENCE)[0].numpy()
    np.testing.assert_allclose(speak(engine), theirs, atol=2e-6)


def test_a_voice_and_parameters_equal_upstreams_generate(engine, smoke_checkpoint, tmp_path):
    import soundfile

    voice = reference(3)
    soundfile.write(tmp_path / "voice.wav", voice.waveform.samples, 24_000, subtype="FLOAT")
    upstream = load_upstream(smoke_checkpoint)
    params = {
        "exaggeration": 1.3,
        "cfg_weight": 0.3,
        "temperature": 0.6,
        "repetition_penalty": 1.5,
        "top_p": 0.9,
    }
    torch.manual_seed(7)
    upstream.prepare_conditionals(tmp_path / "voice.wav", exaggeration=1.3)
    torch.manual_seed(7)
    theirs = upstream.generate(SENTENCE, **params)[0].numpy()
    np.testing.assert_allclose(speak(engine, voice=voice, **params), theirs, atol=1e-5)


def test_a_page_of_text_is_spoken_whole(engine):
    text = PAGE[:5000].rsplit(".", 1)[0] + "."
    assert len(text) > 4_500
    speech = engine.speak(text, reference(1), SpeechParams(seed=1))
    said = "".join("".join(segment.text for segment in speech.segments).split())
    assert said == "".join(text.split())
    ends = [0.0]
    for segment in speech.segments:
        assert segment.start_s >= ends[-1]
        assert segment.end_s > segment.start_s
        ends.append(segment.end_s)
    assert ends[-1] == pytest.approx(speech.waveform.duration_s)
    # The checkpoint is arranged for about 15 letters a second, the pace of English.
    assert len(text) / speech.waveform.duration_s == pytest.approx(15, rel=0.25)
    assert np.isfinite(speech.waveform.samples).all()
    assert not speech.warnings


def test_what_is_said_is_watermarked(engine, perth):
    assert confidence(perth, speak(engine, PAGE[:400])) > 0.9
    assert confidence(perth, speech_like(6.0, 24_000, seed=1)) < 0.6


def test_parameters_come_back_resolved_and_ignored_ones_are_named(engine):
    speech = engine.speak(SENTENCE, None, SpeechParams(seed=1, top_k=50, top_p=0.8))
    assert speech.parameters == {
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "top_p": 0.8,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "top_k": None,
    }
    assert speech.warnings == ("top_k has no effect on the chatterbox model",)


@pytest.mark.parametrize("text", ["", "   \n", "...", "?!"])
def test_nothing_to_say_is_refused(engine, text):
    with pytest.raises(InvalidRequest, match="text"):
        speak(engine, text)


@pytest.mark.parametrize(
    "text", ["A", "7", "你好，世界。今天天气很好。", "a" * 700, "Ünïcödé 🙂 test", "\u202eright to left"]
)
def test_unusual_text_is_spoken(engine, text):
    assert len(speak(engine, text)) > 0


class Flaky:
    """The real decoder, reporting that the first tries ran into the limit."""

    def __init__(self, decoder: Decoder, failures: int) -> None:
        self.seeds: list[int] = []
        self._decoder, self._failures = decoder, failures

    def decode(
        self, requests: Sequence[DecodeRequest], is_stopped: Callable[[], bool] = never
    ) -> Iterator[Decoded]:
        return (self._decode(request) for request in requests)

    def _decode(self, request: DecodeRequest) -> Decoded:
        self.seeds.append(request.seed)
        (decoded,) = self._decoder.decode([request])
        return dataclasses.replace(decoded, stopped=len(self.seeds) > self._failures)


class Constant:
    """Says the same to every request."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = torch.tensor(tokens).long()

    def decode(
        self, requests: Sequence[DecodeRequest], is_stopped: Callable[[], bool] = never
    ) -> Iterator[Decoded]:
        return (Decoded(self._tokens, True, torch.Generator()) for _ in requests)


def test_a_runaway_chunk_is_spoken_again_with_the_next_seed(engine, our_model):
    again = speak(engine, seed=8)
    flaky = Flaky(make_decoder(our_model), failures=1)
    speech = SpeechEngine(our_model, Watermarker(), flaky).speak(SENTENCE, None, SpeechParams(seed=7))
    assert flaky.seeds == [7, 8]
    assert np.array_equal(speech.waveform.samples, again)
    (warning,) = speech.warnings
    assert warning.startswith("segment 1 of 1 ran on and was cut, so the next seed was tried")
    assert warning.endswith("was spoken well then")


def test_a_chunk_that_runs_away_twice_is_cut_and_reported(our_model):
    flaky = Flaky(make_decoder(our_model), failures=2)
    engine = SpeechEngine(our_model, Watermarker(), flaky)
    speech = engine.speak(SENTENCE, None, SpeechParams(seed=2**63 - 1))
    assert flaky.seeds == [2**63 - 1, 0]
    assert speech.warnings[0].endswith("ran on and was cut again; listen to it")
    assert speech.waveform.duration_s > 0


@pytest.mark.parametrize("tokens", [[], [6561, 8000]], ids=["none", "outside the codebook"])
def test_a_chunk_without_speech_is_tried_again_and_reported(our_model, tokens):
    engine = SpeechEngine(our_model, Watermarker(), Constant(tokens))
    speech = engine.speak(SENTENCE, None, SpeechParams(seed=1))
    assert speech.warnings[0].startswith("segment 1 of 1 came out empty")
    assert speech.warnings[0].endswith("came out empty again; listen to it")


def test_a_model_that_never_stops_is_stopped_by_the_length_of_its_text(our_model):
    head = our_model.t3.head.to_dense().clone()
    head[STOP_SPEECH] = head[START_SPEECH]  # the start token is one that is never drawn
    endless = dataclasses.replace(our_model, t3=dataclasses.replace(our_model.t3, head=pack(head)))
    speech = SpeechEngine(endless, Watermarker(), make_decoder(endless)).speak(
        "Hello there.", None, SpeechParams(seed=1)
    )
    assert "ran on and was cut" in speech.warnings[0]
    assert speech.waveform.duration_s < 15


@pytest.mark.parametrize("precision", ["exact", "auto"])
def test_upstreams_loop_can_be_chosen_and_says_the_same(smoke_checkpoint, engine, precision):
    plain = load_engine(
        "chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu", precision=precision, upstream=True
    )
    np.testing.assert_allclose(speak(plain), speak(engine), atol=2e-6)


def test_texts_spoken_by_several_threads_come_out_as_alone(engine):
    texts = [SENTENCE, PAGE[:700], "No.", PAGE[700:1000]]
    alone = [speak(engine, text, seed=index) for index, text in enumerate(texts)]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda job: speak(engine, job[1], seed=job[0]), enumerate(texts)))
    for expected, found in zip(alone, together, strict=True):
        assert np.array_equal(found, expected)


def test_every_chunk_is_normalised_as_upstream_does(engine, monkeypatch):
    seen: list[str] = []
    encode = engine.model.tokenizer.encode
    monkeypatch.setattr(engine.model.tokenizer, "encode", lambda text: (seen.append(text), encode(text))[1])
    text = "first part; then - the “second”… " + PAGE[:400]
    speak(engine, text)
    assert seen == [punc_norm(chunk.text) for chunk in split_text(text)]


def test_without_a_builtin_voice_a_job_must_name_one(smoke_checkpoint, tmp_path):
    import shutil

    folder = tmp_path / "voiceless"
    shutil.copytree(smoke_checkpoint, folder)
    (folder / "conds.pt").unlink()
    model = load_model(CHATTERBOX, Checkpoint(folder, None, chosen_by_name=True), torch.device("cpu"))
    voiceless = SpeechEngine(model, Watermarker(), make_decoder(model))
    with pytest.raises(InvalidRequest, match="no built-in voice"):
        speak(voiceless)
    assert len(speak(voiceless, voice=reference(1))) > 0


def test_loading_by_folder_says_what_was_loaded(smoke_checkpoint, caplog):
    caplog.set_level("INFO")
    loaded = load_engine("chatterbox", checkpoint_dir=smoke_checkpoint, device="cpu")
    loaded.check()
    assert loaded.info.untrained
    assert len(loaded.info.revision) == 16
    assert "untrained smoke checkpoint: the audio is noise" in caplog.text


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_named(smoke_checkpoint, device):
    with pytest.raises(ModelUnavailable, match=f"DEVICE '{device}'"):
        load_engine("chatterbox", checkpoint_dir=smoke_checkpoint, device=device)


def test_upstreams_chatter_stays_out_of_the_output(engine, capfd):
    speak(engine, PAGE[:300], reference(5))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_stage_times_add_up(engine):
    times = engine.speak(SENTENCE, reference(1), SpeechParams(seed=1)).stage_times_s
    assert set(times) == {"conditionals", "t3", "s3gen", "watermark"}
    assert all(math.isfinite(value) and value >= 0 for value in times.values())

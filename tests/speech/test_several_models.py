"""Several models in one worker: each speaks as it does alone, and what they have in common is there once."""

from __future__ import annotations

import errno
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cancel import CancelToken
from errors import ModelUnavailable, OutOfMemory
from speech.models.spec import CHATTERBOX, TURBO, ModelSource, ModelSpec
from speech.pipeline import (
    ChatterboxSynthesizer,
    load_synthesizer,
    load_synthesizers,
    make_batch,
    make_synthesizer,
    make_synthesizers,
)
from speech.runtime import DeviceModel, DeviceRuntime
from speech.s3gen.s3gen import S3Gen
from speech.smoke import write_smoke_checkpoint
from speech.t3.batch import CAPACITY, RunningBatch
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import VOCODER_PREFIX
from speech.weights.load import Model, load_model
from speech.weights.memory import MemoryNeed, check_room, memory_need
from speech.weights.shared import SharedParts
from tests.speech.runtimes import ConstantBatch, TokensAsSamples, WatchedBatch, chunk, held
from tests.speech.speaking import encode, join, speak
from tests.speech.t3.requests import decode_all

CPU = torch.device("cpu")
SECOND = replace(CHATTERBOX, name="second", languages=("en", "fr"))
PACK = replace(CHATTERBOX, name="pack")
SENTENCES = (
    "The harbour was quiet, and the boats lay still.",
    "Nobody knew why.",
    "Bring the crates inside before it rains; the tide waits for no one.",
)


@pytest.fixture(scope="module")
def second_checkpoint(checkpoint, tmp_path_factory) -> Checkpoint:
    """Another T3 with the first checkpoint's S3Gen and voice encoder."""
    folder = tmp_path_factory.mktemp("second")
    write_smoke_checkpoint(folder, seed=2)
    for name in (CHATTERBOX.files.s3gen, CHATTERBOX.files.voice_encoder):
        shutil.copyfile(checkpoint.folder / name, folder / name)
    return Checkpoint(folder, None, may_be_unpublished=True)


@pytest.fixture(scope="module")
def pack_checkpoint(second_checkpoint, tmp_path_factory) -> Checkpoint:
    """One whose S3Gen differs in the vocoder, and lacks tables that can be computed."""
    folder = tmp_path_factory.mktemp("pack")
    shutil.copytree(second_checkpoint.folder, folder, dirs_exist_ok=True)
    file = folder / CHATTERBOX.files.s3gen
    weights = load_file(file)
    for name in ("tokenizer._mel_filters", "tokenizer.window"):
        weights.pop(name, None)
    louder = {"mel2wav.conv_post.bias": weights["mel2wav.conv_post.bias"] - 0.25}
    save_file(weights | louder, file)
    return Checkpoint(folder, None, may_be_unpublished=True)


def load(sources: Sequence[tuple[ModelSpec, Checkpoint]]) -> list[Model]:
    """The models of a worker, in float32."""
    shared = SharedParts()
    return [load_model(spec, checkpoint, CPU, shared=shared) for spec, checkpoint in sources]


@pytest.fixture(scope="module")
def english_and_turbo(our_model, turbo, watermarker) -> Iterator[list[ChatterboxSynthesizer]]:
    synthesizers = make_synthesizers([our_model, turbo], watermarker, max_concurrency=4)
    with closing(synthesizers[0]):
        yield synthesizers


def test_each_speaks_as_alone_whatever_the_other_does(english_and_turbo, our_model, turbo, watermarker):
    requests = [(model, text, seed) for seed, text in enumerate(SENTENCES) for model in (0, 1)]
    expected = {}
    for number, model in enumerate((our_model, turbo)):
        with closing(make_synthesizer(model, watermarker)) as alone:
            voice = encode(alone, seed=3 + number, duration_s=6.0)
            for which, text, seed in requests:
                if which == number:
                    expected[number, text] = join(speak(alone, text, voice, seed=seed))
    voices = [encode(each, 3 + number, 6.0) for number, each in enumerate(english_and_turbo)]

    def answer(which: int, text: str, seed: int) -> np.ndarray:
        return join(speak(english_and_turbo[which], text, voices[which], seed=seed))

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(answer, *zip(*requests, strict=True)))
    for (which, text, seed), samples in zip(requests, together, strict=True):
        assert len(samples) == len(expected[which, text])
        assert np.abs(samples - expected[which, text]).max() < 5e-6
        assert np.abs(answer(which, text, seed) - expected[which, text]).max() < 5e-6  # and in turn


def test_both_decode_at_the_same_time(our_model, turbo):
    """In one batch loop: each model's batch takes a step while the other has chunks in it."""
    steps: list[str] = []
    models = {
        model.spec.name: DeviceModel(
            lambda model=model: WatchedBatch(
                make_batch(model), on_step=lambda: steps.append(model.spec.name)
            ),
            TokensAsSamples(),
        )
        for model in (our_model, turbo)
    }
    chunks = [chunk(model, length) for model, length in ((our_model, "a" * 30), (turbo, "b" * 30))]
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime:
        spoken = list(runtime.speak(chunks, CancelToken()))
    assert len(spoken) == 2
    first = [steps.index(name) for name in models]
    assert all(name in steps[max(first) :] for name in models)


def test_usage_is_of_all_models(english_and_turbo):
    assert {each.usage.rows for each in english_and_turbo} == {2 * 2 * (4 + 4 - 1)}


def test_models_of_one_group_share_all_but_t3(checkpoint, second_checkpoint, watermarker):
    first, second = load([(CHATTERBOX, checkpoint), (SECOND, second_checkpoint)])
    assert second.s3gen is first.s3gen
    assert second.reference_encoder is first.reference_encoder
    assert not torch.equal(second.t3.weights.head.to_dense(), first.t3.weights.head.to_dense())
    synthesizers = make_synthesizers([first, second], watermarker)
    with closing(synthesizers[0]):
        one, other = synthesizers
        assert one.conditionals_key == other.conditionals_key
        voice = encode(one, 1)
        assert not np.array_equal(join(speak(one, voice=voice)), join(speak(other, voice=voice)))


def test_chunks_of_models_that_share_s3gen_are_rendered_together(our_model):
    renderer = Gathering()
    models = {
        name: DeviceModel(lambda: ConstantBatch([1, 2, 3]), renderer) for name in (CHATTERBOX.name, "second")
    }
    one = chunk(our_model)
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime, ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            spoken = [
                pool.submit(lambda each: list(runtime.speak([each], CancelToken())), each)
                for each in (one, replace(one, model="second"))
            ]
            wait_for(2)
        assert all(len(each.result()) == 1 for each in spoken)
    assert renderer.calls == [2]


class Gathering(TokensAsSamples):
    """Notes how many chunks each call renders."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def render(self, requests) -> list[Tensor]:
        self.calls.append(len(requests))
        return super().render(requests)


def test_a_pack_has_a_vocoder_of_its_own_and_nothing_else(checkpoint, second_checkpoint, pack_checkpoint):
    _, second, pack = load([(CHATTERBOX, checkpoint), (SECOND, second_checkpoint), (PACK, pack_checkpoint)])
    assert isinstance(pack.s3gen, S3Gen)
    assert pack.s3gen is not second.s3gen
    assert pack.s3gen._flow is second.s3gen._flow
    assert pack.reference_encoder is second.reference_encoder
    alone = load_model(PACK, pack_checkpoint, CPU)
    mel = torch.zeros(1, 8, 80)
    samples = [model.s3gen.vocode(mel, torch.Generator().manual_seed(0)) for model in (alone, pack, second)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_english_and_turbo_share_nothing(our_model, turbo, checkpoint, turbo_checkpoint):
    one, other = load([(CHATTERBOX, checkpoint), (turbo.spec, turbo_checkpoint)])
    assert one.s3gen is not other.s3gen
    assert one.reference_encoder is not other.reference_encoder
    assert one.conditionals_digest != other.conditionals_digest


def test_a_failure_of_one_models_batch_leaves_the_other_alone(our_model, turbo):
    def fail() -> None:
        raise ValueError("a bug")

    models = {
        our_model.spec.name: DeviceModel(
            lambda: WatchedBatch(make_batch(our_model), on_step=fail), TokensAsSamples()
        ),
        turbo.spec.name: DeviceModel(lambda: make_batch(turbo), TokensAsSamples()),
    }
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime, ThreadPoolExecutor(2) as pool:
        failing = pool.submit(lambda: list(runtime.speak([chunk(our_model)], CancelToken())))
        spoken = pool.submit(lambda: list(runtime.speak([chunk(turbo)], CancelToken())))
        with pytest.raises(ValueError, match="a bug"):
            failing.result()
        assert len(spoken.result()) == 1


def run_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class OutOfMemoryRenderer(TokensAsSamples):
    """A renderer for which the memory never suffices."""

    def render(self, requests) -> list[Tensor]:
        run_out()
        return super().render(requests)


@pytest.mark.parametrize("where", ["prompt", "step", "rendering"])
def test_a_model_whose_memory_runs_out_fails_its_job_alone(our_model, turbo, where, caplog):
    """The job is tried once more and gets the product's error; those of the other model are as ever."""
    faults = {"prompt": {"on_add": run_out}, "step": {"on_step": run_out}, "rendering": {}}[where]
    mine = [chunk(turbo, text) for text in SENTENCES]
    expected = decode_all(make_batch(turbo), [each.decode for each in mine])
    models = {
        our_model.spec.name: DeviceModel(
            lambda: WatchedBatch(make_batch(our_model), **faults),
            OutOfMemoryRenderer() if where == "rendering" else TokensAsSamples(),
        ),
        turbo.spec.name: DeviceModel(lambda: make_batch(turbo), TokensAsSamples()),
    }
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime, ThreadPoolExecutor(2) as pool:
        for _ in range(2):  # at the same time, and after it
            with held(runtime) as wait_for:
                failing = pool.submit(lambda: list(runtime.speak([chunk(our_model)], CancelToken())))
                wait_for(1)
                spoken = pool.submit(lambda: list(runtime.speak(mine, CancelToken())))
                wait_for(2)
            with pytest.raises(OutOfMemory, match="the GPU's memory ran out; send the job again") as caught:
                failing.result()
            assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
            for audio, decoded in zip(spoken.result(), expected, strict=True):
                assert audio.failures == ()
                assert np.array_equal(audio.samples, decoded.speech().numpy())
    again = [record.getMessage() for record in caplog.records if record.name == "speech.runtime"]
    assert again == ["chatterbox: the GPU's memory ran out: once more, one chunk after the other"] * 2


def test_models_that_share_s3gen_are_rendered_apart_once_its_memory_ran_out(our_model):
    """The chunk that needs too much must not take that of the other model with it, again and again."""

    class TooSmall(TokensAsSamples):
        def render(self, requests) -> list[Tensor]:
            if any(each.generator.initial_seed() == 7 for each in requests):
                run_out()
            return super().render(requests)

    renderer = TooSmall()
    models = {
        name: DeviceModel(lambda: make_batch(our_model), renderer) for name in (CHATTERBOX.name, "second")
    }
    large, small = chunk(our_model, seed=7), replace(chunk(our_model, seed=8), model="second")
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime, ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            speaking = []
            for count, each in enumerate((large, small), 1):
                speaking.append(pool.submit(lambda each: list(runtime.speak([each], CancelToken())), each))
                wait_for(count)
        with pytest.raises(OutOfMemory):
            speaking[0].result()
        (audio,) = speaking[1].result()
    (expected,) = decode_all(make_batch(our_model), [small.decode])
    assert np.array_equal(audio.samples, expected.speech().numpy())


def test_a_full_batch_of_one_model_stops_no_job_of_another(our_model, turbo):
    """The second English job waits for the first one's rows; turbo, which came last, does not."""
    order: list[str] = []

    def watched(model: Model) -> WatchedBatch:
        batch = RunningBatch(model.t3, 2, poll_every=1, graphs=False)
        return WatchedBatch(batch, on_add=lambda: order.append(model.spec.name))

    models = {
        model.spec.name: DeviceModel(lambda model=model: watched(model), TokensAsSamples())
        for model in (our_model, turbo)
    }
    with closing(DeviceRuntime(CPU, models, max_jobs=3)) as runtime, ThreadPoolExecutor(3) as pool:
        with held(runtime) as wait_for:
            spoken = []
            for count, model in enumerate((our_model, our_model, turbo), 1):
                spoken.append(
                    pool.submit(lambda each: list(runtime.speak([each], CancelToken())), chunk(model))
                )
                wait_for(count)
        assert all(len(each.result()) == 1 for each in spoken)
    assert order == ["chatterbox", "turbo", "chatterbox"]


def test_a_short_text_never_waits_for_a_long_one_whatever_other_models_do(our_model, turbo):
    """A long text leaves room for the next job of its model, also while a job of another model runs."""
    rows: list[int] = []

    def english() -> WatchedBatch:
        batch = RunningBatch(our_model.t3, 6, poll_every=1, graphs=False)
        return WatchedBatch(batch, on_step=lambda: rows.append(batch.used_rows))

    models = {
        our_model.spec.name: DeviceModel(english, TokensAsSamples()),
        turbo.spec.name: DeviceModel(lambda: make_batch(turbo), TokensAsSamples()),
    }
    long = [chunk(our_model, seed=seed) for seed in range(5)]
    with closing(DeviceRuntime(CPU, models, max_jobs=2)) as runtime, ThreadPoolExecutor(2) as pool:
        with held(runtime) as wait_for:
            other = pool.submit(lambda: list(runtime.speak([chunk(turbo, "b" * 60)], CancelToken())))
            wait_for(1)
            mine = pool.submit(lambda: list(runtime.speak(long, CancelToken())))
            wait_for(2)
        assert len(mine.result()) == 5
        other.result()
    assert max(rows) == 4  # of 6: two are for whoever comes


def tensors_below(thing: object, seen: set[int]) -> Iterator[Tensor]:
    """Yields every tensor that an object of ours holds, its functions' variables among them, once."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    parts: Iterable[object] = ()
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, (tuple, list)):
        parts = thing
    elif isinstance(thing, dict):
        parts = thing.values()
    elif isinstance(thing, FunctionType):
        parts = [cell.cell_contents for cell in thing.__closure__ or ()]
    elif type(thing).__module__.startswith("speech."):
        parts = vars(thing).values()
    for part in parts:
        yield from tensors_below(part, seen)


def bytes_of(*things: object) -> int:
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors_below(things, set()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["chatterbox", "turbo"])
def test_what_a_model_needs_is_what_is_loaded(checkpoint, turbo_checkpoint, name, dtype):
    spec, its_checkpoint = {"chatterbox": (CHATTERBOX, checkpoint), "turbo": (TURBO, turbo_checkpoint)}[name]
    need = memory_need(spec, its_checkpoint, CPU, dtype, SharedParts())
    model = load_model(spec, its_checkpoint, CPU, dtype)
    loaded_bytes = bytes_of(model.t3, model.s3gen, model.reference_encoder)
    # Weight norms are folded, and small tables computed.
    assert need.weights_bytes == pytest.approx(loaded_bytes, rel=0.01)
    rows = 2 if spec is CHATTERBOX else 1  # of a chunk of text
    values = math.prod(model.t3.cache_shape(rows, CAPACITY))
    assert need.cache_bytes == values * model.t3.cache_dtype.itemsize


def test_a_model_that_does_not_fit_is_refused_with_all_numbers(monkeypatch):
    monkeypatch.setattr("speech.weights.memory.free_memory", lambda device: 3_900_000_000)
    need = MemoryNeed(weights_bytes=3_200_000_000, cache_bytes=755_000_000)
    with pytest.raises(ModelUnavailable) as caught:
        check_room(CHATTERBOX, need, need.cache_bytes, CPU)
    assert caught.value.message == (
        "the weights of chatterbox need 3.2 GB of the machine's memory, KV caches for one chunk of text by "
        "each model 0.8 GB, and 3.9 GB are free; name fewer models in MODEL, or choose one with more memory"
    )
    with pytest.raises(ModelUnavailable, match=r"4\.2 GB of the GPU's memory, and 3\.9 GB are free"):
        check_room(CHATTERBOX, MemoryNeed(4_200_000_000, 0), 0, torch.device("cuda"))
    check_room(CHATTERBOX, need, 700_000_000, CPU)


@pytest.mark.parametrize("lacking_bytes", [0, 1])
def test_a_worker_needs_room_for_the_caches_of_all_its_models(
    checkpoint, second_checkpoint, monkeypatch, lacking_bytes
):
    """None of them has been written yet when the last model is loaded."""
    shared = SharedParts()
    first = memory_need(CHATTERBOX, checkpoint, CPU, torch.float32, shared)
    load_model(CHATTERBOX, checkpoint, CPU, shared=shared)
    second = memory_need(SECOND, second_checkpoint, CPU, torch.float32, shared)
    caches_bytes = first.cache_bytes + second.cache_bytes
    free = iter(
        [first.weights_bytes + first.cache_bytes, second.weights_bytes + caches_bytes - lacking_bytes]
    )
    monkeypatch.setattr("speech.weights.memory.free_memory", lambda device: next(free))
    sources = [
        ModelSource("chatterbox", folder=checkpoint.folder),
        ModelSource("second", folder=second_checkpoint.folder),
    ]
    if lacking_bytes:
        with pytest.raises(ModelUnavailable, match="the weights of second need .* KV caches"):
            load_synthesizers(sources, device="cpu", precision="exact")
    else:
        load_synthesizers(sources, device="cpu", precision="exact")[0].close()


def test_a_model_of_the_same_group_needs_room_for_its_t3_alone(checkpoint, second_checkpoint):
    shared = SharedParts()
    load_model(CHATTERBOX, checkpoint, CPU, shared=shared)
    need = memory_need(SECOND, second_checkpoint, CPU, torch.float32, shared)
    model = load_model(SECOND, second_checkpoint, CPU, shared=shared)
    assert need.weights_bytes == pytest.approx(bytes_of(model.t3), rel=1e-4)


def test_a_pack_needs_room_for_its_t3_and_its_vocoder(checkpoint, second_checkpoint, pack_checkpoint):
    shared = SharedParts()
    load_model(CHATTERBOX, checkpoint, CPU, shared=shared)
    t3_need, need = (
        memory_need(PACK, each, CPU, torch.float32, shared) for each in (second_checkpoint, pack_checkpoint)
    )
    vocoder_bytes = need.weights_bytes - t3_need.weights_bytes
    weights = load_file(pack_checkpoint.folder / CHATTERBOX.files.s3gen)
    assert vocoder_bytes == sum(
        tensor.nbytes for name, tensor in weights.items() if name.startswith(VOCODER_PREFIX)
    )


def unreadable() -> ModelUnavailable:
    """What reading a file raises when the system has no memory to map it."""
    error = ModelUnavailable("t3_cfg.pt cannot be read (OSError)", hint="download the weights again")
    error.__cause__ = OSError(errno.ENOMEM, "Cannot allocate memory")
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("Cannot allocate memory (os error 12)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 3200000000 bytes."),
        RuntimeError(
            "unable to mmap 6557280 bytes from file <t3_cfg.safetensors>: Cannot allocate memory (12)"
        ),
        unreadable(),
    ],
    ids=str,
)
def test_memory_that_runs_out_while_a_model_is_loaded_is_named_with_both_numbers(
    checkpoint, monkeypatch, error
):
    def run_out(*_, **__):
        raise error

    monkeypatch.setattr("speech.pipeline.load_model", run_out)
    monkeypatch.setattr("speech.pipeline.free_memory", lambda device: 2_500_000_000)
    with pytest.raises(ModelUnavailable) as caught:
        load_synthesizer("chatterbox", checkpoint_dir=checkpoint.folder, device="cpu")
    assert caught.value.message == (
        "memory ran out while chatterbox was loaded: its weights need 0.0 GB of the machine's memory, and "
        "more while they are read, and 2.5 GB were free; name fewer models in MODEL, or choose one with more "
        "memory"
    )
    assert caught.value.__cause__ is error


def test_another_failure_of_loading_is_not_taken_for_a_lack_of_memory(checkpoint, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("sizes differ")

    monkeypatch.setattr("speech.pipeline.load_model", fail)
    with pytest.raises(RuntimeError, match="sizes differ"):
        load_synthesizer("chatterbox", checkpoint_dir=checkpoint.folder, device="cpu")


WITH_LITTLE_MEMORY = """
import re, resource, sys
from pathlib import Path
from errors import ModelUnavailable
from speech import pipeline

load_model = pipeline.load_model

def load_with_little(*arguments, **options):
    in_use = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_AS, (in_use + int(sys.argv[2]),) * 2)
    return load_model(*arguments, **options)

pipeline.load_model = load_with_little
try:
    pipeline.load_synthesizer("chatterbox", checkpoint_dir=Path(sys.argv[1]), device="cpu")
except ModelUnavailable as error:
    print(error.message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("more_bytes", [1_000_000, 12_000_000, 24_000_000])
def test_a_process_that_gets_no_more_memory_says_so(checkpoint, more_bytes):
    """The system refuses to map a file to safetensors, T3's to torch, and S3Gen's."""
    finished = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(checkpoint.folder), str(more_bytes)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.stdout.startswith("memory ran out while chatterbox was loaded"), finished.stderr


def test_a_gpu_that_is_full_is_no_missing_one(monkeypatch):
    def run_out(*_, **__):
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty", run_out)
    with pytest.raises(ModelUnavailable, match="the memory of DEVICE 'cuda:0' is in use"):
        load_synthesizer("chatterbox", device="cuda:0")


@pytest.mark.parametrize("file", [CHATTERBOX.files.tokenizer[0], CHATTERBOX.files.t3])
def test_the_log_names_the_model_that_cannot_be_loaded(checkpoint, tmp_path, caplog, file):
    shutil.copytree(checkpoint.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text("{")
    sources = [ModelSource("chatterbox", folder=checkpoint.folder), ModelSource("narrator", folder=tmp_path)]
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_synthesizers(sources, device="cpu")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "model: narrator cannot be loaded"
    ]


@pytest.mark.parametrize("part", ["voice_encoder", "s3gen"])
def test_conditionals_of_another_encoder_have_another_key(our_model, checkpoint, tmp_path, part):
    shutil.copytree(checkpoint.folder, tmp_path, dirs_exist_ok=True)
    file: Path = tmp_path / getattr(CHATTERBOX.files, part)
    weights = load_file(file)
    name = {"voice_encoder": "proj.bias", "s3gen": "speaker_encoder.head.bn1.bias"}[part]
    save_file(weights | {name: weights[name] + 1}, file)
    other = load_model(CHATTERBOX, Checkpoint(tmp_path, None, may_be_unpublished=True), CPU)
    assert other.conditionals_digest != our_model.conditionals_digest

"""The fused step where there is no GPU: interpreted, compiled beforehand, and left out."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from speech.models.spec import MODELS
from speech.t3 import batch as batch_module
from speech.t3 import fused_step
from speech.t3.batch import RunningBatch
from speech.t3.fused_step import load_fused_step
from tests.speech.t3.requests import decode_all, mixed_requests, request
from tests.speech.t3.test_batch import GraphsOnPaper

REPOSITORY = Path(__file__).parents[3]
CACHED = ("__triton_launcher*.so", "cuda_utils*.so", "*.cubin")


def run(*arguments: str, **variables: str) -> str:
    """Runs a module in a process of its own, as Triton needs for both kinds of run. Returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "cases", ["with_and_without", pytest.param("test", id="all", marks=pytest.mark.slow)]
)
def test_interpreted_it_is_the_plain_step(cases, smoke_checkpoint):
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    file = str(Path(__file__).with_name("interpreted_step.py"))
    # Without conftest.py, which imports all of upstream's package.
    options = ("-q", "-p", "no:cacheprovider", "--noconftest", "-k", cases)
    said = run("pytest", *options, file, TRITON_INTERPRET="1", CHECKPOINT=str(smoke_checkpoint))
    assert " passed" in said


def registers_in_memory(files: list[Path]) -> list[str]:
    """The kernels that spill registers, or have any other memory of their own, which means a stack."""
    folder = Path(importlib.util.find_spec("triton").origin).parent
    tool, found = folder / "backends" / "nvidia" / "bin" / "cuobjdump", []
    for path in (path for path in files if path.suffix == ".cubin"):
        said = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
        usage = said.stdout + said.stderr
        assert "REG:" in usage
        if "STACK:0 " not in usage:
            found.append(f"{path}: {usage}")
    return found


@pytest.mark.slow
def test_kernels_are_compiled_without_a_gpu_and_once(tmp_path):
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    counts = {"8.0": 26, "8.6": 26, "8.9": 26, "9.0": 30, "10.0": 30, "12.0": 30}

    def compile_kernels() -> list[Path]:
        said = run("speech.t3.compile_kernels", TRITON_CACHE_DIR=str(tmp_path))
        assert said.splitlines() == [f"{each}: {count} kernels" for each, count in counts.items()]
        return sorted(path for pattern in CACHED for path in tmp_path.rglob(pattern))

    found = compile_kernels()
    assert sum(path.suffix == ".cubin" for path in found) == sum(counts.values())
    assert sum(path.name.startswith("__triton_launcher") for path in found) >= 6
    assert sum(path.name.startswith("cuda_utils") for path in found) == 1
    assert registers_in_memory(found) == []
    written = [path.stat().st_mtime_ns for path in found]
    assert compile_kernels() == found
    assert [path.stat().st_mtime_ns for path in found] == written


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_logits_keep_what_bfloat16_would_round_away(monkeypatch, dtype):
    """With cuBLAS's product, which CPUs do not have, spelled out."""
    real = torch.mm

    def mm(left, right, *, out, out_dtype=None):
        assert out.dtype == (out_dtype or left.dtype)
        return real(left.to(out.dtype), right.to(out.dtype), out=out)

    monkeypatch.setattr(torch, "mm", mm)
    left, right = (
        torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((4, 64), (64, 99))
    )
    logits = torch.zeros(8, 99)
    found = fused_step._float32_product(left.to(dtype), right.to(dtype), logits[:4])
    assert found.data_ptr() == logits.data_ptr()
    expected = left.to(dtype).double() @ right.to(dtype).double()
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_pytorch_has_the_product_that_logits_take(dtype):
    """Tensors of the device "meta" tell that without a GPU."""
    left, right = (torch.empty(shape, dtype=dtype, device="meta") for shape in ((4, 64), (64, 99)))
    logits = torch.empty(4, 99, device="meta")
    assert fused_step._float32_product(left, right, logits) is logits


@pytest.mark.parametrize(
    ("name", "plain", "fewest", "many"),
    [("chatterbox", 524, 153, 243), ("turbo", 318, 164, 237), ("nano", 186, 104, 141)],
)
def test_a_step_launches_as_much_as_the_docs_say(name, plain, fewest, many):
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    from tests.speech.t3.launches import count_launches

    spec = MODELS[name]
    assert count_launches(spec, 1, fused=False).total() == plain
    assert count_launches(spec, 1, fused=True).total() == fewest
    assert count_launches(spec, 4, fused=True).total() == many


class FusedOnPaper:
    """Says what the plain step says, of all positions."""

    fewest_rows = 2

    def __init__(self, t3, tensors, *, pdl: bool = False) -> None:
        self.t3, self.tensors, self.pdl, self.rows = t3, tensors, pdl, []

    def draws(self, order, *, with_sort: bool) -> bool:
        return False

    def logits(self, rows: int) -> torch.Tensor:
        self.rows.append(rows)
        tensors = self.tensors
        slots = tensors.slot_of_row[:rows]
        return self.t3.step(
            tensors.tokens[slots],
            tensors.counts[slots],
            tensors.positions[slots],
            tensors.tables,
            tensors.cache[:, :, :rows],
            torch.arange(rows),
        )


class LoneRowsOnPaper(FusedOnPaper):
    fewest_rows = 1


def test_a_graph_of_the_fused_step_serves_every_length(our_model, monkeypatch):
    paper = GraphsOnPaper()
    monkeypatch.setattr(batch_module, "StepGraphs", lambda device: paper)
    monkeypatch.setattr(batch_module, "load_fused_step", FusedOnPaper)
    batch = RunningBatch(our_model.t3, 10, poll_every=4, graphs=True)
    batch.capture()
    captured = set(paper.shapes)
    assert {shape[:2] for shape in captured if shape[0] != "prompt"} == {
        (2, 1),
        (2, 2),
        (4, 2),
        (4, 4),
        (8, 4),
        (8, 8),
        (10, 8),
        (10, 10),
    }
    # 34 positions of the voice, 280 letters and 5 marks.
    assert {shape[2] for shape in captured if shape[0] == "prompt"} == {64, 128, 192, 256, 320}
    requests = mixed_requests(our_model)
    plain = RunningBatch(our_model.t3, 10, poll_every=4, graphs=False)
    for found, expected in zip(decode_all(batch, requests), decode_all(plain, requests), strict=True):
        assert torch.equal(found.tokens, expected.tokens)
    assert set(paper.shapes) <= captured, "a graph was captured while requests ran"
    paper.shapes.clear()
    decode_all(batch, requests[1:2])
    assert set(paper.shapes) == {("prompt", 1, 128), (2, 1, False)}  # one row alone has company


def test_a_model_without_guidance_has_graphs_of_one_row_a_request(turbo, monkeypatch):
    paper = GraphsOnPaper()
    monkeypatch.setattr(batch_module, "StepGraphs", lambda device: paper)
    monkeypatch.setattr(batch_module, "load_fused_step", LoneRowsOnPaper)
    batch = RunningBatch(turbo.t3, 6, poll_every=4, graphs=True)
    batch.capture()
    captured = set(paper.shapes)
    prompts = {shape for shape in captured if shape[0] == "prompt"}
    assert {shape[:2] for shape in captured - prompts} == {(1, 1), (2, 2), (4, 4), (6, 6)}
    assert prompts == {("prompt", 1, length) for length in range(64, 641, 64)}  # 376 positions of the voice
    requests = [
        request(turbo, text, seed=seed, max_tokens=40, prompt_tokens=torch.full((1, voice), seed))
        for seed, (text, voice) in enumerate(
            [
                ("No.", 375),
                ("Some words to speak.", 20),
                ("More " * 9, 99),
                ("Too long for any graph. " * 30, 375),
            ]
        )
    ]
    assert turbo.t3.embed_prompt(requests[-1], use_cfg=False).shape[1] > 640
    plain = RunningBatch(turbo.t3, 6, poll_every=4, graphs=False)
    for steps_apart in (0, 1):  # together, and one row after the other
        found, expected = (decode_all(each, requests, steps_apart) for each in (batch, plain))
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours.tokens, theirs.tokens)
    assert set(paper.shapes) <= captured, "a graph was captured while requests ran"


@pytest.mark.parametrize("text", ["No.", "Some words to speak. " * 5, "Some words to speak. " * 30])
def test_prompts_are_read_the_same_with_graphs_of_rounded_lengths(our_model, monkeypatch, text):
    """A short one after longer ones, and one that is longer than any graph."""
    paper = GraphsOnPaper()
    monkeypatch.setattr(batch_module, "StepGraphs", lambda device: paper)
    monkeypatch.setattr(batch_module, "load_fused_step", FusedOnPaper)
    batch = RunningBatch(our_model.t3, 2, poll_every=4, graphs=True)
    plain = RunningBatch(our_model.t3, 2, poll_every=4, graphs=False)
    for each in ("Some words to speak. " * 10, text):
        one = request(our_model, each, max_tokens=20)
        (found,), (expected,) = decode_all(batch, [one]), decode_all(plain, [one])
        assert torch.equal(found.tokens, expected.tokens)
        length = batch.t3.embed_prompt(one, use_cfg=True).shape[1]
        assert torch.allclose(batch._cache[:, :, :, :, :length], plain._cache[:, :, :, :, :length], atol=1e-6)


def loaded(monkeypatch, capability=(9, 0), dtype=torch.bfloat16, step=FusedOnPaper, rows=8, head_width=64):
    """What ``load_fused_step`` returns on a GPU of that capability."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setitem(fused_step.FUSED_STEPS, "llama", step)
    device, spec = torch.device("cuda", 0), SimpleNamespace(family="llama")
    t3 = SimpleNamespace(device=device, dtype=dtype, head_width=head_width, spec=spec)
    return load_fused_step(t3, SimpleNamespace(slot_of_row=torch.zeros(rows)))


class Tried(FusedOnPaper):
    def try_kernels(self, rows: int) -> None:
        self.rows.append(rows)


class LoneRowsTried(Tried):
    fewest_rows = 1


def failing(error: Exception) -> type[FusedOnPaper]:
    """Returns a step that cannot be had."""

    class Failing(FusedOnPaper):
        def __init__(self, *args, **kwargs) -> None:
            raise error

    return Failing


def test_it_is_tried_once_and_starts_kernels_early_from_hopper_on(monkeypatch):
    hopper, ampere = (loaded(monkeypatch, capability, step=Tried) for capability in ((9, 0), (8, 6)))
    assert hopper.pdl
    assert not ampere.pdl
    assert hopper.rows == [2, 4]
    assert loaded(monkeypatch, rows=2, step=Tried).rows == [2]
    assert loaded(monkeypatch, step=LoneRowsTried).rows == [1, 2]
    assert loaded(monkeypatch, rows=1, step=LoneRowsTried).rows == [1]


@pytest.mark.parametrize(
    "why", [{"capability": (7, 5)}, {"dtype": torch.float32}, {"rows": 1}, {"head_width": 96}]
)
def test_it_is_not_tried_where_it_cannot_work(monkeypatch, caplog, why):
    with caplog.at_level(logging.INFO):
        assert loaded(monkeypatch, step=Tried, **why) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module named 'triton'"),
        RuntimeError("Failed to find C compiler.\nPlease specify one."),
        subprocess.CalledProcessError(1, ["gcc"]),
        AssertionError("libcuda.so cannot found!"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_triton_lacks_is_logged_in_one_line(monkeypatch, caplog, error):
    assert loaded(monkeypatch, step=failing(error)) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert type(error).__name__ in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lack_of_memory_is_not_the_compilers_fault(monkeypatch, error):
    with pytest.raises(type(error), match=str(error).partition(" when")[0]):
        loaded(monkeypatch, step=failing(error))

"""The benchmarks on machines unlike ours."""

from __future__ import annotations

import os

import torch

from benchmarks import cold_start, machine
from benchmarks.decode import Way, fits


def test_without_git_figures_are_kept_with_an_unknown_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.commit() == "unknown"
    machine.keep(tmp_path / "figures.json", "cpu", answer=42)
    assert '"commit": "unknown"' in (tmp_path / "figures.json").read_text()


def test_packages_that_lie_in_a_folder_are_found_by_child_processes(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert cold_start.search_path() == "."
    monkeypatch.setenv("PYTHONPATH", f"/carried{os.pathsep}/also")
    assert cold_start.search_path() == os.pathsep.join([".", "/carried", "/also"])


def test_a_batch_that_does_not_fit_the_gpu_is_left_out(capsys):
    def run(steps: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert not fits(Way("ours, exact", "float32", 32, 2.0, run))
    assert "ours, exact, 32 at once: left out" in capsys.readouterr().out

"""What is run first where a GPU is at hand, rehearsed without one."""

import json
import os
import subprocess
import sys

import pytest

from tests.job_server import REPOSITORY

pytestmark = pytest.mark.slow


def test_every_benchmark_leaves_its_figures_for_both_sides(tmp_path):
    done = subprocess.run(
        ["scripts/gpu_check", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "DEVICE": "cpu", "SIZE": "tiny", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {
        path.name.partition("-")[0].removesuffix(".json"): json.loads(path.read_text())
        for path in tmp_path.glob("*.json")
    }
    assert figures.keys() == {"decode", "profile", "cold_start", "reference", "end_to_end", "memory"}
    assert all({"machine", "commit"} <= found.keys() for found in figures.values())
    assert {row["way"] for row in figures["decode"]["rows"]} == {"upstream", "ours, exact", "ours, auto"}
    for figure, table in (("profile", "a_step"), ("cold_start", "seconds"), ("reference", "seconds")):
        assert figures[figure][table].keys() == {"ours", "upstream"}
    assert figures["end_to_end"]["sides"]["ours"]["rows"]["one word"]["audio_s"] > 0

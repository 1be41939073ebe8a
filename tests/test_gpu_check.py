"""What is run first where a GPU is at hand, rehearsed without one."""

import json
import os
import signal
import subprocess
import sys
import tarfile

import pytest

from tests.job_server import REPOSITORY

OF_THE_MODEL = (
    "decode",
    "profile",
    "s3gen",
    "end_to_end",
    "latency",
    "throughput",
    "reference",
    "cold_start",
)


REHEARSAL = {"DEVICE": "cpu", "SIZE": "tiny", "RUNS": "1", "PYTHON": sys.executable}


def gpu_check(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["scripts/gpu_check", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **REHEARSAL, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def figures_in(folder) -> dict[str, dict]:
    return {
        path.name.partition("-")[0].removesuffix(".json"): json.loads(path.read_text())
        for path in folder.glob("*.json")
    }


def test_an_unknown_part_is_refused_with_the_names_of_all_before_anything_runs(tmp_path):
    done = gpu_check(tmp_path / "out", "facts", "nonsense")
    assert done.returncode == 2
    assert "no part is named nonsense; there are: facts weights tests probe decode" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_part_without_a_folder_before_it_is_refused():
    done = gpu_check("facts")
    assert done.returncode == 2
    assert "name the folder of the results before the part facts" in done.stderr
    assert not (REPOSITORY / "facts").exists()


def test_a_part_that_takes_too_long_is_cut_off_and_the_next_one_runs(tmp_path):
    done = gpu_check(tmp_path, "facts", "probe", LIMIT_S="0.1", CHECKPOINT=str(tmp_path))
    assert done.returncode == 1
    for part in ("facts", "probe"):
        assert f"== {part}: cut off by its limit" in done.stdout
    assert not figures_in(tmp_path)


def test_who_interrupts_it_ends_the_part_that_runs(tmp_path):
    environment = {**os.environ, **REHEARSAL, "CHECKPOINT": str(tmp_path)}
    command = ["scripts/gpu_check", str(tmp_path), "probe", "facts"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("== probe"):  # it has begun
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()  # ends when nobody can write any more: no process is left
    assert process.returncode == 130
    assert "done" not in rest


@pytest.mark.slow
def test_a_part_that_fails_does_not_stop_the_next_one_and_all_results_are_in_one_file(tmp_path):
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    done = gpu_check(tmp_path / "out", "decode", "facts", CHECKPOINT=str(nowhere))
    assert done.returncode == 1
    assert "== decode: failed" in done.stdout
    assert "== facts: done" in done.stdout
    with tarfile.open(tmp_path / "out" / "results.tgz") as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
        log = archive.extractfile("./log.txt").read().decode()
        facts = json.load(archive.extractfile("./facts.json"))
    assert {"log.txt", "facts.json"} < names
    assert "Traceback" in log
    assert "== facts: done" in log
    assert facts["facts"]["torch"]


@pytest.mark.slow
def test_every_benchmark_leaves_its_figures_for_both_sides(tmp_path):
    done = gpu_check(tmp_path, "facts", "tests", "probe", *OF_THE_MODEL, "memory", PRICE_PER_HOUR="2")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = figures_in(tmp_path)
    assert figures.keys() == {"facts", "probe", *OF_THE_MODEL, "memory"}
    assert all({"machine", "commit", "date"} <= found.keys() for found in figures.values())
    assert {row["way"] for row in figures["decode"]["rows"]} == {"upstream", "ours, exact", "ours, auto"}
    for figure, table in (("profile", "a_step"), ("cold_start", "seconds"), ("reference", "seconds")):
        assert figures[figure][table].keys() == {"ours", "upstream"}
    assert figures["end_to_end"]["rows"]["one word"]["ours"]["audio_s"] > 0
    assert {row["hop"] for row in figures["latency"]["rows"]} == {"whole", "stream"}
    assert all(row["cost_of_an_hour"] > 0 for row in figures["throughput"]["rows"])
    assert figures["probe"]["repeats"]["upsampling, deterministic"]["results"] == 1
    with tarfile.open(tmp_path / "results.tgz") as archive:
        assert not [name for name in archive.getnames() if "weights" in name]

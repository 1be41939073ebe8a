"""The benchmarks on machines unlike ours, and what they make of what they measured."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import __main__ as benchmarks
from benchmarks import (
    cold_start,
    decode,
    evenness,
    hear_script,
    http_server,
    latency,
    machine,
    memory,
    ours,
    probe,
    s3gen,
    throughput,
)
from benchmarks.decode import Way, fits
from benchmarks.latency import Piece, Stream
from benchmarks.plot import Line, chart
from errors import ModelUnavailable
from speech.models.spec import CHATTERBOX, NANO, PACKS, TURBO
from speech.smoke import write_smoke_checkpoint


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


def test_a_piece_that_comes_while_the_one_before_plays_is_no_stall():
    stream = Stream([Piece(0.2, 0.3, 1.0), Piece(1.1, 1.2, 1.0), Piece(2.0, 2.1, 0.5)])
    assert stream.stall_s == 0.0
    assert stream.open_s == pytest.approx(0.3 + 2.5)


def test_silence_before_a_late_piece_is_a_stall_and_puts_off_the_rest():
    stream = Stream([Piece(0.2, 0.3, 1.0), Piece(1.7, 1.8, 1.0), Piece(2.8, 2.9, 0.5)])
    assert stream.stall_s == pytest.approx(1.8 - 1.3 + 2.9 - 2.8)
    assert stream.open_s == pytest.approx(0.3 + 2.5 + 0.6)


def test_every_request_is_sent_and_answered_in_its_order():
    with ThreadPoolExecutor(4) as threads:
        answers = latency.serve(
            lambda number: Stream([Piece(0.0, 0.0, number)]), 20, 1e4, random.Random(0), threads
        )
    assert [stream.audio_s for stream in answers] == list(range(20))


def test_loads_count_enough_requests_after_the_streams_are_open():
    assert latency.load_of(32, 5.0, None) == latency.Load(32, 5.0, warm_up=32, requests=96)
    assert latency.load_of(1, 0.2, None).requests == latency.LEAST_REQUESTS
    assert latency.load_of(32, 5.0, 2).requests == 2


def test_a_count_that_the_memory_does_not_allow_is_left_out(monkeypatch, capsys):
    def load(checkpoint, device, most, model):
        if most > 8:
            raise ModelUnavailable(f"the GPU's memory does not suffice for MAX_CONCURRENCY {most}")
        return f"for {most}", "voice"

    monkeypatch.setattr(ours, "load", load)
    assert ours.load_for_most(None, "cuda", [1, 4, 8, 16, 32]) == ("for 8", "voice", [1, 4, 8])
    assert "16 at once: left out" in capsys.readouterr().out
    with pytest.raises(ModelUnavailable):
        ours.load_for_most(None, "cuda", [16, 32])


def run_main(main, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    main()


@pytest.mark.slow
def test_latency_and_throughput_of_a_small_model_are_measured_kept_and_drawn(
    smoke_checkpoint, tmp_path, monkeypatch, capsys
):
    usual = ["--checkpoint", str(smoke_checkpoint), "--device", "cpu", "--runs", "1"]
    files = {name: tmp_path / f"{name}-cpu.json" for name in ("latency", "throughput")}
    run_main(
        latency.main, monkeypatch, *usual, "--rate", "2", "--requests", "2", "--json", str(files["latency"])
    )
    run_main(
        throughput.main,
        monkeypatch,
        *[*usual, "--jobs", "1,2", "--texts", "1", "--price-per-hour", "2"],
        *["--json", str(files["throughput"])],
    )
    figures = json.loads(files["latency"].read_text())
    assert figures["upstream_s"]["p50"] > 0
    rows = figures["rows"]
    assert [row["hop"] for row in rows] == ["whole", "stream"]
    for row in rows:
        assert 0 < row["first_audio_s"]["p50"] < row["first_marked_s"]["p95"]
    rows = json.loads(files["throughput"].read_text())["rows"]
    assert [(row["side"], row["jobs"]) for row in rows] == [("ours", 1), ("ours", 2), ("upstream", 1)]
    for row in rows:
        assert row["cost_of_an_hour"] == pytest.approx(2 * row["seconds"] / row["audio_s"])

    monkeypatch.setattr(benchmarks, "DOCS", tmp_path)
    run_main(benchmarks.main, monkeypatch, "plot", "--to", str(tmp_path))
    for name, what in (("latency", "Time to first audio"), ("throughput", "Throughput")):
        title = ElementTree.parse(tmp_path / f"{name}.svg").getroot()[0]
        assert title.text == f"{what} on {machine.machine()}"


@pytest.mark.slow
def test_the_http_server_of_a_small_model_is_measured(smoke_checkpoint, tmp_path, monkeypatch):
    file = tmp_path / "http.json"
    run_main(
        http_server.main,
        monkeypatch,
        *["--checkpoint", str(smoke_checkpoint), "--device", "cpu", "--places", "1"],
        *["--clients", "1,3", "--requests", "1", "--runs", "1", "--json", str(file)],
    )
    rows = json.loads(file.read_text())["rows"]
    assert [(row["clients"], row["mode"], row["requests"]) for row in rows] == [
        (count, mode, count) for count in (1, 3) for mode in ("streaming", "basic")
    ]
    for row in rows:
        assert 0 < row["first_byte_s"]["p50"] < row["whole_s"]["p99"]


@pytest.mark.slow
def test_evenness_is_measured_for_each_way_of_speaking(smoke_checkpoint, tmp_path, monkeypatch, capsys):
    file = tmp_path / "evenness.json"
    usual = ["--checkpoint", str(smoke_checkpoint), "--sentences", "2", "--json", str(file)]
    run_main(evenness.main, monkeypatch, *usual)
    rows = json.loads(file.read_text())["rows"]
    assert [(row["name"], row["hop"]) for row in rows] == [
        (name, hop) for name in ("built-in", "cloned", "in turn") for hop in ("whole", "stream")
    ]
    for row in rows:
        assert row["chunks"] == 2
        assert row["spread_after_lu"] < (0.01 if row["hop"] == "whole" else 1)
    assert "in turn" in capsys.readouterr().out


def test_steps_of_a_gpt2_model_draw_upstreams_tokens_and_are_timed_beside_its(tmp_path, monkeypatch):
    folder, file = tmp_path / "nano", tmp_path / "decode.json"
    write_smoke_checkpoint(folder, spec=NANO)
    run_main(
        decode.main,
        monkeypatch,
        *["--checkpoint", str(folder), "--model", "nano", "--device", "cpu", "--batches", "2"],
        *["--steps", "12", "--rounds", "1", "--json", str(file)],
    )
    figures = json.loads(file.read_text())
    assert figures["model"] == "nano"
    rows = {row["way"]: row for row in figures["rows"]}
    assert all(isinstance(row["ms_a_step"], float) for row in rows.values())
    exact = rows["ours, exact"]
    assert exact["tokens_as_upstreams"] == 12
    # A step reads two layers and the head: 12 D^2 each, and 6563 D.
    read_gb = 4 * (2 * 12 * 64**2 + 6563 * 64) / 1e9
    assert exact["gb_per_s"] * exact["ms_a_step"] == pytest.approx(1e3 * read_gb)


def test_upstreams_s3gen_is_read_from_the_models_own_file(tmp_path):
    spec = PACKS[0]
    write_smoke_checkpoint(tmp_path, spec=spec)
    assert (tmp_path / "s3gen_v3.safetensors").is_file()
    bias = s3gen.load_upstreams(tmp_path, spec, torch.device("cpu")).mel2wav.conv_post.bias
    assert torch.equal(bias, load_file(tmp_path / "s3gen_v3.safetensors")["mel2wav.conv_post.bias"])
    with pytest.raises(ModelUnavailable, match=r"s3gen\.safetensors"):
        s3gen.load_upstreams(tmp_path, CHATTERBOX, torch.device("cpu"))


def measure(main, spec, folder, monkeypatch, *options: str):
    """Runs a benchmark of a model's smoke checkpoint on the CPU, and returns what it writes as JSON."""
    checkpoint, file = folder / spec.name, folder / "figures.json"
    write_smoke_checkpoint(checkpoint, spec=spec)
    where = ["--checkpoint", str(checkpoint), "--model", spec.name, "--device", "cpu", "--json", str(file)]
    run_main(main, monkeypatch, *where, *options)
    return json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "flow"), [(PACKS[0], "standard"), (TURBO, "meanflow")], ids=["a pack", "turbo"]
)
def test_s3gen_of_a_model_is_measured(tmp_path, monkeypatch, spec, flow):
    options = ("--tokens", "4", "--batches", "1", "--runs", "1")
    figures = measure(s3gen.main, spec, tmp_path, monkeypatch, *options)
    assert (figures["model"], figures["flow"]) == (spec.name, flow)
    (row,) = figures["rows"]
    assert {"upstream", "exact"} <= row["ms"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("spec", [TURBO, PACKS[3]], ids=["turbo", "a pack"])
def test_memory_of_a_model_is_measured(tmp_path, monkeypatch, spec):
    monkeypatch.setattr(memory, "TEXT_LENGTHS", (30,))
    figures = measure(memory.main, spec, tmp_path, monkeypatch, "--jobs", "3")
    assert figures["model"] == spec.name
    assert figures["peak_mb_by_characters"]["30"] > 0
    assert list(figures["after_jobs"]) == ["0", "1", "2", "3"]


def test_faults_that_are_put_into_takes_change_their_tokens():
    tokens = torch.arange(100)
    spoken = {fault: hear_script.tampered(fault, tokens, 3).tolist() for fault in hear_script.FAULTS}
    assert {fault: len(each) for fault, each in spoken.items()} == {
        "dropped": 80,
        "repeated": 120,
        "stuck": 135,
        "early end": 50,
    }
    assert spoken["early end"] == list(range(50))
    assert sorted(set(spoken["repeated"])) == sorted(set(spoken["stuck"])) == list(range(100))
    drawn = [hear_script.faults_by_seed(seed) for seed in range(400)]
    assert 150 < drawn.count(None) < 250
    assert {*drawn} == {None, *hear_script.FAULTS}


def test_a_section_of_the_probe_that_fails_does_not_stop_the_next_one(tmp_path, monkeypatch):
    def fail(device: torch.device) -> probe.Figures:
        raise torch.OutOfMemoryError("CUDA out of memory\nand much more")

    monkeypatch.setitem(probe.SECTIONS, "speeds", fail)
    file = tmp_path / "probe.json"
    run_main(probe.main, monkeypatch, "--device", "cpu", "--only", "speeds,workspaces", "--json", str(file))
    figures = json.loads(file.read_text())
    assert figures["speeds"] == {"failed": "OutOfMemoryError: CUDA out of memory"}
    assert figures["workspaces"] == {"left out": "needs a GPU"}


def test_facts_come_without_a_driver_and_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = probe.facts(torch.device("cpu"))
    assert facts["git"] is None
    assert facts["torch"] == torch.__version__


def texts_of(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_a_chart_is_xml_that_holds_its_words_and_numbers():
    lines = [Line("p50 & more", [123.4, 567.8], "a"), Line("p95", [150.0, 612.0], "b", is_dashed=True)]
    svg = chart("Title <1>", "subtitle", "streams", "milliseconds", [1, 32], lines)
    words = texts_of(svg)
    for each in ("Title <1>", "streams", "milliseconds", "1", "32", "p50 & more", "p95", "123", "568", "612"):
        assert each in words
    description = next(each for each in ElementTree.fromstring(svg) if each.tag.endswith("desc")).text
    assert "p50 & more: 123 at 1, 568 at 32" in description


def test_the_newest_figures_are_drawn_and_a_policy_that_was_left_out_somewhere_is_not(tmp_path, monkeypatch):
    def keep(place, date, hops):
        rows = [
            {"streams": streams, "hop": hop, "first_marked_s": {"p50": 0.123, "p95": 0.456}}
            for streams in (1.0, 8.0)
            for hop in hops
            if (streams, hop) != (8.0, "whole")
        ]
        content = {"machine": place, "commit": "c0ffee", "date": date, "rows": rows}
        content["upstream_s"] = {"p50": 4.2, "p95": 4.3}
        (tmp_path / f"latency-{place}.json").write_text(json.dumps(content))

    keep("old", "2026-01-01T00:00:00+00:00", ["stream"])
    keep("new", "2026-02-01T00:00:00+00:00", ["whole", "stream"])
    monkeypatch.setattr(benchmarks, "DOCS", tmp_path)
    run_main(benchmarks.main, monkeypatch, "plot", "--to", str(tmp_path))
    words = texts_of((tmp_path / "latency.svg").read_text())
    assert "Time to first audio on new" in words
    assert {"stream, p50", "456", "8"} <= set(words)
    assert "whole, p50" not in words
    assert not (tmp_path / "throughput.svg").exists()


def test_where_nothing_can_be_drawn_is_said(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run_main(benchmarks.main, monkeypatch, "plot", "--to", str(tmp_path))
    assert end.value.code == 2
    assert f"{tmp_path} holds no results of latency or throughput" in capsys.readouterr().err


def test_results_go_to_a_file_and_its_folder_is_made_before_anything_is_measured(tmp_path):
    assert machine.results_file(str(tmp_path / "new" / "figures.json")) == tmp_path / "new" / "figures.json"
    assert (tmp_path / "new").is_dir()
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder: name a file"):
        machine.results_file(str(tmp_path / "new"))
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match="exists"):
        machine.results_file(str(tmp_path / "file" / "figures.json"))

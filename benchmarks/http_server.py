"""First bytes, whole replies and waiting of the HTTP server with several clients at once.

    python -m benchmarks.http_server [--checkpoint DIR] [--device cpu|cuda] [--clients 1,8,64] [--places N]
                                     [--requests N] [--runs N] [--json FILE]

A worker in a process of its own serves, with ``--places`` jobs decoded at a time. Each client sends a request
to ``/v1/audio/speech`` as soon as the one before is answered, for mp3 in the built-in voice; all of them take
their texts from one list. The first byte is that of the reply's body, the whole its last one; the wait is
from a request to the start of its work, which the worker's log has. Both modes take turns in each run;
percentiles are those of all runs together. The first run is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.latency import percentiles
from benchmarks.machine import describe, keep, results_file
from benchmarks.sentences import replies
from benchmarks.weights import add_model, temporary_weights

MODES = ("streaming", "basic")
PERCENTS = (50, 99)
WAITED = re.compile(r"job=(\S+) done operation=tts .* waited_s=(\S+) ")
REQUEST_TIMEOUT_S = 600.0
START_TIMEOUT_S = 600.0
PING_EVERY_S = 0.1


@dataclass(frozen=True)
class Answer:
    """When the bytes of one reply came, in seconds from its request."""

    request_id: str
    first_byte_s: float
    whole_s: float


@contextmanager
def serving(model: str, checkpoint: Path, device: str, places: int, clients: int, log: Path) -> Iterator[str]:
    """Yields the address of a worker that is ready. log: gets what it writes. Exits if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as voices, log.open("w") as file:
        env = os.environ | {
            "ENDPOINT_MODE": "http",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "MODEL": model,
            "CHECKPOINT_DIR": str(checkpoint),
            "DEVICE": device,
            "MAX_CONCURRENCY": str(places),
            "MAX_QUEUED_JOBS": str(clients),
            "VOICE_STORE_DIR": str(Path(voices) / "voices"),
        }
        process = subprocess.Popen([sys.executable, "handler.py"], env=env, stdout=file, stderr=file)
        try:
            address = f"http://127.0.0.1:{port}"
            if not _becomes_ready(process, address):
                sys.exit(log.read_text())
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _becomes_ready(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            if httpx.get(f"{address}/ping").status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(PING_EVERY_S)
    return False


def ask(client: httpx.Client, request_id: str, text: str, mode: str) -> Answer:
    """Asks for speech. Raises httpx.HTTPError for a reply that is cut off or whose status is not 200."""
    fields = {"model": "tts-1", "input": text, "voice": "alloy", "mode": mode, "seed": 0}
    started_s, first_byte_s = time.perf_counter(), 0.0
    with client.stream(
        "POST", "/v1/audio/speech", json=fields, headers={"X-Request-Id": request_id}
    ) as reply:
        reply.raise_for_status()
        for _ in reply.iter_raw():
            first_byte_s = first_byte_s or time.perf_counter() - started_s
    return Answer(request_id, first_byte_s, time.perf_counter() - started_s)


def load(address: str, clients: int, requests: int, mode: str, run: str) -> list[Answer]:
    """Has so many clients ask so many times each. run: begins the requests' ids."""
    numbers, lock = itertools.count(), threading.Lock()
    limits = httpx.Limits(max_connections=clients)
    with (
        httpx.Client(base_url=address, timeout=REQUEST_TIMEOUT_S, limits=limits) as client,
        ThreadPoolExecutor(clients) as threads,
    ):

        def one_client(_: int) -> list[Answer]:
            answers = []
            for _ in range(requests):
                with lock:
                    number = next(numbers)
                text = replies()[number % len(replies())]
                answers.append(ask(client, f"{run}-{number}", text, mode))
            return answers

        return [answer for answers in threads.map(one_client, range(clients)) for answer in answers]


def row(clients: int, mode: str, answers: Sequence[Answer], waits_s: dict[str, float]) -> dict[str, Any]:
    """Returns the percentiles of what one number of clients got."""
    return {
        "clients": clients,
        "mode": mode,
        "requests": len(answers),
        "first_byte_s": percentiles([answer.first_byte_s for answer in answers], PERCENTS),
        "whole_s": percentiles([answer.whole_s for answer in answers], PERCENTS),
        "first_byte_share": float(np.median([answer.first_byte_s / answer.whole_s for answer in answers])),
        "wait_s": percentiles([waits_s[answer.request_id] for answer in answers], PERCENTS),
    }


def measure(checkpoint: Path, clients: Sequence[int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row for each number of clients and mode."""
    answers: dict[tuple[int, str], list[Answer]] = {}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(options.model, checkpoint, options.device, options.places, max(clients), log) as address:
            for run, count, mode in itertools.product(range(options.runs + 1), clients, MODES):
                got = load(address, count, options.requests, mode, f"{run}-{count}-{mode}")
                answers.setdefault((count, mode), []).extend(got if run else [])
        waits_s = {match[1]: float(match[2]) for match in WAITED.finditer(log.read_text())}
    return [row(*which, each, waits_s) for which, each in answers.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_server")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--clients", type=lambda text: [int(count) for count in text.split(",")], help="such as 1,8,64"
    )
    parser.add_argument("--places", type=int, default=8, help="MAX_CONCURRENCY of the worker")
    parser.add_argument("--requests", type=int, default=3, help="of each client in a run")
    parser.add_argument("--runs", type=int, help="5 without it, 2 on a CPU")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.runs = options.runs or (5 if on_gpu else 2)
    clients = options.clients or ([1, 8, 64] if on_gpu else [1, 4])
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        rows = measure(checkpoint, clients, options)
    print(f"{options.model}; {describe(options.device)}")
    print(f"{options.places} places; {options.runs} runs; seconds, p50 and p99")
    print(
        f"{'clients':>7} {'mode':9} {'count':>5} {'first byte':>15} {'whole':>15} {'share':>6} {'wait':>15}"
    )
    for each in rows:
        times = [each[name] for name in ("first_byte_s", "whole_s", "wait_s")]
        first, whole, wait = (f"{time_s['p50']:7.3f} {time_s['p99']:7.3f}" for time_s in times)
        print(
            f"{each['clients']:7} {each['mode']:9} {each['requests']:5} {first} {whole} "
            f"{each['first_byte_share']:6.0%} {wait}"
        )
    facts = {"model": options.model, "places": options.places, "runs": options.runs}
    keep(options.json, options.device, **facts, rows=rows)


if __name__ == "__main__":
    main()

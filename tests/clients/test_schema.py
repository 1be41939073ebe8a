"""Requests that Schemathesis makes up from /openapi.json; `make test-clients`."""

from __future__ import annotations

import re
import subprocess

import httpx
import pytest

from tests.job_server import REPOSITORY
from tests.serving.http_server import KEY, http_server

pytestmark = pytest.mark.slow

SCHEMATHESIS = REPOSITORY / ".venv" / "clients" / "schemathesis" / "bin" / "schemathesis"
EXAMPLES = 40  # of each operation and phase


def test_no_request_that_fits_the_schema_or_breaks_it_is_a_fault_of_the_server(tmp_path):
    if not SCHEMATHESIS.exists():
        pytest.skip("make test-clients installs it")
    with http_server(tmp_path, env={"API_KEY": KEY}) as served:
        command = [SCHEMATHESIS, "run", f"{served.address}/openapi.json"]
        command += ["--header", f"X-API-Key: {KEY}", "--checks", "not_a_server_error"]
        command += ["--max-examples", str(EXAMPLES), "--no-color"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
        operations = len(
            [1 for path in httpx.get(f"{served.address}/openapi.json").json()["paths"].values() for _ in path]
        )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"Operations:\s+(\d+) selected", done.stdout)[1]) == operations, done.stdout

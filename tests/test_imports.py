"""Who may import whom, and what may come along."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ROOMS = ("serving", "delivery", "operations", "voice_store", "audio", "speech")
FRONT = ("handler", "settings", "logs", "errors", "cancel", "characters", "version")

# What each may import of ours, by prefix. Its own room goes without saying.
ALLOWED = {
    "handler": {
        "settings",
        "logs",
        "serving",
        "operations",
        "delivery",
        "voice_store",
        "audio.fetch",
        "audio.network",
        "speech.contract",
        "speech.pipeline",
        "cancel",
        "errors",
        "version",
    },
    "serving": {
        "settings",
        "logs",
        "operations",
        "delivery",
        "audio.encode",
        "audio.speed",
        "audio.waveform",
        "speech.contract",
        "cancel",
        "characters",
        "errors",
        "version",
    },
    "settings": {"speech.models.sources", "speech.models.spec"},
    "logs": {"characters"},
    "errors": set(),
    "characters": set(),
    "cancel": {"errors"},
    "version": set(),
    "delivery": {
        "settings",
        "audio.network",
        "audio.pinned_http",
        "voice_store.files",
        "voice_store.mount",
        "cancel",
        "errors",
    },
    "operations": {
        "speech.contract",
        "speech.text",
        "speech.subtitles",
        "speech.trim",
        "speech.voice_activity",
        "speech.word_times",
        "voice_store",
        "delivery",
        "audio",
        "cancel",
        "characters",
        "errors",
    },
    "voice_store": {"audio", "characters", "errors"},
    "speech": {"audio", "cancel", "characters", "errors"},
    "audio": {"cancel", "errors"},
}
FOREIGN_TO = {
    "runpod": {"handler", "serving"},
    "pydantic": {"operations"},
    "torch": {"speech"},
    "chatterbox": {"speech"},
    "base64": {"serving", "audio", "delivery"},
    "fastapi": {"serving.http"},
    "starlette": {"serving.http"},
    "uvicorn": {"serving.http"},
    "prometheus_client": {"serving.http"},
}


def modules():
    for name in FRONT:
        yield name, REPOSITORY / f"{name}.py"
    for room in ROOMS:
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def imported_by(path):
    """Dotted names, with what is imported from a package named too: it may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, prefix):
    return name == prefix or name.startswith(prefix + ".")


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_rooms_import_only_what_the_plan_allows(module, path):
    room = module.partition(".")[0]
    for name in imported_by(path):
        target = name.partition(".")[0]
        if target in FRONT + ROOMS and target != room:
            assert any(within(name, allowed) or within(allowed, name) for allowed in ALLOWED[room]), (
                f"{module} may not import {name}"
            )
        if target in FOREIGN_TO:
            is_allowed = any(within(module, each) for each in FOREIGN_TO[target])
            assert is_allowed, f"{module} may not import {name}"


# Rooms below ``speech`` that know only some of the others.
KNOWN_TO = {
    "speech/t3": (
        "speech.t3",
        "speech.models",
        "speech.capture",
        "speech.gpu_faults",
        "speech.transfer",
        "cancel",
    ),
    "speech/models": (
        "speech.models",
        "speech.transfer",
        "speech.t3.request",
        "speech.text",
        "speech.weights.checkpoint",
        "characters",
        "errors",
    ),
    "speech/s3gen": (
        "speech.s3gen",
        "speech.models",
        "speech.reference.conditionals",
        "speech.gpu_faults",
        "speech.capture",
        "speech.stft",
        "speech.transfer",
    ),
    "speech/reference": (
        "speech.reference",
        "speech.models",
        "speech.s3gen.weights",
        "speech.transfer",
        "speech.weights.checkpoint",
        "speech.weights.files",
        "audio.loudness",
        "audio.waveform",
        "errors",
    ),
    "speech/text": ("speech.text", "cancel", "characters", "errors"),
}


@pytest.mark.parametrize("room", KNOWN_TO)
def test_rooms_of_speech_know_only_what_they_compute_with(room):
    for path in (REPOSITORY / room).rglob("*.py"):
        for name in imported_by(path):
            if name.partition(".")[0] in FRONT + ROOMS:
                known = any(within(name, each) or within(each, name) for each in KNOWN_TO[room])
                assert known, f"{path.name} imports {name}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_only_settings_reads_the_environment(module, path):
    if module == "settings":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("environ", "getenv", "environb"), f"{module}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "getenv", "environb"}, module


def test_no_room_of_ours_unpickles():
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "pickle"
            ):
                assert node.attr not in ("load", "loads"), f"{module}:{node.lineno}"


def run_fresh(program):
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.split()


def test_operations_store_and_audio_bring_neither_torch_nor_runpod():
    loaded = run_fresh(
        "import pkgutil, sys, importlib\n"
        "for room in ('operations', 'voice_store', 'audio'):\n"
        "    package = importlib.import_module(room)\n"
        "    for module in pkgutil.walk_packages(package.__path__, room + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "print(*sys.modules)"
    )
    assert "operations.tts" in loaded
    assert "voice_store.store" in loaded
    assert not {"torch", "runpod", "librosa", "chatterbox"} & {name.partition(".")[0] for name in loaded}


def test_the_handler_is_imported_without_the_model():
    loaded = run_fresh("import sys, handler; print(*sys.modules)")
    assert "operations" in loaded
    assert not {"torch", "runpod", "chatterbox", "aiohttp", "boto3"} & set(loaded)


def test_the_sdk_is_imported_without_a_question_to_the_cpu():
    said = run_fresh(
        "import sys, cpuinfo\n"
        "from serving.runpod.sdk import import_sdk\n"
        "ask = cpuinfo.get_cpu_info\n"
        "debugger = import_sdk().serverless.utils.rp_debugger\n"
        "print(debugger.PROCESSOR.replace(' ', '_'), cpuinfo.get_cpu_info is ask)"
    )
    assert said == ["not_asked", "True"]


@pytest.mark.parametrize("module", ["contract", "subtitles", "voice_activity", "word_times"])
def test_what_operations_use_of_speech_needs_no_torch(module):
    assert "torch" not in run_fresh(f"import sys, speech.{module}; print(*sys.modules)")


# Of upstream's package and what it brings: for ENGINE=upstream, tests and training alone.
UPSTREAMS = {
    "chatterbox",
    "transformers",
    "diffusers",
    "librosa",
    "torchaudio",
    "s3tokenizer",
    "perth",
    "scipy",
    "numba",
    "sklearn",
    "einops",
}


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_only_the_reference_engine_imports_what_upstream_needs(module, path):
    if module != "speech.upstream":
        assert not UPSTREAMS & {name.partition(".")[0] for name in imported_by(path)}


def test_a_worker_clones_and_speaks_without_upstream(smoke_checkpoint, tmp_path):
    """From the start to a new voice that is stored and speaks, and one that comes with a text."""
    settings = {
        "CHECKPOINT_DIR": str(smoke_checkpoint),
        "DEVICE": "cpu",
        "LOG_LEVEL": "WARNING",
        "VOICE_STORE_DIR": str(tmp_path),
    }
    loaded = run_fresh(
        "import asyncio, base64, os, sys\n"
        "from pathlib import Path\n"
        f"os.environ.update({settings!r})\n"
        "import handler\n"
        "recording = base64.b64encode(Path('samples/reference.flac').read_bytes()).decode()\n"
        "def run(operation, **fields):\n"
        "    job = {'id': 'job', 'input': {'operation': operation, 'reference_audio': recording, **fields}}\n"
        "    reply = asyncio.run(handler.handler(job))\n"
        "    assert 'error' not in reply, reply\n"
        "run('clone_voice', voice_name='Harbour', preview_text='Yes.')\n"
        "run('tts', text='Yes.', max_reference_duration_sec=5)\n"
        "print(*sys.modules)"
    )
    assert "speech.reference.xvector" in loaded
    assert not UPSTREAMS & {name.partition(".")[0] for name in loaded}


# The client is installed without the worker: what it may import is what its own pyproject.toml asks for.
CLIENT = REPOSITORY / "client"
OF_EXTRAS = {"bridge.py": {"starlette", "uvicorn"}, "mcp_server.py": {"mcp"}}


@pytest.mark.parametrize(
    "path", sorted((CLIENT / "chatterbox_voice").glob("*.py")), ids=lambda path: path.name
)
def test_the_client_imports_nothing_of_the_worker(path):
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    asked = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    allowed = asked | OF_EXTRAS.get(path.name, set()) | {"chatterbox_voice"} | sys.stdlib_module_names
    for name in imported_by(path):
        assert name.partition(".")[0] in allowed, f"{path.name} may not import {name}"


def test_the_client_is_imported_without_the_worker_and_without_its_extras():
    program = "import sys; sys.path.insert(0, 'client'); import chatterbox_voice.cli; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run_fresh(program)}
    assert "httpx2" in loaded
    assert not {*FRONT, *ROOMS, "numpy", "torch", "starlette", "uvicorn", "mcp"} & loaded

"""The image and the Hub listing, checked without a container engine and without the platform."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from operations import OPERATIONS
from operations.request import parse_request
from scripts import load_balancer_listing
from settings import Settings
from speech.models.spec import CHATTERBOX, MODELS, TURBO
from speech.smoke import write_smoke_checkpoint
from speech.weights.pack import read_packed
from tests.hub_listing import HubListing, HubTests

REPOSITORY = Path(__file__).parent.parent
FRESH_CHECKOUT_HOLDS_ALSO = (".git/HEAD", ".venv/pyvenv.cfg", "out/speech.wav", ".env", "docs/api.md")
LEFT_BY_RUNNING = ("voice_embeddings/voice_catalog.json", "checkpoints/t3_cfg.safetensors", "audio_out/a.wav")


def instructions():
    """(instruction, arguments) of the Dockerfile, comments dropped and continued lines joined."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for line in text.replace("\\\n", "").splitlines():
        if line.strip():
            name, _, arguments = line.strip().partition(" ")
            yield name.upper(), arguments.strip()


def arguments_of(name):
    return [arguments for instruction, arguments in instructions() if instruction == name]


def copy_into(image, sources_and_target):
    """What COPY does, for the forms that the Dockerfile uses. Returns the sources."""
    *sources, target = shlex.split(sources_and_target)
    for source in sources:
        assert not source.startswith("--"), "this test knows no flags of COPY"
        path = REPOSITORY / source
        assert path.exists(), f"COPY {source}: no such file"
        if path.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(path, image / target, dirs_exist_ok=True, ignore=unwanted)
        else:
            folder = image / target
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    return sources


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The folder that the image's WORKDIR would be."""
    folder = tmp_path_factory.mktemp("image")
    for arguments in arguments_of("COPY"):
        copy_into(folder, arguments)
    return folder


def ours_imported_by(module, root):
    """Our modules that ``module`` reaches, by dotted name."""
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        relative = Path(*name.split("."))
        path = next(
            (p for p in (root / relative / "__init__.py", root / f"{relative}.py") if p.is_file()), None
        )
        if path is None or name in reached:
            continue
        reached.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return reached


def is_sent_to_the_builder(path):
    """Whether .dockerignore lets ``path`` through: the last pattern that matches it or a parent decides."""
    paths = [f"/{path}", *(f"/{parent}" for parent in Path(path).parents)]
    sent = True
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            anchored = pattern.removeprefix("*") if pattern.startswith("**/") else f"/{pattern}"
            if any(fnmatch.fnmatchcase(each, anchored) for each in paths):
                sent = line.startswith("!")
    return sent


def test_the_image_starts_the_handler_so_that_signals_reach_python():
    (command,) = arguments_of("CMD")
    assert json.loads(command) == ["python", "-u", "handler.py"]
    assert not arguments_of("ENTRYPOINT")


def test_the_base_image_is_a_slim_python_for_the_platform_at_a_pinned_release():
    (base,) = arguments_of("FROM")
    assert re.fullmatch(r"--platform=linux/amd64 python:3\.1[12]-slim-[a-z]+", base)


def test_the_working_directory_is_not_on_the_volume():
    (folder,) = arguments_of("WORKDIR")
    assert folder.startswith("/")
    assert not folder.startswith("/runpod-volume")


def test_the_lock_that_everyone_installs_is_what_the_image_installs():
    install = next(run for run in arguments_of("RUN") if "uv pip sync" in run)
    assert shlex.split(install)[-1] == "requirements.txt"
    assert "-r requirements-uv.txt" in install


def test_every_module_that_the_handler_reaches_is_in_the_image(image):
    needed = ours_imported_by("handler", REPOSITORY)
    assert {"handler", "operations.tts", "speech.pipeline", "voice_store.store"} <= needed
    assert needed == ours_imported_by("handler", image)


def test_the_image_can_import_what_it_serves(image):
    program = "import handler, speech.pipeline, voice_store.__main__; print('imported')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=image, capture_output=True, text=True, timeout=180
    )
    assert done.stdout.strip() == "imported", done.stderr


def test_the_image_holds_the_job_that_a_start_without_the_platform_runs(image):
    job = json.loads((image / "test_input.json").read_text())["input"]
    assert job.pop("operation") == "tts"
    parse_request(OPERATIONS["tts"].request, "tts", job)


def test_nothing_but_the_worker_is_in_the_image(image):
    top = {path.name for path in image.iterdir() if path.suffix not in (".py", ".txt", ".json")}
    assert top == {"audio", "delivery", "operations", "scripts", "serving", "speech", "voice_store"}
    assert {path.name for path in (image / "scripts").iterdir()} == {"__init__.py", "repack.py"}
    assert not list(image.rglob("test_*.py"))


def test_no_secret_becomes_part_of_the_image():
    for text in arguments_of("ENV") + arguments_of("ARG"):
        assert not re.search("TOKEN|SECRET|KEY|PASSWORD", text)


def test_the_builder_gets_what_is_copied_and_nothing_else():
    for arguments in arguments_of("COPY"):
        for source in shlex.split(arguments)[:-1]:
            files = (
                [REPOSITORY / source]
                if (REPOSITORY / source).is_file()
                else (REPOSITORY / source).rglob("*.py")
            )
            for file in files:
                assert is_sent_to_the_builder(file.relative_to(REPOSITORY).as_posix()), file
    tests = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tests").rglob("*.py")]
    for path in (
        *FRESH_CHECKOUT_HOLDS_ALSO,
        *LEFT_BY_RUNNING,
        *tests,
        "audio/__pycache__/decode.cpython-312.pyc",
    ):
        assert not is_sent_to_the_builder(path), path


def hub_cache_with_weights(home, weights, spec=CHATTERBOX):
    """A hub cache that holds a complete snapshot of a published repository, with these weights."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = home / "hub" / f"models--{spec.repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(weights, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot


def run_the_layer_that_bakes(folder, **arguments):
    """Runs it in a folder that holds just what was copied before it. The hub is out of reach."""
    steps = list(instructions())
    layer = next(index for index, (name, run) in enumerate(steps) if name == "RUN" and "BAKE_WEIGHTS" in run)
    for name, sources_and_target in steps[:layer]:
        if name == "COPY":
            copy_into(folder, sources_and_target)
    return subprocess.run(
        ["/bin/sh", "-c", re.sub(r"--mount=\S+\s*", "", steps[layer][1])],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "MODEL_REVISION": "main",
            "HF_HOME": str(folder / "hub-home"),
            "HF_HUB_OFFLINE": "1",
            **arguments,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_weights_are_baked_and_packed_where_the_worker_looks_for_them(tmp_path, smoke_checkpoint):
    """Weights that are in the image's hub cache already are found there, and nothing is fetched."""
    snapshot = hub_cache_with_weights(tmp_path / "hub-home", smoke_checkpoint)
    done = run_the_layer_that_bakes(tmp_path, BAKE_WEIGHTS="1")
    assert done.returncode == 0, done.stderr
    for name in (CHATTERBOX.files.t3, CHATTERBOX.files.s3gen):
        assert read_packed(snapshot / name, torch.device("cpu")) is not None


def test_any_list_of_models_is_baked(tmp_path, smoke_checkpoint):
    turbo_weights = tmp_path / "turbo"
    write_smoke_checkpoint(turbo_weights, spec=TURBO)
    snapshots = [
        (CHATTERBOX, hub_cache_with_weights(tmp_path / "hub-home", smoke_checkpoint)),
        (TURBO, hub_cache_with_weights(tmp_path / "hub-home", turbo_weights, TURBO)),
    ]
    done = run_the_layer_that_bakes(tmp_path, BAKE_WEIGHTS="1", MODEL="chatterbox,turbo@main")
    assert done.returncode == 0, done.stderr
    for spec, snapshot in snapshots:
        for name in (spec.files.t3, spec.files.s3gen):
            assert read_packed(snapshot / name, torch.device("cpu")) is not None
    done = run_the_layer_that_bakes(tmp_path, BAKE_WEIGHTS="1", MODEL="chatterbox,nano")
    assert done.returncode != 0
    assert "no weights of ResembleAI/chatterbox-nano" in done.stderr


def test_a_build_that_cannot_get_the_weights_it_is_to_bake_fails(tmp_path):
    assert run_the_layer_that_bakes(tmp_path, BAKE_WEIGHTS="1").returncode != 0


def test_no_weights_are_baked_unless_asked_for(tmp_path):
    done = run_the_layer_that_bakes(tmp_path, BAKE_WEIGHTS="0")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "hub-home").exists()


@pytest.fixture(scope="module")
def repository_of_the_load_balancer(tmp_path_factory):
    """The Hub's second repository, as a release makes it."""
    folder = tmp_path_factory.mktemp("load-balancer")
    load_balancer_listing.main(["ghcr.io/owner/worker:1.0.0", str(folder)])
    return folder


@pytest.fixture(scope="module", params=["queue", "load balancer"])
def repository(request):
    if request.param == "queue":
        return REPOSITORY
    return request.getfixturevalue("repository_of_the_load_balancer")


@pytest.fixture(scope="module")
def listing(repository):
    return HubListing.model_validate_json((repository / ".runpod" / "hub.json").read_text())


@pytest.fixture(scope="module")
def hub_tests(repository):
    return HubTests.model_validate_json((repository / ".runpod" / "tests.json").read_text())


def variables_that_are_read():
    class Recording(dict):
        def get(self, name, default=None):
            names.add(name)
            return default

    names = set()
    Settings.from_env(Recording())
    return names


def settings_of(listing, **env):
    """The settings of an endpoint that is made from the listing, with some of its form filled in."""
    defaults = {variable.key: variable.default for variable in listing.config.env}
    is_lb = listing.config.endpoint_type == "LB"
    by_the_platform = "RUNPOD_ENDPOINT_ID" if is_lb else "RUNPOD_WEBHOOK_GET_JOB"
    return Settings.from_env(defaults | {by_the_platform: "of-the-platform"} | env)


def test_the_hub_finds_the_files_that_it_asks_for(repository):
    for name in ("handler.py", "Dockerfile", "README.md", ".runpod/hub.json", ".runpod/tests.json"):
        assert (repository / name).stat().st_size > 0, name


def test_every_variable_of_the_listing_is_a_setting(listing):
    keys = [variable.key for variable in listing.config.env]
    assert len(keys) == len(set(keys))
    assert set(keys) <= variables_that_are_read()


def test_the_worker_starts_with_whatever_the_listing_offers(listing):
    assert settings_of(listing).on_platform
    for variable in listing.config.env:
        for value in variable.input.offered() if variable.input else ():
            settings_of(listing, **{variable.key: str(value)})
    for preset in listing.config.presets:
        settings_of(listing, **{key: str(value) for key, value in preset.defaults.items()})


def test_presets_differ(listing):
    presets = listing.config.presets
    assert len({preset.name for preset in presets}) == len(presets) > 1
    filled_in = [settings_of(listing, **{k: str(v) for k, v in p.defaults.items()}) for p in presets]
    assert all(settings not in filled_in[:index] for index, settings in enumerate(filled_in))


def test_every_published_model_has_a_preset(listing):
    alone = [preset.defaults["MODEL"] for preset in listing.config.presets if "MODEL" in preset.defaults]
    assert set(MODELS) <= set(alone)
    assert len(alone) == len(set(alone))


def test_a_listing_starts_workers_of_its_own_type(listing, repository):
    settings = settings_of(listing)
    if repository == REPOSITORY:
        assert listing.config.endpoint_type is None
        assert settings.endpoint_mode == "basic"
    else:
        assert listing.config.endpoint_type == "LB"
        assert settings.endpoint_mode == "http"
        assert (settings.http.port, settings.http.health_port) == (80, 80)


def test_both_listings_run_one_image(repository_of_the_load_balancer):
    text = (repository_of_the_load_balancer / "Dockerfile").read_text()
    assert text == "FROM --platform=linux/amd64 ghcr.io/owner/worker:1.0.0\n"
    queue = HubListing.model_validate_json((REPOSITORY / ".runpod" / "hub.json").read_text())
    other = HubListing.model_validate_json((repository_of_the_load_balancer / ".runpod/hub.json").read_text())
    assert queue.title != other.title
    same = ("runs_on", "container_disk_in_gb", "gpu_count", "gpu_ids", "allowed_cuda_versions")
    assert all(getattr(queue.config, name) == getattr(other.config, name) for name in same)


def test_the_hubs_jobs_find_a_worker_that_takes_jobs(listing, hub_tests):
    settings = settings_of(listing, **{variable.key: variable.value for variable in hub_tests.config.env})
    assert settings.endpoint_mode == "basic"


@pytest.mark.parametrize(
    "image",
    [
        "",
        "worker",
        "ghcr.io/owner/worker",
        "ghcr.io/owner/worker:latest",
        "ghcr.io/Owner/worker:1.0.0",
        "a/b c:1",
    ],
)
def test_an_image_that_may_move_or_cannot_be_makes_no_listing(tmp_path, image):
    with pytest.raises(SystemExit, match="IMAGE is .* such as ghcr.io/owner"):
        load_balancer_listing.main([image, str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_an_image_may_be_named_by_its_digest(tmp_path):
    image = f"localhost:5000/owner/worker:1.0.0@sha256:{'0a' * 32}"
    load_balancer_listing.main([image, str(tmp_path)])
    assert image in (tmp_path / "Dockerfile").read_text()


def test_the_icon_is_in_the_repository_and_small(listing):
    _, _, path = listing.icon_url.path.partition("/main/")
    assert listing.icon_url.host == "raw.githubusercontent.com"
    content = (REPOSITORY / path).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (512, 512)
    assert len(content) < 30_000


def test_the_page_finds_its_icons():
    page = (REPOSITORY / "serving" / "http" / "static" / "index.html").read_text()
    icons = re.findall(r'<link rel="(?:apple-touch-)?icon" href="/static/([^"]+)"', page)
    assert icons == ["icon.svg", "icon.png"]
    assert all((REPOSITORY / "serving" / "http" / "static" / name).is_file() for name in icons)


def test_the_listing_and_its_tests_allow_the_same_drivers(listing, hub_tests):
    assert listing.config.allowed_cuda_versions == hub_tests.config.allowed_cuda_versions
    assert "12.8" in listing.config.allowed_cuda_versions  # what torch in the lock was built with


def test_every_job_of_the_hubs_tests_is_one_that_the_worker_takes(hub_tests):
    names = [test.name for test in hub_tests.tests]
    assert len(names) == len(set(names))
    for test in hub_tests.tests:
        operation, fields = test.input["operation"], dict(test.input)
        del fields["operation"]
        parse_request(OPERATIONS[operation].request, operation, fields)

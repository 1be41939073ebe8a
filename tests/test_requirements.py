"""The lock agrees with what was asked for, with what we import, and with what is installed."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OUR_PACKAGES = (
    "handler",
    "settings",
    "errors",
    "cancel",
    "characters",
    "version",
    "delivery",
    "serving",
    "logs",
    "operations",
    "voice_store",
    "audio",
    "speech",
)
DEVELOPMENT_ONLY = ("tests", "benchmarks", "scripts", "training")
NEVER_LOCKED = ("docopt", "gradio", "pandas", "pre-commit", "pykakasi")

# Where an import's name is not its package's. pydantic-core is released with pydantic alone.
PACKAGE_OF_IMPORT = {
    "chatterbox": "chatterbox-tts",
    "cpuinfo": "py-cpuinfo",
    "perth": "resemble-perth",
    "pyopenjtalk": "pyopenjtalk-plus",
    "pydantic_core": "pydantic",
    "webvtt": "webvtt-py",
    "yaml": "pyyaml",
}


OUR_CLIENT = "chatterbox_voice"  # in client/, whose own pyproject.toml says what it needs
RUNS_IN_ANOTHER_ENVIRONMENT = {
    f"tests/clients/{name}_speech.py" for name in ("openai", "livekit", "pipecat", "wyoming")
}


def requirements(file: str) -> dict[str, Requirement]:
    lines = (line.split("#")[0].split(" \\")[0].strip() for line in (ROOT / file).read_text().splitlines())
    parsed = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def locked_versions() -> dict[str, list[str]]:
    """Package to its versions; several where Python versions differ."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line):
            versions.setdefault(canonicalize_name(match[1]), []).append(match[2])
    return versions


def asked_for_by_us() -> set[str]:
    """What the lock says came from requirements.in."""
    found, package = set(), ""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            package = canonicalize_name(match[1])
        elif re.search(r"-r requirements\.in", line):
            found.add(package)
    return found


def test_the_lock_was_compiled_from_requirements_in():
    wanted = requirements("requirements.in")
    assert asked_for_by_us() == set(wanted), "run `make lock`"
    for name, versions in locked_versions().items():
        for version in versions if name in wanted else []:
            assert wanted[name].specifier.contains(version), f"{name} {version}: run `make lock`"


def test_overrides_are_what_is_locked():
    locked = locked_versions()
    for name, requirement in requirements("requirements-overrides.txt").items():
        assert locked[name]
        assert all(requirement.specifier.contains(version) for version in locked[name])


def test_what_nothing_of_ours_imports_is_not_locked():
    assert not set(NEVER_LOCKED) & set(locked_versions())
    assert set(requirements("requirements-excludes.txt")) <= set(NEVER_LOCKED)


def test_every_line_says_why():
    for file in (
        "requirements.in",
        "requirements-dev.in",
        "requirements-fuzz.txt",
        "training/requirements.in",
    ):
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.search(r"\S  +# \S+ \S+", line), f"{file}: {line}"


def imports_of(*names: str) -> dict[str, str]:
    """Foreign top-level packages that our files import, and one file that does."""
    found: dict[str, str] = {}
    files = [
        file
        for name in names
        for file in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"])
    ]
    for file in files:
        if file.relative_to(ROOT).as_posix() in RUNS_IN_ANOTHER_ENVIRONMENT:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            for module in modules:
                found.setdefault(module.split(".")[0], str(file.relative_to(ROOT)))
    ours = {*OUR_PACKAGES, *DEVELOPMENT_ONLY, OUR_CLIENT}
    return {
        name: file for name, file in found.items() if name not in sys.stdlib_module_names and name not in ours
    }


@pytest.mark.parametrize(
    ("packages", "files"),
    [
        (OUR_PACKAGES, ["requirements.in"]),
        (DEVELOPMENT_ONLY, ["requirements.in", "requirements-dev.in", "requirements-fuzz.txt"]),
    ],
    ids=["worker", "development"],
)
def test_every_import_of_ours_is_asked_for_by_name(packages, files):
    asked = {name for file in files for name in requirements(file)}
    for module, file in imports_of(*packages).items():
        package = canonicalize_name(PACKAGE_OF_IMPORT.get(module, module))
        assert package in asked, f"{file} imports {module}: add {package} to {files[0]} and run `make lock`"


def test_what_runs_here_is_the_lock():
    for name, versions in locked_versions().items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        assert installed in versions, f"{name}: `make test` installs the lock"


def test_pkg_resources_is_there_for_the_watermarker():
    assert int(metadata.version("setuptools").split(".")[0]) < 81
    assert requirements("requirements.in")["setuptools"].specifier.contains("80.10")
    assert not requirements("requirements.in")["setuptools"].specifier.contains("81.0")

"""The documents say what the code does: fields, defaults, ranges, codes, settings, examples."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
import shutil
from pathlib import Path

import pytest

import errors
from audio.encode import FORMATS, SAMPLE_RATES_HZ
from audio.quality import Quality
from delivery import Delivered
from errors import InvalidRequest, WorkerError
from operations import (
    OLD_MODES,
    OLD_NAMES,
    OPERATIONS,
    check_watermark,
    clone_voice,
    convert_voice,
    delete_voice,
    get_voice,
    list_voices,
    tts,
    update_voice,
)
from operations.request import parse_request
from operations.stored_voice import FIELDS
from settings import Settings
from speech.contract import PARAMETER_NAMES
from speech.models.gpt2_t3 import gpt2_shapes
from speech.models.llama_t3 import upstream_shapes
from speech.models.spec import CHATTERBOX, MODELS, MULTILINGUAL_LANGUAGES, PACKS
from speech.reference.encoder import reference_shapes
from speech.reference.shapes import voice_encoder_shapes
from speech.s3gen.shapes import s3gen_shapes
from speech.t3.batch import CAPACITY, ROWS_WITH_CFG
from tests.hub_listing import GPU_POOLS
from tests.test_deployment import variables_that_are_read
from voice_store.__main__ import main as voice_store_command

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = {
    path: (REPOSITORY / path).read_text()
    for path in (
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
        *sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").glob("*.md")),
    )
}
AUDIO = [field.name for field in dataclasses.fields(Delivered) if field.name != "warnings"]
REPLIES = {
    "tts": {*tts.TtsReceipt.__annotations__, *AUDIO, "pieces"},
    "clone_voice": {*clone_voice.CloneVoiceFacts.__annotations__, "sample_audio"},
    "list_voices": {*list_voices.ListVoicesFacts.__annotations__},
    "get_voice": {*get_voice.GetVoiceFacts.__annotations__, *AUDIO, "format", "sample_rate", "preview"},
    "update_voice": {*update_voice.UpdateVoiceFacts.__annotations__},
    "delete_voice": {*delete_voice.DeleteVoiceFacts.__annotations__},
    "convert_voice": {*convert_voice.ConvertVoiceReceipt.__annotations__, *AUDIO},
    "check_watermark": {*check_watermark.CheckWatermarkFacts.__annotations__},
}
MINIMAL = {"text": "Hello.", "voice_name": "Ann", "confirm": True} | dict.fromkeys(
    ("reference_audio", "source_audio", "audio"), "UklGRg=="
)
ONE_OF_SEVERAL = {"update_voice": {"gender": "female"}}  # any change will do, and one is needed
MODEL_DEFAULTS = {name: CHATTERBOX.default_parameters.get(name) for name in PARAMETER_NAMES}
SET_BY_THE_PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"}


def section(document, *headings):
    """The text below a heading, down to the next one of its level or above; headings narrow it down."""
    text = DOCUMENTS[document]
    for depth, heading in enumerate(headings, start=2):
        found = re.search(
            rf"^{'#' * depth} {re.escape(heading)}$(.*?)(?=^#{{2,{depth}}} |\Z)", text, re.M | re.S
        )
        assert found, f"{document} has no section {' > '.join(headings)}"
        text = found[1]
    return text


def rows(text, start="`"):
    """The cells of the tables' rows whose first cell starts like that: not those of header and rule."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    return [cells for cells in lines if cells[0].startswith(start)]


def names_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def fenced(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[document], re.M | re.S)


def json_examples():
    # Those of docs/integrations.md are for other tools: tests/serving/test_integrations.py runs them.
    for document in sorted(DOCUMENTS.keys() - {"docs/integrations.md"}):
        for text in fenced(document, "json"):
            yield pytest.param(json.loads(text), id=f"{document}: {' '.join(text.split())[:60]}")


def operation_fields():
    for operation in OPERATIONS:
        for name, *cells in rows(section("docs/api.md", operation, "Fields")):
            yield pytest.param(operation, *names_in(name), *cells, id=f"{operation}.{name}")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_field_of_a_request_is_documented_once(operation):
    documented = [
        name for first, *_ in rows(section("docs/api.md", operation, "Fields")) for name in names_in(first)
    ]
    assert sorted(documented) == sorted(OPERATIONS[operation].request.model_fields)


@pytest.mark.parametrize(("operation", "name", "kind", "allowed", "default", "meaning"), operation_fields())
def test_a_documented_field_has_that_default_and_that_range(operation, name, kind, allowed, default, meaning):
    field = OPERATIONS[operation].request.model_fields[name]
    default_value = MODEL_DEFAULTS.get(name) if field.default is None else field.default
    if default != "required" and isinstance(default_value, str | int | float):
        assert names_in(default) == [json.dumps(default_value)]
    limits = {
        key: getattr(item, key) for item in field.metadata for key in ("ge", "le") if hasattr(item, key)
    }
    if {"ge", "le"} <= limits.keys():
        assert allowed == f"{limits['ge']} to {limits['le']}"
    elif "ge" in limits:
        assert allowed == f"from {limits['ge']}"
    if name == "format":
        assert names_in(allowed) == list(FORMATS)
    if name == "sample_rate":
        assert allowed == ", ".join(map(str, SAMPLE_RATES_HZ))
    assert kind in ("string", "number", "integer", "boolean", "list", "object", "string or list")
    assert meaning


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_documented_as_required_is_required_and_nothing_else(operation):
    request = OPERATIONS[operation].request
    table = rows(section("docs/api.md", operation, "Fields"))
    required = {names_in(name)[0] for name, _, _, default, _ in table if default == "required"}
    job = {name: MINIMAL[name] for name in required} | ONE_OF_SEVERAL.get(operation, {})
    parse_request(request, operation, job)
    for name in required:
        with pytest.raises(InvalidRequest, match=f"{name} is required"):
            parse_request(request, operation, {other: job[other] for other in job.keys() - {name}})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_field_of_a_reply_is_documented(operation):
    documented = [
        name for first, *_ in rows(section("docs/api.md", operation, "Reply")) for name in names_in(first)
    ]
    assert sorted(documented) == sorted(REPLIES[operation])


def test_every_measurement_of_quality_is_documented():
    text = section("docs/api.md", "clone_voice", "Reply")
    assert {field.name for field in dataclasses.fields(Quality)} <= set(names_in(text))


def test_every_field_of_a_listed_voice_is_documented():
    assert set(FIELDS) <= set(names_in(section("docs/api.md", "list_voices", "Reply")))


def test_every_error_code_is_documented():
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, WorkerError)
    }
    documented = [names_in(code)[0] for code, *_ in rows(section("docs/api.md", "Errors"))]
    assert sorted(documented) == sorted(codes)


@pytest.mark.parametrize("example", json_examples())
def test_an_example_is_a_job_that_the_worker_takes_or_a_reply_that_it_gives(example):
    if "input" in example:
        job = dict(example["input"])
        operation = job.pop("operation")
        parse_request(OPERATIONS[operation].request, operation, job)
    elif "error" in example:
        assert example["error"].startswith(f"{example['error_code']}: ")
    else:
        known = [reply | {"warnings", "worker"} for reply in REPLIES.values()]
        assert any(example.keys() <= names for names in known), example.keys()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_there_is_a_job_and_a_reply_for_every_operation(operation):
    examples = map(json.loads, re.findall(r"```json\n(.*?)```", section("docs/api.md", operation), re.S))
    *_, job, reply = examples
    assert job["input"]["operation"] == operation
    assert reply.keys() <= REPLIES[operation]


def test_every_old_name_is_documented_with_the_new_one():
    table = {
        old: names_in(new)[0]
        for first, new in rows(section("docs/api.md", "Old names"), start="")
        for old in names_in(first)
        if old not in ("mode", "tts")
    }
    assert table == {**OLD_NAMES, **OLD_MODES}


def test_the_readme_lists_every_operation():
    documented = [names_in(first)[0] for first, *_ in rows(section("README.md", "Operations"), "[`")]
    assert documented == list(OPERATIONS)


def test_no_example_looks_like_noise():
    """Replies in the documents come from an untrained checkpoint, whose warning is left out of them."""
    for document in ("README.md", "docs/api.md"):
        assert not any("untrained" in text for text in fenced(document, "json"))


def test_every_setting_is_documented_once():
    documented = [names_in(name)[0] for name, *_ in rows(section("docs/deploy.md", "Settings"))]
    assert sorted(documented) == sorted(variables_that_are_read() - SET_BY_THE_PLATFORM)


def test_the_readme_names_every_setting_once():
    named = names_in("".join(re.findall(r"^\|.*$", section("README.md", "Settings"), re.M)))
    assert sorted(named) == sorted(variables_that_are_read() - SET_BY_THE_PLATFORM)


def test_a_documented_default_is_the_one_that_is_used():
    settings = {name: default for name, default, _ in rows(section("docs/deploy.md", "Settings"))}
    defaults = dataclasses.asdict(Settings.from_env({}))
    for name in defaults.keys() - {
        "voice_store_dir",
        "job_timeout_s",
        "default_language",
        "hf_token",
        "http",
    }:
        if (documented := settings.get(f"`{name.upper()}`")) is not None:
            assert documented == f"`{str(defaults[name]).replace('False', 'false')}`", name


def bodies_sent_by_curl(document):
    for commands in fenced(document, "sh"):
        for body in re.findall(r"-d '([\[{].*?[\]}])'", commands, re.S):
            yield json.loads(body)


def test_the_jobs_that_are_sent_by_curl_are_taken():
    bodies = list(bodies_sent_by_curl("docs/deploy.md"))
    (batch,) = (body for body in bodies if isinstance(body, list))
    single = [body for body in bodies if isinstance(body, dict) and isinstance(body.get("input"), dict)]
    assert single
    for job in (*single, *batch):
        operation = job["input"].pop("operation")
        parse_request(OPERATIONS[operation].request, operation, job["input"])


def test_the_endpoint_that_is_made_by_curl_starts():
    (endpoint,) = (body for body in bodies_sent_by_curl("docs/deploy.md") if "type" in body)
    settings = Settings.from_env(endpoint["env"] | {"RUNPOD_ENDPOINT_ID": "of-the-platform"})
    assert (endpoint["type"], settings.endpoint_mode) == ("LOAD_BALANCER", "http")
    assert endpoint["scaling"] == {"type": "REQUEST_COUNT", "requestCount": settings.max_concurrency}
    assert set(endpoint["gpu"]["pools"]) <= GPU_POOLS


def test_the_time_limits_of_both_types_are_documented():
    text = section("docs/deploy.md", "Time limits")
    for row, env in (
        ("queue, made in the console", {"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"}),
        ("load balancing", {"ENDPOINT_MODE": "http", "RUNPOD_ENDPOINT_ID": "of-the-platform"}),
    ):
        _, limit, default, _ = next(cells for cells in rows(text, start=row))
        job_timeout_s = Settings.from_env(env).job_timeout_s
        assert default == str(job_timeout_s)
        assert job_timeout_s < int(re.match(r"\d+", limit)[0])


def test_the_documented_voice_store_commands_work(tmp_path, monkeypatch, capsys):
    shutil.copytree(REPOSITORY / "samples", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"```sh\n(.*?)```", section("docs/store.md", "From a terminal"), re.S)
    for line in commands.splitlines():
        python, dash_m, module, *arguments = shlex.split(line)
        assert (python, dash_m, module) == ("python", "-m", "voice_store")
        assert voice_store_command(arguments) == 0, capsys.readouterr().err
    assert "Harbour Master" in capsys.readouterr().out


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENTS[document]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / document).parent / path if path else REPOSITORY / document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    for document, text in DOCUMENTS.items():
        named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.M))
        assert named <= targets, document


def test_every_test_that_the_failure_table_names_is_there():
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 40
    for file, test in named:
        content = (REPOSITORY / file).read_text()
        assert not test or re.search(rf"^(?:async )?def {test}\(", content, re.M), f"{file}::{test}"


def files_of_models():
    """(repository, file, model) of all that models read."""
    for spec in MODELS.values():
        own = (spec.files.t3, spec.files.s3gen, *spec.files.tokenizer)
        for file in spec.files.all:
            yield spec.repository if file in own else spec.base_repository or spec.repository, file, spec.name


def documented_files():
    """(repository, file, size, models)"""
    for cells in rows(section("docs/models.md", "Files")):
        if len(cells) == 4:
            (repository,), (file,) = names_in(cells[0]), names_in(cells[1])
            yield repository, file, cells[2], names_in(cells[3])


def test_every_file_of_every_model_is_documented_once():
    documented = [
        (repository, file, model) for repository, file, _, models in documented_files() for model in models
    ]
    assert sorted(documented) == sorted(files_of_models())


def test_every_repository_of_a_model_is_documented_with_a_commit():
    commits = {
        names_in(name)[0]: commit
        for name, commit, *more in rows(section("docs/models.md", "Files"))
        if not more
    }
    assert commits.keys() == {spec.repository for spec in MODELS.values()}
    for commit in commits.values():
        assert commit == "not known" or re.fullmatch("`[0-9a-f]{40}`", commit)


def documented_facts(name):
    """The column of a model in the first table of the models, by the first cell of each row."""
    lines = [line for line in DOCUMENTS["docs/models.md"].splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = table[: next(index for index, cells in enumerate(table) if len(cells) != len(table[0]))]
    (column,) = [index for index, cell in enumerate(table[0]) if name in names_in(cell)]
    facts = {}
    for first, *cells in table[2:]:
        said = cells[:column][::-1]  # the column's own first, then what "the same" means
        facts[first] = next(cell for cell in said if cell != "the same")
    return facts


def size_of(shapes, *left_out):
    return sum(math.prod(shape) for name, shape in shapes.items() if name not in left_out)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_the_table_of_the_models_says_what_each_is(spec):
    facts = documented_facts(spec.name)
    assert facts["licence, by their cards"] == "MIT"
    english = spec.languages == ("en",)
    assert facts["languages"] == (
        "English" if english else "one each" if len(spec.languages) == 1 else "[23](#languages)"
    )
    assert len(spec.languages) in (1, 23)
    ignored = {name for name in PARAMETER_NAMES if name not in spec.default_parameters}
    assert set(names_in(facts["parameters that have no effect"])) == ignored
    for name in ("top_p", "top_k"):
        default = spec.default_parameters.get(name)
        assert facts[f"`{name}`, unless it is sent"] == ("-" if default is None else str(default))
    least_s = spec.conditioning.least_s
    assert facts["a recording of a voice"] == (
        f"more than {least_s:g} s" if least_s else "from 2 s of speech"
    )
    assert facts["event tags"] == ("sounds" if spec.knows_event_tags else "left out, with a warning")
    rows_of_flow = {True: "two", False: "one"}[spec.flow.guidance > 0]
    steps = facts["S3Gen: steps of the flow for a chunk, and rows"]
    assert steps == "the same S3Gen" or steps.startswith(f"{spec.flow.steps}, {rows_of_flow}")
    (longest_s,) = re.findall(r"^([\d.]+) s:", facts["a segment takes at most about"])
    assert float(longest_s) == pytest.approx(spec.max_chunk_s, abs=0.051)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_the_table_of_the_models_says_what_memory_each_takes(spec):
    facts, is_gpt2 = documented_facts(spec.name), spec.family == "gpt2"
    dimensions = spec.dimensions
    shapes = (gpt2_shapes if is_gpt2 else upstream_shapes)(spec, dimensions)
    # GPT-2's table of word positions and its head for text say nothing in speech, and are not loaded.
    parameters = size_of(shapes, *(("tfmr.wte.weight", "text_head.weight") if is_gpt2 else ()))
    assert facts["T3: parameters"] == f"{parameters / 1e6:.0f} million"
    rows_of_chunk = ROWS_WITH_CFG if "guidance" in spec.sampler else 1
    cache_bytes = 2 * 2 * dimensions.t3_layers * dimensions.t3_width * CAPACITY * rows_of_chunk
    of_t3 = facts["memory of T3's weights in bfloat16, and of the cache for each chunk of text at once"]
    weights_gb, cache_gb = map(float, re.fullmatch(r"([\d.]+) and ([\d.]+) GB", of_t3).groups())
    assert weights_gb == pytest.approx(2e-9 * parameters, rel=0.05)
    assert cache_gb == pytest.approx(1e-9 * cache_bytes, rel=0.06)
    s3gen_gb = 4e-9 * size_of(s3gen_shapes(dimensions, spec.flow))
    assert facts["memory of S3Gen's flow and vocoder in float32"].startswith(f"{s3gen_gb:.2f} GB")
    encoder_gb = 4e-9 * sum(map(size_of, (reference_shapes(dimensions), voice_encoder_shapes(dimensions))))
    assert facts["memory of the reference encoder in float32"] == f"{encoder_gb:.2f} GB"


def test_every_language_of_every_model_is_documented():
    listed = set(names_in(section("docs/models.md", "Languages").lstrip().partition("\n\n")[0]))
    assert (
        listed == set(MULTILINGUAL_LANGUAGES) == {code for spec in MODELS.values() for code in spec.languages}
    )
    packs = rows(section("docs/models.md", "Single-language packs"))
    documented = {names_in(name)[0]: (names_in(language), weights) for name, language, weights in packs}
    assert documented.keys() == {pack.name for pack in PACKS}
    for pack in PACKS:
        languages, weights = documented[pack.name]
        assert languages == list(pack.languages)
        assert weights == f"[{pack.repository}](https://huggingface.co/{pack.repository})"


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_the_documented_size_of_t3_is_that_of_its_tensors(spec):
    (size,) = (size for _, file, size, models in documented_files() if file == spec.files.t3)
    shapes = (gpt2_shapes if spec.family == "gpt2" else upstream_shapes)(spec, spec.dimensions)
    size_mb = 4e-6 * sum(math.prod(shape) for shape in shapes.values())
    assert float(size.removesuffix(" MB").replace(",", "")) == pytest.approx(size_mb, rel=1e-3)

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from settings import SPIN_COUNT, Settings, SettingsError
from speech.models.spec import ModelSource

REPOSITORY = Path(__file__).parent.parent


def from_env(**env: str) -> Settings:
    return Settings.from_env(env)


def refusal(**env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def test_nothing_set_gives_the_documented_defaults(tmp_path):
    settings = Settings.from_env({}, volume=tmp_path / "absent")
    assert str(settings.voice_store_dir) == "voice_embeddings"
    assert settings.models == (ModelSource("chatterbox", "main", None),)
    assert settings.device == "auto"
    assert settings.precision == "auto"
    assert settings.max_text_chars == 5000
    assert settings.max_concurrency == 1
    assert settings.audio_retention_h == 0
    assert settings.hf_token is None
    assert settings.log_level == "INFO"
    assert not settings.on_platform


def test_empty_variables_count_as_unset():
    names = (
        "VOICE_STORE_DIR MODEL CHECKPOINT_DIR MODEL_REVISION MODEL_DIRS DEVICE PRECISION ENGINE "
        "MAX_TEXT_CHARS MAX_CONCURRENCY AUDIO_RETENTION_H HF_TOKEN LOG_LEVEL RUNPOD_WEBHOOK_GET_JOB"
    )
    assert Settings.from_env(dict.fromkeys(names.split(), " ")) == Settings.from_env({})


def test_voices_lie_on_the_volume_where_one_is_mounted():
    mounted = Path("/proc")  # the mount that every Linux has
    assert Settings.from_env({}, volume=mounted).voice_store_dir == mounted / "voice_embeddings"


def test_a_folder_in_the_volumes_place_is_no_volume(tmp_path):
    assert Settings.from_env({}, volume=tmp_path).voice_store_dir == Path("voice_embeddings")


def test_the_platforms_model_cache_is_looked_into(tmp_path):
    assert Settings.from_env({}, volume=tmp_path).hub_caches == (tmp_path / "huggingface-cache" / "hub",)


def test_every_variable_is_read(tmp_path):
    settings = from_env(
        VOICE_STORE_DIR=str(tmp_path / "voices"),
        MODEL="Turbo, chatterbox@v3, mine",
        MODEL_REVISION="v2",
        MODEL_DIRS=f"mine={tmp_path}",
        DEVICE="cuda:1",
        PRECISION="exact",
        MAX_TEXT_CHARS="120",
        ENGINE="upstream",
        MAX_CONCURRENCY="3",
        AUDIO_RETENTION_H="72",
        HF_TOKEN="hf_secret",
        LOG_LEVEL="debug",
        RUNPOD_WEBHOOK_GET_JOB="https://jobs.example/take",
    )
    assert settings.voice_store_dir == tmp_path / "voices"
    assert settings.models == (
        ModelSource("turbo", "v2"),
        ModelSource("chatterbox", "v3"),
        ModelSource("mine", "main", tmp_path),
    )
    assert settings.device == "cuda:1"
    assert settings.precision == "exact"
    assert settings.engine == "upstream"
    assert settings.max_text_chars == 120
    assert settings.max_concurrency == 3
    assert settings.audio_retention_h == 72
    assert settings.hf_token == "hf_secret"
    assert settings.log_level == "DEBUG"
    assert settings.on_platform


@pytest.mark.parametrize("name", ["RUNPOD_ENDPOINT_ID", "RUNPOD_POD_ID"])
def test_an_http_worker_on_the_platform_is_recognised_by_its_ids(name):
    """Workers behind a load balancer get no jobs, and so perhaps no address to fetch jobs from."""
    settings = from_env(ENDPOINT_MODE="http", API_KEY="a-key", **{name: "an-id"})
    assert settings.on_platform
    assert settings.job_timeout_s == 300
    assert (settings.http.host, settings.http.port, settings.http.health_port) == ("0.0.0.0", 80, 80)


def test_a_worker_of_a_queue_is_recognised_by_its_job_server_alone():
    assert not from_env(RUNPOD_ENDPOINT_ID="an-id", RUNPOD_POD_ID="another").on_platform
    assert from_env(RUNPOD_WEBHOOK_GET_JOB="https://jobs.example/take").job_timeout_s == 540


def test_behind_a_load_balancer_the_platform_asks_for_its_key():
    settings = from_env(ENDPOINT_MODE="http", RUNPOD_ENDPOINT_ID="an-id", RUNPOD_POD_ID="another")
    assert settings.http.api_key is None


def test_a_pod_is_reached_by_anybody_and_needs_a_key():
    message = refusal(ENDPOINT_MODE="http", RUNPOD_POD_ID="an-id")
    assert message.startswith("API_KEY is not set, and HOST is 0.0.0.0")
    assert from_env(ENDPOINT_MODE="http", RUNPOD_POD_ID="an-id", ALLOW_ANONYMOUS="true").on_platform


def test_the_token_does_not_show():
    assert "hf_secret" not in repr(from_env(HF_TOKEN="hf_secret"))


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("MODEL", "flash", "set it to one of chatterbox, "),
        ("DEVICE", "gpu", "auto, cpu, cuda or cuda:N"),
        ("DEVICE", "cuda:", "auto, cpu, cuda or cuda:N"),
        ("PRECISION", "fp8", "one of auto, exact"),
        ("MAX_TEXT_CHARS", "0", "a whole number from 1 to"),
        ("MAX_TEXT_CHARS", "-5", "a whole number from 1 to"),
        ("MAX_TEXT_CHARS", "5k", "a whole number from 1 to"),
        ("MAX_TEXT_CHARS", "1e3", "a whole number from 1 to"),
        ("MAX_TEXT_CHARS", "٥", "a whole number from 1 to"),
        ("MAX_TEXT_CHARS", "9" * 5000, "a whole number from 1 to"),
        ("ENGINE", "slow", "one of fast, upstream"),
        ("MAX_CONCURRENCY", "65", "a whole number from 1 to 64"),
        ("MAX_CONCURRENCY", "0", "a whole number from 1 to 64"),
        ("AUDIO_RETENTION_H", "-1", "a whole number from 0 to 8784"),
        ("AUDIO_RETENTION_H", "1.5", "a whole number from 0 to 8784"),
        ("AUDIO_RETENTION_H", "1d", "a whole number from 0 to 8784"),
        ("AUDIO_RETENTION_H", "8785", "a whole number from 0 to 8784"),
        ("LOG_LEVEL", "loud", "one of DEBUG, INFO, WARNING, ERROR"),
        ("CHECKPOINT_DIR", "/no/such/folder", "a folder that exists"),
        ("VOICE_STORE_DIR", __file__, "a folder, not a file"),
    ],
)
def test_a_bad_value_is_named_with_what_to_set(name, value, advice):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} is ")
    assert advice in message


def test_the_first_models_folder_may_be_named_by_itself(tmp_path):
    folder = str(tmp_path)
    assert from_env(CHECKPOINT_DIR=folder).models == (ModelSource("chatterbox", folder=tmp_path),)
    # As the image has it, whose MODEL_REVISION is set.
    found = from_env(
        MODEL="turbo,mine", CHECKPOINT_DIR=folder, MODEL_DIRS=f"mine={folder}", MODEL_REVISION="main"
    )
    assert found.models == (ModelSource("turbo", folder=tmp_path), ModelSource("mine", folder=tmp_path))


def test_a_folder_may_have_an_equals_sign(tmp_path):
    (tmp_path / "a=b").mkdir()
    (source,) = from_env(MODEL="mine", MODEL_DIRS=f"mine={tmp_path / 'a=b'}").models
    assert source.folder == tmp_path / "a=b"


@pytest.mark.parametrize(
    ("env", "advice"),
    [
        ({"MODEL": "chatterbox,flash"}, "MODEL is 'flash': set it to one of chatterbox,"),
        ({"MODEL": "mine"}, "a model of your own has its folder in MODEL_DIRS"),
        ({"MODEL": "turbo,chatterbox,turbo"}, "MODEL has turbo twice"),
        ({"MODEL": "turbo@v1,turbo@v2"}, "MODEL has turbo twice"),
        ({"MODEL": "turbo@"}, "set a branch, tag or commit after the @"),
        ({"MODEL": "turbo@v1", "MODEL_REVISION": "v2"}, "MODEL_REVISION is 'v2', and MODEL has turbo@v1"),
        ({"MODEL_REVISION": "v2", "CHECKPOINT_DIR": "."}, "chatterbox has a revision, 'v2', and a folder"),
        ({"MODEL": "turbo@v1", "MODEL_DIRS": "turbo=."}, "turbo has a revision, 'v1', and a folder"),
        ({"CHECKPOINT_DIR": ".", "MODEL_DIRS": "chatterbox=."}, "both name a folder of chatterbox"),
        ({"MODEL_DIRS": "mine=."}, "add mine to MODEL"),
        ({"MODEL_DIRS": "mine"}, "MODEL_DIRS has 'mine': set it to name=folder"),
        ({"MODEL_DIRS": "mine="}, "MODEL_DIRS has 'mine=': set it to name=folder"),
        ({"MODEL_DIRS": "my model=."}, "names are of small letters"),
        ({"MODEL": "mine", "MODEL_DIRS": "mine=/a,b"}, "has a comma, name a link to it"),
        ({"MODEL": "mine", "MODEL_DIRS": "mine=/no/such"}, "'mine=/no/such', and there is no such folder"),
        ({"MODEL": "mine", "MODEL_DIRS": "mine=.,mine=/tmp"}, "MODEL_DIRS has two folders of mine"),
    ],
    ids=str,
)
def test_bad_models_are_named_with_what_to_set(env, advice):
    assert advice in refusal(**env)


def test_all_that_is_wrong_with_models_is_reported_at_once():
    message = refusal(MODEL="flash,turbo,turbo", MODEL_DIRS="mine,nano=/no/such", CHECKPOINT_DIR="/nor/this")
    for problem in ("'flash'", "turbo twice", "'mine'", "'nano=/no/such'", "'/nor/this'"):
        assert problem in message


def test_all_bad_values_are_reported_at_once():
    message = refusal(MODEL="flash", DEVICE="tpu", MAX_TEXT_CHARS="many")
    for name in ("MODEL", "DEVICE", "MAX_TEXT_CHARS"):
        assert name in message


def test_settings_do_not_change_after_they_were_read():
    with pytest.raises(AttributeError):
        from_env().max_text_chars = 1


@pytest.mark.parametrize("name", ["VOICE_STORE_DIR", "CHECKPOINT_DIR"])
@pytest.mark.parametrize("value", ["~no-such-user/x", "x" * 5000, "/" + "y" * 300])
def test_a_folder_that_cannot_be_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


BUCKET = {
    "BUCKET_ENDPOINT_URL": "https://s3.example.com",
    "BUCKET_ACCESS_KEY_ID": "an-id",
    "BUCKET_SECRET_ACCESS_KEY": "very-private",
    "BUCKET_NAME": "audio",
}


def test_a_bucket_is_whole_or_not_there():
    assert Settings.from_env({}).bucket is None
    bucket = Settings.from_env(BUCKET | {"BUCKET_REGION": "eu-1"}).bucket
    assert (bucket.name, bucket.region, bucket.url_expiry_s, bucket.key_prefix) == (
        "audio",
        "eu-1",
        86_400,
        "",
    )
    assert Settings.from_env(BUCKET | {"BUCKET_KEY_PREFIX": "speech/"}).bucket.key_prefix == "speech/"
    assert "very-private" not in repr(Settings.from_env(BUCKET))
    assert "an-id" not in repr(Settings.from_env(BUCKET))
    for name in BUCKET:
        with pytest.raises(SettingsError, match=f"{name} missing"):
            Settings.from_env({key: value for key, value in BUCKET.items() if key != name})


@pytest.mark.parametrize("url", ["s3.example.com", "ftp://s3.example.com", "https://user@s3.example.com"])
def test_a_bucket_needs_an_address(url):
    with pytest.raises(SettingsError, match="BUCKET_ENDPOINT_URL"):
        Settings.from_env(BUCKET | {"BUCKET_ENDPOINT_URL": url})


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("BUCKET_NAME", "My_Audio", "3 to 63 small letters"),
        ("BUCKET_NAME", "127.0.0.1", "3 to 63 small letters"),
        ("BUCKET_REGION", "eu west", "one like eu-central-1"),
        ("BUCKET_KEY_PREFIX", "/speech", "like speech/"),
        ("BUCKET_KEY_PREFIX", "a//b", "like speech/"),
        ("BUCKET_KEY_PREFIX", "a/../b", "like speech/"),
        ("BUCKET_KEY_PREFIX", "a?b", "like speech/"),
        ("BUCKET_ENDPOINT_URL", "https://s3..example.com", "its address"),
    ],
)
def test_what_no_bucket_can_have_stops_the_start(variable, value, wanted):
    message = refusal(**BUCKET | {variable: value})
    assert message.startswith(variable)
    assert wanted in message


def test_what_is_wrong_with_a_bucket_is_said_without_its_keys():
    message = refusal(
        **BUCKET
        | {
            "BUCKET_ENDPOINT_URL": "https://me:very-private@s3.example.com",
            "BUCKET_ACCESS_KEY_ID": "very private",
            "BUCKET_NAME": "A",
        }
    )
    for name in ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_NAME"):
        assert name in message
    assert "private" not in message


def test_a_region_beside_a_host_of_another_stops_the_start():
    host = {"BUCKET_ENDPOINT_URL": "https://s3.us-west-2.amazonaws.com"}
    assert "which is us-west-2" in refusal(**BUCKET | host | {"BUCKET_REGION": "eu-west-1"})
    assert Settings.from_env(BUCKET | host | {"BUCKET_REGION": "us-west-2"}).bucket.region == "us-west-2"


@pytest.mark.parametrize(
    ("endpoint", "store", "region"),
    [
        ("https://s3.amazonaws.com", None, None),
        ("https://s3.eu-west-1.amazonaws.com", None, "eu-west-1"),
        ("https://s3-eu-west-1.amazonaws.com", None, "eu-west-1"),
        ("https://s3.dualstack.us-gov-west-1.amazonaws.com", None, "us-gov-west-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn", None, "cn-north-1"),
        (
            "https://audio.s3.eu-west-1.amazonaws.com/",
            "https://s3.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        ("https://audio.s3.amazonaws.com", "https://s3.amazonaws.com", None),
        ("https://0a1b.r2.cloudflarestorage.com/audio", "https://0a1b.r2.cloudflarestorage.com", "auto"),
        ("https://0a1b.eu.r2.cloudflarestorage.com", None, "auto"),
        ("https://audio.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com", "nyc3"),
        ("https://s3.eu-central-1.wasabisys.com", None, "eu-central-1"),
        ("https://s3.wasabisys.com", None, None),
        ("https://s3.us-west-004.backblazeb2.com", None, "us-west-004"),
        ("https://s3.fr-par.scw.cloud", None, "fr-par"),
        ("https://s3.gra.io.cloud.ovh.net", None, "gra"),
        ("https://us-east-1.linodeobjects.com", None, "us-east-1"),
        ("https://fsn1.your-objectstorage.com", None, "fsn1"),
        ("https://s3api-eu-ro-1.runpod.io", None, "EU-RO-1"),
        ("https://storage.googleapis.com", None, "auto"),
        ("https://s3.eu-central-1.example", None, "eu-central-1"),
        ("https://minio.example:9000", None, None),
        ("https://minio.example:9000/audio", "https://minio.example:9000", None),
        ("https://db.example/storage/v1/s3/", "https://db.example/storage/v1/s3", None),
        ("http://[::1]:9000", None, None),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000", None),
    ],
)
def test_the_region_is_taken_from_hosts_that_name_one(endpoint, store, region):
    bucket = Settings.from_env(BUCKET | {"BUCKET_ENDPOINT_URL": endpoint}).bucket
    assert bucket.store_url == (store or endpoint)
    assert bucket.signing_region == region


@pytest.mark.parametrize(
    "host", ["nyc3.digitaloceanspaces.com", "storage.googleapis.com", "s3.amazonaws.com"]
)
def test_a_bucket_that_is_called_like_a_host_leaves_the_host_whole(host):
    name = host.partition(".")[0] + ("x" if host.startswith("s3") else "")
    bucket = Settings.from_env(
        BUCKET | {"BUCKET_ENDPOINT_URL": f"https://{host}", "BUCKET_NAME": name}
    ).bucket
    assert bucket.store_url == f"https://{host}"


def test_over_long_values_are_shortened():
    for variable, value in {
        "DEVICE": "x" * 100_000,
        "MAX_TEXT_CHARS": "9" * 5000,
        "VOICE_STORE_DIR": "/" + "y" * 4000 + "/a/b",
    }.items():
        assert len(refusal(**{variable: value})) < 300


@pytest.mark.parametrize("level", ["warn", "WARN", "Warning"])
def test_a_warning_level_may_be_written_short(level):
    assert from_env(LOG_LEVEL=level).log_level == "WARNING"


def test_no_text_is_longer_than_a_job_can_hold():
    assert from_env(MAX_TEXT_CHARS="100000").max_text_chars == 100_000
    assert "1 to 100000" in refusal(MAX_TEXT_CHARS="100001")


def test_a_missing_folder_above_the_store_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = Path("not-there")
    message = refusal(VOICE_STORE_DIR=str(missing / "a" / "voices"))
    assert "not-there is missing)" in message
    assert from_env(VOICE_STORE_DIR=str(missing)).voice_store_dir == missing


def test_folders_on_the_volume_are_made_later(tmp_path):
    deep = tmp_path / "a" / "b" / "voices"
    assert Settings.from_env({"VOICE_STORE_DIR": str(deep)}, volume=tmp_path).voice_store_dir == deep


@pytest.mark.parametrize("is_on_volume", [True, False])
def test_a_link_to_nothing_is_no_store(tmp_path, is_on_volume):
    (tmp_path / "voices").symlink_to(tmp_path / "gone")
    volume = tmp_path if is_on_volume else tmp_path / "elsewhere"
    with pytest.raises(SettingsError, match="a link to one that is missing"):
        Settings.from_env({"VOICE_STORE_DIR": str(tmp_path / "voices")}, volume=volume)


def test_a_link_to_a_folder_is_a_store(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "voices").symlink_to(tmp_path / "real")
    assert from_env(VOICE_STORE_DIR=str(tmp_path / "voices")).voice_store_dir == tmp_path / "voices"


TAKE = """
import os, subprocess, sys
from pathlib import Path
from settings import Settings
settings = Settings.take_from_env()
assert settings.hf_token == "hf_very_private"
assert settings.bucket.secret_access_key == "bucket-very-private"
assert settings.bucket.access_key_id == "id-very-private"
assert settings.bucket.name == os.environ["BUCKET_NAME"] == "audio"
print(Path("/proc/self/environ").read_bytes())
print(subprocess.run([sys.executable, "-c", "import os; print(os.environ)"], capture_output=True).stdout)
print(os.environ, settings)
"""


def test_secrets_are_taken_out_of_the_environment():
    secrets = {
        "HF_TOKEN": "hf_very_private",
        "BUCKET_ACCESS_KEY_ID": "id-very-private",
        "BUCKET_SECRET_ACCESS_KEY": "bucket-very-private",
    }
    finished = subprocess.run(
        [sys.executable, "-c", TAKE],
        cwd=REPOSITORY,
        env=os.environ | BUCKET | secrets | {"TRACE": "kept"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("kept") == 3
    assert "very" not in finished.stdout


def test_reading_another_mapping_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_private")
    from_env(HF_TOKEN="another")
    Settings.from_env()
    assert os.environ["HF_TOKEN"] == "hf_very_private"


@pytest.mark.parametrize("value", [",", " , ,"])
def test_a_list_of_no_models_is_refused(value):
    assert refusal(MODEL=value).startswith(f"MODEL is '{value.strip()}': set it to one of chatterbox, ")


def test_a_model_of_ones_own_has_no_name_of_openais(tmp_path):
    message = refusal(MODEL="tts-1", MODEL_DIRS=f"tts-1={tmp_path}")
    assert "choose another name; those that begin with tts- or gpt-" in message


def test_the_default_language_is_a_code():
    assert from_env(DEFAULT_LANGUAGE="de-AT").default_language == "de-AT"
    assert from_env().default_language is None
    assert refusal(DEFAULT_LANGUAGE="deutsch!") == (
        "DEFAULT_LANGUAGE is 'deutsch!': set it to the code of a language, like en, or unset it"
    )


@pytest.mark.parametrize(
    ("env", "count"),
    [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_openmps_threads_wait_for_a_tenth_of_a_millisecond_unless_the_operator_says_otherwise(env, count):
    """What GNU's OpenMP says when PyTorch loads it, after all that a worker imports before."""
    program = "import handler; handler.warm_settings(); import torch"
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**unset, "OMP_DISPLAY_ENV": "verbose", **env},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said) == [count]

from pathlib import Path

import pytest

from settings import Settings, SettingsError


def from_env(**env: str) -> Settings:
    return Settings.from_env(env)


def refusal(**env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def test_nothing_set_gives_the_documented_defaults(tmp_path):
    settings = Settings.from_env({}, volume=tmp_path / "absent")
    assert str(settings.voice_store_dir) == "voice_embeddings"
    assert settings.model == "chatterbox"
    assert settings.checkpoint_dir is None
    assert settings.model_revision == "main"
    assert settings.device == "auto"
    assert settings.precision == "auto"
    assert settings.max_text_chars == 5000
    assert settings.max_concurrency == 1
    assert settings.hf_token is None
    assert settings.log_level == "INFO"
    assert not settings.on_platform


def test_empty_variables_count_as_unset():
    names = (
        "VOICE_STORE_DIR MODEL CHECKPOINT_DIR MODEL_REVISION DEVICE PRECISION ENGINE MAX_TEXT_CHARS "
        "MAX_CONCURRENCY HF_TOKEN LOG_LEVEL RUNPOD_WEBHOOK_GET_JOB"
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
        MODEL="Chatterbox",
        CHECKPOINT_DIR=str(tmp_path),
        MODEL_REVISION="v2",
        DEVICE="cuda:1",
        PRECISION="exact",
        MAX_TEXT_CHARS="120",
        ENGINE="upstream",
        MAX_CONCURRENCY="3",
        HF_TOKEN="hf_secret",
        LOG_LEVEL="debug",
        RUNPOD_WEBHOOK_GET_JOB="https://jobs.example/take",
    )
    assert settings.voice_store_dir == tmp_path / "voices"
    assert settings.model == "chatterbox"
    assert settings.checkpoint_dir == tmp_path
    assert settings.model_revision == "v2"
    assert settings.device == "cuda:1"
    assert settings.precision == "exact"
    assert settings.engine == "upstream"
    assert settings.max_text_chars == 120
    assert settings.max_concurrency == 3
    assert settings.hf_token == "hf_secret"
    assert settings.log_level == "DEBUG"
    assert settings.on_platform


def test_the_token_does_not_show():
    assert "hf_secret" not in repr(from_env(HF_TOKEN="hf_secret"))


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("MODEL", "turbo", "set it to chatterbox"),
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
        ("LOG_LEVEL", "loud", "one of DEBUG, INFO, WARNING, ERROR"),
        ("CHECKPOINT_DIR", "/no/such/folder", "a folder that exists"),
        ("VOICE_STORE_DIR", __file__, "a folder, not a file"),
    ],
)
def test_a_bad_value_is_named_with_what_to_set(name, value, advice):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} is ")
    assert advice in message


def test_all_bad_values_are_reported_at_once():
    message = refusal(MODEL="nano", DEVICE="tpu", MAX_TEXT_CHARS="many")
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
    "BUCKET_ACCESS_KEY_ID": "an id",
    "BUCKET_SECRET_ACCESS_KEY": "very private",
    "BUCKET_NAME": "audio",
}


def test_a_bucket_is_whole_or_not_there():
    assert Settings.from_env({}).bucket is None
    bucket = Settings.from_env(BUCKET | {"BUCKET_REGION": "eu-1"}).bucket
    assert (bucket.name, bucket.region, bucket.url_expiry_s) == ("audio", "eu-1", 86_400)
    assert "very private" not in repr(Settings.from_env(BUCKET))
    for name in BUCKET:
        with pytest.raises(SettingsError, match=f"{name} missing"):
            Settings.from_env({key: value for key, value in BUCKET.items() if key != name})


@pytest.mark.parametrize("url", ["s3.example.com", "ftp://s3.example.com", "https://user@s3.example.com"])
def test_a_bucket_needs_an_address(url):
    with pytest.raises(SettingsError, match="BUCKET_ENDPOINT_URL"):
        Settings.from_env(BUCKET | {"BUCKET_ENDPOINT_URL": url})

"""Where weights come from, in order, without asking a hub that is not needed."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants

from errors import ModelUnavailable
from speech.models.spec import CHATTERBOX, MODELS, TURBO, ModelSource
from speech.weights import find
from speech.weights.checkpoint import Checkpoint
from speech.weights.find import find_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def find_checkpoint(
    *, checkpoint_dir: Path | None = None, revision: str = "main", **places: object
) -> Checkpoint:
    spec, checkpoint = find_model(ModelSource(CHATTERBOX.name, revision, checkpoint_dir), **places)
    assert spec is CHATTERBOX
    return checkpoint


def weights_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in CHATTERBOX.files.all:
        (folder / name).touch()
    return folder


def hub_cache(root: Path, commit: str = COMMIT) -> Path:
    """The layout of ``~/.cache/huggingface/hub`` with one snapshot, tagged main."""
    repository = root / "models--ResembleAI--chatterbox"
    weights_in(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return root


@pytest.fixture(autouse=True)
def no_user_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "user-cache"))


@pytest.fixture(autouse=True)
def downloads(monkeypatch) -> list[str]:
    """The hub is down; what was asked of it."""
    asked: list[str] = []

    def refuse(repository: str, **_: object) -> str:
        asked.append(repository)
        raise httpx.ConnectError("no route to host secret.internal")

    monkeypatch.setattr(find, "snapshot_download", refuse)
    return asked


def test_the_named_folder_wins(tmp_path, downloads):
    folder = weights_in(tmp_path / "mine")
    found = find_checkpoint(checkpoint_dir=folder, hub_caches=(hub_cache(tmp_path / "hub"),))
    assert (found.folder, found.revision, found.may_be_unpublished) == (folder, None, True)
    assert not downloads


def test_a_named_hub_snapshot_keeps_its_commit(tmp_path):
    snapshot = hub_cache(tmp_path / "hub") / "models--ResembleAI--chatterbox" / "snapshots" / COMMIT
    assert find_checkpoint(checkpoint_dir=snapshot).revision == COMMIT


def test_a_named_folder_without_weights_is_an_error_that_lists_them(tmp_path):
    hub_cache(tmp_path / "hub")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"CHECKPOINT_DIR.*t3_cfg\.safetensors") as caught:
        find_checkpoint(checkpoint_dir=tmp_path / "empty", hub_caches=(tmp_path / "hub",))
    assert str(tmp_path) not in caught.value.message


def test_caches_are_tried_in_order_and_the_hub_is_not_asked(tmp_path, downloads, monkeypatch):
    platform = hub_cache(tmp_path / "platform")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache(tmp_path / "user", OTHER_COMMIT)))
    assert find_checkpoint(hub_caches=(platform,)).revision == COMMIT
    assert find_checkpoint(hub_caches=(tmp_path / "absent",)).revision == OTHER_COMMIT
    assert not downloads


def test_an_incomplete_cache_is_passed_over(tmp_path):
    first, second = hub_cache(tmp_path / "first"), hub_cache(tmp_path / "second", OTHER_COMMIT)
    (first / "models--ResembleAI--chatterbox" / "snapshots" / COMMIT / "ve.safetensors").unlink()
    assert find_checkpoint(hub_caches=(first, second)).revision == OTHER_COMMIT


def test_a_commit_can_be_asked_for(tmp_path):
    cache = hub_cache(tmp_path / "hub")
    assert find_checkpoint(hub_caches=(cache,), revision=COMMIT).revision == COMMIT
    with pytest.raises(ModelUnavailable):
        find_checkpoint(hub_caches=(cache,), revision=OTHER_COMMIT)


@pytest.mark.parametrize("revision", ["../../../etc", "main/../../../..", "/etc"])
def test_a_revision_cannot_leave_the_cache(tmp_path, revision):
    with pytest.raises(ModelUnavailable):
        find_checkpoint(hub_caches=(hub_cache(tmp_path / "hub"),), revision=revision)


def test_nothing_anywhere_says_how_to_get_weights(tmp_path, downloads):
    with pytest.raises(ModelUnavailable) as caught:
        find_checkpoint(hub_caches=(tmp_path,))
    assert downloads == ["ResembleAI/chatterbox"]
    for advice in ("CHECKPOINT_DIR", "model cache"):
        assert advice in caught.value.message
    assert "secret.internal" not in caught.value.message


def test_a_download_gives_the_commit(tmp_path, monkeypatch):
    snapshot = weights_in(tmp_path / "snapshots" / COMMIT)
    monkeypatch.setattr(find, "snapshot_download", lambda *_, **__: str(snapshot))
    found = find_checkpoint()
    assert (found.folder, found.revision, found.may_be_unpublished) == (snapshot, COMMIT, False)


def test_the_real_client_without_a_hub_ends_in_model_unavailable(tmp_path, monkeypatch):
    """No stand-in: the installed client, pointed at a port where nothing listens."""
    monkeypatch.setattr(find, "snapshot_download", huggingface_hub.snapshot_download)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelUnavailable, match="hub did not give them"):
        find_checkpoint()


def test_the_last_resort_comes_after_everything_else(tmp_path, downloads):
    small = weights_in(tmp_path / "small")
    found = find_checkpoint(hub_caches=(tmp_path / "no hub",), last_resort=small)
    assert (found.folder, found.revision, found.may_be_unpublished) == (small, None, True)
    assert len(downloads) == 1
    cached = find_checkpoint(hub_caches=(hub_cache(tmp_path / "hub"),), last_resort=small)
    assert cached.revision == COMMIT
    mine = weights_in(tmp_path / "mine")
    assert find_checkpoint(checkpoint_dir=mine, last_resort=small).folder == mine


def test_a_named_folder_that_lacks_files_is_not_replaced_by_the_last_resort(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="CHECKPOINT_DIR"):
        find_checkpoint(checkpoint_dir=tmp_path / "empty", last_resort=weights_in(tmp_path / "small"))


def test_an_incomplete_last_resort_is_no_answer(tmp_path):
    with pytest.raises(ModelUnavailable, match="no weights"):
        find_checkpoint(last_resort=tmp_path)


def test_who_names_a_revision_gets_no_last_resort(tmp_path):
    with pytest.raises(ModelUnavailable, match="no weights"):
        find_checkpoint(revision="v2", last_resort=weights_in(tmp_path / "small"))


@pytest.fixture
def hub(monkeypatch):
    """A server that answers every request with one status, and the installed client pointed at it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(find, "snapshot_download", huggingface_hub.snapshot_download)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_a_hub_that_refuses_is_no_reason_for_the_last_resort(tmp_path, hub, status):
    """A wrong token, say: the user is to know of it."""
    hub.status = status
    with pytest.raises(ModelUnavailable):
        find_checkpoint(last_resort=weights_in(tmp_path / "small"))


def test_a_hub_that_is_down_is(tmp_path, hub):
    hub.status = 503
    small = weights_in(tmp_path / "small")
    assert find_checkpoint(last_resort=small).folder == small


def test_neither_is_a_full_disk(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(find, "snapshot_download", fail)
    with pytest.raises(ModelUnavailable, match="OSError"):
        find_checkpoint(last_resort=weights_in(tmp_path / "small"))


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("timed out")])
def test_a_transfer_that_breaks_off_is_silence_too(tmp_path, monkeypatch, error):
    """The hub's own transfer library raises Python's errors, not those of the HTTP client."""
    small = weights_in(tmp_path / "small")
    monkeypatch.setattr(find, "snapshot_download", Mock(side_effect=error))
    assert find_checkpoint(last_resort=small).folder == small


def test_what_the_transfer_library_cannot_do_is_an_error_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "snapshot_download", Mock(side_effect=RuntimeError("CAS service error")))
    with pytest.raises(ModelUnavailable, match="RuntimeError"):
        find_checkpoint(last_resort=weights_in(tmp_path / "small"))


FINE_TUNE = ModelSource("narrator")
TABLE = "Cangjie5_TC.json"
PACK = replace(
    CHATTERBOX,
    name="pack",
    repository="ResembleAI/pack",
    base_repository=CHATTERBOX.repository,
    files=replace(
        CHATTERBOX.files, t3="t3_pack.safetensors", s3gen="s3gen_v3.safetensors", cangjie_table=TABLE
    ),
)
PACK_COMMIT = "f" * 40


@pytest.fixture
def pack(monkeypatch) -> ModelSource:
    monkeypatch.setitem(MODELS, PACK.name, PACK)
    return ModelSource(PACK.name)


def hold(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def with_pack(root: Path) -> Path:
    """Adds a pack's own repository to a hub cache."""
    repository = root / "models--ResembleAI--pack"
    hold(repository / "snapshots" / PACK_COMMIT, PACK.files.t3, PACK.files.s3gen, *PACK.files.tokenizer)
    hold(repository / "refs")
    (repository / "refs" / "main").write_text(PACK_COMMIT)
    return root


def configure(folder: Path, **fields: object) -> None:
    (folder / "config.json").write_text(json.dumps({"format": "chatterbox-voice-worker/1", **fields}))


def test_a_pack_takes_what_its_repository_lacks_from_its_base(tmp_path, pack, downloads):
    cache = with_pack(hub_cache(tmp_path / "hub"))
    base = cache / "models--ResembleAI--chatterbox" / "snapshots" / COMMIT
    hold(base, TABLE)
    spec, found = find_model(pack, hub_caches=(cache,))
    assert (spec, found.revision, found.may_be_unpublished) == (PACK, PACK_COMMIT, False)
    for name in (PACK.files.t3, PACK.files.s3gen, *PACK.files.tokenizer):
        assert found.file(name).parent.name == PACK_COMMIT
    for name in (PACK.files.voice_encoder, PACK.files.builtin_voice, TABLE):
        assert found.file(name) == base / name
    assert not downloads


def test_a_pack_without_its_base_is_no_model(tmp_path, pack, downloads):
    with pytest.raises(ModelUnavailable, match="no weights of ResembleAI/chatterbox at revision 'main'"):
        find_model(pack, hub_caches=(with_pack(tmp_path),))
    assert downloads == [CHATTERBOX.repository]


def test_only_what_is_needed_is_downloaded(tmp_path, pack, monkeypatch):
    asked: dict[str, list[str]] = {}

    def download(repository: str, *, allow_patterns: list[str], **_: object) -> str:
        asked[repository] = allow_patterns
        return str(hold(tmp_path / repository / "snapshots" / COMMIT, *allow_patterns))

    monkeypatch.setattr(find, "snapshot_download", download)
    _, found = find_model(pack)
    assert asked == {
        PACK.repository: [PACK.files.t3, PACK.files.s3gen, *PACK.files.tokenizer],
        CHATTERBOX.repository: [PACK.files.voice_encoder, PACK.files.builtin_voice, TABLE],
    }
    assert all(file.is_file() for file in found.files(PACK.files.all))


def test_a_file_that_may_be_absent_is_fetched_where_the_hub_is_there(tmp_path, pack, downloads):
    """The base's snapshot was downloaded for English, which has no table of Chinese."""
    cache = with_pack(hub_cache(tmp_path / "hub"))
    _, found = find_model(pack, hub_caches=(cache,))
    assert downloads == [CHATTERBOX.repository]
    assert not found.file(TABLE).exists()  # the hub is down, and the worker starts all the same
    assert found.file(PACK.files.voice_encoder).exists()


def test_a_folder_with_a_packs_own_files_takes_the_rest_from_its_base(tmp_path, pack):
    folder = hold(tmp_path / "mine", PACK.files.t3, PACK.files.s3gen, *PACK.files.tokenizer)
    _, found = find_model(replace(pack, folder=folder), hub_caches=(hub_cache(tmp_path / "hub"),))
    assert found.file(PACK.files.t3).parent == folder
    assert found.file(PACK.files.voice_encoder).parent.name == COMMIT
    (folder / PACK.files.s3gen).unlink()
    with pytest.raises(ModelUnavailable, match=r"for pack lacks s3gen_v3\.safetensors"):
        find_model(replace(pack, folder=folder), hub_caches=(tmp_path / "hub",))


def test_a_fine_tune_takes_what_it_lacks_from_the_model_that_it_was_made_from(tmp_path, downloads):
    folder = hold(tmp_path / "narrator", CHATTERBOX.files.t3)
    source = replace(FINE_TUNE, folder=folder)
    spec, found = find_model(source, hub_caches=(hub_cache(tmp_path / "hub"),))
    assert spec == replace(CHATTERBOX, name="narrator")
    assert (found.folder, found.revision, found.may_be_unpublished) == (folder, None, True)
    assert found.file(CHATTERBOX.files.t3).parent == folder
    for name in (*CHATTERBOX.files.tokenizer, CHATTERBOX.files.s3gen, CHATTERBOX.files.builtin_voice):
        assert found.file(name).parent.name == COMMIT
    hold(folder, "tokenizer.json")
    _, found = find_model(source, hub_caches=(tmp_path / "hub",))
    assert found.file("tokenizer.json").parent == folder
    assert not downloads


def test_what_a_folder_lacks_comes_first_from_a_folder_of_its_base(tmp_path, pack, downloads):
    base = ModelSource(CHATTERBOX.name, folder=weights_in(tmp_path / "base"))
    folder = hold(tmp_path / "narrator", CHATTERBOX.files.t3)
    source, caches = replace(FINE_TUNE, folder=folder), (hub_cache(tmp_path / "hub"),)
    _, found = find_model(source, hub_caches=caches, others=(base, source))
    assert {file.parent for file in found.files(CHATTERBOX.files.all)} == {folder, base.folder}
    assert not downloads
    # The table of Chinese, which English has no use for, is asked for at the hub.
    own = hold(tmp_path / "pack", PACK.files.t3, PACK.files.s3gen, *PACK.files.tokenizer)
    _, found = find_model(replace(pack, folder=own), others=(base,))
    assert found.file(PACK.files.voice_encoder).parent == base.folder
    assert not found.file(TABLE).exists()
    assert downloads == [CHATTERBOX.repository]
    hold(base.folder, TABLE)
    _, found = find_model(replace(pack, folder=own), others=(base,))
    assert found.file(TABLE).parent == base.folder
    (base.folder / CHATTERBOX.files.voice_encoder).unlink()
    with pytest.raises(ModelUnavailable, match="no weights of ResembleAI/chatterbox"):
        find_model(replace(pack, folder=own), others=(base,))


PIN = OTHER_COMMIT


@pytest.mark.parametrize(
    ("neighbours", "commit"),
    [
        ([], COMMIT),
        ([ModelSource(CHATTERBOX.name, PIN)], PIN),
        ([ModelSource("multilingual", PIN)], PIN),  # of the same repository
        ([ModelSource("multilingual", PIN), ModelSource(CHATTERBOX.name)], COMMIT),
        ([ModelSource("multilingual", COMMIT), ModelSource(CHATTERBOX.name, PIN)], PIN),
        ([ModelSource("turbo", PIN)], COMMIT),
    ],
    ids=str,
)
def test_a_fine_tune_takes_the_files_of_its_base_at_the_bases_revision(tmp_path, neighbours, commit):
    cache = hub_cache(tmp_path / "hub")
    weights_in(cache / "models--ResembleAI--chatterbox" / "snapshots" / PIN)
    source = replace(FINE_TUNE, folder=hold(tmp_path / "narrator", CHATTERBOX.files.t3))
    _, found = find_model(source, hub_caches=(cache,), others=(source, *neighbours))
    assert found.file(CHATTERBOX.files.s3gen).parent.name == commit


def test_a_pack_takes_the_files_of_its_base_at_a_revision_that_is_pinned(tmp_path, pack, downloads):
    cache = with_pack(hub_cache(tmp_path / "hub"))
    hold(weights_in(cache / "models--ResembleAI--chatterbox" / "snapshots" / PIN), TABLE)
    others = (pack, ModelSource(CHATTERBOX.name, PIN))
    _, found = find_model(pack, hub_caches=(cache,), others=others)
    assert found.file(PACK.files.voice_encoder).parent.name == PIN
    assert found.file(PACK.files.t3).parent.name == PACK_COMMIT
    assert not downloads


def test_a_pinned_revision_of_the_base_that_is_nowhere_is_named(tmp_path, downloads):
    source = replace(FINE_TUNE, folder=hold(tmp_path / "narrator", CHATTERBOX.files.t3))
    others = (source, ModelSource(CHATTERBOX.name, "v9"))
    with pytest.raises(ModelUnavailable, match="no weights of ResembleAI/chatterbox at revision 'v9'"):
        find_model(source, hub_caches=(hub_cache(tmp_path / "hub"),), others=others)
    assert downloads == [CHATTERBOX.repository]


def test_a_fine_tune_with_all_files_needs_no_other_place(tmp_path, downloads):
    folder = weights_in(tmp_path / "narrator")
    _, found = find_model(replace(FINE_TUNE, folder=folder))
    assert {file.parent for file in found.files(CHATTERBOX.files.all)} == {folder}
    assert not downloads


def test_a_fine_tune_is_not_completed_by_the_small_model(tmp_path):
    folder = hold(tmp_path / "narrator", CHATTERBOX.files.t3)
    with pytest.raises(ModelUnavailable, match="no weights of ResembleAI/chatterbox"):
        find_model(replace(FINE_TUNE, folder=folder), last_resort=weights_in(tmp_path / "small"))


def test_the_t3_of_a_model_says_which_it_was_made_from(tmp_path):
    folder = hold(tmp_path / "sounds", *TURBO.files.required)
    assert find_model(replace(FINE_TUNE, folder=folder))[0].family == "gpt2"


def test_a_configuration_says_it_where_names_do_not(tmp_path):
    folder = hold(tmp_path / "sounds", *TURBO.files.all, CHATTERBOX.files.t3)
    source = replace(FINE_TUNE, folder=folder)
    with pytest.raises(
        ModelUnavailable, match=r"several models: t3_cfg\.safetensors, t3_turbo_v1.*leave one"
    ):
        find_model(source)
    configure(folder, model="turbo", languages=["en", "en-gb"])
    spec, _ = find_model(source)
    assert (spec.name, spec.family, spec.languages) == ("narrator", "gpt2", ("en", "en-gb"))


@pytest.mark.parametrize("t3", ["t3_narrator.safetensors", "t3_narrator.pt"])
def test_with_a_configuration_the_only_t3_may_have_any_name(tmp_path, t3):
    folder = hold(tmp_path / "narrator", t3, "speaking-t3_narrator.safetensors")
    configure(folder, model="chatterbox")
    source = replace(FINE_TUNE, folder=folder)
    spec, found = find_model(source, hub_caches=(hub_cache(tmp_path / "hub"),))
    assert found.file(spec.files.t3) == folder / t3
    hold(folder, "t3_other.safetensors")
    with pytest.raises(ModelUnavailable, match=r"neither t3_cfg\.safetensors nor exactly one other file"):
        find_model(source, hub_caches=(tmp_path / "hub",))


def test_a_folder_without_a_t3_says_what_to_call_it(tmp_path):
    folder = hold(tmp_path / "narrator", "model.safetensors")
    with pytest.raises(ModelUnavailable, match=r"MODEL_DIRS names for narrator has no T3") as caught:
        find_model(replace(FINE_TUNE, folder=folder))
    for advice in ("t3_cfg.safetensors", "t3_turbo_v1.safetensors", "config.json", '"model"'):
        assert advice in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    "fields",
    [{"model": "flash"}, {"model": 1}, {"languages": "en"}, {"languages": []}, {"languages": ["English"]}],
    ids=str,
)
def test_a_configuration_that_says_something_impossible_is_named(tmp_path, fields):
    folder = weights_in(tmp_path / "narrator")
    configure(folder, **fields)
    with pytest.raises(ModelUnavailable, match=f"config.json.*{next(iter(fields))} must be"):
        find_model(replace(FINE_TUNE, folder=folder))


def test_a_model_that_nobody_knows_is_named_with_those_that_are_known():
    with pytest.raises(ModelUnavailable, match="no model 'flash'") as caught:
        find_model(ModelSource("flash"))
    for advice in ("chatterbox", "turbo", "nano", "MODEL_DIRS"):
        assert advice in caught.value.message


def test_a_pt_file_stands_for_its_safetensors_twin_and_never_before_it(tmp_path):
    folder = weights_in(tmp_path / "mine")
    (folder / "ve.safetensors").rename(folder / "ve.pt")
    found = find_checkpoint(checkpoint_dir=folder)
    assert found.file("ve.safetensors") == folder / "ve.pt"
    hold(folder, "ve.safetensors")
    assert found.file("ve.safetensors") == folder / "ve.safetensors"
    assert found.file("tokenizer.json") == folder / "tokenizer.json"

"""Where weights come from, in order, without asking a hub that is not needed."""

from __future__ import annotations

import errno
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants

from errors import ModelUnavailable
from speech.models.spec import CHATTERBOX, ModelSource
from speech.weights import find
from speech.weights.find import Checkpoint, find_model

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

"""Transfers that break: each ends in a resumed, verified file or in one clear error."""

import errno
import hashlib
import random
import time

import hub_server
import pytest

from manifold_ocr.data import download
from manifold_ocr.data.download import download_dataset_files, download_file
from manifold_ocr.errors import UserError

DATA = random.Random(0).randbytes(3_000_000)
SHA = hashlib.sha256(DATA).hexdigest()
WHERE = "corpora.pages.revision"


@pytest.fixture
def server():
    with hub_server.hub() as (address, state):
        state.files = {"pages.zip": DATA, "notes.json": b'{"a": 1}', "other.bin": b"no"}
        yield address, state


@pytest.fixture
def no_waiting(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def endpoint(server, monkeypatch, no_waiting):
    import huggingface_hub.constants as constants

    address, state = server
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return state


def fetch(tmp_path, revision=hub_server.COMMIT, patterns=("pages.zip", "notes.json")):
    return download_dataset_files(hub_server.REPO, revision, patterns, tmp_path, WHERE)


class TestPlainAddress:
    def test_whole_file(self, server, tmp_path):
        path = download_file(f"{server[0]}/pages.zip", tmp_path / "pages.zip", SHA)
        assert path.read_bytes() == DATA
        assert [p.name for p in tmp_path.iterdir()] == ["pages.zip"]

    def test_dropped_connection_is_resumed_with_a_range(self, server, tmp_path, no_waiting):
        address, state = server
        state.plan["pages.zip"] = ["drop", "drop"]
        path = download_file(f"{address}/pages.zip", tmp_path / "pages.zip", SHA)
        assert path.read_bytes() == DATA
        ranges = [wanted for _, _, wanted in state.requests]
        assert ranges[0] is None and ranges[1] and ranges[2]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_busy_server_is_asked_again(self, server, tmp_path, no_waiting, status):
        address, state = server
        state.plan["pages.zip"] = [status, status]
        assert download_file(f"{address}/pages.zip", tmp_path / "p.zip", SHA).read_bytes() == DATA

    def test_retries_are_bounded_and_the_part_is_no_file(self, server, tmp_path, no_waiting):
        address, state = server
        state.plan["pages.zip"] = ["drop", *[503] * 50]
        with pytest.raises(UserError, match="HTTP 503; gave up after 6 attempts"):
            download_file(f"{address}/pages.zip", tmp_path / "pages.zip", SHA)
        assert [p.name for p in tmp_path.iterdir()] == ["pages.zip.part"]
        state.plan.clear()
        assert download_file(f"{address}/pages.zip", tmp_path / "pages.zip", SHA).is_file()
        assert state.requests[-1][2] is not None, "the kept part is continued"

    @pytest.mark.parametrize(
        ("status", "advice"), [(401, "HF_TOKEN"), (403, "terms"), (404, "name")]
    )
    def test_refusals_are_told_apart_at_once(self, server, tmp_path, no_waiting, status, advice):
        address, state = server
        state.plan["pages.zip"] = [status] * 9
        with pytest.raises(UserError, match=f"HTTP {status}.*{advice}"):
            download_file(f"{address}/pages.zip", tmp_path / "pages.zip", SHA)
        assert len(state.requests) == 1

    def test_wrong_bytes_leave_nothing(self, server, tmp_path):
        address, state = server
        state.plan["pages.zip"] = ["wrong"]
        wrong = hashlib.sha256(bytes(255 - byte for byte in DATA)).hexdigest()
        with pytest.raises(UserError, match=f"SHA-256 {wrong}, expected {SHA}"):
            download_file(f"{address}/pages.zip", tmp_path / "pages.zip", SHA)
        assert list(tmp_path.iterdir()) == []
        assert download_file(f"{address}/pages.zip", tmp_path / "p.zip", SHA).read_bytes() == DATA

    def test_offline_is_one_error(self, tmp_path, no_waiting):
        with pytest.raises(UserError, match="cannot be reached"):
            download_file("http://127.0.0.1:9/pages.zip", tmp_path / "pages.zip", SHA)

    def test_a_full_disk_is_one_error(self, server, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(download, "_append", full)
        with pytest.raises(UserError, match=r"No space left on device.*free disk space"):
            download_file(f"{server[0]}/pages.zip", tmp_path / "pages.zip", SHA)

    def test_file_addresses_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="only http"):
            download_file("file:///etc/passwd", tmp_path / "x", SHA)


class TestHub:
    def test_chosen_files_only(self, endpoint, tmp_path):
        folder = fetch(tmp_path)
        assert (folder / "pages.zip").read_bytes() == DATA
        assert (folder / "notes.json").read_bytes() == b'{"a": 1}'
        assert not (folder / "other.bin").exists()

    def test_second_fetch_moves_no_bytes(self, endpoint, tmp_path):
        fetch(tmp_path)
        endpoint.requests.clear()
        fetch(tmp_path)
        assert not [r for r in endpoint.requests if "/resolve/" in r[1]]

    def test_dropped_connection_is_resumed(self, endpoint, tmp_path):
        endpoint.plan["pages.zip"] = ["drop"]
        assert (fetch(tmp_path) / "pages.zip").read_bytes() == DATA
        assert any(wanted for _, path, wanted in endpoint.requests if path.endswith("pages.zip"))

    def test_busy_hub_is_asked_again(self, endpoint, tmp_path):
        endpoint.plan["pages.zip"] = [429, 429]
        assert (fetch(tmp_path) / "pages.zip").read_bytes() == DATA

    def test_hub_that_stays_down_is_one_error(self, endpoint, tmp_path):
        endpoint.plan["pages.zip"] = [503] * 500
        with pytest.raises(UserError, match="gave up after"):
            fetch(tmp_path)
        assert not list(tmp_path.rglob("pages.zip"))

    def test_private_repository_wants_a_token(self, endpoint, tmp_path, monkeypatch):
        endpoint.token = "hf_secret"
        with pytest.raises(UserError, match="HF_TOKEN") as caught:
            fetch(tmp_path)
        assert "hf_secret" not in str(caught.value)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert (fetch(tmp_path) / "pages.zip").is_file()

    @pytest.mark.parametrize(("status", "advice"), [(403, "accept"), (404, "check name")])
    def test_refusals_are_told_apart(self, endpoint, tmp_path, status, advice):
        endpoint.plan["pages.zip"] = [status] * 50
        with pytest.raises(UserError, match=advice):
            fetch(tmp_path)

    def test_wrong_bytes_are_never_kept(self, endpoint, tmp_path):
        endpoint.plan["pages.zip"] = ["wrong"]
        assert (fetch(tmp_path) / "pages.zip").read_bytes() == DATA
        endpoint.plan["notes.json"] = ["wrong"] * 9
        (tmp_path / hub_server.COMMIT / "notes.json").unlink()
        with pytest.raises(UserError, match="not those of the commit"):
            fetch(tmp_path)
        assert not (tmp_path / hub_server.COMMIT / "notes.json").exists()

    def test_revision_must_be_a_commit_and_the_current_one_is_named(self, endpoint, tmp_path):
        with pytest.raises(UserError, match=hub_server.COMMIT) as caught:
            fetch(tmp_path, revision="main")
        assert WHERE in str(caught.value)

    def test_an_unreachable_hub_is_one_error(self, tmp_path, monkeypatch, no_waiting):
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(UserError, match="run the same command later"):
            fetch(tmp_path)

    def test_no_matching_file(self, endpoint, tmp_path):
        with pytest.raises(UserError, match="no file matches"):
            fetch(tmp_path, patterns=("absent.zip",))

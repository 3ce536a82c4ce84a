"""Pushing to a hub: what a dry run says, and what a local hub receives."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from manifold_ocr.errors import UserError
from manifold_ocr.publish.push import push_folder

CARD = "---\nlicense: apache-2.0\npipeline_tag: image-to-text\n---\n\n# lines\n"


class Hub(BaseHTTPRequestHandler):
    """Takes what huggingface_hub's upload_folder sends for small files."""

    received: dict[str, bytes] = {}  # noqa: RUF012
    posts: list[str] = []  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Bearer right":
            return self.answer({"error": "no"}, 401)
        if self.path.endswith("whoami-v2"):
            return self.answer({"name": "somebody", "type": "user"})
        return self.answer({"id": "owner/lines", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.posts.append(self.path)
        if self.path.endswith("/preupload/main"):
            files = [{**f, "uploadMode": "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            return self.answer({"files": files})
        if "/commit/main" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.received[value["path"]] = base64.b64decode(value["content"])
            address = f"http://{self.headers['Host']}/owner/lines/commit/{'0' * 40}"
            return self.answer({"commitUrl": address, "commitOid": "0" * 40})
        return self.answer({"url": f"http://{self.headers['Host']}/owner/lines"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    Hub.received, Hub.posts = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "right")
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "adapter_config.json").write_text("{}")
    return tmp_path


def test_a_dry_run_sends_nothing(hub: Any, folder: Path) -> None:
    lines = list(push_folder(folder, "owner/lines", dry_run=True))
    assert lines[0] == "signed in as somebody"
    assert lines[-1] == "dry run: 2 files for owner/lines, nothing sent"
    assert hub.posts == []


def test_the_folder_becomes_one_commit(hub: Any, folder: Path) -> None:
    lines = list(push_folder(folder, "owner/lines"))
    assert lines[-1].startswith("sent: ")
    assert hub.received == {"README.md": CARD.encode(), "adapter_config.json": b"{}"}
    assert sum("/commit/" in path for path in hub.posts) == 1


def test_a_missing_or_wrong_token_and_a_missing_card_are_named(
    hub: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(UserError, match="the hub refused"):
        list(push_folder(folder, "owner/lines"))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="HF_TOKEN is not set"):
        list(push_folder(folder, "owner/lines"))
    monkeypatch.setenv("HF_TOKEN", "right")
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"no README\.md"):
        list(push_folder(folder, "owner/lines"))

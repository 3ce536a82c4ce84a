"""A small HTTP server that speaks the hub's protocol, and fails in the ways asked for."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/pages"


class Faults:
    """What goes wrong: {path: list of faults, used up one a request}.

    A fault is a status (429, 503, 401 ...), "drop" (close after half the bytes) or "wrong"
    (right length, other bytes). `repos` holds the files of further repositories, by kind and
    name: {"models/owner/name": {"config.json": bytes}}; any revision of them is there.
    """

    def __init__(self):
        self.files = {}
        self.repos = {}
        self.plan = {}
        self.requests = []
        self.token = None

    def take(self, path):
        waiting = self.plan.get(path) or []
        if not waiting:
            return None
        return waiting[0] if waiting[0] == "always" else waiting.pop(0)


def _handler(state):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _send(self, status, body=b"", headers=None, half=False):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if half else body)
            if half:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = self.path.split("?")[0]
            state.requests.append((self.command, path, self.headers.get("Range")))
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                return self._send(401, b"{}", {"X-Error-Message": "login"})
            name = path.rsplit("/", 1)[-1]
            fault = state.take(name) if self.command == "GET" else None
            if isinstance(fault, int):
                return self._send(fault, b"{}", {"Retry-After": "0"})
            if (answer := _further(state.repos, path)) is not None:
                return self._json(answer) if not isinstance(answer, bytes) else self._file(answer)
            if path == f"/api/datasets/{REPO}" or path.startswith(f"/api/datasets/{REPO}/revision"):
                return self._json({"id": REPO, "sha": COMMIT, "siblings": []})
            if path.startswith(f"/api/datasets/{REPO}/tree"):
                return self._json(_tree(state.files))
            prefix = f"/datasets/{REPO}/resolve/{COMMIT}/"
            plain = path[len(prefix) :] if path.startswith(prefix) else path.lstrip("/")
            if plain not in state.files:
                return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return self._file(state.files[plain], fault)

        def _json(self, value):
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _file(self, data, fault=None):
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "Accept-Ranges": "bytes",
            }
            status, wanted = 200, self.headers.get("Range")
            if fault == "wrong":
                data = bytes(255 - byte for byte in data)
            if wanted and self.command == "GET":
                start = int(wanted.split("=")[1].split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                status, data = 206, data[start:]
            self._send(status, data, headers, half=fault == "drop")

    return Handler


def _further(repos, path):
    """Return what one of the further repositories answers: JSON, a file's bytes, or None."""
    kind, *rest = path.strip("/").removeprefix("api/").split("/")
    if kind not in ("datasets", "models"):
        kind, rest = "models", [kind, *rest]
    files = repos.get(f"{kind}/{'/'.join(rest[:2])}")
    if files is None:
        return None
    if not path.startswith("/api/"):
        return files.get("/".join(rest[4:]))
    revision = rest[3] if len(rest) > 3 and len(rest[3]) == len(COMMIT) else COMMIT
    if rest[2:3] == ["tree"]:
        return _tree(files)
    names = [{"rfilename": name} for name in files]
    return {"id": "/".join(rest[:2]), "sha": revision, "siblings": names}


def _tree(files):
    entries = []
    for name, data in files.items():
        digest = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        entry = {"type": "file", "path": name, "size": len(data), "oid": digest}
        if name.endswith((".zip", ".safetensors")):
            sha256 = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
        entries.append(entry)
    return entries


@contextmanager
def hub():
    """Yield (address, Faults) of a running server."""
    state = Faults()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", state
    finally:
        server.shutdown()
        server.server_close()

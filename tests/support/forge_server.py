"""Fake GitHub and GitLab: they hold what a comment needs, and refuse what a token may not."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

SHA = "a" * 40


class Forge(ThreadingHTTPServer):
    """State and log of a server; `artifact` is the zip that the report's run left."""

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.artifact = b""
        self.comments: list[dict] = []
        self.blobs: list[str] = []
        self.ref = ""
        self.head = {"sha": SHA, "repo": {"full_name": "fork/ocr"}}
        self.state = "open"
        self.log: list[str] = []
        self.leaked: list[str] = []
        self.pipelines = 7

    def __enter__(self):
        self.thread = Thread(target=self.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _send(self, value, status=200, headers=()):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in headers:
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.data = self.rfile.read(length)
        path = self.path.split("?")[0]
        self.server.log.append(f"{self.command} {path}")
        self.answer(path)

    do_GET = do_POST = do_PATCH = do_PUT = _handle  # noqa: N815


class GitHubHandler(Handler):
    def answer(self, path):
        forge = self.server
        if path == "/blob-store":
            if self.headers.get("Authorization"):
                forge.leaked.append(self.headers["Authorization"])
            return self._send(forge.artifact)
        token = self.headers.get("Authorization")
        if token not in ("Bearer write", "Bearer read"):
            return self._send({}, 401)
        if self.command != "GET" and token == "Bearer read":
            return self._send({"message": "Resource not accessible by integration"}, 403)
        path = path.removeprefix("/api/repos/owner/ocr")
        value = json.loads(self.data) if self.data else None
        if path == "/actions/runs/5/artifacts":
            url = f"{forge.url}/api/repos/owner/ocr/actions/artifacts/1/zip"
            return self._send({"artifacts": [{
                "expired": False, "size_in_bytes": len(forge.artifact), "archive_download_url": url,
            }]})  # fmt: skip
        if path == "/actions/artifacts/1/zip":
            return self._send(b"", 302, [("Location", f"{forge.url}/blob-store")])
        if path == "/pulls/12":
            return self._send({"state": forge.state, "head": forge.head})
        if path.startswith("/git/"):
            return self._git(path, value)
        if path == "/issues/12/comments" and self.command == "GET":
            return self._send(forge.comments)
        if path == "/issues/12/comments":
            forge.comments.append({
                "id": 100 + len(forge.comments), "user": {"login": "github-actions[bot]"},
                "body": value["body"], "html_url": "https://x/1",
            })  # fmt: skip
            return self._send(forge.comments[-1], 201)
        if found := re.fullmatch(r"/issues/comments/(\d+)", path):
            (comment,) = [c for c in forge.comments if c["id"] == int(found[1])]
            comment["body"] = value["body"]
            return self._send(comment)
        return self._send({}, 404)

    def _git(self, path, value):
        forge = self.server
        if path == "/git/ref/heads/pr-report-images":
            found = {"object": {"sha": forge.ref}}
            return self._send(found) if forge.ref else self._send({}, 404)
        if path == "/git/blobs":
            forge.blobs.append(value["content"])
        if path in ("/git/refs", "/git/refs/heads/pr-report-images"):
            forge.ref = value["sha"]
        if self.command == "GET":
            return self._send({"tree": {"sha": "tree"}})
        return self._send({"sha": f"{len(forge.log):040x}"}, 201)


class GitLabHandler(Handler):
    def answer(self, path):
        forge = self.server
        if self.headers.get("PRIVATE-TOKEN") != "write":
            return self._send({}, 401)
        path = path.removeprefix("/api/v4")
        if path == "/user":
            return self._send({"username": "report-bot"})
        if path == "/projects/1/merge_requests":
            return self._send([{"iid": 12}])
        if path == "/projects/1/merge_requests/12":
            pipeline = {"id": forge.pipelines, "project_id": 2, "sha": SHA,
                        "web_url": f"https://x/-/pipelines/{forge.pipelines}"}  # fmt: skip
            return self._send({"head_pipeline": pipeline})
        if path == f"/projects/2/pipelines/{forge.pipelines}/jobs":
            return self._send([{"id": 8, "name": "report", "artifacts_file": {"size": 1}}])
        if path == "/projects/2/jobs/8/artifacts":
            return self._send(forge.artifact)
        if path == "/projects/1/uploads":
            forge.blobs.append(self.data)
            return self._send({"url": f"/uploads/{len(forge.blobs)}/x.png"}, 201)
        notes = "/projects/1/merge_requests/12/notes"
        if path == notes and self.command == "GET":
            return self._send(forge.comments)
        body = json.loads(self.data)["body"]
        if path == notes:
            author = {"username": "report-bot"}
            forge.comments.append({"id": 3, "author": author, "body": body})
        elif path == f"{notes}/3":
            forge.comments[-1]["body"] = body
        return self._send({}, 201)

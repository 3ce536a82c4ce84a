"""The server as a process: killed in the middle of jobs, left by its client, stopped in order."""

import collections
import json
import logging
import signal
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from api_server import Process, png

from manifold_ocr.serving.api.jobs import JobStore
from manifold_ocr.serving.api.run import run_server
from manifold_ocr.serving.api.work import ServerSettings

SLOW = 900  # rows of pixels, 15 times the time of the others


def test_kills_leaving_clients_and_a_stop_lose_no_job(tmp_path):
    with Process(tmp_path, 0.1) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        jobs_outlive_a_kill(server, http, tmp_path)
        a_client_that_leaves_cancels_its_request(server, http, tmp_path)
        stop_in_order(server, http, tmp_path)


def notes(folder):
    path = folder / "notes.txt"
    return collections.Counter(path.read_text().splitlines() if path.exists() else [])


def submit(http, width, height=60):
    got = http.post("/api/ocr", files={"file": png(width, height)}, data={"wait": "false"})
    assert got.status_code == 202, got.text
    return got.json()["id"]


def finished(http, jobs):
    time.sleep(0.05)
    states = {i: http.get(f"/api/jobs/{i}").json() for i in jobs}
    assert {s["state"] for s in states.values()} <= {"queued", "running", "done"}
    return {i: s["text"] for i, s in states.items() if s["state"] == "done"}


def jobs_outlive_a_kill(server, http, folder):
    """Every job ends with its own text; what had ended is neither read again nor changed."""
    jobs = {submit(http, 100 + n): 100 + n for n in range(12)}
    ended = {}
    while len(ended) < 3:
        ended = finished(http, jobs)
    long = submit(http, 99, SLOW)
    jobs[long] = 99
    while not notes(folder)["begin 99"]:
        before = finished(http, jobs)
    server.end(signal.SIGKILL)
    assert not notes(folder)["end 99"]  # killed midway
    server.start()
    while len(ended) < len(jobs):
        ended = finished(http, jobs)
        assert ended | before == ended
    assert {i: int(text.split()[1]) for i, text in ended.items()} == jobs
    begun = notes(folder)
    assert all(begun[f"begin {jobs[i]}"] == 1 for i in before) and begun["begin 99"] == 2


def a_client_that_leaves_cancels_its_request(server, http, folder):
    """Its document is never read and is deleted."""
    request = httpx.Request("POST", f"{server.url}/api/ocr", files={"file": png(222)})
    body = request.read()
    head = f"POST /api/ocr HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {request.headers['content-type']}\r\n\r\n"
    busy = [submit(http, 200 + n, SLOW) for n in range(2)]
    before = set(folder.glob("*.document"))
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(head.encode() + body)
        while not set(folder.glob("*.document")) - before:
            time.sleep(0.01)
    while set(folder.glob("*.document")) - before:
        time.sleep(0.05)
    while len(finished(http, busy)) < 2:
        pass
    assert not notes(folder)["begin 222"]


def stop_in_order(server, http, folder):
    """A request that waits is answered, jobs that wait are there for the next start."""
    answers = []

    def ask():
        file = {"file": png(300, SLOW)}
        answers.append(httpx.post(f"{server.url}/api/ocr", files=file, timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    while not notes(folder)["begin 300"]:
        time.sleep(0.01)
    late = [submit(http, 400 + n, SLOW) for n in range(6)]
    assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    thread.join()
    assert answers[0].status_code == 200 and answers[0].json()["text"].startswith("page 300")
    store = JobStore(folder)
    states = {store.get(i).state for i in late}
    store.close()
    assert states in ({"queued"}, {"queued", "done"})


def test_logs_are_json_while_a_server_runs_and_go_where_they_went_before(
    tmp_path, monkeypatch, capsys
):
    def run(server):
        logging.getLogger("elsewhere").info("a line")
        raise OSError("the port is taken")

    monkeypatch.setattr(uvicorn.Server, "run", run)
    root = logging.getLogger()
    before = list(root.handlers), root.level
    with pytest.raises(OSError, match="taken"):
        run_server(ServerSettings(data=tmp_path), "127.0.0.1", 0, lambda: None)
    assert json.loads(capsys.readouterr().err)["message"] == "a line"
    assert (root.handlers, root.level) == before

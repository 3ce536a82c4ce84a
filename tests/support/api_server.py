"""The API with readers that need no model: in this process, or started as a server of its own.

`python api_server.py PORT FOLDER SECONDS` serves a reader that takes SECONDS per 60 rows of pixels
and notes each page that it reads in FOLDER/notes.txt.
"""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from drawn_pages import SizeReader, draw_page, page_of_rows
from fastapi.testclient import TestClient
from PIL import Image

from manifold_ocr.serving.api.app import create_app
from manifold_ocr.serving.api.work import ServerSettings

RECEIPT = ["ACME TRADING SDN BHD", "NO. 5, JALAN BESAR, 50000 KUALA LUMPUR", "TEL: 03-1234567",
           "DATE: 25/12/2018", "DESC QTY AMOUNT", "PAPER 2 3.00", "INK 1 6.00",
           "TOTAL: 9.00"]  # fmt: skip


class Scripted:
    """Reads every page as the receipt; `open` holds readers back while it is cleared."""

    def __init__(self):
        _, boxes = draw_page(RECEIPT)
        self.page = page_of_rows(RECEIPT, boxes)
        self.open = threading.Event()
        self.open.set()
        self.pages = 0

    def read(self, image, mode="auto"):
        self.open.wait(20)
        self.pages += 1
        return self.page


class Noting(SizeReader):
    """Takes a time for each 60 rows of pixels; notes that a page began and ended."""

    def __init__(self, seconds, notes):
        super().__init__()
        self.seconds, self.notes = seconds, notes

    def read(self, image, mode="auto"):
        page = super().read(image, mode)
        self._note(f"begin {image.width}")
        time.sleep(self.seconds * image.height / 60)
        self._note(f"end {image.width}")
        return page

    def _note(self, line):
        with open(self.notes, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def start_client(reader, **settings):
    """A client of an application of this process that is ready."""
    client = TestClient(create_app(ServerSettings(**settings), lambda: (reader, "scripted")))
    client.__enter__()
    until = time.monotonic() + 20
    while client.get("/api/health/ready").status_code != 200 and time.monotonic() < until:
        time.sleep(0.02)
    return client


def png(width=120, height=60, gray=7):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (gray,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def wait_for(client, job_id, state="done", seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = client.get(f"/api/jobs/{job_id}")
        if answer.status_code == 200 and answer.json()["state"] == state:
            return answer.json()
        time.sleep(0.02)
    raise AssertionError(answer.text)


class Process:
    """The server as a process of its own, killed at the end of a `with`."""

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = folder, seconds
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)

    def start(self):
        source = Path(__file__).resolve()
        paths = [str(source.parents[2] / "src"), str(source.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, str(source), str(self.port), str(self.folder), str(self.seconds)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/api/health/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server did not become ready")

    def end(self, number):
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def main(port, folder, seconds):
    from manifold_ocr.serving.api.run import run_server

    folder = Path(folder)
    settings = ServerSettings(data=folder, workers=2, grace_seconds=5)
    reader = Noting(float(seconds), folder / "notes.txt")
    run_server(settings, "127.0.0.1", int(port), lambda: (reader, "noting"))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Load and kill the API on loopback: `python benchmarks/serving_api.py load|kill`.

`load`: --clients at once for --seconds, each sending images of its own size and checking that
the answer is about that size. `kill`: --jobs jobs, the server killed with SIGKILL --kills
times while it reads; every job must end, none twice. The reader is a stand-in that returns
the size of the image after --pause seconds, so that the figures are those of the server: HTTP,
isolation of documents, queue and database.
"""

import argparse
import collections
import io
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import PageText


class Echo:
    """Reads an image as its size; notes the begin of each reading in a file."""

    def __init__(self, pause: float, notes: Path) -> None:
        self.pause, self.notes = pause, notes

    def read(self, image: Image.Image, mode: str = "auto") -> PageText:
        """Return the size as text."""
        text = f"{image.width}x{image.height}"
        with open(self.notes, "a", encoding="utf-8") as file:
            file.write(text + "\n")
        time.sleep(self.pause)
        line = Line((0.0, 0.0, float(image.width), 10.0), text, 1.0)
        return PageText((Paragraph((Row((line,)),)),), image.size, "page")


def serve(port: int, data: Path, pause: float, workers: int) -> None:
    """Run a server with the stand-in."""
    from manifold_ocr.serving.api.run import run_server
    from manifold_ocr.serving.api.work import ServerSettings

    logging.disable()
    settings = ServerSettings(data=data, workers=workers)
    run_server(settings, "127.0.0.1", port, lambda: (Echo(pause, data / "notes.txt"), "echo"))


def start(options: argparse.Namespace, data: Path) -> subprocess.Popen[bytes]:
    """Start a server and return once it is ready."""
    command = [sys.executable, __file__, "serve", "--port", str(options.port), "--data", str(data),
               "--pause", str(options.pause), "--workers", str(options.workers)]  # fmt: skip
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{options.port}/api/health/ready").status_code == 200:
                return process
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server did not become ready")


def picture(width: int, height: int) -> bytes:
    """Return a PNG of a size."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


def load(options: argparse.Namespace) -> None:
    """Print answers, wrong answers, refusals, latency and memory under load."""
    with tempfile.TemporaryDirectory() as folder:
        process = start(options, Path(folder))
        tree = psutil.Process(process.pid)
        counts: collections.Counter[str] = collections.Counter()
        seconds: list[float] = []
        memory: list[float] = []
        stop = time.monotonic() + options.seconds
        lock = threading.Lock()

        def client(number: int) -> None:
            rng = random.Random(number)
            with httpx.Client(base_url=f"http://127.0.0.1:{options.port}", timeout=180) as http:
                while time.monotonic() < stop:
                    size = (40 + number, rng.randrange(20, 400))
                    begun = time.monotonic()
                    try:
                        got = http.post("/api/ocr", files={"file": picture(*size)})
                    except httpx.HTTPError as error:
                        with lock:
                            counts[f"lost ({type(error).__name__})"] += 1
                        continue
                    with lock:
                        if got.status_code == 200:
                            right = got.json()["text"] == f"{size[0]}x{size[1]}"
                            counts["right" if right else "crossed"] += 1
                            seconds.append(time.monotonic() - begun)
                        else:
                            counts[str(got.status_code)] += 1
                    if got.status_code == 429:
                        time.sleep(min(5.0, float(got.headers["retry-after"])) * rng.random())

        threads = [threading.Thread(target=client, args=(n,)) for n in range(options.clients)]
        for thread in threads:
            thread.start()
        while time.monotonic() < stop:
            time.sleep(2)
            memory.append(tree.memory_info().rss / 2**20)
        for thread in threads:
            thread.join()
        process.send_signal(signal.SIGINT)
        process.wait()
        seconds.sort()
        print(f"{options.clients} clients, {options.seconds} s: {dict(counts)}")
        if seconds:
            print(
                f"answers per second {len(seconds) / options.seconds:.1f}, seconds per answer: "
                f"median {statistics.median(seconds):.2f}, "
                f"p95 {seconds[int(0.95 * len(seconds))]:.2f}"
            )
        third = max(1, len(memory) // 3)
        print(
            f"server memory MiB: first third {statistics.mean(memory[:third]):.0f}, "
            f"last third {statistics.mean(memory[-third:]):.0f}"
        )


def kill(options: argparse.Namespace) -> None:
    """Print how jobs ended across kills, and how often a finished one was read again."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        process = start(options, data)
        url = f"http://127.0.0.1:{options.port}"
        jobs = {}
        for number in range(options.jobs):
            form: dict[str, Any] = {"files": {"file": picture(30 + number, 50)}}
            got = httpx.post(f"{url}/api/ocr", data={"wait": "false"}, **form)
            jobs[got.json()["id"]] = f"{30 + number}x50"
        finished: dict[str, Any] = {}
        for turn in range(options.kills + 1):
            wanted = options.jobs * (turn + 1) // (options.kills + 1)
            while True:
                states = {i: httpx.get(f"{url}/api/jobs/{i}").json() for i in jobs}
                done = {i: s["text"] for i, s in states.items() if s["state"] == "done"}
                assert all(done.get(i) == text for i, text in finished.items()), "changed"
                finished.update(done)
                ended = sum(s["state"] in ("done", "failed", "cancelled") for s in states.values())
                if ended >= wanted:
                    break
                time.sleep(0.05)
            if turn < options.kills:
                process.send_signal(signal.SIGKILL)
                process.wait()
                process = start(options, data)
        right = sum(finished.get(i) == text for i, text in jobs.items())
        read = collections.Counter((data / "notes.txt").read_text().split())
        again = sum(count - 1 for count in read.values())
        print(
            f"{options.jobs} jobs, {options.kills} kills: {right} ended with their own text, "
            f"{options.jobs - right} did not; {again} interrupted readings were done again"
        )
        process.send_signal(signal.SIGINT)
        process.wait()


def main() -> None:
    """Run what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("load", "kill", "serve"))
    parser.add_argument("--port", type=int, default=8199)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    if options.what == "serve":
        serve(options.port, options.data, options.pause, options.workers)
    else:
        {"load": load, "kill": kill}[options.what](options)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()

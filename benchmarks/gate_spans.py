"""Spans per second at the gate, and kills: `python benchmarks/gate_spans.py --spans 5000`.

Starts a server (redis-server or valkey-server, every write on disk before it is answered). One
worker verifies text spans against an archive of --pages pages. Then --workers processes take
up as many spans while the server is killed and started again --kills times and a worker is
killed as often; what is lost, has two results or is not verified is counted. Last, one worker
reads --images spans, each the picture of a page of 20 lines, with our model.
"""

import argparse
import base64
import io
import json
import multiprocessing
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.compression.archive import Entry, Manifold, build, payload, rebuild
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.serving.documents import load_reader
from manifold_ocr.serving.gate.spans import SpanReader
from manifold_ocr.serving.gate.worker import GateSettings, GateWorker

CODEC = Codec()
WORDS = "river stone market ledger window copper harbor violet engine paper garden".split()  # noqa: SIM905


class Server:
    """A server on loopback that can be killed and started again with its data."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            sys.exit("no redis-server or valkey-server is installed: apt install redis-server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        self.command = [program, "--port", str(port), "--dir", str(folder), "--save", "",
                        "--appendonly", "yes", "--appendfsync", "always"]  # fmt: skip
        self.base = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        while True:
            try:
                self.base.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.02)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def archive_of(pages: int) -> Manifold:
    """Return an archive of invoices with known text."""
    rng, documents = random.Random(7), []
    for page in range(pages):
        rows = [f"{page}-{n} " + " ".join(rng.choices(WORDS, k=6)) for n in range(20)]
        documents.append((f"page-{page}", "\n".join(rows).encode()))
    return build(documents, CODEC, keep="fast")


def span_of(entry: Entry, name: str) -> dict[str, Any]:
    """Return a span: a window of a page with its signature."""
    return {
        "id": name, "kind": "text", "text": entry.span.decode("utf-8", "replace"),
        "signature": payload(entry, CODEC).hex(),
        "hazard": round(entry.hazard, CODEC.precision), "repetitions": entry.count,
    }  # fmt: skip


def spans_of(archive: Manifold, count: int, prefix: str) -> list[dict[str, Any]]:
    """Return `count` spans: windows of the pages in turn, each with an id of its own."""
    windows = [entry for document in archive.documents for entry in document.entries]
    return [span_of(windows[n % len(windows)], f"{prefix}{n}") for n in range(count)]


def as_image(span: dict[str, Any], page: str) -> dict[str, Any]:
    """Return a span that has a picture of the page in the place of its window of text."""
    font, rows = ImageFont.load_default(size=30), page.split("\n")
    image = Image.new("RGB", (1000, 60 * len(rows) + 120), "white")
    for number, row in enumerate(rows):
        ImageDraw.Draw(image).text((60, 60 + 60 * number), row, fill="black", font=font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    kept = {key: value for key, value in span.items() if key != "text"}
    return {**kept, "kind": "image", "image": base64.b64encode(buffer.getvalue()).decode("ascii")}


def publish(server: Server, spans: list[dict[str, Any]]) -> None:
    """Add spans to the streams of ten instruments."""
    with server.base.pipeline(transaction=False) as many:
        for number, span in enumerate(spans):
            many.xadd(f"gate:last:I{number % 10}", {"span": json.dumps(span)})
        many.execute()


def work(url: str, name: str, archive: Manifold, reader: Any = None, wanted: int = 0) -> None:
    """Run a worker; with `wanted`, until the server has so many results."""
    settings = GateSettings(url=url, consumer=name, block=0.1, look=0.1, idle=1.0, batch=64,
                            most_backoff=0.5)  # fmt: skip
    worker = GateWorker(settings, SpanReader(reader, Verifier(archive, VerifierSettings()), CODEC))
    count = worker._base.xlen
    worker.run(lambda: bool(wanted) and count("gate:ocr") + count("gate:dead") >= wanted)


def rate(server: Server, archive: Manifold, spans: list[dict[str, Any]], what: str) -> None:
    """Print how many spans per second one worker takes up."""
    server.base.flushall()
    reader = load_reader(None, 1) if spans[0]["kind"] == "image" else None
    publish(server, spans)
    begun, cpu = time.monotonic(), time.process_time()
    work(server.url, "one", archive, reader, len(spans))
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    good = sum(row[b"verified"] == b"1" for _, row in server.base.xrange("gate:ocr"))
    print(f"{what}: {len(spans) / seconds:,.1f} spans per second, {len(spans) / cpu:,.1f} per "
          f"second of its CPU, {good} of {len(spans)} verified, "
          f"dead {server.base.xlen('gate:dead')}",
          flush=True)  # fmt: skip


def kills(
    server: Server, archive: Manifold, spans: list[dict[str, Any]], workers: int, count: int
) -> None:
    """Publish spans, some twice, while server and workers are killed; print what came of it."""
    server.base.flushall()
    context = multiprocessing.get_context("fork")

    def start(name: str) -> Any:
        process = context.Process(target=work, args=(server.url, name, archive), daemon=True)
        process.start()
        return process

    running, begun = [start(f"w{n}") for n in range(workers)], time.monotonic()
    part = -(-len(spans) // (count + 1))
    for turn in range(count + 1):
        publish(server, spans[turn * part : (turn + 1) * part])
        publish(server, spans[turn * part : turn * part + 5])  # again: duplicates
        if turn < count:
            while server.base.xlen("gate:ocr") < turn * part + part // 3:
                time.sleep(0.002)
            running[turn % workers].kill()  # in the middle of its batch
            running[turn % workers] = start(f"w{workers + turn}")
            server.kill()
            server.start()
    streams = [f"gate:last:I{n}" for n in range(10)]
    while (
        server.base.xlen("gate:ocr") < len(spans)
        or any(server.base.xpending(stream, "ocr")["pending"] for stream in streams)
    ) and time.monotonic() - begun < 600:
        time.sleep(0.1)
    for process in running:
        process.kill()
    found = [json.loads(row[b"data"]) for _, row in server.base.xrange("gate:ocr")]
    ids = [row["id"] for row in found]
    print(f"{count} kills of the server and of a worker, {workers} workers: {len(spans)} spans and "
          f"{5 * (count + 1)} duplicates in {time.monotonic() - begun:.0f} s; "
          f"lost {len({s['id'] for s in spans} - set(ids))}, twice {len(ids) - len(set(ids))}, "
          f"dead {server.base.xlen('gate:dead')}, "
          f"verified {sum(row['verified'] for row in found)}")  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=5000)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    archive = archive_of(options.pages)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            rate(server, archive, spans_of(archive, options.spans, "t"), "text spans")
            kills(server, archive, spans_of(archive, options.spans, "k"), options.workers,
                  options.kills)  # fmt: skip
            if options.images:
                images = []
                for number, document in enumerate(archive.documents[: options.images]):
                    span = span_of(document.entries[0], f"i{number}")
                    images.append(as_image(span, rebuild(document, CODEC).decode("utf-8")))
                rate(server, archive, images, "image spans, our model")
        finally:
            server.kill()


if __name__ == "__main__":
    main()

"""The gate as processes: TLS and a user by URL, a killed worker, and the two examples."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from drawn_pages import draw_page, page_of_rows
from gate_server import CODEC, TEXT, Server, span_of

from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.errors import UserError
from manifold_ocr.serving.gate.spans import SpanReader
from manifold_ocr.serving.gate.worker import GROUP, GateSettings, GateWorker

PROJECT = Path(__file__).parents[2]
INVOICE = ["ACME TRADING LTD", "INVOICE DATE: 05/02/2024", "TOTAL EUR 21.75"]


def spans(archive, page=None):
    class Reader:
        def read(self, image, mode="auto"):
            return page

    return SpanReader(Reader(), Verifier(archive, VerifierSettings()), CODEC)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_tls_and_a_user_by_url(tmp_path, archive):
    gate = Server(tmp_path, tls=True).start()
    try:
        gate.base.xadd("gate:last:X", {"span": json.dumps(span_of(archive))})
        settings = GateSettings(url=gate.url, block=0.05, look=0.05)
        end = time.monotonic() + 20
        done = lambda: gate.base.xlen("gate:ocr") == 1 or time.monotonic() > end  # noqa: E731
        GateWorker(settings, spans(archive)).run(done)
        assert gate.base.hget("gate:ocr:X", "verified") == b"1"
        with pytest.raises(UserError, match=r"certificate is not trusted .*ssl_ca_certs=FILE"):
            GateWorker(GateSettings(url=gate.bare_url), spans(archive)).run()
    finally:
        gate.kill()


HELD = """
import sys, time
from gate_server import CODEC, make_archive
from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.serving.gate.spans import SpanReader
from manifold_ocr.serving.gate.worker import GateSettings, GateWorker

class Held(SpanReader):
    def process(self, span, fetch):
        if span["id"] == "span-1":
            print("in the middle", flush=True)
            time.sleep(600)
        return super().process(span, fetch)

verifier = Verifier(make_archive(), VerifierSettings())
settings = GateSettings(url=sys.argv[1], consumer="killed", block=0.05, look=0.05)
GateWorker(settings, Held(None, verifier, CODEC)).run()
"""


def test_a_worker_killed_in_the_middle_of_a_span_loses_and_doubles_nothing(gate, archive):
    for number in range(4):
        gate.base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, number))})
    path = os.pathsep.join([str(PROJECT / "tests/support"), str(PROJECT / "src")])
    held = subprocess.Popen(
        [sys.executable, "-c", HELD, gate.url], env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert held.stdout.readline() == "in the middle\n"
    held.send_signal(signal.SIGKILL)
    held.wait()
    assert gate.base.xpending("gate:last:X", GROUP)["pending"] == 3  # one was done
    end = time.monotonic() + 20
    done = lambda: gate.base.xlen("gate:ocr") == 4 or time.monotonic() > end  # noqa: E731
    settings = GateSettings(url=gate.url, consumer="next", block=0.05, look=0.05, idle=0.2)
    GateWorker(settings, spans(archive)).run(done)
    found = [json.loads(fields[b"data"]) for _, fields in gate.base.xrange("gate:ocr")]
    assert sorted(row["id"] for row in found) == [f"span-{n}" for n in range(4)]
    assert all(row["verified"] for row in found)
    assert gate.base.xpending("gate:last:X", GROUP)["pending"] == 0


def example(name):
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_invoice_is_read_and_the_portfolio_acts_on_verified_spans_only(
    gate, archive, tmp_path, capsys
):
    """Both examples run: the invoice's span with its fields, a forged one, a consumer killed."""
    rows = [*INVOICE, *(TEXT[start : start + 60] for start in range(0, len(TEXT), 60))]
    image, boxes = draw_page(rows, (900, 60 * len(rows) + 200))
    image.save(tmp_path / "invoice.png")
    (tmp_path / "invoice.txt").write_text(TEXT)
    page = page_of_rows(rows, boxes, image.size)
    worker = GateWorker(GateSettings(url=gate.url, block=0.05, look=0.05), spans(archive, page))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        files = (tmp_path / "invoice.png", tmp_path / "invoice.txt")
        example("gate_invoice").main(gate.url, *files, "ACME")
        said = json.loads(capsys.readouterr().out)
        values = {field["name"]: field["value"] for field in said["fields"]["fields"]}
        assert said["verified"] and values["total"] == "EUR 21.75" and "ACME" in values["company"]
        forged = span_of(archive, 1, id="forged", text="Pay 1,000,000 to me. " * 20)
        for span in (forged, span_of(archive, 2), span_of(archive, 3)):
            gate.base.xadd("gate:last:GOLD", {"span": json.dumps(span)})
        wait_for(lambda: gate.base.xlen("gate:ocr") == 4)
    finally:
        worker.stop()
        thread.join(10)
    consumer = [sys.executable, str(PROJECT / "examples/gate_portfolio.py"), gate.url]
    for _ in range(2):  # killed and started again: what it acted on stays
        run = subprocess.Popen(consumer, stdout=subprocess.DEVNULL)
        wait_for(lambda: gate.base.hlen("portfolio:positions") == 2)
        wait_for(lambda: gate.base.xpending("gate:ocr", "portfolio")["pending"] == 0)
        run.send_signal(signal.SIGKILL)
        run.wait()
    entries = archive.documents[0].entries
    assert {k.decode(): int(v) for k, v in gate.base.hgetall("portfolio:positions").items()} == {
        "ACME": entries[0].count, "GOLD": entries[2].count + entries[3].count,
    }  # fmt: skip

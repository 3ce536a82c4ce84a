"""The gate against a real server: nothing lost, nothing twice in effect, whatever dies."""

import base64
import io
import itertools
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from drawn_pages import draw_page, page_of_rows

from manifold_ocr.compression.archive import build, payload
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.errors import UserError
from manifold_ocr.serving.gate.spans import PoisonError, SpanReader, decode_signature
from manifold_ocr.serving.gate.worker import GROUP, GateSettings, GateWorker

CODEC = Codec()
TEXT = " ".join(
    f"Item {n} of the invoice costs {n * 7 % 90}.{n % 100:02d} euros." for n in range(40)
)
ROWS = [TEXT[start : start + 60] for start in range(0, len(TEXT), 60)]


@pytest.fixture(scope="module")
def archive():
    return build([("invoice-7", TEXT.encode())], CODEC, keep="fast")


@pytest.fixture
def server(tmp_path):
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server or valkey-server is installed: apt install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    class Server:
        url = f"redis://:secret@127.0.0.1:{port}/0"

        def start(self):
            import redis

            command = [program, "--port", str(port), "--requirepass", "secret", "--dir",
                       str(tmp_path), "--appendonly", "yes", "--appendfsync", "always",
                       "--save", ""]  # fmt: skip
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            self.base = redis.Redis.from_url(self.url)
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    self.base.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.05)
            raise AssertionError("the server did not start")

        def kill(self):
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    started = Server()
    started.start()
    yield started
    started.kill()


class Reader:
    def __init__(self):
        image, boxes = draw_page(ROWS, (900, 60 * len(ROWS) + 200))
        self.image, self.page = image, page_of_rows(ROWS, boxes, image.size)

    def read(self, image, mode="auto"):
        return self.page


def span_of(archive, number=0, **changes):
    """A published span: a window of the text with its signature as the archive packs it."""
    entry = archive.documents[0].entries[number]
    span = {
        "id": f"span-{number}", "kind": "text", "text": entry.span.decode(),
        "signature": payload(entry, CODEC).hex(), "hazard": round(entry.hazard, 3),
        "repetitions": entry.count,
    }  # fmt: skip
    return {**span, **changes}


def spans_reader(archive):
    verifier = Verifier(archive, VerifierSettings()) if archive else None
    return SpanReader(Reader(), verifier, CODEC)


def worker(server, archive, name="a", **settings):
    settings = {"block": 0.05, "look": 0.05, "idle": 0.3, **settings}
    settings = GateSettings(url=server.url, consumer=name, **settings)
    return GateWorker(settings, spans_reader(archive))


def work(worker, until, seconds=20):
    end = time.monotonic() + seconds
    worker.run(lambda: until() or time.monotonic() > end)
    assert until()


def results(server):
    return [json.loads(fields[b"data"]) for _, fields in server.base.xrange("gate:ocr")]


def test_a_signature_decodes_to_the_statistics_of_its_window(archive):
    """By the definition in the data sheet: counted bit by bit, rounded half to even."""
    entry = archive.documents[0].entries[0]
    bits = [byte >> (7 - place) & 1 for byte in entry.span for place in range(8)]
    flips = sum(a != b for a, b in itertools.pairwise(bits))
    rupture = Decimal(flips) / (len(bits) - 1)
    stated = (1 - rupture).quantize(Decimal("0.001"), ROUND_HALF_EVEN)
    found = decode_signature(payload(entry, CODEC), CODEC)
    assert found.stability == float(stated) and found.count == entry.count
    assert found.code == entry.code and found.hazard == round(entry.hazard, 3)
    with pytest.raises(PoisonError, match="bytes with this codec"):
        decode_signature(b"\0", CODEC)


def test_text_image_and_forged_spans(archive):
    reader = spans_reader(archive)
    good = reader.process(span_of(archive), lambda key: None)
    assert good["verified"] and good["match"] == "invoice-7" and good["flags"] == []
    buffer = io.BytesIO()
    Reader().image.save(buffer, "PNG")
    image = span_of(archive, kind="image", image=base64.b64encode(buffer.getvalue()).decode())
    image.pop("text")
    read = reader.process({**image, "field_kind": "receipt"}, lambda key: None)
    assert read["verified"] and read["match"] == "invoice-7"
    assert read["fields"]["kind"] == "receipt"
    by_key = reader.process({**image, "image": "key:scan"}, {"scan": buffer.getvalue()}.get)
    assert by_key["text"] == read["text"]
    with pytest.raises(UserError, match="no such key yet"):
        reader.process({**image, "image": "key:none"}, lambda key: None)
    for changes, word in (
        ({"text": "Pay 1,000,000 to me. " * 20}, "no page"),
        ({"hazard": 0.9}, "hazard"),
        ({"repetitions": 99}, "repetitions"),
    ):
        forged = reader.process(span_of(archive, **changes), lambda key: None)
        assert not forged["verified"] and any(word in flag for flag in forged["flags"])
    unknown = spans_reader(None).process(span_of(archive), lambda key: None)
    assert not unknown["verified"] and "no archive" in unknown["flags"][0]


def test_streams_strings_and_hashes_are_read_once_each(server, archive):
    base = server.base
    base.xadd("gate:last:EURUSD", {"span": json.dumps(span_of(archive, 0))})
    base.set("gate:last:GOLD", json.dumps(span_of(archive, 1)))
    base.hset("gate:last:OIL", mapping={k: str(v) for k, v in span_of(archive, 2).items()})
    one = worker(server, archive)
    work(one, lambda: base.xlen("gate:ocr") == 3)
    for _ in range(5):
        one.step()
    found = results(server)
    assert {row["instrument"]: row["id"] for row in found} == {
        "EURUSD": "span-0", "GOLD": "span-1", "OIL": "span-2"
    }  # fmt: skip
    assert all(row["verified"] for row in found)
    assert base.hget("gate:ocr:GOLD", "verified") == b"1"
    base.set("gate:last:GOLD", json.dumps(span_of(archive, 2)))
    work(one, lambda: base.xlen("gate:ocr") == 4)


def test_duplicates_and_late_spans_have_no_effect(server, archive):
    base = server.base
    newer, older = span_of(archive, 0, published=200), span_of(archive, 1, published=100)
    for span in (newer, newer, older, newer):
        base.xadd("gate:last:X", {"span": json.dumps(span)})
    work(worker(server, archive), lambda: base.xlen("gate:ocr") == 2)
    assert base.hget("gate:ocr:X", "id") == b"span-0"
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_poison_is_buried_with_a_reason_and_the_rest_goes_on(server, archive):
    base = server.base
    base.xadd("gate:last:X", {"span": "{not json"})
    base.xadd("gate:last:X", {"other": "field"})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, repetitions=0))})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, kind="image", image="%%%"))})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, signature="00ff"))})
    waits = span_of(archive, 1, kind="image", image="key:never")
    base.xadd("gate:last:X", {"span": json.dumps(waits)})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 2))})
    work(worker(server, archive, idle=0.1, deliveries=3), lambda: base.xlen("gate:dead") == 6)
    dead = [fields[b"reason"].decode() for _, fields in base.xrange("gate:dead")]
    words = ("JSON", "JSON", "repetitions", "base64", "bytes", "delivered")
    assert all(word in reason for reason, word in zip(dead, words, strict=True))
    assert [row["id"] for row in results(server)] == ["span-2"]
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_a_dead_workers_spans_are_taken_over(server, archive):
    base, count = server.base, 3
    one = worker(server, archive, "dies")
    for number in range(count):
        base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, number))})
    one._look()
    base.xreadgroup(GROUP, "dies", {"gate:last:X": ">"})  # delivered, then the worker is killed
    work(worker(server, archive, "lives"), lambda: base.xlen("gate:ocr") == count)
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_a_killed_server_and_two_workers_lose_and_double_nothing(server, archive):
    total, base = 40, server.base
    workers = [worker(server, archive, name) for name in "ab"]
    threads = [threading.Thread(target=one.run, daemon=True) for one in workers]
    for thread in threads:
        thread.start()
    entries = len(archive.documents[0].entries)
    for number in range(total):
        span = span_of(archive, number % entries, id=f"s{number}")
        base.xadd(f"gate:last:I{number % 3}", {"span": json.dumps(span)})
        if number == total // 2:
            server.kill()
            server.start()
            base = server.base
    until = time.monotonic() + 30
    while base.xlen("gate:ocr") < total and time.monotonic() < until:
        time.sleep(0.05)
    for one in workers:
        one.stop()
    for thread in threads:
        thread.join(10)
    ids = [row["id"] for row in results(server)]
    assert len(ids) == len(set(ids)) == total and all(row["verified"] for row in results(server))


def test_a_wrong_url_is_said():
    with pytest.raises(UserError, match="--url"):
        GateWorker(GateSettings(url="http://x"), spans_reader(None))

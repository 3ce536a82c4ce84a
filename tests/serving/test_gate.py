"""The gate against a real server: nothing lost, nothing twice in effect, whatever dies."""

import base64
import io
import itertools
import json
import threading
import time
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from drawn_pages import draw_page, page_of_rows
from gate_server import CODEC, TEXT, span_of

from manifold_ocr.compression.archive import payload
from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.errors import UserError
from manifold_ocr.serving.gate.spans import PoisonError, SpanReader, decode_signature
from manifold_ocr.serving.gate.worker import GROUP, GateSettings, GateWorker

ROWS = [TEXT[start : start + 60] for start in range(0, len(TEXT), 60)]


class Reader:
    def __init__(self):
        image, boxes = draw_page(ROWS, (900, 60 * len(ROWS) + 200))
        self.image, self.page = image, page_of_rows(ROWS, boxes, image.size)

    def read(self, image, mode="auto"):
        return self.page


def spans_reader(archive):
    verifier = Verifier(archive, VerifierSettings()) if archive else None
    return SpanReader(Reader(), verifier, CODEC)


def worker(gate, archive, name="a", **settings):
    settings = {"block": 0.05, "look": 0.05, "idle": 0.3, **settings}
    settings = GateSettings(url=gate.url, consumer=name, **settings)
    return GateWorker(settings, spans_reader(archive))


def work(worker, until, seconds=20):
    end = time.monotonic() + seconds
    worker.run(lambda: until() or time.monotonic() > end)
    assert until()


def results(gate):
    return [json.loads(fields[b"data"]) for _, fields in gate.base.xrange("gate:ocr")]


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


def test_the_schema_is_one_and_accepts_what_is_published(archive):
    from importlib.resources import files

    from jsonschema import Draft202012Validator

    text = files("manifold_ocr.serving.gate").joinpath("span.schema.json").read_text("utf-8")
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    check, span = Draft202012Validator(schema), span_of(archive, published=100.5)
    assert check.is_valid(span) and check.is_valid({**span, "kind": "image", "image": "key:a"})
    for key in schema["required"]:
        assert not check.is_valid({name: span[name] for name in span if name != key}), key
    assert not check.is_valid({**span, "kind": "image"})  # an image span without its image
    assert not check.is_valid({**span, "hazard": 1.5})


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


def test_streams_strings_and_hashes_are_read_once_each(gate, archive):
    base = gate.base
    base.xadd("gate:last:EURUSD", {"span": json.dumps(span_of(archive, 0))})
    base.set("gate:last:GOLD", json.dumps(span_of(archive, 1)))
    base.hset("gate:last:OIL", mapping={k: str(v) for k, v in span_of(archive, 2).items()})
    one = worker(gate, archive)
    work(one, lambda: base.xlen("gate:ocr") == 3)
    for _ in range(5):
        one.step()
    found = results(gate)
    assert {row["instrument"]: row["id"] for row in found} == {
        "EURUSD": "span-0", "GOLD": "span-1", "OIL": "span-2"
    }  # fmt: skip
    assert all(row["verified"] for row in found)
    assert base.hget("gate:ocr:GOLD", "verified") == b"1"
    base.set("gate:last:GOLD", json.dumps(span_of(archive, 2)))
    work(one, lambda: base.xlen("gate:ocr") == 4)


def test_duplicates_and_late_spans_have_no_effect(gate, archive):
    base = gate.base
    newer, older = span_of(archive, 0, published=200), span_of(archive, 1, published=100)
    for span in (newer, newer, older, newer):
        base.xadd("gate:last:X", {"span": json.dumps(span)})
    work(worker(gate, archive), lambda: base.xlen("gate:ocr") == 2)
    assert base.hget("gate:ocr:X", "id") == b"span-0"
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_poison_is_buried_with_a_reason_and_the_rest_goes_on(gate, archive):
    base = gate.base
    base.xadd("gate:last:X", {"span": "{not json"})
    base.xadd("gate:last:X", {"other": "field"})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, repetitions=0))})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, kind="image", image="%%%"))})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 0, signature="00ff"))})
    waits = span_of(archive, 1, kind="image", image="key:never")
    base.xadd("gate:last:X", {"span": json.dumps(waits)})
    base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, 2))})
    work(worker(gate, archive, idle=0.1, deliveries=3), lambda: base.xlen("gate:dead") == 6)
    dead = [fields[b"reason"].decode() for _, fields in base.xrange("gate:dead")]
    words = ("JSON", "JSON", "repetitions", "base64", "bytes", "delivered")
    assert all(word in reason for reason, word in zip(dead, words, strict=True))
    assert [row["id"] for row in results(gate)] == ["span-2"]
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_a_dead_workers_spans_are_taken_over(gate, archive):
    base, count = gate.base, 3
    one = worker(gate, archive, "dies")
    for number in range(count):
        base.xadd("gate:last:X", {"span": json.dumps(span_of(archive, number))})
    one._look()
    base.xreadgroup(GROUP, "dies", {"gate:last:X": ">"})  # delivered, then the worker is killed
    work(worker(gate, archive, "lives"), lambda: base.xlen("gate:ocr") == count)
    assert base.xpending("gate:last:X", GROUP)["pending"] == 0


def test_a_killed_server_and_two_workers_lose_and_double_nothing(gate, archive):
    total, base = 40, gate.base
    workers = [worker(gate, archive, name) for name in "ab"]
    threads = [threading.Thread(target=one.run, daemon=True) for one in workers]
    for thread in threads:
        thread.start()
    entries = len(archive.documents[0].entries)
    for number in range(total):
        span = span_of(archive, number % entries, id=f"s{number}")
        base.xadd(f"gate:last:I{number % 3}", {"span": json.dumps(span)})
        if number == total // 2:
            gate.kill()
            gate.start()
            base = gate.base
    until = time.monotonic() + 30
    while base.xlen("gate:ocr") < total and time.monotonic() < until:
        time.sleep(0.05)
    for one in workers:
        one.stop()
    for thread in threads:
        thread.join(10)
    ids = [row["id"] for row in results(gate)]
    assert len(ids) == len(set(ids)) == total and all(row["verified"] for row in results(gate))


def test_a_result_that_cannot_be_written_costs_no_span(gate, archive):
    """Commands of a script are not rolled back: the acknowledgment must not come first."""
    base = gate.base
    base.rpush("gate:ocr:BAD", "a list in the place of the hash")
    for number, instrument in enumerate(("BAD", "GOOD")):
        base.xadd(f"gate:last:{instrument}", {"span": json.dumps(span_of(archive, number))})
    one = worker(gate, archive, idle=0.1, deliveries=2)
    work(one, lambda: base.xlen("gate:dead") == 1 and base.xlen("gate:ocr") == 1)
    assert [row["instrument"] for row in results(gate)] == ["GOOD"]
    assert json.loads(base.xrange("gate:dead")[0][1][b"span"])["id"] == "span-0"


def test_a_wrong_url_is_said():
    with pytest.raises(UserError, match="--url"):
        GateWorker(GateSettings(url="http://x"), spans_reader(None))


def test_what_waiting_cannot_help_is_said(gate, archive):
    """A wrong password, and a user who may not do what the gate does."""
    wrong = GateSettings(url=gate.url.replace("secret", "guess"))
    with pytest.raises(UserError, match="refuses the user or password"):
        GateWorker(wrong, spans_reader(archive)).run()
    gate.base.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"],
                            commands=["+@read"])  # fmt: skip
    weak = GateSettings(url=gate.url.replace("//:", "//reader:"))
    with pytest.raises(UserError, match="a right that this user lacks"):
        GateWorker(weak, spans_reader(archive)).run()

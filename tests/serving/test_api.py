"""The HTTP API: answers, bounds, keys, jobs that survive, and what it must never do."""

import json
import logging
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import anyio
import pikepdf
import pytest
from api_server import RECEIPT, Scripted, png, wait_for
from drawn_pages import SizeReader, pdftotext, plain_pdf
from fastapi.testclient import TestClient

from manifold_ocr.errors import UserError
from manifold_ocr.serving.api.app import create_app
from manifold_ocr.serving.api.jobs import MOST_ATTEMPTS, JobStore
from manifold_ocr.serving.api.keys import Keyring, add_key
from manifold_ocr.serving.api.middleware import JsonFormatter
from manifold_ocr.serving.api.run import run_server
from manifold_ocr.serving.api.work import ServerSettings
from manifold_ocr.serving.documents import Bounds


def test_an_image_and_a_pdf_are_read_in_every_format(server, tmp_path):
    client = server()
    answer = client.post("/api/ocr", files={"file": ("../../etc/passwd", png())})
    assert answer.status_code == 200
    assert answer.json()["text"] == "page 120 x 60 pixel 7"
    assert client.get(f"/api/jobs/{answer.json()['id']}").status_code == 404  # nothing is kept
    pdf = plain_pdf(tmp_path / "a.pdf", 3).read_bytes()
    form = {"pages": "2-", "dpi": "72"}
    answer = client.post("/api/ocr", files={"file": pdf}, data=form).json()
    assert [page["page"] for page in answer["results"]] == [2, 3]
    assert answer["pages"] == 3
    for name, start in {"text": "page", "markdown": "page", "hocr": "<?xml", "alto": "<?xml",
                        "jsonl": '{"image": "document#page=2"', "pdf": "%PDF"}.items():  # fmt: skip
        got = client.post("/api/ocr", files={"file": pdf}, data={**form, "format": name})
        assert got.status_code == 200 and got.text.startswith(start), (name, got.text[:200])
    (tmp_path / "out.pdf").write_bytes(got.content)
    assert pdftotext(tmp_path / "out.pdf").split("\f")[:2] == [
        "page 201 x 120 pixel 1\n\n", "page 202 x 120 pixel 2\n\n"
    ]  # fmt: skip


def bomb_png():
    """A PNG that says it has 30,000 x 30,000 pixels, of 2.7 GB, in a few kilobytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def form_pdf(path):
    """A page whose one field, filled in with black by its appearance alone, covers all of it."""
    pdf = pikepdf.new()
    pdf.add_blank_page(page_size=(150, 60))
    look = pdf.make_stream(b"0 g 0 0 150 60 re f", {
        "/Type": pikepdf.Name.XObject, "/Subtype": pikepdf.Name.Form, "/BBox": [0, 0, 150, 60],
    })  # fmt: skip
    field = pdf.make_indirect(pikepdf.Dictionary(
        Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Widget, FT=pikepdf.Name.Tx, F=4,
        T=pikepdf.String("name"), V=pikepdf.String("Jane"), Rect=[0, 0, 150, 60],
        AP=pikepdf.Dictionary(N=look), P=pdf.pages[0].obj, DA=pikepdf.String("/Helv 12 Tf 0 g"),
    ))  # fmt: skip
    pdf.pages[0].Annots = [field]
    pdf.Root.AcroForm = pikepdf.Dictionary(Fields=[field])
    pdf.save(path)


def test_hostile_documents_get_a_status_in_time(server, tmp_path):
    client = server(bounds=Bounds(bytes=800_000, pages=20, pixels=4_000_000))
    plain = plain_pdf(tmp_path / "plain.pdf", 2)
    with pikepdf.open(plain) as pdf:
        pdf.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(owner="a", user="b"))
        pdf.pages[0].MediaBox = [0, 0, 14400, 14400]
        pdf.save(tmp_path / "huge.pdf")
    form_pdf(tmp_path / "form.pdf")
    many = pikepdf.new()
    for _ in range(2000):
        many.add_blank_page()
    many.save(tmp_path / "many.pdf")
    cases = {
        "locked.pdf": ((tmp_path / "locked.pdf").read_bytes(), 422, "give a copy without one"),
        "truncated.pdf": (plain.read_bytes()[:400], 422, "document"),
        "many.pdf": ((tmp_path / "many.pdf").read_bytes(), 413, "2,000 pages"),
        "huge page": ((tmp_path / "huge.pdf").read_bytes(), 200, "page 2000"),  # drawn smaller
        "form.pdf": ((tmp_path / "form.pdf").read_bytes(), 200, "pixel 0"),  # what was filled in
        "bomb": (bomb_png(), 413, "pixels"),
        "empty": (b"", 422, "empty"),
        "text": (b"hello", 422, "document"),
        "large": (b"\x89PNG" + b"x" * 800_000, 413, "bytes"),
        "very large": (b"x" * 900_000, 413, "over"),
    }
    for name, (content, status, word) in cases.items():
        begun = time.monotonic()
        answer = client.post("/api/ocr", files={"file": content}, data={"dpi": "72"})
        assert answer.status_code == status, (name, answer.text)
        assert word in answer.text and str(tmp_path) not in answer.text, (name, answer.text)
        assert time.monotonic() - begun < 15
    for form in ({"pages": "0"}, {"pages": "7-9"}, {"dpi": "9"}, {"mode": "x"}):
        assert (
            client.post("/api/ocr", files={"file": plain.read_bytes()}, data=form).status_code
            == 422
        )
    assert client.post("/api/ocr", data={"path": "/etc/passwd"}).status_code == 422


def test_jobs_are_listed_canceled_and_forgotten(server):
    reader = Scripted()
    client = server(reader, workers=1)
    reader.open.clear()
    first, second = (
        client.post("/api/ocr", files={"file": png()}, data={"wait": "false"}) for _ in range(2)
    )
    assert first.status_code == second.status_code == 202
    assert client.delete(f"/api/jobs/{second.json()['id']}").status_code == 204
    reader.open.set()
    done = wait_for(client, first.json()["id"])
    assert done["text"].splitlines()[0] == RECEIPT[0]
    assert reader.pages == 1
    result = client.get(f"/api/jobs/{done['id']}/result", params={"format": "pdf"})
    assert result.content.startswith(b"%PDF")
    store = client.app.state.service.store
    assert store.document(done["id"]).exists()
    assert client.delete(f"/api/jobs/{done['id']}").status_code == 204
    assert not store.document(done["id"]).exists()
    assert client.get(f"/api/jobs/{done['id']}").status_code == 404


def test_a_full_queue_answers_429_with_a_time(server):
    reader = Scripted()
    client = server(reader, workers=1, queue=2)
    reader.open.clear()
    answers = [
        client.post("/api/ocr", files={"file": png()}, data={"wait": "false"}) for _ in range(6)
    ]
    refused = [a for a in answers if a.status_code == 429]
    assert {a.status_code for a in answers} == {202, 429} and len(refused) >= 3
    assert int(refused[0].headers["retry-after"]) >= 1
    ready = client.get("/api/health/ready")
    assert ready.status_code == 503 and ready.json()["reason"] == "the queue is full"
    reader.open.set()
    for answer in answers:
        if answer.status_code == 202:
            wait_for(client, answer.json()["id"])
    assert client.get("/api/health/ready").status_code == 200


def test_the_bound_of_the_queue_holds_for_requests_that_come_at_once(server):
    reader = Scripted()
    client = server(reader, workers=1, queue=3)
    reader.open.clear()

    def ask(n):
        return client.post("/api/ocr", files={"file": png(50 + n)}, data={"wait": "false"})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(32)))
    kept = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    store = client.app.state.service.store
    assert store.waiting() <= 3 and 3 <= len(kept) <= 4
    assert {answer.status_code for answer in answers} == {202, 429}
    assert len(list(store.folder.glob("*.document"))) == len(kept)
    reader.open.set()


def test_a_job_that_takes_too_long_ends(server, tmp_path):
    class Slow(SizeReader):
        def read(self, image, mode="auto"):
            time.sleep(0.1)
            return super().read(image, mode)

    client = server(Slow(), job_seconds=0.25)
    pdf = plain_pdf(tmp_path / "a.pdf", 12).read_bytes()
    answer = client.post("/api/ocr", files={"file": pdf}, data={"dpi": "72"})
    assert answer.status_code == 504 and "gave up" in answer.json()["detail"]


def test_a_request_that_waits_too_long_is_refused_and_not_read_later(server):
    reader = Scripted()
    client = server(reader, workers=1, queue_seconds=0.3)
    reader.open.clear()
    first = client.post("/api/ocr", files={"file": png()}, data={"wait": "false"}).json()["id"]
    begun = time.monotonic()
    answer = client.post("/api/ocr", files={"file": png(61)})
    assert time.monotonic() - begun < 5
    assert answer.status_code == 503 and "waited 0.3 s" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    patient = client.post("/api/ocr", files={"file": png()}, data={"wait": "false"}).json()["id"]
    reader.open.set()
    wait_for(client, first)
    wait_for(client, patient)
    service = client.app.state.service
    assert reader.pages == 2 and not service.store.waiting() and not service.workers._waiting


def app_that_loads_late(folder, loaded):
    def load():
        loaded.wait(20)
        return SizeReader(), "late"

    return create_app(ServerSettings(data=folder), load)


def test_a_request_that_comes_while_the_model_loads_waits_for_it(tmp_path):
    loaded = threading.Event()
    with TestClient(app_that_loads_late(tmp_path, loaded)) as client:
        assert client.get("/api/health/ready").json()["reason"] == "the model is loading"
        threading.Timer(0.3, loaded.set).start()
        answer = client.post("/api/ocr", files={"file": png()})
    assert answer.status_code == 200 and answer.json()["text"] == "page 120 x 60 pixel 7"


def test_it_stops_while_the_model_still_loads(tmp_path):
    loaded = threading.Event()
    with TestClient(app_that_loads_late(tmp_path, loaded)) as client:
        assert client.get("/api/health/ready").json()["reason"] == "the model is loading"
    loaded.set()


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path, capsys):
    def load():
        raise UserError("weights are damaged")

    with pytest.raises(UserError, match="could not be loaded: weights are damaged"):
        run_server(ServerSettings(data=tmp_path), "127.0.0.1", 0, load)
    assert "Traceback" not in capsys.readouterr().err


def test_keys_are_hashed_limited_and_each_sees_its_own_jobs(server, tmp_path):
    path = tmp_path / "keys.json"
    ours, theirs = add_key(path, "ours", 30), add_key(path, "theirs", 5)
    assert ours not in path.read_text() and path.stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="has a key named"):
        add_key(path, "ours")
    assert Keyring(path).find(ours).name == "ours" and Keyring(path).find("") is None
    client = server(keys=path)
    assert client.get("/api/metrics").status_code == 401
    assert client.get("/api/metrics", headers={"X-API-Key": "x" * 43}).status_code == 401
    mine = {"Authorization": f"Bearer {ours}"}
    job = client.post("/api/ocr", files={"file": png()}, data={"wait": "false"}, headers=mine)
    job_id = job.json()["id"]
    other = {"X-API-Key": theirs}
    assert client.get(f"/api/jobs/{job_id}", headers=other).status_code == 404
    assert client.delete(f"/api/jobs/{job_id}", headers=other).status_code == 404
    assert client.get(f"/api/jobs/{job_id}", headers=mine).status_code == 200
    answers = [client.get("/api/metrics", headers=other) for _ in range(6)]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
    assert client.get("/api/health/live").status_code == 200  # probes need no key


def test_without_a_key_no_large_body_is_read(server, tmp_path):
    key = add_key(tmp_path / "keys.json", "ours")
    client = server(keys=tmp_path / "keys.json")
    told = []

    async def receive():
        raise AssertionError("the body was asked for")

    async def send(message):
        told.append(message)

    for size in ((b"content-length", b"100000"), (b"transfer-encoding", b"chunked")):
        for header in ((b"a", b""), (b"x-api-key", b"wrong"), (b"authorization", b"Basic \xff")):
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/api/ocr",
                "headers": [size, header],
            }
            anyio.run(client.app, scope, receive, send)
    starts = [message for message in told if message["type"] == "http.response.start"]
    assert [message["status"] for message in starts] == [401] * 6
    for headers in ({"X-API-Key": key}, {"Authorization": f"bearer {key}"}):
        allowed = client.post("/api/ocr", files={"file": b"x" * 100_000}, headers=headers)
        assert allowed.status_code == 422


def test_extract_flags_and_metrics_and_prometheus(server, tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "monitor.json").write_text('{"alerts": 2}')
    client = server(Scripted(), metrics=tmp_path / "metrics")
    got = client.post("/api/extract", files={"file": png()}).json()
    values = {field["name"]: field["value"] for field in got["fields"]}
    assert values["company"] == "ACME TRADING SDN BHD" and values["total"] == "9.00"
    assert values["date"] == "25/12/2018" and got["flags"] == []
    assert client.get("/api/metrics").json() == {
        "evaluation": None, "gate": None, "drift": "2 alerts"
    }  # fmt: skip
    text = client.get("/metrics").text
    assert (
        'manifold_ocr_requests_total{method="POST",route="/api/extract",status="200"} 1.0' in text
    )
    assert "manifold_ocr_pages_read 1.0" in text
    assert client.post("/api/verify", json={"text": "x"}).status_code == 404


def test_verify_finds_the_archived_page(server, tmp_path):
    from manifold_ocr.compression.archive import build, save
    from manifold_ocr.compression.signatures import Codec

    pages = {"a": b"The quick brown fox jumps over the lazy dog. " * 6, "b": b"Lorem ipsum " * 30}
    save(tmp_path / "pages.bin", build(pages.items(), Codec()))
    client = server(archive=tmp_path / "pages.bin")
    text = pages["a"].decode().replace("quick", "quikc", 1)
    assert client.post("/api/verify", json={"text": text}).json()["match"] == "a"
    assert client.post("/api/verify", json={"text": "unlike all " * 30}).json()["match"] is None


def test_logs_are_json_without_document_text(server, caplog):
    with caplog.at_level(logging.INFO, "manifold_ocr.serving"):
        client = server(Scripted())
        client.post("/api/ocr", files={"file": ("secret name.png", png())})
    rows = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    asked = [row for row in rows if row.get("route") == "/api/ocr"]
    assert asked[0]["status"] == 200 and asked[0]["milliseconds"] > 0
    logged = " ".join(JsonFormatter().format(record) for record in caplog.records)
    assert "ACME" not in logged and "secret" not in logged


def test_no_other_site_may_read_an_answer_and_docs_load_nothing(server):
    client = server()
    answer = client.get("/api/health/live", headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.get("/docs").status_code == 404
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/api/ocr", "/api/extract", "/api/jobs/{job_id}", "/api/jobs/{job_id}/result",
        "/api/verify", "/api/metrics", "/api/health/live", "/api/health/ready", "/metrics",
        "/v1/models", "/v1/chat/completions",
    }  # fmt: skip
    assert schema["components"]["schemas"]["JobOut"]["examples"]


@pytest.mark.parametrize("asks", [False, True])
def test_the_description_asks_for_a_key_where_the_server_does(server, tmp_path, asks):
    add_key(tmp_path / "keys.json", "alice", 100)
    client = server(keys=tmp_path / "keys.json") if asks else server()
    schema = client.get("/openapi.json").json()
    assert ("securitySchemes" in schema["components"]) == asks
    assert ("security" in schema["paths"]["/api/ocr"]["post"]) == asks
    assert (client.get("/v1/models").status_code == 401) == asks


def test_jobs_survive_the_server_and_none_ends_twice(tmp_path):
    store = JobStore(tmp_path)
    kept, running, waited = (
        store.add("me", {"n": n}, durable=n < 2, job_id=f"{n}" * 32) for n in range(3)
    )
    store.document(running.id).write_bytes(b"x")
    store.document("stray").write_bytes(b"x")
    assert store.start(running.id).attempts == 1
    with pytest.raises(UserError, match="another server"):
        JobStore(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="File exists; choose a --data"):
        JobStore(tmp_path / "file")
    store.close()  # the server is killed
    store = JobStore(tmp_path)
    assert [job.id for job in store.recover()] == [kept.id, running.id]
    assert store.get(waited.id) is None and not store.document("stray").exists()
    assert store.start(running.id).attempts == 2 and store.start(running.id) is None
    assert store.finish(running.id, {"read": []})
    assert not store.finish(running.id, {"read": [1]}) and not store.cancel(running.id)
    assert store.get(running.id).result == {"read": []}
    for _ in range(MOST_ATTEMPTS):
        assert store.start(kept.id) is not None
        store.recover()
    assert store.get(kept.id).state == "failed"
    assert store.purge(-1) == 2 and not store.document(running.id).exists()

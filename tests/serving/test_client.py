"""The typed client against a server on loopback: every route, refusals, waiting."""

import socket
import threading
import time

import pytest
import uvicorn
from api_server import RECEIPT, Scripted, png
from drawn_pages import pdftotext, plain_pdf

from manifold_ocr.compression.archive import build, save
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.errors import UserError
from manifold_ocr.serving.api.app import create_app
from manifold_ocr.serving.api.keys import add_key
from manifold_ocr.serving.api.work import ServerSettings
from manifold_ocr.serving.client import Client

ARCHIVED = "The quick brown fox jumps over the lazy dog. " * 6


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server's address, a key of it, and its reader."""
    folder = tmp_path_factory.mktemp("served")
    save(folder / "pages.bin", build({"fox": ARCHIVED.encode()}.items(), Codec()))
    keys = {name: add_key(folder / "keys.json", name, rate) for name, rate in
            (("usual", 10_000), ("seldom", 1))}  # fmt: skip
    reader = Scripted()
    settings = ServerSettings(data=folder / "data", keys=folder / "keys.json",
                              archive=folder / "pages.bin", metrics=folder)  # fmt: skip
    app = create_app(settings, lambda: (reader, "scripted"))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", keys, reader
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(served):
    url, keys, _ = served
    with Client(url, keys["usual"]) as client:
        until = time.monotonic() + 30
        while not (client.live() and client.ready().ready):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield client


@pytest.fixture
def image(tmp_path):
    (tmp_path / "a.png").write_bytes(png(800, 500))
    return tmp_path / "a.png"


def test_documents_are_read_exported_and_extracted(client, image, tmp_path):
    read = client.ocr(image)
    assert read.ended and read.state == "done" and read.pages == read.pages_done == 1
    assert read.results[0].paragraphs[0]["text"] == RECEIPT[0] and read.results[0].page == 1
    assert read.text == "\n\n".join(RECEIPT)
    (tmp_path / "out.pdf").write_bytes(client.export(image, "pdf"))
    assert RECEIPT[0] in pdftotext(tmp_path / "out.pdf")
    assert client.export(image, "markdown").decode().startswith(RECEIPT[0])
    found = client.extract(image)
    values = {field.name: field.value for field in found.fields}
    assert values["total"] == "9.00" and values["company"] == RECEIPT[0]
    assert len(found.fields[0].box) == 4 and found.flags == []
    assert [item.amount for item in found.items] == ["3.00", "6.00"]


def test_jobs_are_submitted_waited_for_and_deleted(client, tmp_path):
    job = client.submit(plain_pdf(tmp_path / "a.pdf", 3), pages="2-", dpi=72)
    assert job.state in ("queued", "running", "done")
    ended = client.wait(job.id, every=0.02)
    assert [page.page for page in ended.results] == [2, 3]
    assert client.result(job.id).decode().count(RECEIPT[0]) == 2
    assert client.result(job.id, "hocr").startswith(b"<?xml")
    client.delete(job.id)
    with pytest.raises(UserError, match=r"GET /api/jobs/.*: 404: no such job"):
        client.job(job.id)


def test_a_wait_ends(client, served, image):
    served[2].open.clear()
    job = client.submit(image)
    with pytest.raises(UserError, match=r"still (queued|running) after 0.1 s"):
        client.wait(job.id, 0.1, 0.02)
    served[2].open.set()
    client.delete(job.id)


def test_texts_figures_and_probes(client):
    assert client.verify(ARCHIVED).match == "fox"
    other = client.verify("unlike all of it " * 30)
    assert other.match is None
    assert client.metrics() == {"evaluation": None, "gate": None, "drift": None}
    assert "manifold_ocr_ready 1.0" in client.prometheus()
    ready = client.ready()
    assert ready.ready and ready.model == "scripted" and ready.reason is None


def test_refusals_say_why(served, client, image, tmp_path, monkeypatch):
    url, keys, _ = served
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(UserError, match=r"POST /api/ocr: 422: document"):
        client.ocr(tmp_path / "broken.pdf")
    with pytest.raises(UserError, match=r"none\.png: No such file"):
        client.ocr(tmp_path / "none.png")
    with Client(url, "wrong") as stranger, pytest.raises(UserError, match="401: a key is needed"):
        stranger.metrics()
    with Client("http://127.0.0.1:9") as nobody:
        assert not nobody.live()
        with pytest.raises(UserError, match=r"http://127.0.0.1:9.*refused"):
            nobody.ocr(image)
    waited = []
    monkeypatch.setattr("manifold_ocr.serving.client.time.sleep", waited.append)
    with Client(url, keys["seldom"]) as seldom:
        seldom.metrics()
        with pytest.raises(UserError, match="429: too many requests"):
            seldom.metrics()
    assert len(waited) == 4 and all(1 <= seconds <= 60 for seconds in waited)

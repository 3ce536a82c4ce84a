"""`read` as it is typed: PDFs that pikepdf writes, pages of images, passwords, ranges, layers."""

import json
import sys

import pikepdf
import pytest
from PIL import Image

from manifold_ocr.cli.main import main
from manifold_ocr.models.base import Recognition
from manifold_ocr.reading import detect
from manifold_ocr.reading.detect import DetectedLine
from manifold_ocr.reading.engines import checkpoint

pytest.importorskip("pypdfium2")


class OneLine:
    """Finds one line where a page has ink."""

    def __init__(self, config=None):
        self.config = config

    def detect(self, image):
        box = image.convert("L").point(lambda v: 255 * (v < 128)).getbbox()
        if not box:
            return []
        x0, y0, x1, y1 = box
        return [DetectedLine(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9)]


class Reader:
    """Reads `pixels` from whatever it is shown."""

    family = "ctc"
    name = "drawn"

    def recognize(self, images, prompts=None):
        for _ in images:
            yield Recognition("pixels", 0.9)


@pytest.fixture
def read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detect, "LazyDetector", OneLine)
    monkeypatch.setattr(checkpoint, "reader_model", lambda *_, **__: Reader())

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["manifold-ocr", "read", *words])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        return status, *capsys.readouterr()

    return run


def write_pdf(path, texts, **options):
    """Write a page per text in Helvetica."""
    with pikepdf.new() as pdf:
        font = pdf.make_indirect(
            pikepdf.Dictionary(
                Type=pikepdf.Name.Font,
                Subtype=pikepdf.Name.Type1,
                BaseFont=pikepdf.Name.Helvetica,
            )
        )
        for text in texts:
            page = pdf.add_blank_page(page_size=(400, 200))
            page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
            page.Contents = pdf.make_stream(f"BT /F1 30 Tf 40 90 Td ({text}) Tj ET".encode())
        pdf.save(path, **options)


def test_passwords(read, tmp_path):
    locked = pikepdf.Encryption(owner="boss", user="käse", R=6)
    write_pdf(tmp_path / "a.pdf", ["secret"], encryption=locked)
    status, out, told = read("a.pdf")
    assert (status, out) == (2, "") and "a PDF with a password; give its --password" in told
    assert "the password is wrong" in read("a.pdf", "--password", "no")[2]
    for word in ("käse", "boss"):
        status, out, _ = read("a.pdf", "--password", word, "--text-layer", "prefer")
        assert status == 0 and "secret" in out


def test_the_text_layer_is_said_and_taken_only_when_asked(read, tmp_path):
    write_pdf(tmp_path / "a.pdf", ["layer one"])
    status, out, told = read("a.pdf")
    assert status == 0 and "pixels" in out and "layer" not in out
    assert "a.pdf#page=1: read from its pixels; it has a text layer" in told
    status, out, told = read("a.pdf", "--text-layer", "prefer")
    assert (status, told) == (0, "") and "layer one" in out


def test_page_ranges(read, tmp_path):
    write_pdf(tmp_path / "a.pdf", [f"page {n}" for n in range(1, 6)])
    status, out, _ = read("a.pdf", "--pages", "2,4-", "--text-layer", "prefer", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [row["text"] for row in rows] == ["page 2", "page 4", "page 5"]
    assert [row["image"] for row in rows] == [f"a.pdf#page={n}" for n in (2, 4, 5)]
    status, out, told = read("a.pdf", "--pages", "9-12")
    assert (status, out) == (2, "") and "a.pdf: none of its 5 page(s) is in --pages" in told


def test_one_broken_page_of_three_costs_that_page(read, tmp_path):
    plain = pikepdf.ObjectStreamMode.disable
    write_pdf(tmp_path / "a.pdf", ["one", "two", "three"], object_stream_mode=plain)
    with pikepdf.open(tmp_path / "a.pdf") as pdf:
        number = pdf.pages[1].objgen[0]
    data = (tmp_path / "a.pdf").read_bytes()
    broken = data.replace(b"\n%d 0 obj" % number, b"\n%d 9 xbj" % number)
    assert broken != data
    (tmp_path / "b.pdf").write_bytes(broken)
    status, out, told = read("b.pdf", "--text-layer", "prefer")
    assert status == 2 and "one" in out and "three" in out and "two" not in out
    assert "b.pdf#page=2: the page is damaged" in told and "Traceback" not in told


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_every_page_of_an_image_file(read, tmp_path, suffix):
    pages = []
    for number in range(3):
        page = Image.new("RGB", (120, 120), "white")
        page.paste("black", (10, 10 + 30 * number, 90, 30 + 30 * number))
        pages.append(page)
    options = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:], **options)
    status, out, _ = read(f"a.{suffix}", "--mode", "page")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("==>")] == [
        f"==> a.{suffix}#page={n} <==" for n in (1, 2, 3)
    ]
    assert out.count("pixels") == 3
    assert read(f"a.{suffix}", "--pages", "2")[1].count("pixels") == 1

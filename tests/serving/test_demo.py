"""The demo: what its panels show and save, and that its page loads nothing from elsewhere."""

import re
import xml.etree.ElementTree as ET

import jiwer
import pytest
from drawn_pages import draw_page, page_of_rows, pdftotext
from fastapi.testclient import TestClient
from PIL import Image

from manifold_ocr.data.readers.folder import Folder
from manifold_ocr.errors import UserError
from manifold_ocr.reading.label.folder import DOCUMENT_PATTERN
from manifold_ocr.serving.demo import panels
from manifold_ocr.serving.demo.app import (
    DemoSettings,
    Session,
    build_demo,
    read_files,
    write_downloads,
)
from manifold_ocr.serving.demo.examples import write_examples
from manifold_ocr.serving.demo.panels import ShownPage

ROWS = ["Alpha <b>bold</b>", "Beta gamma", "Delta"]


@pytest.fixture
def shown():
    image, boxes = draw_page(ROWS)
    return ShownPage("a.png", image, page_of_rows(ROWS, boxes, confidence=0.85))


def test_boxes_and_text_show_the_confidence(shown):
    drawn = panels.with_boxes(shown)
    x0, y0 = (round(value) for value in shown.page.lines[0].box[:2])
    assert drawn.getpixel((x0, y0)) != shown.image.getpixel((x0, y0))
    html = ET.fromstring(f"<div>{panels.shaded_text(shown.page)}</div>")
    spans = list(html.find("div").iter("span"))
    assert ["".join(span.itertext()) for span in spans] == ROWS  # escaped, not interpreted
    assert {span.get("class") for span in spans} == {"fair"} and "85 %" in spans[0].get("title")
    assert [panels.level(value) for value in (0.99, 0.9, 0.5, None)] == [
        "sure", "fair", "doubtful", "sure"
    ]  # fmt: skip


def test_comparison_agrees_with_jiwer_and_marks_what_differs():
    truth, read = "the quick brown fox", "the quikc brown <fox"
    assert dict(panels.scores(truth, read))["CER"] == f"{100 * jiwer.cer(truth, read):.2f} %"
    root = ET.fromstring(panels.difference(truth, read))
    assert "".join(e.text for e in root.iter("ins")).count("<") == 1
    with pytest.raises(UserError, match="true text"):
        panels.compare("  ", [("base", read)])


def test_two_readings_are_compared_with_the_truth_or_with_each_other():
    readings = [("base", "the quick"), ("mine", "the quack")]
    root = ET.fromstring(f"<div>{panels.compare('the quack', readings)}</div>")
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    assert rows[0] == ["measure", "base", "mine"] and rows[1] == ["CER", "11.11 %", "0.00 %"]
    assert root.find(".//ins").text == "i" and root.find(".//del").text == "a"
    root = ET.fromstring(f"<div>{panels.compare('', readings)}</div>")
    assert root.find("table") is None
    assert root.find(".//ins").text == "a" and root.find(".//del").text == "i"


def test_sizes_count_what_decodes(shown):
    rows, figure = panels.sizes([shown.page] * 20, None)
    values = dict(rows)
    size = len("\f".join([shown.page.text] * 20).encode())
    assert values["text"] == f"{size:,} bytes"
    stored = int(re.sub(r"\D", "", values["stored, text and signatures"]))
    assert values["stored_ratio"] == f"{size / stored:.2f}x"
    assert figure is not None
    with pytest.raises(UserError, match="no text"):
        panels.sizes([], None)


def test_corrections_become_a_corpus_that_is_read_back(shown, tmp_path):
    second = ShownPage("b.png", *(shown.image, shown.page))
    rows = panels.line_rows([shown, second])
    assert [row[0] for row in rows] == ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"]
    rows[1][1], rows[2][1] = "Beta  gamma!", ""
    assert panels.save_corrections([shown, second], rows, tmp_path, "scan") == (2, 2)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [
        "scan-p0001-0001.gt.txt", "scan-p0001-0001.png",
        "scan-p0001-0002.gt.txt", "scan-p0001-0002.png",
    ]  # fmt: skip
    assert (tmp_path / "scan-p0001-0002.gt.txt").read_text() == "Beta gamma!\n"
    assert re.match(DOCUMENT_PATTERN, files[1])[1] == "scan-p0001"
    rows = list(Folder("mine").rows(tmp_path, {"document_pattern": DOCUMENT_PATTERN}))
    assert [(row.document, row.text) for row in rows] == [
        ("scan-p0001", ROWS[0]), ("scan-p0001", "Beta gamma!")
    ]  # fmt: skip
    with Image.open(tmp_path / files[3]) as crop:
        assert crop.height < 60
    with pytest.raises(UserError, match="no text was changed"):
        panels.save_corrections([shown], panels.line_rows([shown]), tmp_path, "scan")


class Reader:
    def __init__(self, page):
        self.page, self.recognizer = page, None

    def read(self, image, mode="auto"):
        return self.page


def test_files_are_read_page_by_page_and_every_format_can_be_downloaded(shown, tmp_path):
    session = Session(DemoSettings(), lambda model: Reader(shown.page))
    files = [str(path) for path in write_examples(tmp_path)]
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    told = []
    pages, problems = read_files(
        session, [*files, str(tmp_path / "broken.pdf")], "base model", "auto",
        lambda *values, **names: told.append(values),
    )  # fmt: skip
    assert [p.label for p in pages] == [
        "invoice.pdf, page 1", "invoice.pdf, page 2", "invoice.pdf, page 3", "receipt.png"
    ]  # fmt: skip
    assert len(told) == 5 and len(problems) == 1 and problems[0].startswith("broken.pdf")
    written = write_downloads(files, pages, session.folder())
    assert [name.rsplit("/", 1)[1].split(".", 1)[1] for name in written] == [
        "txt", "md", "jsonl", "hocr", "alto.xml", "ocr.pdf", "ocr.pdf"
    ]  # fmt: skip
    assert pdftotext(written[5]).count("Beta gamma") == 3


def test_models_are_offered_by_name(tmp_path):
    for name in ("adapter", "promoted/mine", "promoted/empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("adapter", "promoted/mine"):
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"")
    settings = DemoSettings(adapter=tmp_path / "adapter", promoted=tmp_path / "promoted")
    assert list(Session(settings).choices()) == ["base model", "trained adapter", "mine (promoted)"]
    assert Session(settings).preferred() == "base model"


def test_the_page_asks_no_other_host_for_anything(shown, tmp_path):
    import gradio as gr

    demo = build_demo(DemoSettings(corrections=tmp_path), lambda model: Reader(shown.page))
    demo.theme = gr.themes.Default(font=["sans-serif"], font_mono=["monospace"])
    with TestClient(gr.routes.App.create_app(demo)) as client:
        page = client.get("/").text
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', page)
    assert [url for url in loaded if "testserver" not in url] == []

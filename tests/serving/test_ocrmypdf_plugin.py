"""The plugin of OCRmyPDF, driven by OCRmyPDF itself on scanned PDFs."""

import pytest
from drawn_pages import pdftotext
from PIL import Image, ImageDraw, ImageFont

PLUGIN = "manifold_ocr.serving.ocrmypdf_plugin"
LEFT = [
    "The river rises in the hills",
    "north of the old market town",
    "and turns west at the mill",
]
RIGHT = [
    "Barges carried paper and salt",
    "down to the harbor each week",
    "until the lock was closed",
]


@pytest.fixture
def ocrmypdf(monkeypatch):
    """OCRmyPDF, with the embedded recognizer in the place of ours: it loads without torch."""
    found = pytest.importorskip(
        "ocrmypdf", reason="OCRmyPDF is not installed: pip install 'manifold-ocr[ocrmypdf]'"
    )
    from manifold_ocr.reading.engines.rapidocr import RapidOcr
    from manifold_ocr.reading.page import PageReader
    from manifold_ocr.serving import ocrmypdf_plugin
    from manifold_ocr.serving.documents import LockedModel, PerThreadDetector

    reader = PageReader(PerThreadDetector(), LockedModel(RapidOcr()))
    monkeypatch.setattr(ocrmypdf_plugin, "load_reader", lambda model, threads: reader)
    ocrmypdf_plugin._reader.cache_clear()
    yield found
    ocrmypdf_plugin._reader.cache_clear()


def scan(path):
    """A page of two columns as a scanner stores it: one picture, no text."""
    image = Image.new("L", (1700, 600), 255)
    font = ImageFont.load_default(size=40)
    draw = ImageDraw.Draw(image)
    draw.text((120, 80), "Notes on the Upper Valley", fill=0, font=ImageFont.load_default(size=56))
    for left, rows in ((120, LEFT), (940, RIGHT)):
        for number, text in enumerate(rows):
            draw.text((left, 230 + 52 * number), text, fill=0, font=font)
    image.save(path, resolution=200)
    return path


def test_a_scan_of_two_columns_gets_its_words_in_reading_order(ocrmypdf, tmp_path):
    source, target, sidecar = scan(tmp_path / "a.pdf"), tmp_path / "b.pdf", tmp_path / "b.txt"
    assert pdftotext(source).strip() == ""
    status = ocrmypdf.ocr(
        source, target, plugins=[PLUGIN], output_type="pdf", jobs=1, use_threads=True,
        progress_bar=False, sidecar=sidecar,
    )  # fmt: skip
    assert status == ocrmypdf.ExitCode.ok
    wanted = "Notes on the Upper Valley " + " ".join(LEFT) + " " + " ".join(RIGHT)
    assert " ".join(pdftotext(target).split()) == wanted
    assert " ".join(sidecar.read_text(encoding="utf-8").split()) == wanted
    # The words lie where they are printed: the right column in the right half (points of 1/72 in).
    half = "-x 324 -y 0 -W 288 -H 216".split()  # noqa: SIM905
    assert " ".join(pdftotext(target, *half).split()) == " ".join(RIGHT)


def test_another_engine_that_was_chosen_by_name_keeps_its_place(ocrmypdf):
    from types import SimpleNamespace

    from manifold_ocr.serving.ocrmypdf_plugin import ManifoldOcrEngine, get_ocr_engine

    assert get_ocr_engine(SimpleNamespace(ocr_engine="tesseract")) is None
    engine = get_ocr_engine(SimpleNamespace(ocr_engine="auto"))
    assert isinstance(engine, ManifoldOcrEngine) and isinstance(engine, ocrmypdf.OcrEngine)
    assert "deu" in engine.languages(SimpleNamespace(languages={"deu"}))
    assert "manifold-ocr" in engine.creator_tag(None)


def test_a_model_folder_that_is_not_there_is_an_error_of_ocrmypdf(ocrmypdf, tmp_path, monkeypatch):
    from manifold_ocr.reading.engines.checkpoint import load_checkpoint
    from manifold_ocr.serving import ocrmypdf_plugin

    monkeypatch.setenv("MANIFOLD_OCR_MODEL", "nowhere")
    monkeypatch.setattr(ocrmypdf_plugin, "load_reader", lambda model, _: load_checkpoint(model))
    with pytest.raises(ocrmypdf.exceptions.BadArgsError, match="MODEL: nowhere: no such model"):
        ocrmypdf_plugin.ManifoldOcrEngine.generate_hocr(
            tmp_path / "page.png", tmp_path / "a", tmp_path / "b", None
        )

"""Exports read back by other programs: poppler, lxml, markdown-it, the standards' own rules."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pikepdf
import pypdfium2
import pytest
from drawn_pages import draw_page, page_of_rows, pdftotext
from markdown_it import MarkdownIt
from PIL import Image

from manifold_ocr.reading.export import (
    WRITERS,
    ReadPage,
    alto,
    hocr,
    json_lines,
    markdown,
    text,
    words,
)
from manifold_ocr.reading.export_pdf import SearchablePdf, image_pdf
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import PageText

ROWS = [
    "Invoice No. 4711 <draft> & copy",
    "Größe: 12 µm, 北京市海淀区",
    "Total  1,234.50 €",
    "𝄞 clef",
]
XHTML = "{http://www.w3.org/1999/xhtml}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"


@pytest.fixture
def drawn():
    image, boxes = draw_page(ROWS)
    return image, page_of_rows(ROWS, boxes)


def flat(value):
    return " ".join(value.split())


def word_boxes(path):
    """Word -> box in points from the top left, as poppler sees them."""
    root = ET.fromstring(pdftotext(path, "-bbox", "-cropbox"))
    return {
        word.text: [float(word.get(k)) for k in ("xMin", "yMin", "xMax", "yMax")]
        for word in root.iter(f"{XHTML}word")
    }


def test_pdftotext_reads_the_words_in_order_and_in_place(tmp_path, drawn):
    image, page = drawn
    path = tmp_path / "a.pdf"
    path.write_bytes(image_pdf([(image, page), (image, page)]))
    read = pdftotext(path, "-layout").split("\f")[:2]
    assert [flat(part) for part in read] == [flat(" ".join(ROWS))] * 2
    (x0, y0, x1, y1), line = word_boxes(path)["Invoice"], page.lines[0].box
    scale = 72 / 200
    assert x0 == pytest.approx(line[0] * scale, abs=0.5)
    assert y0 >= line[1] * scale - 4 and y1 <= line[3] * scale + 4
    assert x1 == pytest.approx((line[0] + (line[2] - line[0]) * 7 / 31) * scale, abs=0.5)
    assert path.read_bytes() == image_pdf([(image, page), (image, page)])


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [False, True])
def test_text_lands_on_turned_and_cropped_pages_where_it_is_seen(tmp_path, drawn, turn, crop):
    """The page of a PDF is stored turned, shown upright: the layer follows what is shown."""
    from manifold_ocr.images import Document

    image, page = drawn
    source = tmp_path / "source.pdf"
    image.rotate(turn, expand=True).save(source, resolution=100)  # counter-clockwise
    with pikepdf.open(source, allow_overwriting_input=True) as pdf:
        shown = pdf.pages[0]
        shown.obj.Rotate = turn  # clockwise
        if crop:
            x0, y0, x1, y1 = (float(v) for v in shown.mediabox)
            shown.obj.MediaBox = [x0 - 50, y0 - 30, x1 + 20, y1 + 10]
            shown.obj.CropBox = [x0, y0, x1, y1]
        pdf.save(source)
    with Document(source) as document:
        rendered = document.render(0, 100)
    assert rendered.size == image.size
    result = SearchablePdf()
    result.add_pdf_page(source, 1, page)
    result.save(tmp_path / "out.pdf")
    assert flat(pdftotext(tmp_path / "out.pdf", "-layout")) == flat(" ".join(ROWS))
    with Document(tmp_path / "out.pdf") as document:
        assert document.render(0, 100).tobytes() == rendered.tobytes()  # nothing is seen of it
    (x0, y0, _, y1), line = word_boxes(tmp_path / "out.pdf")["Invoice"], page.lines[0].box
    assert x0 == pytest.approx(line[0] * 0.72, abs=1)
    assert (y0 + y1) / 2 == pytest.approx((line[1] + line[3]) / 2 * 0.72, abs=8)


def rich_pdf(path):
    """Two pages with a bookmark each, a form field, and a layer that is off."""
    blank = Image.new("RGB", (400, 250), "white")
    blank.save(path, save_all=True, append_images=[blank], resolution=100)
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        shown = pdf.pages[0]
        layer = pdf.make_indirect(
            pikepdf.Dictionary(Type=pikepdf.Name.OCG, Name=pikepdf.String("Draft"))
        )
        states = pikepdf.Dictionary(OFF=pikepdf.Array([layer]))
        pdf.Root.OCProperties = pikepdf.Dictionary(OCGs=pikepdf.Array([layer]), D=states)
        shown.Resources.Properties = pikepdf.Dictionary(Draft=layer)
        shown.contents_add(b"/OC /Draft BDC 0 0 0 rg 20 20 100 100 re f EMC")
        field = pdf.make_indirect(pikepdf.Dictionary(
            Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Widget, FT=pikepdf.Name.Tx,
            T=pikepdf.String("name"), V=pikepdf.String("Ada"), Rect=[10, 10, 90, 30],
        ))  # fmt: skip
        shown.Annots = pikepdf.Array([field])
        pdf.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([field]))
        with pdf.open_outline() as outline:
            outline.root += [pikepdf.OutlineItem(f"Part {n + 1}", n) for n in range(2)]
        pdf.save(path)


@pytest.mark.filterwarnings("error")
def test_fields_bookmarks_and_hidden_layers_of_a_pdf_come_along(tmp_path, drawn):
    from manifold_ocr.images import Document

    source, out = tmp_path / "source.pdf", tmp_path / "out.pdf"
    rich_pdf(source)
    result = SearchablePdf()
    for number in (1, 2):
        result.add_pdf_page(source, number, drawn[1])
    result.save(out)
    with Document(source) as before, Document(out) as after:
        for page in range(2):  # the layer stays hidden
            assert before.render(page, 100).tobytes() == after.render(page, 100).tobytes()
    with pypdfium2.PdfDocument(out) as document:
        marks = [(item.get_title(), item.get_dest().get_index()) for item in document.get_toc()]
    assert marks == [("Part 1", 0), ("Part 2", 1)]
    with pikepdf.open(out) as pdf:
        assert [(str(f.T), str(f.V)) for f in pdf.Root.AcroForm.Fields] == [("name", "Ada")]


def column(side, x):
    boxes = [(x, 40.0 + 50 * n, x + 200.0, 70.0 + 50 * n) for n in range(5)]
    return Paragraph(tuple(Row((Line(b, f"{side} row {n}"),)) for n, b in enumerate(boxes)))


def test_vertical_text_and_two_columns_keep_their_order(tmp_path):
    image = Image.new("RGB", (600, 800), "white")
    columns = [column("left", 30.0), column("right", 330.0)]
    tall = Paragraph((Row((Line((40.0, 400.0, 70.0, 700.0), "春眠不觉晓"),)),))
    page = PageText((*columns, tall), image.size, "page")
    path = tmp_path / "a.pdf"
    path.write_bytes(image_pdf([(image, page)]))
    raw = pdftotext(path, "-raw")
    order = [f"{side} row {n}" for side in ("left", "right") for n in range(5)]
    assert [line.strip() for line in raw.splitlines() if "row" in line] == order
    assert "春眠不觉晓" in re.sub(r"\s", "", raw)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_text_of_a_page_that_lies_turned_runs_as_its_lines_do(tmp_path, drawn, turn):
    """The image is turned, its boxes with it; a reader that turns the page sees plain rows."""
    image, page = drawn
    lying = image.rotate(-90 * turn, expand=True)  # upright after `turn` turns counter-clockwise
    width, height = image.size
    maps = {
        1: lambda x0, y0, x1, y1: (height - y1, x0, height - y0, x1),
        2: lambda x0, y0, x1, y1: (width - x1, height - y1, width - x0, height - y0),
        3: lambda x0, y0, x1, y1: (y0, width - x1, y1, width - x0),
    }
    boxes = [maps[turn](*line.box) for line in page.lines]
    turned = replace(page_of_rows(ROWS, boxes, lying.size), turn=turn)
    path = tmp_path / "a.pdf"
    path.write_bytes(image_pdf([(lying, turned)]))
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        pdf.pages[0].obj.Rotate = (-90 * turn) % 360
        pdf.save(path)
    assert flat(pdftotext(path, "-layout")) == flat(" ".join(ROWS))


def test_hocr_is_xhtml_with_boxes_and_confidence(drawn):
    _, page = drawn
    root = ET.fromstring(hocr([ReadPage(1, 'in/"a".png', page), ReadPage(2, "b.png", page)]))
    pages = [e for e in root.iter(f"{XHTML}div") if e.get("class") == "ocr_page"]
    assert [p.get("id") for p in pages] == ["page_1", "page_2"]
    assert "bbox 0 0 800 500" in pages[0].get("title")
    lines = [e for e in pages[0].iter(f"{XHTML}span") if e.get("class") == "ocr_line"]
    assert [" ".join("".join(e.itertext()).split()) for e in lines] == [flat(row) for row in ROWS]
    word = next(e for e in lines[0] if e.get("class") == "ocrx_word")
    assert re.fullmatch(r"bbox \d+ \d+ \d+ \d+; x_wconf 90", word.get("title"))
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_alto_has_the_elements_and_attributes_that_its_schema_requires(drawn):
    _, page = drawn
    root = ET.fromstring(alto([ReadPage(1, "a.png", page)]))
    assert root.tag == f"{ALTO}alto"
    assert root.find(f"{ALTO}Description/{ALTO}MeasurementUnit").text == "pixel"
    texts = []
    for line in root.iter(f"{ALTO}TextLine"):
        assert all(line.get(k).isdigit() for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
        texts.append(" ".join(s.get("CONTENT") for s in line.iter(f"{ALTO}String")))
        assert all(s.get("WC") == "0.9000" for s in line.iter(f"{ALTO}String"))
    assert texts == [flat(row) for row in ROWS]


def test_markdown_shows_the_text_as_it_was_read():
    rows = ["# not a heading", "1. not a list", "- nor this", "a * b * c_d_ [x](y) <b>", "| a |",
            "AT&amp;T `x` \\n", "12", "> quote", "+ 5 % ==="]  # fmt: skip
    page = page_of_rows(rows, [(0.0, 40.0 * n, 100.0, 40.0 * n + 30) for n in range(len(rows))])
    html = MarkdownIt().render(markdown([ReadPage(1, "a", page)]))
    shown = [flat("".join(e.itertext())) for e in ET.fromstring(f"<x>{html}</x>").iter("p")]
    assert shown == rows
    assert MarkdownIt().render(markdown([ReadPage(1, "a", page)] * 2)).count("<hr") == 1


def test_json_lines_and_text_hold_every_page(drawn):
    _, page = drawn
    read = [ReadPage(1, "a#page=1", page), ReadPage(3, "a#page=3", page)]
    rows = [json.loads(line) for line in json_lines(read).splitlines()]
    assert [(row["image"], row["page"], row["width"]) for row in rows] == [
        ("a#page=1", 1, 800), ("a#page=3", 3, 800)
    ]  # fmt: skip
    assert text(read).count("\f") == 1 and text(read).startswith(ROWS[0])


def test_signs_that_xml_cannot_hold_do_not_break_it():
    page = page_of_rows(["a\x00b\x0c \ud800 c"], [(0.0, 0.0, 90.0, 20.0)])
    for name in ("hocr", "alto"):
        ET.fromstring(WRITERS[name][1]([ReadPage(1, "a", page)]))


def test_words_share_a_line_by_their_width_wide_characters_count_twice():
    found = words(Line((0.0, 0.0, 120.0, 20.0), "ab 中文 c"))
    assert [word for word, _ in found] == ["ab", "中文", "c"]
    edges = [edge for _, box in found for edge in (box[0], box[2])]
    assert edges == pytest.approx([0, 80 / 3, 40, 280 / 3, 320 / 3, 120])
    empty = PageText((), (10, 10), "page")
    assert all(isinstance(w([ReadPage(1, "a", empty)]), str) for _, w in WRITERS.values())

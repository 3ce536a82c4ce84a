"""Predictions as PAGE-XML, ALTO and hOCR: lines in reading order, joined to the images."""

import pytest

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.layout_files import page_texts
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.records import Sample

PAGE = """<?xml version="1.0"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="b.png" imageWidth="100" imageHeight="100">
<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="r2"/>
<RegionRefIndexed index="1" regionRef="r1"/></OrderedGroup></ReadingOrder>
<TextRegion id="r1"><TextLine id="l1"><Coords points="0,0 9,0 9,9 0,9"/>
<TextEquiv><Unicode>second line</Unicode></TextEquiv></TextLine></TextRegion>
<TextRegion id="r2"><TextLine id="l2"><Coords points="0,0 9,0 9,9 0,9"/>
<TextEquiv><Unicode>first line</Unicode></TextEquiv></TextLine></TextRegion>
</Page></PcGts>"""
ALTO = """<?xml version="1.0"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description><sourceImageInformation>
<fileName>c.png</fileName></sourceImageInformation></Description><Layout><Page WIDTH="9" HEIGHT="9">
<PrintSpace><TextBlock><TextLine HPOS="0" VPOS="0" WIDTH="9" HEIGHT="9">
<String CONTENT="two"/><SP/><String CONTENT="words"/></TextLine></TextBlock></PrintSpace>
</Page></Layout></alto>"""
HOCR = """<!DOCTYPE html><html><body>
<div class='ocr_page' id='page_1' title='image "scans/a.png"; bbox 0 0 100 100; ppageno 0'>
<div class='ocr_carea'><p class='ocr_par'><span class='ocr_line' title="bbox 0 0 9 9">
<span class='ocrx_word'>Hello</span> <span class='ocrx_word'><strong>hOCR</strong></span></span>
<span class='ocr_caption' title="bbox 0 9 9 18">A caption &amp; more</span></p></div>
</div></body></html>"""


def samples(*names):
    return [
        Sample(id=n, document=n, corpus="c", subset="s", image=f"x/{n}.png", text="t",
               granularity="page")
        for n in names
    ]  # fmt: skip


def test_a_folder_of_layout_files_is_joined_by_image_or_file_name(tmp_path):
    (tmp_path / "one.hocr").write_text(HOCR)
    (tmp_path / "two.xml").write_text(PAGE)
    (tmp_path / "three.xml").write_text(ALTO)
    (tmp_path / "d.html").write_text(HOCR.replace('image "scans/a.png"; ', ""))
    found = import_predictions(tmp_path, samples("a", "b", "c", "d"))
    assert [p.text for p in found.predictions] == [
        "Hello hOCR\nA caption & more",
        "first line\nsecond line",
        "two words",
        "Hello hOCR\nA caption & more",
    ]
    assert found.missing == 0 and found.joined.unmatched == 0


def test_pages_of_one_file_are_told_apart(tmp_path):
    body = HOCR.split("<body>")[1].removesuffix("</body></html>")
    two = HOCR.replace("</body>", body + "</body>")
    (tmp_path / "both.hocr").write_text(two.replace("scans/a.png", "a.png", 1))
    keys = [image for image, _ in page_texts(tmp_path / "both.hocr")]
    assert keys == ["a.png", "scans/a.png"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.xml", "<PcGts>", "not well-formed"),
        ("a.xml", "<mets/>", "neither PAGE-XML, ALTO nor hOCR"),
        ("a.hocr", "<p>text</p>", "no element of class ocr_page"),
        ("a.html", "", "not readable as HTML|no element"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, content, problem):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}: .*({problem})"):
        import_predictions(tmp_path, samples("a"))


def test_an_empty_folder_says_what_is_needed(tmp_path):
    with pytest.raises(UserError, match=r"no \.md, PAGE-XML, ALTO or hOCR file"):
        import_predictions(tmp_path, samples("a"))

"""Pages of files: PDFs that a reference library writes, damaged pages, passwords, ranges."""

import pytest
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.images import Document
from manifold_ocr.reading.page import open_pages, parse_pages

pytest.importorskip("pypdfium2")


def pdf(pages, extra=b""):
    """Return a PDF 1.7 file: each page is (dictionary entries, content); Helvetica is /F1."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * k) for k in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R" + extra + b">>",
        b"<</Type/Pages/Kids[" + kids + b"]/Count %d>>" % len(pages),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, (entries, content) in enumerate(pages):
        objects += [
            b"<</Type/Page/Parent 2 0 R/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R" % (
                5 + 2 * number
            ) + entries + b">>",
            b"<</Length %d>>stream\n" % len(content) + content + b"\nendstream",
        ]  # fmt: skip
    return file_of(objects)


def file_of(objects):
    data, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return (
        data + b"xref\n0 %d\n0000000000 65535 f \n" % size + table
        + b"trailer\n<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    )  # fmt: skip


def words(text, x=72, y=700, size=24):
    return b"BT /F1 %d Tf %d %d Td (%s) Tj ET\n" % (size, x, y, text)


LETTER = b"/MediaBox[0 0 612 792]"


def dark(image):
    return sum(image.convert("L").histogram()[:128])


def test_a_damaged_page_costs_that_page_only(tmp_path):
    good = (LETTER, words(b"good"))
    data = pdf([good, good, good]).replace(b"6 0 obj", b"6 9 xbj")
    (tmp_path / "three.pdf").write_bytes(data)
    found = []
    with pytest.raises(UserError, match="page=2: the page is damaged"):
        for label, image in open_pages(tmp_path / "three.pdf"):
            found.append((label.rsplit("#")[1], dark(image) > 0))
    assert found == [("page=1", True), ("page=3", True)]


def three(tree, *more):
    """Return a file of three pages, objects 4, 6 and 8, under this tree; `more` are 10, ..."""
    pages = pdf([(LETTER, words(text)) for text in (b"one", b"two", b"three")])
    objects = [part.split(b"obj", 1)[1] for part in pages.split(b"endobj\n")[:-1]]
    return file_of([objects[0], b"<</Type/Pages" + tree + b">>", *objects[2:], *more])


KIDS = b"/Kids[4 0 R 6 0 R 8 0 R]"
LOW = b"<</Type/Pages/Parent 2 0 R/Kids[6 0 R 8 0 R]/Count 1>>"


@pytest.mark.parametrize(
    "data",
    [
        *(three(KIDS + b"/Count " + stated)
          for stated in (b"1", b"2", b"0", b"-3", b"7", b"99999", b"99999999", b"/Three")),
        three(KIDS),
        three(b"/Kids[4 0 R 10 0 R]/Count 2", LOW),
    ],
)  # fmt: skip
def test_a_wrong_count_loses_no_page_and_makes_none_up(tmp_path, data):
    (tmp_path / "three.pdf").write_bytes(data)
    pdfminer = pytest.importorskip("pdfminer.pdfpage")
    with open(tmp_path / "three.pdf", "rb") as file:
        counted = len(list(pdfminer.PDFPage.get_pages(file)))
    with Document(tmp_path / "three.pdf") as document:
        assert len(document) == counted == 3
        texts = [document.text_layer(frame)[0][1] for frame in range(3)]
        assert texts == ["one", "two", "three"]
        with pytest.raises(UserError, match=r"no page 4; the file has 3 page"):
            document.render(3)
    with Document(tmp_path / "three.pdf") as document:  # without being counted first
        assert dark(document.render(2)) > 0


def test_a_missing_page_is_told_beside_a_count(tmp_path):
    (tmp_path / "two.pdf").write_bytes(three(b"/Kids[4 0 R 60 0 R 8 0 R]/Count 3"))
    found = []
    with pytest.raises(UserError, match="page is damaged"):
        found += [label for label, _ in open_pages(tmp_path / "two.pdf")]
    with Document(tmp_path / "two.pdf") as document:
        assert len(document) == 3


def test_a_wrong_count_under_a_password(tmp_path):
    import pikepdf

    path = tmp_path / "locked.pdf"
    path.write_bytes(three(KIDS + b"/Count 3"))
    with pikepdf.open(path, allow_overwriting_input=True) as file:
        plain = pikepdf.ObjectStreamMode.disable
        file.save(path, encryption=pikepdf.Encryption("a", "b"), object_stream_mode=plain)
    assert path.read_bytes().count(b"/Count 3") == 1
    path.write_bytes(path.read_bytes().replace(b"/Count 3", b"/Count 2"))
    with Document(path, "b") as document:
        assert [document.text_layer(k)[0][1] for k in range(len(document))] == [
            "one", "two", "three"
        ]  # fmt: skip


def test_a_huge_page_is_rendered_smaller(tmp_path):
    (tmp_path / "huge.pdf").write_bytes(pdf([(b"/MediaBox[0 0 14400 14400]", words(b"x"))]))
    with Document(tmp_path / "huge.pdf") as document:
        assert document.size(0) == (10_000, 10_000)  # 200 inches: 50 dpi are 100 million pixels
        assert document.dpi(0) == pytest.approx(50)


def test_form_fields_are_drawn(tmp_path):
    field = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Elisabeth)/DA(/F1 18 Tf 0 g)/F 4"
        b"/Rect[72 600 400 640]>>"
    )
    page = LETTER + b"/Annots[6 0 R]"
    form = b"/AcroForm<</Fields[6 0 R]/NeedAppearances true/DR<</Font<</F1 3 0 R>>>>>>"
    blank = pdf([(page, b"")], form)
    objects = [part.split(b"obj", 1)[1] for part in blank.split(b"endobj\n")[:-1]]
    (tmp_path / "form.pdf").write_bytes(file_of([*objects, field]))
    with Document(tmp_path / "form.pdf") as document:
        assert dark(document.render(0)) > 500
        assert document.text_layer(0) == []  # it would lack the values


def test_the_text_layer_has_boxes_in_the_rendered_page(tmp_path):
    pages = [
        (LETTER, words(b"Upright")),
        (LETTER + b"/Rotate 90", words(b"Turned")),
        (b"/MediaBox[0 0 612 792]/CropBox[0 0 612 396]", words(b"hidden") + words(b"seen", y=100)),
    ]
    (tmp_path / "text.pdf").write_bytes(pdf(pages))
    with Document(tmp_path / "text.pdf") as document:
        for frame, text in enumerate(("Upright", "Turned", "seen")):
            ((box, found),) = document.text_layer(frame)
            ink = document.render(frame).convert("L").point(lambda v: 255 * (v < 128)).getbbox()
            assert found == text
            assert all(abs(a - b) <= 6 for a, b in zip(box, ink, strict=True)), (box, ink)


def test_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "scan.png").write_bytes(pdf([(LETTER, words(b"a PDF"))]))
    page = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(page).text((5, 5), "an image", fill="black")
    page.save(tmp_path / "scan.pdf", "PNG")
    assert [label[-6:] for label, _ in open_pages(tmp_path / "scan.png")] == ["page=1"]
    assert [image.size for _, image in open_pages(tmp_path / "scan.pdf")] == [(60, 40)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", [2]), ("1-2,4", [1, 2, 4]), ("3-", [3, 4, 5]), ("4,4,1-2", [1, 2, 4]), ("9", [])],
)
def test_page_ranges(tmp_path, text, expected):
    sheets = [Image.new("L", (20, 20), "white") for _ in range(5)]
    sheets[0].save(tmp_path / "five.tif", save_all=True, append_images=sheets[1:])
    found = open_pages(tmp_path / "five.tif", pages=parse_pages(text))
    assert [int(label.rsplit("=")[1]) for label, _ in found] == expected


@pytest.mark.parametrize("text", ["", "a", "0", "3-1", "1..2", "-2", "1-2-3"])
def test_wrong_page_ranges_are_refused(text):
    with pytest.raises(UserError, match="write numbers and ranges"):
        parse_pages(text)


def test_pdfs_without_pages_and_with_passwords_say_so(tmp_path):
    (tmp_path / "none.pdf").write_bytes(pdf([]))
    with pytest.raises(UserError, match=r"without any page|not a PDF"):
        list(open_pages(tmp_path / "none.pdf"))

"""From scans to labels and back: names, transcripts, corrections, exports; nothing overwritten."""

import json
import xml.etree.ElementTree as ET
from urllib.parse import quote

import pytest
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import Recognition
from manifold_ocr.reading.detect import DetectedLine
from manifold_ocr.reading.label.corrections import apply_corrections, export_labels
from manifold_ocr.reading.label.folder import label_folder, read_index, write_page
from manifold_ocr.reading.page import PageReader


class Lines:
    """Two lines on every page."""

    def detect(self, image):
        return [
            DetectedLine(((10, y), (110, y), (110, y + 20), (10, y + 20)), 0.9) for y in (10, 60)
        ]


class Alternating:
    """Reads `alpha`, `beta`, `alpha`, ..."""

    family = name = "alternating"

    def __init__(self):
        self.count = 0

    def recognize(self, images, prompts=None):
        for _ in images:
            self.count += 1
            yield Recognition("alpha" if self.count % 2 else "beta", 0.9)


def sheet(size=(200, 100)):
    return Image.new("RGB", size, "white")


def label(folder, out):
    return label_folder(PageReader(Lines(), Alternating()), folder, out, "page")


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def test_scans_of_one_name_do_not_overwrite_each_other(scans, tmp_path):
    for name in ("scan.png", "scan.jpg", "Scan.tif", "other.png"):
        sheet().save(scans / name)
    done = label(scans, tmp_path / "out")
    assert len(done.labels) == 8 and len({entry.image.lower() for entry in done.labels}) == 8
    assert {entry.page for entry in done.labels} == {"scan_png", "scan_jpg", "Scan_tif", "other"}
    assert len(list((tmp_path / "out").glob("*.png"))) == 8


def test_every_page_of_a_tiff_is_labeled(scans, tmp_path):
    sheet().save(scans / "two.tif", save_all=True, append_images=[sheet((220, 100))])
    found = label(scans, tmp_path / "out").labels
    assert [(e.page, e.frame, e.width) for e in found][::2] == [
        ("two-p0001", 0, 200), ("two-p0002", 1, 220),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("scan.txt", b"Alpha\nBeta\n"),
        ("scan.gt.txt", b"\xef\xbb\xbfAlpha\nBeta\n"),  # a byte order mark
        ("SCAN.TXT", "Alpha\r\nBeta".encode("utf-16")),
        ("scan.png.txt", b"Alpha\nBeta"),
    ],
)
def test_transcripts_in_any_dress_are_taken(scans, tmp_path, name, data):
    sheet().save(scans / "scan.png")
    (scans / name).write_bytes(data)
    found = label(scans, tmp_path / "out").labels
    assert [(e.text, e.source) for e in found] == [
        ("Alpha", "transcript"), ("Beta", "transcript"),
    ]  # fmt: skip


def test_the_transcript_of_a_one_page_pdf_is_taken(scans, tmp_path):
    pytest.importorskip("pypdfium2")
    sheet().save(scans / "letter.pdf")
    (scans / "letter.txt").write_text("Alpha\nBeta\n")
    assert {e.source for e in label(scans, tmp_path / "out").labels} == {"transcript"}


def test_a_transcript_that_no_page_can_be_given_is_left_over(scans, tmp_path):
    sheet().save(scans / "two.tif", save_all=True, append_images=[sheet()])
    (scans / "two.txt").write_text("Alpha\nBeta\n")  # no form feed between the pages
    done = label(scans, tmp_path / "out")
    assert done.left_over == (("two-p0001", "Alpha\nBeta\n"),)
    (scans / "two.txt").write_text("Alpha\n\fBeta\n")
    done = label(scans, tmp_path / "again")
    assert [e.source for e in done.labels] == ["transcript", "read", "read", "transcript"]


def test_unreadable_files_are_listed_and_the_rest_is_written(scans, tmp_path):
    (scans / "a.png").write_bytes(b"no image")
    (scans / "b.pdf").write_bytes(b"%PDF-1.7 no PDF")
    sheet().save(scans / "c.png")
    sheet().save(scans / "d.png")
    (scans / "d.txt").write_bytes(b"\xc3\x28")
    done = label(scans, tmp_path / "out")
    assert len(done.failed) == 3 and {e.page for e in done.labels} == {"c"}
    assert [name in text for name, text in zip("abd", done.failed, strict=True)] == [True] * 3
    assert len(read_index(tmp_path / "out")) == 2


def test_names_with_hash_and_question_mark_are_addresses_in_the_page(scans, tmp_path):
    sheet().save(scans / "a#1?.png")
    out = tmp_path / "out"
    page = write_page(out, label(scans, out).labels).read_text()
    assert "encodeURIComponent" in page and "a#1?-0001.png" in page
    assert quote("a#1?-0001.png") == "a%231%3F-0001.png"  # what the browser asks for
    assert (out / "a#1?-0001.png").is_file()


def save(path, lines, order=()):
    path.write_text(json.dumps({"lines": lines, "order": order}))
    return path


def test_order_rotation_and_split_are_applied(scans, tmp_path):
    page = sheet()
    ImageDraw.Draw(page).rectangle((10, 10, 40, 30), fill="red")
    page.save(scans / "a.png")
    out = tmp_path / "out"
    label(scans, out)
    lines = [
        {"image": "a-0001.png", "text": "one¦two", "split": [0.4], "texts": ["one", "two"]},
        {"image": "a-0002.png", "text": "turned", "rotate": 90},
    ]
    order = ["a-0002.png", "a-0001.png"]
    assert apply_corrections(out, save(tmp_path / "c.json", lines, order)) == (2, 0)
    found = read_index(out)
    assert [(e.image, e.text, e.source) for e in found] == [
        ("a-0002.png", "turned", "corrected"),
        ("a-0001.png", "one", "corrected"),
        ("a-0003.png", "two", "corrected"),
    ]
    assert [e.box for e in found[1:]] == [(10, 10, 50, 30), (50, 10, 110, 30)]
    sizes = [Image.open(out / e.image).size for e in found]
    assert sizes == [(20, 100), (40, 20), (60, 20)]
    assert (out / "a-0003.gt.txt").read_text() == "two\n"


@pytest.mark.parametrize(
    "line",
    [
        {"text": "a", "split": [0.5], "texts": ["a"]},
        {"text": "a", "split": [1.5], "texts": ["a", "b"]},
        {"text": "a", "split": "x"},
        {"text": "a", "rotate": 45},
    ],
)
def test_wrong_corrections_are_refused(scans, tmp_path, line):
    sheet().save(scans / "a.png")
    label(scans, tmp_path / "out")
    with pytest.raises(UserError, match=r"c\.json"):
        path = save(tmp_path / "c.json", [{"image": "a-0001.png", **line}])
        apply_corrections(tmp_path / "out", path)


def test_an_order_that_is_no_list_is_refused(scans, tmp_path):
    sheet().save(scans / "a.png")
    label(scans, tmp_path / "out")
    path = save(tmp_path / "c.json", [{"image": "a-0001.png", "text": "x"}], 1.5)
    with pytest.raises(UserError, match=r"c\.json: 'order' must be a list"):
        apply_corrections(tmp_path / "out", path)


def test_labels_are_exported_as_page_xml_and_alto(scans, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    sheet().transpose(Image.Transpose.ROTATE_90).save(scans / "a & b.jpg", exif=exif)
    out = tmp_path / "out"
    label(scans, out)
    (out / "a & b-0001.gt.txt").write_text("x < y\n")
    assert export_labels(scans, out, "page") == export_labels(scans, out, "alto") == 1
    page = ET.parse(tmp_path / "out-page/a & b.xml").getroot()
    space = "{http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15}"
    assert page.find(f"{space}Page").get("imageFilename") == "a & b.png"
    assert [e.text for e in page.iter(f"{space}Unicode")] == ["x < y", "beta"]
    points = next(page.iter(f"{space}TextLine")).find(f"{space}Coords").get("points")
    assert points == "10,10 110,10 110,30 10,30"
    assert Image.open(tmp_path / "out-page/a & b.png").size == (200, 100)
    alto = ET.parse(tmp_path / "out-alto/a & b.xml").getroot()
    space = "{http://www.loc.gov/standards/alto/ns-v4#}"
    found = [
        (s.get("CONTENT"), s.get("HPOS"), s.get("HEIGHT")) for s in alto.iter(f"{space}String")
    ]
    assert found == [("x < y", "10", "20"), ("beta", "10", "20")]
    with pytest.raises(UserError, match="page or alto"):
        export_labels(scans, out, "hocr")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"frame": "two"}, "frame"), ({"box": ["a", 1, 2, 3]}, "box.0"),
     ({"box": [float("inf"), 0, 9, 9]}, "box"), ({"page": "../../up"}, "leads out of the folder"),
     ({"file": "/etc/passwd"}, "leads out of the folder"), ({"width": None}, "width")],
)  # fmt: skip
def test_a_broken_index_is_one_line_with_its_row(scans, tmp_path, change, message):
    sheet().save(scans / "a.png")
    label(scans, tmp_path / "out")
    index = tmp_path / "out/labels.jsonl"
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    index.write_text("\n".join(json.dumps(row) for row in [rows[0], {**rows[1], **change}]))
    with pytest.raises(UserError, match=rf"labels\.jsonl:2: .*{message}"):
        export_labels(scans, tmp_path / "out", "page")


def test_an_index_that_is_no_text_is_one_line(scans, tmp_path):
    sheet().save(scans / "a.png")
    label(scans, tmp_path / "out")
    (tmp_path / "out/labels.jsonl").write_bytes(b"\xa8\x00")
    with pytest.raises(UserError, match=r"labels\.jsonl: not UTF-8"):
        read_index(tmp_path / "out")

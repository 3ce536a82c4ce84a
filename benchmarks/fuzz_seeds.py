"""Whole inputs of every kind that `fuzz_inputs.py` damages: documents, label files, rows, settings.

A seed is a folder of files, the one that is damaged, and the door that it goes through.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from PIL import Image, ImageDraw

BOX = [[5, 5], [150, 5], [150, 30], [5, 30]]
PAGE_XML = (
    b'<?xml version="1.0"?><PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/'
    b'2019-07-15"><Page imageFilename="a.png" imageWidth="200" imageHeight="80"><ReadingOrder>'
    b'<OrderedGroup id="o"><RegionRefIndexed index="0" regionRef="r"/></OrderedGroup>'
    b"</ReadingOrder>"
    b'<TextRegion id="r" custom="readingOrder {index:0;}"><Coords points="0,0 199,0 199,79 0,79"/>'
    b'<TextLine id="l" custom="readingOrder {index:0;}"><Coords points="5,5 150,5 150,30 5,30"/>'
    b'<Word id="w"><TextEquiv><Unicode>alpha</Unicode></TextEquiv></Word><TextEquiv index="0">'
    b"<Unicode>alpha &amp; beta</Unicode></TextEquiv></TextLine></TextRegion><TableRegion id='t'>"
    b'<TableCell id="c" row="0" col="0"><Coords points="0,40 99,40 99,79 0,79"/><TextEquiv>'
    b"<Unicode>cell</Unicode></TextEquiv></TableCell></TableRegion></Page></PcGts>"
)
ALTO_XML = (
    b'<?xml version="1.0"?><alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>'
    b"<MeasurementUnit>mm10</MeasurementUnit><sourceImageInformation><fileName>a.png</fileName>"
    b'</sourceImageInformation></Description><ReadingOrder><OrderedGroup><ElementRef REF="b"/>'
    b'</OrderedGroup></ReadingOrder><Layout><Page ID="p" WIDTH="200" HEIGHT="80">'
    b'<PrintSpace><TextBlock ID="b"><TextLine ID="l" HPOS="5" VPOS="5" WIDTH="145" HEIGHT="25">'
    b'<String CONTENT="alpha" HPOS="5" VPOS="5" WIDTH="60" HEIGHT="25"/><SP/><String CONTENT="be"/>'
    b'<HYP CONTENT="-"/></TextLine><TextLine ID="m"><Shape><Polygon POINTS="5 40 90 40 90 60 5 60"'
    b'/></Shape><String CONTENT="ta"/></TextLine></TextBlock></PrintSpace></Page></Layout></alto>'
)
HOCR = (
    b"<html><body><div class='ocr_page' title='image \"r0.png\"; bbox 0 0 200 80'>"
    b"<span class='ocr_line' title='bbox 5 5 150 30'><span class='ocrx_word' "
    b"title='bbox 5 5 60 30; x_wconf 90'>alpha</span></span></div></body></html>"
)
COCO = {
    "imgs": {"1": {"id": 1, "file_name": "a.png", "set": "train", "width": 200, "height": 80}},
    "anns": {
        "7": {"id": 7, "image_id": 1, "bbox": [5, 5, 145, 25], "utf8_string": "alpha",
              "legibility": "legible", "language": "english", "class": "machine printed"},
    },
    "imgToAnns": {"1": [7]},
}  # fmt: skip
STUDIO = [
    {"data": {"ocr": "/data/local-files/?d=a.png"}, "annotations": [{"was_canceled": False,
     "result": [{"id": "x", "type": "rectangle", "value": {"x": 5, "y": 5, "width": 70,
                 "height": 30, "rotation": 0}},
                {"id": "x", "type": "textarea", "value": {"text": ["alpha"]}}]}]},
]  # fmt: skip
OMNI = [
    {"layout_dets": [{"category_type": "text_block", "poly": [5, 5, 150, 5, 150, 30, 5, 30],
                      "text": "alpha", "order": 0, "anno_id": 0, "ignore": False,
                      "line_with_spans": [{"category_type": "text_span", "text": "alpha",
                                           "poly": [5, 5, 150, 5, 150, 30, 5, 30]}]},
                     {"category_type": "table", "poly": [0, 40, 99, 40, 99, 79, 0, 79],
                      "html": "<table><tr><td>1</td></tr></table>", "order": 1, "anno_id": 1}],
     "page_info": {"image_path": "a.png", "width": 200, "height": 80, "page_no": 0,
                   "page_attribute": {"language": "english", "data_source": "book"}},
     "extra": {"relation": []}},
]  # fmt: skip
DOCVQA = {"data": [{"questionId": 1, "question": "What?", "image": "documents/a.png",
                    "answers": ["alpha"], "data_split": "val", "docId": 3,
                    "question_types": ["form"]}]}  # fmt: skip
PUBLAYNET = {
    "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 80}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 145, 25]}],
    "categories": [{"id": 1, "name": "text"}],
}
ROWS = [
    {"image": "a.png", "text": "alpha", "box": [5, 5, 150, 30], "granularity": "line",
     "language": "en", "split": "train", "tags": ["x"], "frame": 0},
    {"doc_id": "d", "image_path": "a.png", "text": "alpha\nbeta", "subset": "s"},
]  # fmt: skip
PREDICTIONS = [
    {"id": f"r{k}", "text": "alpha", "confidence": 0.5, "vision_tokens": 100} for k in range(3)
]
MANIFEST = [
    {"id": f"c/r{k}.png", "document": f"c/r{k}", "corpus": "c", "subset": "s", "image": "c/a.png",
     "text": "alpha", "tags": ["t"], "box": [5, 5, 150, 30], "width": 200, "height": 80,
     "language": "en", "answers": []}
    for k in range(3)
]  # fmt: skip
LABELS = [
    {"image": "a-0001.png", "page": "a", "box": [5, 5, 150, 30], "text": "alpha", "read": "alpha",
     "confidence": 0.9, "source": "read", "file": "a.png", "frame": 0, "width": 200, "height": 80},
]  # fmt: skip
CORRECTIONS = {
    "lines": [{"image": "a-0001.png", "text": "al\u00a6pha", "keep": True, "rotate": 0,
               "split": [0.5], "texts": ["al", "pha"]}],
    "order": ["a-0001.png"],
}  # fmt: skip
PARAMS = {
    "download": {"corpora": ["mine"]},
    "corpora": {"commercial": False, "mine": {"kind": "folder", "path": "docs", "layout": "auto"}},
    "manifest": {"val_split": 0.1, "test_split": 0.1, "seed": 7, "max_pixels": 0},
    "train": {"epochs": 2.0, "learning_rate": 0.001},
    "lora": {"rank": 8, "alpha": 16},
    "evaluate": {"profile": "nfc_ws", "bootstrap_samples": 100},
    "monitor": {"system": "adapter"},
}


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A whole input: its files by name, the one to damage, its door and the door's options."""

    files: Mapping[str, bytes]
    damage: str
    door: str
    options: Mapping[str, Any] = field(default_factory=dict)


def drawn() -> Image.Image:
    """Return a small page with a word."""
    page = Image.new("RGB", (200, 80), "white")
    ImageDraw.Draw(page).text((10, 10), "alpha beta", fill="black", font_size=20)
    return page


def encoded(kind: str, **options: Any) -> bytes:
    """Return the page in an image or PDF format."""
    buffer = io.BytesIO()
    drawn().save(buffer, kind, **options)
    return buffer.getvalue()


def zipped() -> bytes:
    """Return a zip archive of two files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "alpha " * 50)
        archive.writestr("sub/a.png", encoded("PNG"))
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    """Return a tar archive of one file, compressed as `mode` says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("sub/a.png")
        content = encoded("PNG")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def parquet() -> bytes:
    """Return a Parquet file of two rows with an image and a text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = {"bytes": encoded("PNG"), "path": "a.png"}
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [picture] * 2, "text": ["alpha", "beta"]}), buffer)
    return buffer.getvalue()


def lines(rows: list[Any]) -> bytes:
    """Return JSON Lines."""
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode() + b"\n"


def documents() -> dict[str, Seed]:
    """Return images, PDFs and archives."""
    several = {"save_all": True, "append_images": [drawn(), drawn()]}
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = {
        "a.png": encoded("PNG"),
        "a.jpg": encoded("JPEG", exif=exif),
        "a.tif": encoded("TIFF", **several),
        "g4.tif": encoded("TIFF", compression="tiff_lzw"),
        "a.gif": encoded("GIF", **several),
        "a.webp": encoded("WEBP", **several),
        "a.bmp": encoded("BMP"),
        "a.jp2": encoded("JPEG2000"),
        "a.avif": encoded("AVIF"),
        "a.pdf": encoded("PDF", **several),
    }
    found = {
        name: Seed(files={name: content}, damage=name, door="document")
        for name, content in contents.items()
    }
    packed = {"a.zip": zipped(), "a.tar": tarred(""), "a.tar.gz": tarred("gz")}
    for name, content in packed.items():
        found[name] = Seed(files={name: content}, damage=name, door="archive")
    return found


def corpora() -> dict[str, Seed]:
    """Return label files of every layout, each beside its image."""
    png = encoded("PNG")
    paddle = json.dumps([{"transcription": "alpha", "points": BOX, "difficult": False}])
    donut = json.dumps({"gt_parse": {"menu": [{"nm": "alpha", "price": "1"}]}})
    folders = {
        "page.xml": ("p.xml", PAGE_XML),
        "alto.xml": ("p.xml", ALTO_XML),
        "pairs": ("a.gt.txt", b"alpha beta\n"),
        "coco": ("COCO_Text.json", json.dumps(COCO).encode()),
        "studio": ("tasks.json", json.dumps(STUDIO).encode()),
        "paddle det": ("Label.txt", f"a.png\t{paddle}\n".encode()),
        "paddle rec": ("rec_gt_train.txt", b"a.png\talpha\n"),
        "imagefolder": ("metadata.csv", b'file_name,text\na.png,"alpha, beta"\n'),
        "donut": ("metadata.jsonl", lines([{"file_name": "a.png", "ground_truth": donut}])),
    }
    found = {
        name: Seed(files={"a.png": png, file: content}, damage=file, door="corpus")
        for name, (file, content) in folders.items()
    }
    boxes = b"5,5,150,5,150,30,5,30,alpha\n"
    key = b'{"company": "a", "date": "b"}'
    own: dict[str, tuple[str, dict[str, bytes]]] = {
        "manifest": ("manifest.jsonl", {"a.png": png, "manifest.jsonl": lines(ROWS)}),
        "icdar2015": ("gt_a.txt", {"a.png": png, "gt_a.txt": boxes}),
        "icdar_sroie": ("box/a.csv", {"img/a.png": png, "box/a.csv": boxes, "key/a.json": key}),
        "omnidocbench": (
            "OmniDocBench.json",
            {"images/a.png": png, "OmniDocBench.json": json.dumps(OMNI).encode()},
        ),
        "docvqa": (
            "val_v1.0.json",
            {"documents/a.png": png, "val_v1.0.json": json.dumps(DOCVQA).encode()},
        ),
        "publaynet": ("val.json", {"val/a.png": png, "val.json": json.dumps(PUBLAYNET).encode()}),
    }
    for kind, (file, files) in own.items():
        found[kind] = Seed(files=files, damage=file, door="corpus", options={"kind": kind})
    found["parquet"] = Seed(
        files={"train.parquet": parquet()}, damage="train.parquet", door="dataset"
    )
    return found


def rows_and_settings() -> dict[str, Seed]:
    """Return prediction files, what the label page exchanges, and params."""
    rows = lines(PREDICTIONS)
    whole = json.dumps(PREDICTIONS).encode()
    index = {"a-0001.png": encoded("PNG"), "labels.jsonl": lines(LABELS)}
    corrections = {**index, "corrections.json": json.dumps(CORRECTIONS).encode()}
    params = yaml.safe_dump(PARAMS).encode()
    return {
        "rows.jsonl": Seed(files={"p.jsonl": rows}, damage="p.jsonl", door="predictions"),
        "rows.json": Seed(files={"p.json": whole}, damage="p.json", door="predictions"),
        "markdown": Seed(files={"r0.md": b"# alpha\n"}, damage="r0.md", door="prediction folder"),
        "hocr": Seed(files={"r0.hocr": HOCR}, damage="r0.hocr", door="prediction folder"),
        "page prediction": Seed(
            files={"r0.xml": PAGE_XML.replace(b"a.png", b"r0.png")},
            damage="r0.xml",
            door="prediction folder",
        ),
        "eval rows": Seed(files={"m.jsonl": lines(MANIFEST)}, damage="m.jsonl", door="eval rows"),
        "eval pages": Seed(
            files={"o.json": json.dumps(OMNI).encode()}, damage="o.json", door="eval rows"
        ),
        "labels.jsonl": Seed(files=index, damage="labels.jsonl", door="labels"),
        "corrections": Seed(files=corrections, damage="corrections.json", door="labels"),
        "params": Seed(files={"params.yaml": params}, damage="params.yaml", door="params"),
    }


def seeds() -> dict[str, Seed]:
    """Return every kind of input by name."""
    return {**documents(), **corpora(), **rows_and_settings()}

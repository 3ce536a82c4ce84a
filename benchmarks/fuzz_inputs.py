"""Damaged inputs through every door: no traceback, no hang, every file accounted for.

    PYTHONPATH=src python benchmarks/fuzz_inputs.py [--count 1000] [--seed 1]

Images, PDFs, PAGE-XML, ALTO, prediction files and archives are drawn, then damaged: bytes
flipped, cut, doubled, inserted, numbers made huge. Each goes through the door that users take
(pages of a document, rows of a folder corpus, imported predictions, an unpacked archive) in a
process of its own, under 20 seconds. Right are a result or one UserError that names the file.
Status 1 otherwise; the inputs that failed are kept in the folder that is printed.
"""

import argparse
import io
import json
import multiprocessing
import random
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from manifold_ocr.data.archives import unpack
from manifold_ocr.data.readers.folder import Folder
from manifold_ocr.errors import UserError
from manifold_ocr.images import Document
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.records import RawRow, Rejection, Sample

SECONDS = 20
PAGE = (
    '<?xml version="1.0"?><PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/'
    '2019-07-15"><Page imageFilename="a.png" imageWidth="200" imageHeight="80"><TextRegion id="r">'
    '<Coords points="0,0 199,0 199,79 0,79"/><TextLine id="l"><Coords points="5,5 150,5 150,30 '
    '5,30"/><TextEquiv><Unicode>alpha &amp; beta</Unicode></TextEquiv></TextLine></TextRegion>'
    "</Page></PcGts>"
)
ALTO = (
    '<?xml version="1.0"?><alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>'
    "<MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation><fileName>a.png</fileName>"
    '</sourceImageInformation></Description><Layout><Page ID="p" WIDTH="200" HEIGHT="80">'
    '<PrintSpace><TextBlock ID="b"><TextLine ID="l" HPOS="5" VPOS="5" WIDTH="145" HEIGHT="25">'
    '<String CONTENT="alpha" HPOS="5" VPOS="5" WIDTH="60" HEIGHT="25"/></TextLine></TextBlock>'
    "</PrintSpace></Page></Layout></alto>"
)
SAMPLES = [
    Sample(id=f"r{k}", document=f"r{k}", corpus="c", subset="s", image=f"r{k}.png", text="alpha")
    for k in range(3)
]


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
    """Return an archive of two files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "alpha " * 50)
        archive.writestr("sub/a.png", encoded("PNG"))
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Return whole inputs by name; the suffix chooses the door."""
    several = {"save_all": True, "append_images": [drawn(), drawn()]}
    rows = [{"id": f"r{k}", "text": "alpha", "confidence": 0.5} for k in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "a.png": encoded("PNG"),
        "a.jpg": encoded("JPEG", exif=exif),
        "a.tif": encoded("TIFF", **several),
        "a.gif": encoded("GIF", **several),
        "a.webp": encoded("WEBP", **several),
        "a.bmp": encoded("BMP"),
        "a.pdf": encoded("PDF", **several),
        "page.xml": PAGE.encode(),
        "alto.xml": ALTO.encode(),
        "rows.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "a.zip": zipped(),
    }


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a damaged copy."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(max(1, len(out)))
        how = rng.randrange(6)
        if how == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif how == 1:
            del out[at : at + rng.randrange(1, 1 + max(1, len(out) // 4))]
        elif how == 2:
            out[at:at] = out[at : at + rng.randrange(1, 64)]
        elif how == 3:
            out[at:at] = rng.choice(
                (b"\0" * 8, b"\xff" * 8, b"99999999999", b"<", b'"', b"[" * 300)
            )
        elif how == 4 and len(out) >= 4:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
        else:
            out = out[: max(1, at)]
    return bytes(out)


def through(path: Path) -> str:
    """Send a file through its door; return what came of it, nothing left out."""
    if path.suffix == ".jsonl":
        found = import_predictions(path, SAMPLES)
        counts = found.counts()
        known = counts["matched"] + counts["repeated"] + counts["unmatched"] + counts["ambiguous"]
        assert known == counts["rows"] and len(found.predictions) == len(SAMPLES), counts
        return "rows"
    if path.suffix == ".xml":
        drawn().save(path.parent / "a.png")
        rows = list(Folder("fuzz").rows(path.parent, {}))
        assert rows and all(isinstance(row, RawRow | Rejection) for row in rows), rows
        return "rows"
    if path.suffix == ".zip":
        unpack(path, path.parent / "out")
        return "unpacked"
    with Document(path) as document:
        read = failed = 0
        for frame in range(len(document)):
            try:
                document.render(frame)
                read += 1
            except UserError:
                failed += 1
        assert read + failed == len(document) > 0
    return "pages" if not failed else "some pages"


def child(path: Path, send: Callable[[str], None]) -> None:
    """Report the outcome of one file: what it gave, a UserError, or the traceback of a bug."""
    try:
        send(through(path))
    except UserError as error:
        send("refused" if "\n" not in str(error) else f"BUG: an error of several lines: {error}")
    except BaseException:
        send("BUG: " + traceback.format_exc(limit=-4))


def outcome(path: Path) -> str:
    """Run a file in a process of its own for at most SECONDS."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(path, send.send))
    process.start()
    send.close()
    try:
        return str(receive.recv()) if receive.poll(SECONDS) else f"BUG: over {SECONDS} seconds"
    except EOFError:
        process.join()
        return f"BUG: the process died with status {process.exitcode}"
    finally:
        process.kill()
        process.join()


def main() -> int:
    """Damage and send the inputs; print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="fuzz_inputs_"))
    whole = seeds()
    counts: Counter[str] = Counter()
    bugs = []
    for number in range(options.count):
        name = list(whole)[number % len(whole)]
        folder = root / f"{number:05d}"
        folder.mkdir()
        (folder / name).write_bytes(damaged(whole[name], rng))
        found = outcome(folder / name)
        counts["bug" if found.startswith("BUG") else found] += 1
        if found.startswith("BUG"):
            bugs.append(folder / name)
            print(f"{folder / name}: {found}", flush=True)
    print(f"{options.count} inputs: " + ", ".join(f"{v} {k}" for k, v in sorted(counts.items())))
    return int(bool(bugs))


if __name__ == "__main__":
    sys.exit(main())

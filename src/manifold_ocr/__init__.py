"""manifold-ocr: fine-tune, measure and compress OCR on your own documents, reproducibly.

    import manifold_ocr as mo

    mo.read("scan.png").text                     # any image or PDF, lines or whole pages
    mo.load_model("output/adapter").read(image)  # a checkpoint or adapter, kept in memory
    mo.evaluate("rows.jsonl", predictions="theirs.jsonl").headline()
    mo.encode("a text").entries                  # its structural signatures

Nothing is imported before it is used, so `import manifold_ocr` takes no time.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from manifold_ocr.compression.archive import Document
    from manifold_ocr.evaluation.report import EvalReport
    from manifold_ocr.reading.page import PageReader, PageText

# Its wheels keep a device id in the home folder and send usage events; nothing leaves here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Pages", "encode", "evaluate", "load_model", "read"]


class Pages(tuple["PageText", ...]):
    """The pages of a file in order; each has `text`, `paragraphs`, `lines` and `confidence`."""

    @property
    def text(self) -> str:
        """The pages' texts, joined by a form feed as pdftotext does."""
        return "\f".join(page.text for page in self)


def load_model(folder: str | Path | None = None, *, threads: int = 0) -> "PageReader":
    """Load a reader of lines and pages: a checkpoint folder, an adapter, or the base model.

    An adapter needs its base: that of params.yaml in the current folder. It reads on
    `threads` cores; 0 takes all.

    >>> model = load_model()
    >>> model.read(Image.open("scan.png")).text
    'HELLO PAGE'

    Raises:
        UserError: no such folder, or it is neither a checkpoint nor an adapter.
    """
    from manifold_ocr.reading.detect import DetectionConfig, LazyDetector
    from manifold_ocr.reading.engines.checkpoint import reader_model
    from manifold_ocr.reading.page import PageReader

    detector = LazyDetector(DetectionConfig(threads=threads))
    folder = None if folder is None else Path(folder)
    return PageReader(detector, reader_model(folder, threads=threads))


def read(
    path: str | Path,
    *,
    model: "PageReader | str | Path | None" = None,
    mode: Literal["auto", "line", "page"] = "auto",
    dpi: int = 200,
) -> Pages:
    """Read every page of an image or PDF; PDFs are rendered at `dpi`.

    `model` is what `load_model` returned, or a folder for it. `mode` auto takes a single row of
    text that fills the image for a line.

    >>> read("scan.png").text
    'HELLO PAGE'

    Raises:
        UserError: the file cannot be opened, or a page of it cannot be rendered.
    """
    from manifold_ocr.reading.page import PageReader, open_pages

    reader = model if isinstance(model, PageReader) else load_model(model)
    return Pages(reader.read(image, mode) for _, image in open_pages(Path(path), dpi))


def evaluate(
    manifest: str | Path,
    *,
    predictions: str | Path | None = None,
    model: str | Path | None = None,
    image_root: str | Path = "data/raw",
    params: str | Path = "params.yaml",
) -> "EvalReport":
    """Score predictions, or a model that reads the images, on any manifest.

    Manifests are ours, the older JSON Lines form, or OmniDocBench.json. Without a `params` file
    the defaults of section `evaluate` count.

    >>> report = evaluate("rows.jsonl", predictions="theirs.jsonl")
    >>> report.summary["overall"]["cer"]  # one character of eight is wrong
    0.125

    Raises:
        UserError: a file is missing or broken, or nothing fits the rows.
    """
    from manifold_ocr.evaluation.engine_scores import evaluate_config, import_or_read
    from manifold_ocr.evaluation.report import evaluate_predictions, load_manifest

    loaded = load_manifest(Path(manifest))
    reading = import_or_read(
        loaded.samples,
        Path(image_root),
        None if model is None else Path(model),
        None if predictions is None else Path(predictions),
    )
    config = evaluate_config(Path(params))
    name = Path(manifest).name
    return evaluate_predictions(
        reading.name, loaded, name, reading.predictions, config, reading.failures
    )


def encode(
    text: str | bytes, *, window: int = 512, stride: int = 384, precision: int = 3
) -> "Document":
    """Return the structural signatures of a text's windows (bytes; a str counts as UTF-8).

    >>> document = encode("the same words again and again; " * 64)
    >>> document.length, len(document.order), len(document.entries)
    (2048, 5, 1)

    Raises:
        ValueError: a stride over the window, or more decimals than 6.
    """
    from manifold_ocr.compression.archive import build_document
    from manifold_ocr.compression.signatures import Codec

    data = text.encode("utf-8") if isinstance(text, str) else text
    return build_document("text", data, Codec(window=window, stride=stride, precision=precision))

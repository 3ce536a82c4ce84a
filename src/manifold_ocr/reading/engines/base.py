"""Engines by name: any system that reads the images of a manifest, scored like our own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import load_sample
from manifold_ocr.models.base import OcrModel, prompts_of
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import progress

BLANK = (64, 48)  # stands in for an image that cannot be read, so that results stay in step
ENGINES = {
    "tesseract": "Tesseract's command line; --languages as Tesseract writes them (eng+chi_sim)",
    "rapidocr": "RapidOCR out of the box: whole pages by its own pipeline, lines by its recognizer",
    "faster-paddle": "PP-OCRv6 in Rust (pip install faster-paddle); --served tiny, small, medium",
    "checkpoint": "a checkpoint or adapter folder (--model); pages through line detection",
    "openai": "a server that speaks OpenAI's chat completions (--url, --served)",
    "predictions": "a file or folder of what another system read (--predictions)",
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What the engines can be told."""

    granularity: str = "line"
    languages: str = "eng"
    model: Path | None = None
    threads: int = 0
    url: str = ""
    served: str = ""
    prompt: str = ""


def load_engine(name: str, options: EngineOptions) -> OcrModel:
    """Load an engine that reads images.

    Raises:
        UserError: no such engine, or the program, package or weights are not installed.
    """
    if name == "tesseract":
        from manifold_ocr.reading.engines.tesseract import Tesseract

        return Tesseract(options.languages, options.granularity)
    if name == "rapidocr":
        from manifold_ocr.reading.engines.rapidocr import RapidOcr

        return RapidOcr(options.granularity, options.threads)
    if name == "faster-paddle":
        from manifold_ocr.reading.engines.faster_paddle import FasterPaddle

        return FasterPaddle(options.served, options.threads)
    if name == "openai":
        from manifold_ocr.reading.engines.openai import OpenAiServer

        return OpenAiServer(options.url, options.served, options.prompt, workers=options.threads)
    if name == "checkpoint":
        return _checkpoint(options)
    raise UserError(f"no engine {name!r}; there are {', '.join(ENGINES)}")


def _checkpoint(options: EngineOptions) -> OcrModel:
    from manifold_ocr.reading.engines.checkpoint import PageEngine, load_checkpoint, reads_pages

    model = load_checkpoint(options.model)
    if options.granularity == "line" or reads_pages(model):
        return model
    from manifold_ocr.reading.detect import DetectionConfig, LineDetector
    from manifold_ocr.reading.page import PageReader

    return PageEngine(PageReader(LineDetector(DetectionConfig(threads=options.threads)), model))


def one_granularity(samples: Sequence[Sample]) -> str:
    """Return `line` or `page`.

    Raises:
        UserError: no sample, or both kinds at once.
    """
    found = sorted({sample.granularity for sample in samples})
    if not found:
        raise UserError("the manifest holds no row")
    if len(found) > 1:
        raise UserError("the manifest holds lines and pages; choose with --granularity")
    return found[0]


def run_engine(
    engine: OcrModel, samples: Sequence[Sample], image_root: Path, failures: list[str]
) -> Iterator[Prediction]:
    """Yield one prediction a sample, in order; images are opened one at a time.

    An image that cannot be read gives an empty text, and its error joins `failures`.
    """
    broken: set[str] = set()

    def images() -> Iterator[Image.Image]:
        for sample in samples:
            try:
                yield load_sample(sample, image_root)
            except UserError as error:
                failures.append(str(error))
                broken.add(sample.id)
                yield Image.new("RGB", BLANK, "white")

    results = engine.recognize(images(), prompts_of(engine, samples))
    rows = zip(samples, results, strict=True)
    for sample, result in progress(rows, engine.name, total=len(samples)):
        if sample.id in broken:
            yield Prediction(id=sample.id, text="")
            continue
        yield Prediction(
            id=sample.id,
            text=result.text,
            confidence=result.confidence,
            vision_tokens=result.vision_tokens,
        )

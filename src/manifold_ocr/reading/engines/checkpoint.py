"""A checkpoint or adapter of our families as an engine: lines directly, pages by detection."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from manifold_ocr.config import DecodeConfig, ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_yaml
from manifold_ocr.models.base import ImageSource, OcrModel, Recognition, opened
from manifold_ocr.models.ctc.model import CtcModel
from manifold_ocr.models.promoted import is_promoted, load_promoted, origin_of
from manifold_ocr.models.registry import base_path, granularities, load_model
from manifold_ocr.reading.page import PageReader
from manifold_ocr.settings import load_section

EMBEDDED = "pp-ocrv6-small"
SHIPPED = Path("external/checkpoints/default")


def load_checkpoint(folder: Path | None, params: Path = Path("params.yaml")) -> OcrModel:
    """Load a checkpoint folder, an adapter folder, or (None) the project's base model.

    A folder with its own config.json is a checkpoint, a promoted one names its own base model;
    any other is an adapter over the base model of `params`. Without a params file the
    embedded model is the base.

    Raises:
        UserError: the folder does not exist or cannot be read as either.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such model folder")
    if folder is not None and (folder / "config.json").is_file():
        return load_model(ModelConfig(id=str(folder)), spaces=decoding(params).spaces)
    if folder is not None and is_promoted(folder):
        return load_promoted(folder)
    known = params.is_file()
    config = load_section(ModelConfig, "model", params) if known else ModelConfig(id=EMBEDDED)
    if folder is not None and not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: holds no safetensors weights; name a checkpoint or an adapter")
    return load_model(config, adapter=folder, spaces=decoding(params).spaces)


def decoding(params: Path) -> DecodeConfig:
    """Return the `decode` section of a params file, or the defaults without one."""
    if not params.is_file() or "decode" not in read_yaml(params):
        return DecodeConfig()
    return load_section(DecodeConfig, "decode", params)


def reader_model(
    folder: Path | None,
    params: Path = Path("params.yaml"),
    *,
    shipped: bool = True,
    threads: int = 0,
) -> OcrModel:
    """Like `load_checkpoint`, but the embedded recognizer of rapidocr stands in for the base.

    The embedded default is the same network, so reading works before `dvc repro` imported it.
    The promoted checkpoint that comes with the project is read before either, where it belongs
    to the base model of `params`; `shipped` False leaves it out. A recognizer that runs through
    onnxruntime takes at most `threads` cores (0: all); torch follows OMP_NUM_THREADS.
    """
    model = _reader_model(folder, params, shipped, threads)
    if isinstance(model, CtcModel):
        model.threads = threads
    return model


def _reader_model(folder: Path | None, params: Path, shipped: bool, threads: int) -> OcrModel:
    if folder is None:
        known = params.is_file()
        config = load_section(ModelConfig, "model", params) if known else ModelConfig(id=EMBEDDED)
        if shipped and is_promoted(SHIPPED) and origin_of(SHIPPED).get("base_id") == config.id:
            return load_promoted(SHIPPED)
        try:
            base_path(config)
        except UserError:
            if config.id != EMBEDDED:
                raise
            from manifold_ocr.reading.engines.rapidocr import RapidOcr

            return RapidOcr(threads=threads)
    return load_checkpoint(folder, params)


def reads_pages(model: OcrModel) -> bool:
    """Tell whether `model` takes a whole page by itself, without line detection."""
    return model.family != "rapidocr" and "page" in granularities(model.family)


class PageEngine:
    """Whole pages through detection, our recognizer, and reading order: text by paragraphs."""

    family = "pages"

    def __init__(self, reader: PageReader) -> None:
        """Read every image as a page with `reader`."""
        self.reader = reader
        self.name = f"pages:{reader.recognizer.name}"

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield the text of each page, paragraphs joined by blank lines."""
        for image in map(opened, images):
            page = self.reader.read(image, "page")
            yield Recognition(page.text, page.confidence)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return 0: how many positions a page costs depends on its lines."""
        return 0

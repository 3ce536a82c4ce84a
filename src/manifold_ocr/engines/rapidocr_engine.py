"""RapidOCR as its wheel ships it: its recogniser on lines, or its whole pipeline on pages."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from manifold_ocr.models.base import Recognition


class RapidRecogniser:
    """RapidOCR's text recogniser alone: one Recognition an image of a line."""

    family = "rapidocr"
    name = "rapidocr-rec"

    def __init__(self, threads: int = 0) -> None:
        """Load the recogniser of the installed wheel; nothing is fetched."""
        self._engine = _engine(threads, use_det=False)

    def recognise(
        self, images: Iterable[Image.Image], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image; each is read alone, so neighbours change nothing."""
        for image in images:
            result = self._engine(_bgr(image))
            texts, scores = list(result.txts or []), list(result.scores or [])
            if texts and texts[0].strip():
                yield Recognition(texts[0], float(scores[0]))
            else:
                yield Recognition("", 0.0)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return the positions of the CTC output: one for 8 pixels of a line 48 pixels high."""
        return max(1, round(size[0] * 48 / size[1] / 8))


class RapidPage:
    """RapidOCR's own pipeline on whole pages: its lines joined by newline in its order."""

    family = "rapidocr"
    name = "rapidocr"

    def __init__(self, threads: int = 0) -> None:
        """Load the networks of the installed wheel; nothing is fetched."""
        self._engine = _engine(threads, use_det=True)

    def recognise(
        self, images: Iterable[Image.Image], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image; confidence is the mean of its lines."""
        for image in images:
            result = self._engine(_bgr(image))
            texts, scores = list(result.txts or []), list(result.scores or [])
            confidence = sum(map(float, scores)) / len(scores) if scores else 0.0
            yield Recognition("\n".join(texts), confidence)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return 0: detection decides how many positions the recogniser sees."""
        return 0


def _engine(threads: int, use_det: bool) -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.use_det": use_det,
            "Global.use_cls": use_det,
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,
        }
    )


def _bgr(image: Image.Image) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])

"""RapidOCR as its wheel ships it: its recognizer on lines, or its whole pipeline on pages."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from manifold_ocr.models.base import ImageSource, Recognition, opened


class RapidOcr:
    """RapidOCR's recognizer alone on lines, or its own pipeline on whole pages.

    A page is its lines joined by newline, in the order in which it returns them.
    """

    family = "rapidocr"

    def __init__(self, granularity: str = "line", threads: int = 0) -> None:
        """Load the networks of the installed wheel; nothing is fetched."""
        self._pages = granularity == "page"
        self.name = "rapidocr" if self._pages else "rapidocr-rec"
        self._engine = _engine(threads, use_det=self._pages)

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image, each read alone; confidence is the mean of its lines."""
        for image in map(opened, images):
            result = self._engine(_bgr(image))
            text = "\n".join(result.txts or ())
            scores = [float(score) for score in result.scores or ()]
            known = bool(text.strip() and scores)
            yield Recognition(text, sum(scores) / len(scores)) if known else Recognition("", 0.0)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return the positions of a line's CTC output: one for 8 pixels at a height of 48.

        0 for a page, where detection decides how many the recognizer sees.
        """
        return 0 if self._pages else max(1, round(size[0] * 48 / size[1] / 8))


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

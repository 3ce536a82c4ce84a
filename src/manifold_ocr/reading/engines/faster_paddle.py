"""faster-paddle (MIT): PP-OCRv6 in Rust as its wheel ships it, with its own detection and order."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import ImageSource, Recognition, opened

SIZES = ("tiny", "small", "medium")


class FasterPaddle:
    """Its whole pipeline on every image, lines too: it offers no recognition without detection."""

    family = "faster-paddle"

    def __init__(self, size: str = "", threads: int = 0) -> None:
        """Load the networks of the wheel (`medium` is fetched by the package on first use).

        Raises:
            UserError: the package is not installed, or has no such size.
        """
        size = size or "small"
        if size not in SIZES:
            raise UserError(
                f"faster-paddle has no size {size!r}; --served takes {', '.join(SIZES)}"
            )
        try:
            import faster_paddle
        except ImportError as error:
            raise UserError(
                "faster-paddle is not installed; `pip install faster-paddle`"
            ) from error
        self._engine: Any = faster_paddle.OcrEngine(model_size=size, threads=threads or None)
        self.name = f"faster-paddle-{size}"

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image; confidence is the mean of its boxes."""
        for image in map(opened, images):
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "PNG", compress_level=1)
            found = self._engine.ocr(buffer.getvalue())
            scores = [float(box["confidence"]) for box in found["bounds"].values()]
            mean = sum(scores) / len(scores) if scores else 0.0
            yield Recognition(str(found["text"]).strip(), mean)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return 0: detection decides how much the recognizer sees."""
        return 0

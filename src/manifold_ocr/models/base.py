"""What every model family offers: one protocol, torch-free so that anyone may import it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Recognition:
    """Text read from one image, its confidence in [0, 1] and the vision tokens it cost."""

    text: str
    confidence: float | None = None
    vision_tokens: int | None = None


class OcrModel(Protocol):
    """A loaded recogniser. The same image gives the same result whatever its neighbours."""

    family: str
    name: str

    def recognise(
        self, images: Iterable[Image.Image], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image, in order; images are RGB crops of a line or a page."""
        ...

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return how many positions an image of (width, height) pixels costs the decoder."""
        ...

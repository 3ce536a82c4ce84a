"""What every model family offers: one protocol, torch-free so that anyone may import it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.records import Rejection, Sample

ImageSource = Image.Image | Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class Recognition:
    """Text read from one image, its confidence in [0, 1] and the vision tokens it cost.

    `gap_text` is the same reading with spaces at wide gaps too (`decode.spaces: gap`), where a
    family decodes frames and was not asked for them.
    """

    text: str
    confidence: float | None = None
    vision_tokens: int | None = None
    gap_text: str | None = None


def opened(source: ImageSource) -> Image.Image:
    """Return the image, or what the function opens: then files are read where this is called."""
    return source() if callable(source) else source


class OcrModel(Protocol):
    """A loaded recognizer. The same image gives the same result whatever its neighbors."""

    family: str
    name: str

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result per image, in order; images are RGB crops of a line or a page.

        An item may be a function that opens its image: files are then read ahead of the model.
        """
        ...

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return how many positions an image of (width, height) pixels costs the decoder."""
        ...


class GenerativeModel(OcrModel, Protocol):
    """A recognizer that writes its text token by token."""

    def limit_text(self, tokens: int) -> None:
        """Bound generated texts by `tokens`."""
        ...


@runtime_checkable
class SampleReader(Protocol):
    """A recognizer that keeps what it can of a sample's work (frozen features) between runs."""

    def recognize_samples(
        self, samples: Iterable[Sample], image_root: Path
    ) -> Iterator[Recognition]:
        """Yield one result per sample, in order: the same as `recognize` of its image."""
        ...


@runtime_checkable
class Prompted(Protocol):
    """A recognizer that is told what to write: text, JSON, LaTeX, one line of a page."""

    def prompt(self, sample: Sample) -> str:
        """Return what is asked of a sample; nothing for plain transcription."""
        ...


QUESTIONS = {  # for rows that come without one
    "json": "Return the document's fields as JSON.",
    "latex": "Return the formula as LaTeX.",
    "table": "Return the table as HTML.",
    "layout": "Return the layout of the page: one {label, box} a region.",
}


def question_of(sample: Sample) -> str:
    """Return the question of a sample, or of its task; nothing for plain transcription."""
    return sample.question or QUESTIONS.get(sample.task, "")


def prompts_of(model: OcrModel, samples: Iterable[Sample]) -> list[str] | None:
    """Return what `model` is asked of each sample, for `recognize`; None: only transcription."""
    ask = model.prompt if isinstance(model, Prompted) else question_of
    prompts = [ask(sample) for sample in samples]
    return prompts if any(prompts) else None


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The params sections that decide a training run, and where its inputs are.

    `base` is the checkpoint folder of the base model, `image_root` the folder that samples'
    `image` paths start from. `profile` and `metric_tokenizer` are those of the `evaluate`
    section: the best checkpoint is chosen by what the report will say.
    """

    model: ModelConfig
    lora: LoraConfig
    train: TrainConfig
    base: Path
    image_root: Path
    profile: str = "nfc_ws"
    metric_tokenizer: str = "deepseek"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Rows looked at before training: what can be learned, what cannot and why.

    `counts` are finite numbers for metrics; `details` (such as the missing characters with
    their counts) go to the run folder. `labels` is what the family may want again of the kept
    rows, to hand to `data`.
    """

    kept: Sequence[Sample]
    rejected: Sequence[Rejection] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    labels: Any = None

"""What the API answers, as pydantic models with examples for OpenAPI."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class LineOut(BaseModel):
    """A line: its box [x0, y0, x1, y1] in pixels, its text, confidence, what is wrong."""

    box: tuple[float, float, float, float]
    text: str
    confidence: float | None
    note: str | None = None


class ParagraphOut(BaseModel):
    """Lines that belong together, in reading order."""

    box: tuple[float, float, float, float]
    text: str
    lines: list[LineOut]


class PageOut(BaseModel):
    """A page in reading order, or why it could not be read.

    It is upright after `turned` degrees counter-clockwise and level after `skew` degrees more;
    `unreadable` are lines in a script that the model cannot write, `watermarks` pale words
    behind the text, which are no part of it.
    """

    page: int
    width: int = 0
    height: int = 0
    mode: Literal["line", "page"] = "page"
    text: str = ""
    confidence: float | None = None
    turned: int = 0
    skew: float = 0.0
    unreadable: list[LineOut] = Field(default_factory=list)
    watermarks: list[LineOut] = Field(default_factory=list)
    paragraphs: list[ParagraphOut] = Field(default_factory=list)
    error: str | None = None


class FieldOut(BaseModel):
    """A field that was found: value as printed, confidence, and where it stands."""

    name: str
    value: str
    confidence: float
    page: int
    box: tuple[float, float, float, float]


class ItemOut(BaseModel):
    """A line item of a receipt or invoice."""

    description: str
    amount: str
    page: int
    box: tuple[float, float, float, float]


class ExtractionOut(BaseModel):
    """Fields of a document; `flags` are contradictions between them, no value is altered."""

    kind: str
    fields: list[FieldOut]
    items: list[ItemOut] = Field(default_factory=list)
    flags: list[str] = Field(default_factory=list)


class JobOut(BaseModel):
    """A document that is being read, or was."""

    model_config = _example(
        id="8c5f1d0f6d5b4f0c9a41e6a1b2c3d4e5",
        state="done",
        pages=1,
        pages_done=1,
        text="Invoice No. 4711",
        results=[
            {
                "page": 1,
                "width": 800,
                "height": 500,
                "mode": "page",
                "text": "Invoice No. 4711",
                "confidence": 0.98,
                "paragraphs": [],
            }
        ],
    )
    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    pages: int | None = None
    pages_done: int = 0
    text: str | None = None
    results: list[PageOut] | None = None
    extraction: ExtractionOut | None = None
    error: str | None = None


class ErrorOut(BaseModel):
    """What was wrong with a request."""

    model_config = _example(detail="document: a PDF with a password; give a copy without one")
    detail: str


class VerifyIn(BaseModel):
    """A text to look for in the server's archive."""

    model_config = _example(text="The text of a page, for example as OCR read it.")
    text: str = Field(min_length=1, max_length=1_000_000)


class CandidateOut(BaseModel):
    """An archived document that the text may be; `ned` is the distance of the texts in [0, 1]."""

    id: str
    matched: int
    compared: int
    ned: float | None
    accepted: bool


class VerifyOut(BaseModel):
    """Whether an archived document has this text, and the candidates, best first."""

    model_config = _example(
        match="page-7",
        candidates=[{"id": "page-7", "matched": 40, "compared": 44, "ned": 0.01, "accepted": True}],
    )
    match: str | None
    candidates: list[CandidateOut]


class ReadyOut(BaseModel):
    """Whether the server can take work: its model, its queue, the monitor's last verdict."""

    model_config = _example(
        ready=True, model="pp-ocrv6-small", waiting=0, running=0, drift="no alert", reason=None
    )
    ready: bool
    model: str
    waiting: int
    running: int
    drift: str | None
    reason: str | None


class MetricsOut(BaseModel):
    """The last evaluation of the project: overall scores, the gate, and the monitor."""

    model_config = _example(
        evaluation={"adapter": {"cer": 0.05}, "base": {"cer": 0.09}},
        gate="gate: passed, no group loses more than 1 points of CER",
        drift="no alert",
    )
    evaluation: dict[str, Any] | None
    gate: str | None
    drift: str | None

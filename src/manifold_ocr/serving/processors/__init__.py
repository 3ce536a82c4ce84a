"""Fields of documents: `extract_fields` for receipts, invoices and contracts."""

from collections.abc import Sequence

from manifold_ocr.errors import UserError
from manifold_ocr.reading.page import PageText
from manifold_ocr.serving.processors.contracts import extract_contract
from manifold_ocr.serving.processors.fields import Extraction, visual_rows
from manifold_ocr.serving.processors.receipts import extract_receipt

KINDS = ("receipt", "contract")


def extract_fields(pages: Sequence[tuple[int, PageText]], kind: str) -> Extraction:
    """Return the fields of (number, page) pairs; `receipt` is for invoices too.

    Raises:
        UserError: no such kind.
    """
    if kind == "receipt":
        return extract_receipt([row for pair in pages for row in visual_rows(*pair)])
    if kind == "contract":
        return extract_contract(pages)
    raise UserError(f"kind {kind!r}: there are {', '.join(KINDS)}")

"""Which text source and which writer serve a subset, for train and val and for test."""

import random
from collections.abc import Callable

from manifold_ocr.corpora.synthetic.grammar import TextSource
from manifold_ocr.corpora.synthetic.texts import (
    charts,
    chinese,
    code,
    forms,
    notes,
    prose,
    receipts,
)
from manifold_ocr.corpora.synthetic.texts.lines import TextLine

Writer = Callable[[random.Random, TextSource, int], list[TextLine]]

# subset -> (writer, source of train and val, source of the test split only)
SOURCES: dict[str, tuple[Writer, TextSource, TextSource]] = {
    "printed": (prose.page, prose.REPORTS, prose.LETTERS),
    "receipts": (receipts.page, receipts.GROCERS, receipts.CAFES),
    "code": (code.page, code.SCRIPTS, code.PROGRAMS),
    "forms": (forms.page, forms.APPLICATIONS, forms.CLAIMS),
    "handwriting": (notes.page, notes.NOTEBOOK, notes.POSTCARDS),
    "charts": (charts.page, charts.ECONOMY, charts.LABORATORY),
    "degraded": (prose.page, prose.REPORTS, prose.LETTERS),
    "chinese": (chinese.page, chinese.ARTICLES, chinese.HANDBOOKS),
}


def write_page(subset: str, split: str, rng: random.Random, count: int) -> list[TextLine]:
    """Return the lines of one document of a subset."""
    writer, shared, test_only = SOURCES[subset]
    return writer(rng, test_only if split == "test" else shared, count)

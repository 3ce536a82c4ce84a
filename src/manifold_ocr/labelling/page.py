"""The correction page: every line image with its text to edit; works from file://."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from manifold_ocr.files import atomic_write
from manifold_ocr.labelling.folder import Label

PAGE = "index.html"


def write_page(out: Path, labels: Sequence[Label]) -> Path:
    """Write index.html beside the line images and return its path.

    The images stay files of their own, so the page stays small; the texts are data inside
    it. What was corrected is saved by the browser as corrections.json.
    """
    rows = [
        {
            "image": label.image,
            "text": label.text,
            "confidence": label.confidence,
            "source": label.source,
        }
        for label in labels
    ]
    data = json.dumps(rows, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    template = resources.files("manifold_ocr.labelling") / "page.html"
    block = f'<script type="application/json" id="data">{data}</script>'
    path = out / PAGE
    with atomic_write(path) as file:
        file.write(template.read_text(encoding="utf-8").replace("<!--DATA-->", block))
    return path

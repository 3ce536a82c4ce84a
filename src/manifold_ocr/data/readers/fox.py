"""Fox (focus_benchmark_test.zip): bilingual page OCR, 112 English and 100 Chinese pages.

en_page_ocr.json and cn_page_ocr.json are lists of {"image", "conversations": [question,
answer]}; the images lie in en_pdf_png/ and cn_pdf_png/. Each language is read once, from
its own file. CC BY-NC 4.0, a benchmark: never trained on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.sources import SOURCES, CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.records import RawRow, Rejection

SUBSETS = (
    ("en_page_ocr", "en_pdf_png", "en"),
    ("cn_page_ocr", "cn_pdf_png", "zh"),
)


@dataclass(frozen=True)
class Fox:
    """Pages of the Fox benchmark."""

    name: str = "fox"
    role: str = "eval_only"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Fetch and unpack the benchmark (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream the pages of both languages.

        Raises:
            UserError: neither annotation file is there.
        """
        parsed = corpus_options(CommonOptions, self.name, options)
        base = root / "focus_benchmark_test" if (root / "focus_benchmark_test").is_dir() else root
        found = [subset for subset in SUBSETS if (base / f"{subset[0]}.json").is_file()]
        if not found:
            raise UserError(f"{root}: no en_page_ocr.json or cn_page_ocr.json; fetch it again")
        licence = parsed.license or SOURCES["fox"].license
        prefix = base.relative_to(root).as_posix() + "/" if base != root else ""
        for subset, folder, language in found:
            entries = read_json(base / f"{subset}.json")
            for number, entry in enumerate(entries):
                where = f"{prefix}{subset}.json[{number}]"
                try:
                    image, text = entry["image"], entry["conversations"][1]["value"]
                except (KeyError, IndexError, TypeError) as error:
                    yield Rejection(
                        corpus=self.name, source=where, reason="broken_row", detail=repr(error)
                    )
                    continue
                yield RawRow(
                    document=f"{folder}/{Path(image).stem}",
                    image=f"{prefix}{folder}/{image}",
                    text=text,
                    source=where,
                    subset=subset,
                    language=language,
                    granularity="page",
                    license=licence,
                )

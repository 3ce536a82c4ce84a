"""The benchmarks Fox and OmniDocBench, which are never trained on.

Fox (focus_benchmark_test.zip, CC BY-NC 4.0): 112 English and 100 Chinese pages. en_page_ocr.json
and cn_page_ocr.json are lists of {"image", "conversations": [question, answer]}; the images lie
in en_pdf_png/ and cn_pdf_png/. Each language is read once, from its own file.

OmniDocBench: real pages with layout, reading order, text, tables and formulas.
OmniDocBench.json is a list of pages: `layout_dets` (category_type, poly, ignore, order,
text, html, latex, line_with_spans, merge_list) and `page_info` (image_path and
page_attribute: data_source, language, layout, special_issue). `width` and `height` of
page_info are swapped on some pages, so polygons are taken in pixels of the image itself.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.fetch import fetch
from manifold_ocr.data.formats import area, bounding_box, unlisted
from manifold_ocr.data.sources import SOURCES, CommonOptions, corpus_options
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_list
from manifold_ocr.records import RawRow, Rejection, language_tag
from manifold_ocr.settings import Share, settings

FOX_SUBSETS = (
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
        found = [subset for subset in FOX_SUBSETS if (base / f"{subset[0]}.json").is_file()]
        if not found:
            raise UserError(f"{root}: no en_page_ocr.json or cn_page_ocr.json; fetch it again")
        license = parsed.license or SOURCES["fox"].license
        prefix = base.relative_to(root).as_posix() + "/" if base != root else ""
        for subset, folder, language in found:
            listed = set()
            for number, entry in enumerate(read_list(base / f"{subset}.json")):
                where = f"{prefix}{subset}.json[{number}]"
                try:
                    image, text = entry["image"], entry["conversations"][1]["value"]
                    document = f"{folder}/{Path(image).stem}"
                except (KeyError, IndexError, TypeError) as error:
                    yield self._reject(where, "broken_row", repr(error))
                    continue
                if not isinstance(text, str):
                    yield self._reject(where, "broken_row", "the answer is no text")
                    continue
                listed.add(f"{prefix}{folder}/{image}")
                yield RawRow(
                    document=document,
                    image=f"{prefix}{folder}/{image}",
                    text=text,
                    source=where,
                    subset=subset,
                    language=language,
                    granularity="page",
                    license=license,
                )
            for name in unlisted(root, f"{prefix}{folder}", listed):
                yield self._reject(name, "missing_label", f"{subset}.json does not name it")

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)


FORMULA_BLOCKS = ("equation_isolated",)
CHARTS = ("figure",)
CODE = ("code_txt", "code_algorithm")
TABLE_QUESTION = "Return the table as HTML."
LATEX_QUESTION = "Return the formula as LaTeX."
_TAB = re.compile(r"^(?:\\t)+(?=\s|$)", re.MULTILINE)  # the annotators' sign of an indent


@settings
class OmniDocBenchOptions(CommonOptions):
    """A page is tagged chart_heavy or code_heavy from these shares of its area upwards."""

    chart_share: Share = 0.2
    code_share: Share = 0.2


@dataclass(frozen=True)
class OmniDocBench:
    """Pages, lines, tables and formulas of the benchmark."""

    name: str = "omnidocbench"
    role: str = "eval_only"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Fetch annotations and images at the pinned commit (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream each page's text in reading order, its lines, tables and formulas."""
        parsed = corpus_options(OmniDocBenchOptions, self.name, options)
        found = sorted(root.glob("**/OmniDocBench.json"))
        if not found:
            raise UserError(f"{root}: no OmniDocBench.json; fetch the corpus again")
        base = found[0].parent.relative_to(root).as_posix()
        prefix = "" if base == "." else f"{base}/"
        listed = set()
        for number, value in enumerate(read_list(found[0])):
            where = f"{prefix}OmniDocBench.json[{number}]"
            try:
                page = _Page(value, where, prefix, parsed)
                listed.add(page.image)
                rows = list(page.rows())
                yield from rows
                if not rows:
                    detail = f"{page.image}: the page has no block with a text"
                    yield self._reject(where, "empty_label", detail)
            except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
                detail = f"not a page of the benchmark: {error!r}"
                yield self._reject(where, "broken_row", detail)
        for name in unlisted(root, f"{prefix}images", listed):
            yield self._reject(name, "missing_label", "OmniDocBench.json does not name it")

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)


class _Page:
    def __init__(
        self, value: dict[str, Any], where: str, prefix: str, options: OmniDocBenchOptions
    ) -> None:
        info = value["page_info"]
        attribute = info.get("page_attribute") or {}
        self._where = where
        self.image = f"{prefix}images/{info['image_path']}"
        self._page_area = float(info["width"]) * float(info["height"])
        self._blocks = [block for block in value["layout_dets"] if not block.get("ignore")]
        self._language = language_tag(attribute.get("language", ""))
        self._subset = str(attribute.get("data_source", "all")).lower()
        self._tags = self._find_tags(attribute, options)
        self._license = options.license or SOURCES["omnidocbench"].license

    def rows(self) -> Iterator[RawRow]:
        text = self.page_text()
        if text:
            yield self._row(text, self._where, granularity="page")
        for block in self._blocks:
            yield from self._block_rows(block)

    def page_text(self) -> str:
        """Join the ordered blocks by empty lines; tables as HTML, display formulas as LaTeX."""
        ordered = [block for block in self._blocks if block.get("order") is not None]
        ordered.sort(key=lambda block: float(block["order"]))
        return "\n\n".join(text for text in map(_block_text, ordered) if text)

    def _block_rows(self, block: dict[str, Any]) -> Iterator[RawRow]:
        where = f"{self._where}#{block.get('anno_id')}"
        kind = block["category_type"]
        if kind == "table" and block.get("html"):
            html = block["html"]
            yield self._part(html, where, block, task="table", question=TABLE_QUESTION)
        if kind in FORMULA_BLOCKS and block.get("latex"):
            latex = block["latex"]
            yield self._part(latex, where, block, task="latex", question=LATEX_QUESTION)
        for owner in (block, *(block.get("merge_list") or ())):
            for number, span in enumerate(owner.get("line_with_spans") or ()):
                source = f"{self._where}#{owner.get('anno_id')}.{number}"
                yield from self._span_row(owner, span, source)

    def _span_row(
        self, owner: dict[str, Any], span: dict[str, Any], where: str
    ) -> Iterator[RawRow]:
        """A span with text is a line; one with LaTeX (formulas, note marks) a formula."""
        kind = span["category_type"]
        stated = (owner.get("attribute") or {}).get("text_language")
        language = language_tag(stated) if stated else self._language
        if span.get("text"):
            text = _TAB.sub("", span["text"]).strip()
            tags = () if kind == "text_span" else (kind,)
            yield self._part(text, where, span, language=language, tags=self._tags + tags)
        elif span.get("latex"):
            latex = span["latex"]
            yield self._part(
                latex, where, span, language=language, task="latex", question=LATEX_QUESTION
            )

    def _part(self, text: str, where: str, shape: dict[str, Any], **more: Any) -> RawRow:
        return self._row(text, where, box=bounding_box(shape["poly"]), **more)

    def _row(self, text: str, where: str, **more: Any) -> RawRow:
        values = {"language": self._language, "tags": self._tags, **more}
        return RawRow(
            document=self.image.rsplit("/", 1)[-1],
            image=self.image,
            text=text,
            source=where,
            subset=self._subset,
            license=self._license,
            **values,
        )

    def _find_tags(
        self, attribute: dict[str, Any], options: OmniDocBenchOptions
    ) -> tuple[str, ...]:
        tags = [str(attribute.get("layout") or "")]
        tags += [str(issue) for issue in attribute.get("special_issue") or ()]
        if self._subset == "note":
            tags.append("handwritten")
        if self._share(CHARTS) >= options.chart_share:
            tags.append("chart_heavy")
        if self._share(CODE) >= options.code_share:
            tags.append("code_heavy")
        return tuple(tag for tag in tags if tag and tag != "None")

    def _share(self, kinds: tuple[str, ...]) -> float:
        """Return the share of the page that blocks of these kinds cover."""
        covered = sum(
            area(bounding_box(block["poly"]))
            for block in self._blocks
            if block["category_type"] in kinds
        )
        return covered / self._page_area if self._page_area else 0.0


def _block_text(block: dict[str, Any]) -> str:
    kind = block["category_type"]
    if kind == "table":
        return str(block.get("html") or block.get("latex") or "").strip()
    if kind in FORMULA_BLOCKS:
        return str(block.get("latex") or "").strip()
    return _TAB.sub("", str(block.get("text") or "")).strip()

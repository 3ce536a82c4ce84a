"""What the demo shows, as plain functions: boxes, shaded text, differences, sizes, corrections."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rapidfuzz.distance import Levenshtein

from manifold_ocr.compression.archive import build_document
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.sizes import account
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import crop
from manifold_ocr.metrics.edit import bag_overlap, cer, precision_recall_f1
from manifold_ocr.metrics.normalize import normalize, units
from manifold_ocr.metrics.tokens import load_tokenizer
from manifold_ocr.models.base import OcrModel
from manifold_ocr.reading.page import PageText

Row = list[Any]
SURE, DOUBTFUL = 0.95, 0.8  # confidence from which a line is green, below which it is red
LEGEND = (
    "<p class='legend'>Shading: <span>95 % sure or more</span> "
    "<span class='fair'>80 to 95 %</span> <span class='doubtful'>below 80 %</span></p>"
)
COLORS = {"sure": (22, 130, 60), "fair": (200, 130, 0), "doubtful": (200, 30, 40)}


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page in the demo: its label, its image, what was read from it and by which model."""

    label: str
    image: Image.Image
    page: PageText
    model: str = "this reading"


def level(confidence: float | None) -> str:
    """Return `sure`, `fair` or `doubtful`."""
    value = 1.0 if confidence is None else confidence
    return "sure" if value >= SURE else "fair" if value >= DOUBTFUL else "doubtful"


def with_boxes(shown: ShownPage) -> Image.Image:
    """Return the page with a box per line, colored by confidence and numbered from 1."""
    image = shown.image.convert("RGB")
    draw = ImageDraw.Draw(image, "RGBA")
    width = max(1, round(max(image.size) / 700))
    font = ImageFont.load_default(size=max(9, max(image.size) / 110))
    for number, line in enumerate(shown.page.lines, 1):
        color = COLORS[level(line.confidence)]
        draw.rectangle(line.box, outline=color, width=width, fill=(*color, 28))
        place = (line.box[0] - 2 * width, line.box[1])
        draw.text(place, str(number), fill=color, font=font, anchor="ra")
    return image


def shaded_text(page: PageText) -> str:
    """Return the text as HTML, each line shaded by its confidence."""
    if not page.lines:
        return "<p class='reading'>No text was found on this page.</p>"
    parts = []
    for paragraph in page.paragraphs:
        rows = []
        for row in paragraph.rows:
            pieces = (
                f"<span class='{level(line.confidence)}' "
                f"title='{100 * (line.confidence or 0):.0f} % sure'>{escape(line.text)}</span>"
                for line in row.pieces
            )
            rows.append(" ".join(pieces))
        parts.append("<p>" + "<br>".join(rows) + "</p>")
    return LEGEND + "<div class='reading' tabindex='0'>" + "".join(parts) + "</div>"


def table(headers: Sequence[str], rows: Sequence[Row]) -> str:
    """Return an HTML table; numbers of the last columns need no scrolling on a phone."""
    head = "".join(f"<th scope='col'>{escape(str(name))}</th>" for name in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table class='figures'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare(reference: str, readings: Sequence[tuple[str, str]]) -> str:
    """Return as HTML how readings (name, text) of a page differ from its true text.

    Without a true text, two readings are compared with each other.

    Raises:
        UserError: there is nothing to compare with.
    """
    names = [name for name, _ in readings]
    if reference.strip():
        scored = [scores(reference, text) for _, text in readings]
        rows = [[row[0], *(each[n][1] for each in scored)] for n, row in enumerate(scored[0])]
        parts = [table(["measure", *names], rows)]
        pairs = [(f"{name}: what differs from the true text", reference, text)
                 for name, text in readings]  # fmt: skip
    elif len(readings) == 2:
        parts = []
        pairs = [(f"What {names[1]} reads differently from {names[0]}",
                  readings[0][1], readings[1][1])]  # fmt: skip
    else:
        raise UserError("give the page's true text to compare with, or choose a second model")
    for title, before, after in pairs:
        parts.append(f"<h4>{escape(title)}</h4>{difference(before, after)}")
    return "".join(parts)


def scores(reference: str, text: str) -> list[Row]:
    """Return CER and word F1 of a text.

    They are those of `evaluate`: NFC and white-space folded characters; F1 is over words in
    any order.
    """
    truth, read = normalize(reference), normalize(text)
    rate = cer(units(reference), units(text))
    wanted, found = truth.split(), read.split()
    common = bag_overlap(wanted, found)
    precision, recall, f1 = precision_recall_f1(common, len(wanted), len(found))
    return [
        ["CER", f"{100 * (rate or 0):.2f} %"],
        ["word F1", f"{f1:.4f}"],
        ["word precision", f"{precision:.4f}"],
        ["word recall", f"{recall:.4f}"],
    ]


def difference(before: str, after: str) -> str:
    """Return the second text as HTML, with what it lacks and what it adds to the first."""
    truth, read, parts = normalize(before), normalize(after), list[str]()
    if truth == read:
        return "<p class='reading'>No difference.</p>"
    for op in Levenshtein.opcodes(truth, read):
        old = escape(truth[op.src_start : op.src_end])
        new = escape(read[op.dest_start : op.dest_end])
        if op.tag == "equal":
            parts.append(new)
            continue
        parts.append(f"<del title='missing'>{old}</del>" if old else "")
        parts.append(f"<ins title='not there'>{new}</ins>" if new else "")
    return "<div class='reading difference' tabindex='0'>" + "".join(parts) + "</div>"


def sizes(pages: Sequence[PageText], model: OcrModel | None) -> tuple[list[Row], Any]:
    """Return what the text costs as bytes, signatures and tokens, and a plot of it."""
    config = Codec()
    text = "\f".join(page.text for page in pages)
    data = text.encode("utf-8")
    if not data:
        raise UserError("there is no text to compress")
    counted = account(build_document("text", data, config, keep="best"), config)
    tokens = len(load_tokenizer("deepseek").encode(text))
    vision = sum(_vision(page, model) for page in pages)
    rows: list[Row] = [
        ["text", f"{counted.original_bytes:,} bytes"],
        ["stored, text and signatures", f"{counted.stored_bytes:,} bytes"],
        ["signatures alone", f"{counted.signature_bytes:,} bytes"],
        ["stored_ratio", _ratio(counted.stored_ratio)],
        ["signature_ratio (cannot be decoded)", _ratio(counted.signature_ratio)],
        ["text tokens", f"{tokens:,}"],
        ["vision tokens", f"{vision:,}" if vision else "none: the model takes no tokens"],
    ]
    return rows, _plot(
        {"text": counted.original_bytes, "stored": counted.stored_bytes,
         "signatures": counted.signature_bytes},
        {"text tokens": tokens, "vision tokens": vision},
    )  # fmt: skip


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _vision(page: PageText, model: OcrModel | None) -> int:
    if model is None:
        return 0
    return sum(
        model.vision_tokens((max(1, round(x1 - x0)), max(1, round(y1 - y0))))
        for x0, y0, x1, y1 in (line.box for line in page.lines)
    )


def _plot(in_bytes: dict[str, int], in_tokens: dict[str, int]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for axes, values, unit in ((left, in_bytes, "bytes"), (right, in_tokens, "tokens")):
        bars = axes.barh(list(values), list(values.values()), color="#2a6fb0")
        axes.bar_label(bars, [f"{value:,}" for value in values.values()], padding=3)
        axes.set_xlabel(unit)
        axes.margins(x=0.3)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def line_rows(pages: Sequence[ShownPage]) -> list[Row]:
    """Return the lines for correction: PAGE-LINE, text, confidence in percent."""
    return [
        [f"{number}-{place}", line.text, round(100 * (line.confidence or 0))]
        for number, shown in enumerate(pages, 1)
        for place, line in enumerate(shown.page.lines, 1)
    ]


def save_corrections(
    pages: Sequence[ShownPage], rows: Sequence[Row], out: Path, document: str
) -> tuple[int, int]:
    """Write the lines whose text was changed as labeled lines; return (lines, changed).

    A line becomes DOCUMENT-pNNNN-NNNN.png and .gt.txt below `out`, which a corpus of kind
    `folder` reads (as `manifold-ocr label` writes them). A changed page is written whole:
    lines that were left as read are confirmed with it. An emptied text drops its line.

    Raises:
        UserError: nothing was changed.
    """
    lines = {
        (number, place): (shown, line)
        for number, shown in enumerate(pages, 1)
        for place, line in enumerate(shown.page.lines, 1)
    }
    texts = {_place(row[0]): " ".join(str(row[1]).split()) for row in rows}
    changed = {key for key, text in texts.items() if key in lines and text != lines[key][1].text}
    if not changed:
        raise UserError("no text was changed; edit the column `text` first")
    touched, written = {number for number, _ in changed}, 0
    for (number, place), text in texts.items():
        if number not in touched or (number, place) not in lines or not text:
            continue
        shown, line = lines[number, place]
        target = out / f"{document}-p{number:04d}-{place:04d}.png"
        with atomic_write(target, "wb") as file:
            crop(shown.image, line.box).save(file, "PNG")
        with atomic_write(target.with_suffix(".gt.txt")) as file:
            file.write(text + "\n")
        written += 1
    return written, len(changed)


def _place(label: Any) -> tuple[int, int]:
    number, _, place = str(label).partition("-")
    return int(number), int(place)


def field_rows(extraction: dict[str, Any]) -> list[Row]:
    """Return the fields and items of an extraction as rows of a table."""
    rows = [
        [found["name"], found["value"], f"{100 * found['confidence']:.0f} %", found["page"]]
        for found in extraction["fields"]
    ]
    return rows + [
        [f"item: {item['description']}", item["amount"], "", item["page"]]
        for item in extraction["items"]
    ]

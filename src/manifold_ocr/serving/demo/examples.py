"""Example documents, drawn here: an invoice of three pages and a receipt. Nothing is fetched."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAGES = (
    (
        "NORTHWIND PAPER LTD",
        "12 Harbor Street, 20457 Hamburg",
        "Tel: 040 123 456",
        "INVOICE No. 2024-0815",
        "Date: 14/03/2024",
        "Description        Qty        Amount",
        "Copy paper A4      10         45.00",
        "Ink cartridge      2          38.50",
        "Envelopes C5       5          12.25",
        "Subtotal                      95.75",
        "VAT 19 %                      18.19",
        "Total EUR                    113.94",
    ),
    (
        "Terms of delivery",
        "Goods remain our property until the invoice is paid in full.",
        "Payment is due within 30 days of the date of the invoice.",
        "Late payments bear interest at eight points above the base rate.",
        "Complaints about visible defects are to be made in writing",
        "within eight days after the goods have arrived.",
    ),
    (
        "Notes for the warehouse",
        "Pallet 7: keep dry, do not stack more than two high.",
        "Pallet 9: return the empty boxes with the next truck.",
        "Questions? Call extension 4711 between 8:00 and 16:30.",
    ),
)


def draw(rows: tuple[str, ...], size: tuple[int, int] = (1240, 1754)) -> Image.Image:
    """Return a page of rows; runs of spaces are columns."""
    image = Image.new("RGB", size, "white")
    pen, y = ImageDraw.Draw(image), size[1] // 14
    for number, row in enumerate(rows):
        font = ImageFont.load_default(size=44 if number == 0 else 32)
        cells = [cell for cell in row.split("  ") if cell.strip()]
        places = (0.09, 0.52, 0.72) if len(cells) == 3 else (0.09, 0.72)
        for place, cell in zip(places, cells, strict=False):
            pen.text((size[0] * place, y), cell.strip(), fill="#111", font=font)
        y += 100 if number == 0 else 64
    return image


def write_examples(folder: Path) -> list[Path]:
    """Write the example documents below a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = [draw(rows) for rows in PAGES]
    invoice, receipt = folder / "invoice.pdf", folder / "receipt.png"
    pages[0].save(invoice, save_all=True, append_images=pages[1:], resolution=150)
    draw(PAGES[0], (900, 1100)).save(receipt)
    return [invoice, receipt]

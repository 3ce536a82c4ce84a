"""Till receipts: shop, items with prices, totals, payment, numbers."""

import random

from manifold_ocr.corpora.synthetic.grammar import TextSource
from manifold_ocr.corpora.synthetic.texts.lines import TextLine
from manifold_ocr.corpora.synthetic.texts.words import TEST_WORDS, TRAIN_WORDS

# In templates `~` parts a left from a right column.
GROCERS = TextSource(
    name="grocers' tills",
    words=TRAIN_WORDS,
    templates={
        "head": (
            "{company|upper}",
            "{street|upper}, {place|upper}",
            "TEL: {phone}",
            "GST REG NO: {long_number}",
            "{date} {time}",
            "CASHIER: {first|upper} #{int}",
            "INVOICE NO: {code}",
            "BILL {long_number} TABLE {small}",
            "{zip} {place}",
        ),
        "item": (
            "{product|upper}~{amount}",
            "{int} X {product|upper}~{amount}",
            "{product|title} {int}G~{plain_money}",
            "{long_number} {product|upper}~{amount} T",
            "{digit} @ {amount} EA~{amount}",
            "  {decimal} KG x {amount}/KG~{amount}",
            "{product|upper} {digit}PK~${amount}",
        ),
        "foot": (
            "SUBTOTAL~{money}",
            "TOTAL (INCL. GST)~RM {money}",
            "ROUNDING ADJ~0.0{digit}",
            "CASH~{money}",
            "CHANGE~{amount}",
            "GST {digit}%~{amount}",
            "CARD {card}",
            "ITEMS: {int} QTY: {int}",
            "THANK YOU, PLEASE COME AGAIN",
            "GOODS SOLD ARE NOT RETURNABLE",
            "APPROVAL CODE: {letters}{int}",
        ),
    },
)
CAFES = TextSource(
    name="cafes' and pharmacies' tills",
    words=TEST_WORDS,
    templates={
        "head": (
            "*** {company|upper} ***",
            "{street}",
            "Ph {phone} VAT {letters}{long_number}",
            "Receipt #{long_number}",
            "{mon} {small}, {year} at {time}",
            "Served by {first} {letter}. Reg {int}",
            "STORE {int} / TILL {small} / TXN {int}",
            "www.{noun}{noun}.com",
            "{place|upper} {zip}-{int}",
        ),
        "item": (
            "{digit}x {product|title}~{amount}",
            "{product|upper} {decimal}L~{amount}*",
            "{code} {product|lower}~{amount} A",
            "{product|upper}/{product|upper}~{plain_money}-",
            "Qty {int} at {amount} each~{plain_money}",
            "{product|title} ({int} pcs)~EUR {amount}",
            "- {percent} {product|upper}~-{amount}",
        ),
        "foot": (
            "Net {amount} Tax {percent}~{amount}",
            "AMOUNT DUE~${money}",
            "Balance to pay~{money}",
            "Paid by VISA~{money}",
            "Tip suggested {percent}~{amount}",
            "AUTH {code} REF {spaced_number}",
            "You saved {amount} today!",
            "Keep this slip: refunds in {small} days",
            "Points earned {int}, points now {big}",
            "A/C {card} EXP {small}/{small}",
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` lines from the shop's name to the thanks."""
    head = max(2, count // 4)
    foot = max(2, count // 4)
    kinds = ["head"] * head + ["item"] * (count - head - foot) + ["foot"] * foot
    lines = []
    for kind in kinds:
        left, _, right = source.write(rng, kind).strip().partition("~")
        parts = (left, right) if right else (left,)
        style = "columns" if right else ("centre" if kind == "head" else "plain")
        lines.append(TextLine(parts, style=style))
    return lines

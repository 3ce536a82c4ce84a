"""Forms and till receipts: labels with values, items with prices, totals, numbers."""

import random

from manifold_ocr.synthetic.grammar import TextSource
from manifold_ocr.synthetic.texts.base import TEST_WORDS, TRAIN_WORDS, TextLine

# In templates `~` parts the printed label from the filled-in value.
APPLICATIONS = TextSource(
    name="applications to an office",
    words=TRAIN_WORDS,
    templates={
        "heading": (
            "FORM {code}: {adjective|title} {noun|title}",
            "APPLICATION FOR {noun|upper} {noun|upper}",
            "Declaration of {noun|plural}",
        ),
        "field": (
            "Name:~{first} {surname}",
            "1. Surname~{surname|upper}",
            "Address~{street}",
            "City / Zip:~{place} {zip}",
            "Date of birth~{date}",
            "Telephone no.~{phone}",
            "Passport number:~{code}",
            "Employer~{company}",
            "Annual income (USD)~{money}",
            "Account no.~{spaced_number}",
            "E-mail:~{first|lower}.{surname|lower}@{noun}.org",
            "Height (cm)~{int}",
            "Occupation:~{adjective} {noun}",
            "Signed at~{place}, {date}",
            "Mr [ ] Mrs [x] Other:~{letters}",
            "Reason for {noun}:~{adjective} {noun}",
            "Previous {noun} (if any)~{noun} {year}",
        ),
    },
)
CLAIMS = TextSource(
    name="claims and customs slips",
    words=TEST_WORDS,
    templates={
        "heading": (
            "Claim {letter}/{year} ({adjective} {noun|plural})",
            "CUSTOMS SLIP No. {long_number}",
            "{place} {noun|title} Registry - Part {letter}",
        ),
        "field": (
            "Claimant~{surname}, {first}",
            "(a) Policy ID:~{letters}-{spaced_number}",
            "Place of residence~{street}",
            "Country and town~{place} ({letters})",
            "Issued on~{date}",
            "Mobile / fax:~{phone}",
            "Gross weight [kg]~{decimal}",
            "Consignee:~{company}",
            "Declared value~EUR {money}",
            "IBAN~{letters}{spaced_number}",
            "Web:~www.{noun}-{noun}.net/{int}",
            "Vehicle plate~{letters} {int} {letters}",
            "Description of goods:~{int} {adjective} {noun|plural}",
            "Witness (print)~{first} {letter}. {surname}",
            "Yes [x] No [ ] since:~{year}",
            "Tariff code {digit}{digit}~{code}",
            "Remarks~{verb|past} at {time}",
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` lines: a heading and fields."""
    lines = [TextLine((source.write(rng, "heading"),), style="heading")]
    while len(lines) < count:
        label, _, value = source.write(rng, "field").partition("~")
        lines.append(TextLine((label, value), style="field"))
    return lines


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


def receipt_page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
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

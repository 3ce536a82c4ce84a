"""Receipts and invoices: company, date, address, total, tax, currency, line items.

Rules over rows of text, with fuzzy matching where OCR errs; the order of the rules is the
order in which people write receipts: who, where, when, what, how much.
"""

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from rapidfuzz import fuzz

from manifold_ocr.serving.processors.fields import (
    AMOUNT,
    CURRENCIES,
    Extraction,
    Field,
    Item,
    VisualRow,
    amount_value,
    amounts,
    dates,
    joined,
)

CASH_STEP = Decimal("0.05")  # cash is rounded to this
HEAD = 12  # rows within which a company is looked for
SUFFIX = re.compile(
    r"\b(?:S\s?D\s?N\.?\s*B\s?H\s?D|BHD|ENTERPRISE|TRADING|LTD|LIMITED|LLC|INC|GMBH|CORP|PLT|PTE|"
    r"HOLDINGS?|SUPERMARKET|HYPERMARKET|RESTAURANT|RESTORAN|CAFE|KOPITIAM|BAKERY|PHARMACY|"
    r"STATIONERY|HARDWARE|MINI\s?MARKET|MARKET|MART|STORES?|SHOP|CENTER|COMPANY|SYARIKAT)\b|"
    r"\bS/B\b|\w\s+CO\.?\s*$|公司|有限|餐厅|超市",
    re.IGNORECASE,
)
LEGAL = ("SDN BHD", "SDN. BHD.", "LIMITED", "GMBH")
EDGE = re.compile(r"^[#*\W]*\d{3,}\s+|\s+(?:POSTED|COPY|ORIGINAL)$|^[^\w(]+", re.IGNORECASE)
POSTCODE = re.compile(r"\b\d{5}\b")
POSTCODE_END = re.compile(  # "SHAH ALAM 40170", "57000 KL": an address, no registration
    r"^(?!.*\b(?:REG|NO\s?:|ROC|GST|SST|SSM|ID)\b)(?:.*[^\d\W].*\W)?\d{5}(?:\s+[A-Z]{2})?\W*$",
    re.IGNORECASE,
)
NOT_A_NAME = re.compile(
    r"\b(?:TEL|FAX|PHONE|GST|INVOICE|RECEIPT|DATE|CASHIER|JALAN|JLN|LOT|NO\.?\s?\d|REG|CO\.?\s?NO|"
    r"WWW|E-?MAIL|COMPANY\s*NO|WELCOME|THANK|TAX|BILL|ROC|SST)\b|@|://",
    re.IGNORECASE,
)
REGISTRATION = re.compile(
    r"\s*[(\[]?\s*(?:(?:CO\.?|COMPANY|BUSINESS|GST|ROC|REG(?:ISTRATION)?\.?|SSM|NO\.?|ID|#|:)[\s.:#]*)*"
    r"\d{4,}[\s-]*[A-Z0-9]{1,2}\s*[)\]]?\s*$|^\s*[(\[].{0,9}\d{5,}.*[)\]]\s*$",
    re.IGNORECASE,
)
ADDRESS_END = re.compile(
    r"\b(?:TEL|FAX|PHONE|H/?P|GST|SST|INVOICE|INV|RECEIPT|DATE|CASHIER|DOC(?:UMENT)?|E-?MAIL|WWW|"
    r"HTTPS?|TABLE|COUNTER|ORDER|BILL|TAX|OPERATOR|CUSTOMER|MEMBER|STAFF|SERVED|CASH|ATTN|DEBTOR|MOBILE|"
    r"WHATSAPPS?|SITE|HOTLINE)\b|\b[TFHP]\s?:|"
    r"@|\d{1,2}:\d{2}|T[EL]{2}\s?:|^\s*\W*TEL|-TAX",
    re.IGNORECASE,
)
LETTER_O = re.compile(r"(?<!\w)\d+[Oo]\d*(?!\w)")  # read for a zero in a number
ADDRESS_SIGN = re.compile(
    r"\b(?:NO|LOT|JALAN|JLN|TAMAN|TMN|BANDAR|STREET|ST|ROAD|RD|AVE(?:NUE)?|LORONG|KAMPUNG|SEKSYEN|"
    r"PLAZA|MALL|FLOOR|BLOCK|BLK|PERSIARAN|WISMA|GROUND|UNIT|LEVEL|SUITE|BOX|STRASSE|PLATZ|RUE|VIA)\b"
    r"|\b\d{5}\b|,|路|市|区|号",
    re.IGNORECASE,
)
TOTALS = (  # a label and how sure it is that the amount beside it is the one to pay
    (r"ROUND\w*\s?D?\s+TOTAL|TOTAL\s+(?:AFTER\s+)?ROUND", 0.98),
    (r"GRAND\s*TOTAL|TOTAL\s*(?:AMOUNT\s*)?(?:DUE|PAYABLE)|"
     r"AMOUNT\s*(?:DUE|PAYABLE)|BALANCE\s*DUE|TO\s*BE\s*PAID", 0.95),
    (r"NETT?\s*(?:TOTAL|AMOUNT|AMT)", 0.94),
    (r"TOTAL.{0,14}INCL|TOTAL.{0,10}WITH\s*(?:GST|TAX)", 0.93),
    (r"TOTAL\s*(?:AMOUNT|AMT|SALES?|BILL|\(?RM\)?|PRICE)|\bRM\s*TOTAL|合计|总计|總計|应付", 0.9),
    (r"\bT\s?O\s?T\s?A\s?L\b", 0.85),
)  # fmt: skip
NOT_THE_TOTAL = re.compile(
    r"SUB\s*-?\s*TOTAL|TOTAL\s*(?:QTY|QUANTITY|ITEMS?|GST|TAX|DISC|SAVING|PC|POINT|EXCL|SUPPLIES|LINE)|"
    r"EXCL|BEFORE|QTY|\bITEMS?\b.*TOTAL|TAX\s*TOTAL|DISC\w*\s*TOTAL|TOTAL.{0,12}(?:DISC|SAVING|ROUNDING)",
    re.IGNORECASE,
)
SUMMARY = re.compile(r"(?:GST|TAX|SST)\s*(?:SUMMARY|ANALYSIS|CODE|RATE)|SUMMARY", re.IGNORECASE)
SUBTOTAL = re.compile(r"SUB\s*-?\s*TOTAL|TOTAL.{0,12}(?:EXCL|BEFORE)", re.IGNORECASE)
TAX = re.compile(r"\b(?:GST|SST|VAT|TAX|MWST|TVA)\b|税", re.IGNORECASE)
NOT_TAX = re.compile(
    r"INCL|EXCL|INVOICE|\b(?:ID|NO|REG|CODE)\b|SUMMARY|SALES|AMOUNT\s*\(", re.IGNORECASE
)
ROUNDING = re.compile(r"ROUND\w*(?!.*TOTAL)", re.IGNORECASE)
PAID = re.compile(r"^\W*(?:CASH|TENDER\w*|PAID|VISA|MASTER|CARD|AMOUNT\s*PAID)\b", re.IGNORECASE)
PREPAID = re.compile(r"\bPRE-?\s?PAID|\bDEPOSIT|ADVANCE\s*PAY|PAID\s*IN\s*ADVANCE", re.IGNORECASE)
CHANGE = re.compile(r"\bCHANGE\b", re.IGNORECASE)
HEADER = re.compile(
    r"DESC|\bITEM\b|QTY|U/?P(?:RICE)?\b|AMOUNT|AMT|PRICE|DISC|\bRM\b", re.IGNORECASE
)
PRINTED = re.compile(r"US\$|S\$|[$€£¥₹]|\b(?:RM|MYR|USD|EUR|GBP|CNY|SGD)(?=\b|\d)")
NO_DATE = re.compile(r"DUE|EXP|BIRTH|DELIVER|VALID|PRINT|EFFECT", re.IGNORECASE)


def extract_receipt(rows: Sequence[VisualRow]) -> Extraction:
    """Return the fields of a receipt or invoice from its rows."""
    place, company = _company(rows)
    total = _total(rows)
    found = {
        "company": company,
        "address": _address(rows, place),
        "date": _day(rows),
        "total": total,
        "subtotal": _labeled(rows, SUBTOTAL, "subtotal", 0.9),
        "tax": _labeled(rows, TAX, "tax", 0.8, NOT_TAX),
        "rounding": _labeled(rows, ROUNDING, "rounding", 0.9),
        "prepaid": _labeled(rows, PREPAID, "prepaid", 0.8),
        "paid": _labeled(rows, PAID, "paid", 0.8, PREPAID),
        "change": _labeled(rows, CHANGE, "change", 0.9),
        "currency": _currency(rows, total),
    }
    fields = {name: field for name, field in found.items() if field is not None}
    items = _items(rows)
    flags = _flags({name: field.value for name, field in fields.items()}, items)
    return Extraction(
        kind="receipt", fields=tuple(fields.values()), items=tuple(items), flags=tuple(flags)
    )


def _field(name: str, value: str, sure: float, row: VisualRow) -> Field:
    return Field(name, value, sure * row.confidence, row.page, row.box)


def _has_suffix(text: str) -> bool:
    tail = text.upper().split()[-2:]
    return bool(SUFFIX.search(text)) or any(
        fuzz.ratio(" ".join(tail), name) >= 75 for name in LEGAL
    )


def _company(rows: Sequence[VisualRow]) -> tuple[int, Field | None]:
    """Return the row after the company's name, and the name without registration number."""
    head = [
        (n, row)
        for n, row in enumerate(rows[:HEAD])
        if sum(sign.isalpha() for sign in row.text) >= 3
    ]
    names = [(n, row) for n, row in head if not NOT_A_NAME.search(row.text)]
    chosen = next(((n, row) for n, row in names if _has_suffix(row.text)), None)
    sure = 0.95
    if chosen is None:
        chosen, sure = next(iter(names or head), None), 0.7
    if chosen is None:
        return 0, None
    n, row = chosen
    parts = [row]
    rest = re.sub(r"\([^)]*\)|\bCO\b\.?", "", SUFFIX.sub("", row.text))
    if sum(sign.isalpha() for sign in rest) < 3 and (n - 1, rows[n - 1]) in names:
        parts.insert(0, rows[n - 1])  # a name that runs over two rows
    for below, following in names:  # the legal form, or the rest of a bracket, on a row of its own
        if below == n + 1 and len(parts) < 3:
            text = parts[-1].text
            if SUFFIX.match(following.text) or text.count("(") > text.count(")"):
                parts.append(following)
                n = below
    text, box, confidence = joined(parts)
    value = EDGE.sub("", REGISTRATION.sub("", text)).strip(" -:'\"`")
    return n + 1, Field("company", value or text, sure * confidence, row.page, box)


def _address(rows: Sequence[VisualRow], start: int) -> Field | None:
    """Return the rows between the company's name and the first row of another kind."""
    chosen: list[VisualRow] = []
    for row in rows[start : start + 9]:
        text = row.text
        registered = REGISTRATION.search(text) and not POSTCODE_END.search(text)
        if ADDRESS_END.search(text) and not (chosen == [] and registered):
            if chosen:
                break
            continue
        if registered and not re.search(r"[a-zA-Z]{4,}.*,", text):
            if chosen:
                break
            continue
        if not chosen and not ADDRESS_SIGN.search(text):
            continue
        if chosen and (
            re.fullmatch(r"[\W\d]*", text) or amounts(text) or _ends_before(chosen, text)
        ):
            break
        chosen.append(row)
        if len(chosen) == 6:
            break
    if not chosen:
        return None
    text, box, confidence = joined(chosen)
    text = LETTER_O.sub(lambda found: found[0].upper().replace("O", "0"), text)
    signs = len(ADDRESS_SIGN.findall(text))
    return Field("address", text, confidence * min(0.9, 0.4 + 0.1 * signs), chosen[0].page, box)


def _ends_before(chosen: Sequence[VisualRow], text: str) -> bool:
    """Tell whether an address has ended: its postcode was there and `text` is no region."""
    last = chosen[-1].text.rstrip()
    region = len(text.split()) <= 5 and not re.search(r"\d", text)
    known = len(chosen) > 1 and POSTCODE.search(last) and not last.endswith(",")
    return bool(known) and not region


def _day(rows: Sequence[VisualRow]) -> Field | None:
    best: Field | None = None
    for row in rows:
        for _, printed, _day in dates(row.text):
            near = re.search(r"\bDATE|\bTARIKH|日期", row.text, re.IGNORECASE)
            sure = 0.5 if NO_DATE.search(row.text) else 0.97 if near else 0.85
            found = _field("date", printed, sure, row)
            if best is None or sure > best.confidence / max(1e-9, row.confidence) + 0.05:
                best = found
            if near and sure > 0.9:
                return found
    return best


def _value_near(rows: Sequence[VisualRow], n: int) -> tuple[VisualRow, str] | None:
    """Return the last amount of a row, or of the next one where that holds nothing else."""
    if found := amounts(rows[n].text):
        return rows[n], found[-1][0].strip()
    for row in rows[n + 1 : n + 2]:
        found = amounts(row.text)
        rest = AMOUNT.sub("", row.text)
        if found and not re.search(r"[A-Za-z]{3,}", rest):
            return row, found[-1][0].strip()
    return None


def _total(rows: Sequence[VisualRow]) -> Field | None:
    end = next((n for n, row in enumerate(rows) if n > 5 and SUMMARY.search(row.text)), len(rows))
    best: tuple[float, Decimal, Field] | None = None
    for n, row in enumerate(rows):
        text = row.text
        if NOT_THE_TOTAL.search(text):
            continue
        sure = next((sure for label, sure in TOTALS if re.search(label, text, re.IGNORECASE)), 0.0)
        near = _value_near(rows, n) if sure else None
        if near is None:
            continue
        sure -= 0.3 if n > end else 0.0
        value = amount_value(near[1])
        found = _field("total", near[1], sure, near[0])
        if best is None or (round(sure, 2), value) > (round(best[0], 2), best[1]):
            best = (sure, value, found)
    if best is not None:
        return _rounded(rows, best[2])
    paid, change = _labeled(rows, PAID, "paid", 0.5), _labeled(rows, CHANGE, "change", 0.5)
    if paid is not None and change is not None:
        wanted = amount_value(paid.value) - amount_value(change.value)
        for row in rows:
            for match in amounts(row.text):
                if amount_value(match[0]) == wanted:
                    return _field("total", match[0].strip(), 0.6, row)
    every = [(amount_value(m[0]), m[0].strip(), row) for row in rows for m in amounts(row.text)]
    if not every:
        return None
    _, printed, row = max(every, key=lambda item: item[0])
    return _field("total", printed, 0.4, row)


def _rounded(rows: Sequence[VisualRow], total: Field) -> Field:
    """Return what is paid in cash: within 5 cents of `total`, beside or below "rounding"."""
    value = amount_value(total.value)
    for n, row in enumerate(rows):
        if not ROUNDING.search(row.text):
            continue
        after = [k for k in range(n + 1, min(n + 4, len(rows))) if _says_total(rows[k].text)]
        for k in (n, *after):
            near = _value_near(rows, k)
            if near and 0 < abs(amount_value(near[1]) - value) <= CASH_STEP:
                return _field("total", near[1], 0.9, near[0])
    return total


def _says_total(text: str) -> bool:
    if NOT_THE_TOTAL.search(text):
        return False
    return any(re.search(label, text, re.IGNORECASE) for label, _ in TOTALS)


def _labeled(
    rows: Sequence[VisualRow],
    label: re.Pattern[str],
    name: str,
    sure: float,
    never: re.Pattern[str] | None = None,
) -> Field | None:
    for n, row in enumerate(rows):
        if label.search(row.text) and not (never and never.search(row.text)):
            near = _value_near(rows, n)
            if near is not None and near[0] is row:
                return _field(name, near[1], sure, near[0])
    return None


def _currency(rows: Sequence[VisualRow], total: Field | None) -> Field | None:
    signs: Counter[str] = Counter()
    where: dict[str, VisualRow] = {}
    for row in rows:
        for sign in re.findall(
            r"US\$|S\$|[$€£¥₹]|\b(?:RM|MYR|USD|EUR|GBP|CNY|SGD)(?=\b|\d)", row.text
        ):
            code = CURRENCIES[sign]
            signs[code] += 1
            where.setdefault(code, row)
    if not signs:
        return None
    code, count = signs.most_common(1)[0]
    return _field("currency", code, 0.95 if count > 1 else 0.8, where[code])


def _items(rows: Sequence[VisualRow]) -> list[Item]:
    """Return rows with an amount between the table's header and the first total.

    A row without words takes its description from the row above, or else the row below.
    """
    headers = [n for n, row in enumerate(rows) if len(HEADER.findall(row.text)) >= 2]
    start = headers[0] + 1 if headers else 0
    while start in headers:
        start += 1
    stop = re.compile(r"TOTAL|ROUND|AMOUNT\s*DUE|合计", re.IGNORECASE)
    end = next((n for n in range(start, len(rows)) if stop.search(rows[n].text)), len(rows))
    if not headers or end == len(rows):
        return []
    items, used = [], set[int]()
    for n in range(start, end):
        found = amounts(rows[n].text)
        if not found:
            continue
        own = AMOUNT.sub("", rows[n].text)
        words = own if re.search(r"[^\W\d_]{3,}", own) else ""
        for other in (n - 1, n + 1):
            if words or not start <= other < end or other in used or amounts(rows[other].text):
                continue
            if re.search(r"[^\W\d_]{3,}", rows[other].text):
                words = rows[other].text
                used.add(other)
        items.append(Item(" ".join(words.split()), found[-1][0].strip(), rows[n].page, rows[n].box))
    return items


def _flags(values: dict[str, str], items: Sequence[Item]) -> list[str]:
    """Return contradictions between amounts; nothing is altered.

    The sums are those of EN 16931: lines add up to the net total (BR-CO-10), with tax to the gross
    one (BR-CO-15), less what was prepaid plus rounding to the amount due (BR-CO-16).
    """
    names = ("total", "subtotal", "tax", "rounding", "prepaid", "paid", "change")
    known = {name: amount_value(values[name]) for name in names if name in values}
    total, flags = known.get("total"), []
    if total is None:
        return ["no total was found"]
    none = Decimal(0)
    sums = {
        tax + rounding - prepaid
        for tax in (none, known.get("tax", none))
        for rounding in (none, known.get("rounding", none))
        for prepaid in (none, known.get("prepaid", none))
    }

    def explains(base: Decimal) -> bool:
        return any(abs(base + more - total) <= CASH_STEP for more in sums)

    if items:
        added = sum((amount_value(item.amount) for item in items), Decimal(0))
        if not explains(added) and abs(added - known.get("subtotal", total)) > CASH_STEP:
            flags.append(f"items add up to {added}, the total is {total}")
    if "subtotal" in known and not explains(known["subtotal"]):
        flags.append(f"subtotal {known['subtotal']} with tax and rounding is not the total {total}")
    if "paid" in known and "change" in known:
        paid = known["paid"] - abs(known["change"])  # printed with a minus on some receipts
        if abs(paid - total) > CASH_STEP:
            flags.append(f"paid less change is {paid}, the total is {total}")
    return flags

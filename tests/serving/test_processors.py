"""Fields of receipts and contracts: hand-made documents, and the published keys of SROIE."""

import csv
import json
import os
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from drawn_pages import page_of_rows

from manifold_ocr.errors import UserError
from manifold_ocr.reading.layout.lines import Line, Paragraph, Row
from manifold_ocr.reading.page import PageText
from manifold_ocr.serving.processors import extract_fields
from manifold_ocr.serving.processors.fields import amount_value, amounts, dates


def page_of(rows):
    boxes = [(10.0, 40.0 * n, 700.0, 40.0 * n + 30) for n in range(len(rows))]
    return page_of_rows(rows, boxes, (720, 40 * len(rows) + 40))


RECEIPT = [
    "HARBOR STATIONERY SDN BHD (123456-X)", "NO. 7, JALAN MERDEKA,", "50000 KUALA LUMPUR",
    "TEL: 03-222",
    "TAX INVOICE", "DATE: 05/02/2019 14:31", "ITEM QTY AMOUNT (RM)", "PENCIL SET 2 8.00",
    "A4 PAPER", "1 12.50", "SUBTOTAL 20.50", "GST 6% 1.23", "ROUNDING 0.02", "TOTAL RM 21.75",
    "CASH 25.00", "CHANGE 3.25",
]  # fmt: skip


def test_a_receipts_fields_are_found_as_printed():
    found = extract_fields([(1, page_of(RECEIPT))], "receipt")
    values = {field.name: field.value for field in found.fields}
    assert values == {
        "company": "HARBOR STATIONERY SDN BHD",
        "address": "NO. 7, JALAN MERDEKA, 50000 KUALA LUMPUR",
        "date": "05/02/2019", "total": "RM 21.75", "subtotal": "20.50", "tax": "1.23",
        "rounding": "0.02", "paid": "25.00", "change": "3.25", "currency": "MYR",
    }  # fmt: skip
    assert [(item.description, item.amount) for item in found.items] == [
        ("PENCIL SET 2", "8.00"), ("A4 PAPER", "12.50")
    ]  # fmt: skip
    assert found.flags == ()
    total = next(field for field in found.fields if field.name == "total")
    assert total.box == (10.0, 520.0, 700.0, 550.0) and 0 < total.confidence <= 0.9


def test_a_letter_in_a_number_of_an_address_is_a_zero_and_co_is_a_legal_form():
    rows = ["WELCOME TO", "BLUE HERON COFFEE CO.", "LOT 1O, JALAN ORKED,", "5O000 KUALA LUMPUR"]
    found = extract_fields([(1, page_of([*rows, "TEL: 03-222", "TOTAL 4.50"]))], "receipt")
    assert found.value("company") == "BLUE HERON COFFEE CO."
    assert found.value("address") == "LOT 10, JALAN ORKED, 50000 KUALA LUMPUR"


UBL = [  # amounts, names and dates of UBL-Invoice-2.1-Example.xml of the UBL 2.1 standard
    "Salescompany ltd.", "Main street, Big city 54321", "VAT No: DK12345",
    "INVOICE DATE: 2009-12-15",
    "DESCRIPTION QTY AMOUNT (EUR)", "Labtop computer 1 1,273.00",
    'Returned "Advanced computing" book -1 -3.96', '"Computing for dummies" book 2 4.96',
    "Returned IBM 5150 desktop -1 -25.00", "Network cable 250 187.50", "SUBTOTAL 1,436.50",
    "VAT 292.20", "ROUNDING 0.30", "PREPAID 1,000.00", "AMOUNT DUE EUR 729.00",
]  # fmt: skip


def test_the_example_invoice_of_the_ubl_standard_adds_up():
    found = extract_fields([(1, page_of(UBL))], "receipt")
    values = {field.name: field.value for field in found.fields}
    assert values == {
        "company": "Salescompany ltd.", "address": "Main street, Big city 54321",
        "date": "2009-12-15", "total": "EUR 729.00", "subtotal": "1,436.50", "tax": "292.20",
        "rounding": "0.30", "prepaid": "1,000.00", "currency": "EUR",
    }  # fmt: skip
    assert [item.amount for item in found.items] == [
        "1,273.00",
        "-3.96",
        "4.96",
        "-25.00",
        "187.50",
    ]
    assert found.flags == ()
    changed = [row.replace("187.50", "287.50") for row in UBL]
    flags = extract_fields([(1, page_of(changed))], "receipt").flags
    assert flags == ("items add up to 1536.50, the total is 729.00",)


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        (["TOTAL (INCLUSIVE OF GST): 65.72", "ROUNDING ADJ: -0.02", "TOTAL : 65.70"], "65.70"),
        (["GRAND TOTAL : 87.08", "ROUNDING ADJUSTMENT: 0.02", "NET TOTAL : 87.10"], "87.10"),
        (["TOTAL 12.50", "ROUNDING 0.00", "CASH 12.50"], "12.50"),
    ],
)
def test_the_total_is_what_is_paid_after_rounding(rows, total):
    """The last lines of receipts 595 and 409 of SROIE, with the totals of their key files."""
    head = ["ACME SDN BHD", "NO. 7, JALAN MERDEKA", "DATE: 05/02/2019"]
    found = extract_fields([(1, page_of([*head, *rows]))], "receipt")
    assert found.value("total") == total


@pytest.mark.parametrize(
    ("rows", "company", "address"),
    [
        (["AIK HUAT HARDWARE", "ENTERPRISE (SETIA", "ALAM) SDN BHD", "822737-X",
          "NO. 17-G, JALAN SETIA INDAH"],
         "AIK HUAT HARDWARE ENTERPRISE (SETIA ALAM) SDN BHD", "NO. 17-G, JALAN SETIA INDAH"),
        (["RESTAURANT JIAWEI", "002693074-K", "13, JLN TASIK UTAMA 8",
          "MEDAN NIAGA DAMAI SG BESI", "57000 KL", "TEL: 03-1"],
         "RESTAURANT JIAWEI", "13, JLN TASIK UTAMA 8 MEDAN NIAGA DAMAI SG BESI 57000 KL"),
    ],
)  # fmt: skip
def test_names_and_addresses_over_several_rows(rows, company, address):
    """The first lines of receipts 512 and 065 of SROIE."""
    found = extract_fields([(1, page_of([*rows, "DATE: 05/02/2019", "TOTAL 9.90"]))], "receipt")
    assert (found.value("company"), found.value("address")) == (company, address)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_receipt_that_lies_turned_has_the_same_fields(turn):
    """The same scan turned clockwise: the reader says how many turns set it upright."""
    page = page_of(RECEIPT)
    width, height = page.size
    place = {
        1: lambda x0, y0, x1, y1: (height - y1, x0, height - y0, x1),
        2: lambda x0, y0, x1, y1: (width - x1, height - y1, width - x0, height - y0),
        3: lambda x0, y0, x1, y1: (y0, width - x1, y1, width - x0),
    }[turn]
    boxes = [place(*line.box) for line in page.lines]
    size = (height, width) if turn % 2 else (width, height)
    turned = replace(page_of_rows(RECEIPT, boxes, size), turn=turn)
    found, wanted = (extract_fields([(1, p)], "receipt") for p in (turned, page))
    assert [f.value for f in found.fields] == [f.value for f in wanted.fields]


@pytest.mark.parametrize(
    ("old", "new", "flag"),
    [
        (
            "TOTAL RM 21.75",
            "TOTAL RM 27.15",
            "subtotal 20.50 with tax and rounding is not",
        ),
        ("CHANGE 3.25", "CHANGE 5.23", "paid less change is 19.77"),
        ("SUBTOTAL 20.50", "SUBTOTAL 25.00", "subtotal 25.00"),
    ],
)
def test_contradictions_are_flagged_and_nothing_is_altered(old, new, flag):
    rows = [new if row == old else row for row in RECEIPT]
    found = extract_fields([(1, page_of(rows))], "receipt")
    assert any(flag in said for said in found.flags)
    value = new.split(" ", 1)[1]
    assert value in {field.value for field in found.fields}


def test_change_with_a_minus_is_change():
    rows = ["CHANGE -3.25" if row == "CHANGE 3.25" else row for row in RECEIPT]
    assert not extract_fields([(1, page_of(rows))], "receipt").flags


def test_labels_and_values_in_columns_belong_together():
    lines = [("TOTAL", (10, 100, 90, 130)), ("9.90", (500, 104, 560, 132)),
             ("ACME LTD", (200, 10, 400, 40))]  # fmt: skip
    parts = tuple(
        Paragraph((Row((Line(tuple(map(float, box)), text, 0.9),)),)) for text, box in lines
    )
    found = extract_fields([(1, PageText(parts, (600, 200), "page"))], "receipt")
    assert found.value("total") == "9.90" and found.value("company") == "ACME LTD"


def test_amounts_and_dates_in_their_forms():
    text = "RM1,234.50 12.50 € 3,99 1.234,56 2024 7.5% 03-55423228 1.2.3"
    assert [amount_value(match[0]) for match in amounts(text)] == [
        Decimal("1234.50"), Decimal("12.50"), Decimal("3.99"), Decimal("1234.56")
    ]  # fmt: skip
    text = (
        "25/12/2018, 2019-01-31, 1 March 2024, Dec 24, 2023, 05-02-19, 25/12/20188:13, 2024年3月5日"
    )
    assert [day for _, _, day in dates(text)] == [
        date(2018, 12, 25), date(2019, 1, 31), date(2024, 3, 1), date(2023, 12, 24),
        date(2019, 2, 5), date(2018, 12, 25), date(2024, 3, 5),
    ]  # fmt: skip
    assert list(dates("31/02/2020 99-99-99 01-3 - 70/")) == []


def test_a_contracts_parties_dates_amounts_and_term():
    rows = [
        "SERVICE AGREEMENT",
        "This Service Agreement is made and entered into as of March 1, 2024, by and",
        'between Northwind Paper Ltd, a company registered in England (the "Supplier"),',
        'and Contoso Trading GmbH, a German limited liability company (the "Customer").',
        "1. Term. The initial term of this Agreement is twenty-four (24) months.",
        "It ends on 31 March 2026.",
        "2. Fees. The Customer pays EUR 12,500.00 per quarter and a deposit of $4,000.",
        "3. Either party may terminate with a notice period of 90 days.",
    ]
    found = extract_fields([(1, page_of(rows))], "contract")
    assert [(field.name, field.value) for field in found.fields] == [
        ("party", "Northwind Paper Ltd"), ("party", "Contoso Trading GmbH"),
        ("effective_date", "March 1, 2024"), ("end_date", "31 March 2026"),
        ("amount", "EUR 12,500.00"), ("amount", "$4,000"),
        ("term", "twenty-four (24) months"), ("notice", "90 days"),
    ]  # fmt: skip
    assert found.fields[1].box[1] == 120.0 and found.flags == ()
    empty = extract_fields([(1, page_of(["Dear Sir"]))], "contract")
    assert empty.flags == ("no party was found", "no term was found")
    with pytest.raises(UserError, match="there are receipt, contract"):
        extract_fields([], "letter")


def test_a_contract_of_cuad_gives_what_its_lawyers_marked():
    """The first contract of CUAD v1 (Lime Energy, 1999), with the spans marked in it."""
    rows = [
        'This Distributor Agreement (the "Agreement") is made by and between Electric City Corp.,',
        'a Delaware corporation ("Company") and Electric City of Illinois LLC ("Distributor")',
        "this 7th day of September, 1999.",
        'The term of this Agreement shall be ten (10) years (the "Term").',
    ]
    found = extract_fields([(1, page_of(rows))], "contract")
    assert [(field.name, field.value) for field in found.fields] == [
        ("party", "Electric City Corp."), ("party", "Electric City of Illinois LLC"),
        ("effective_date", "7th day of September, 1999"), ("term", "ten (10) years"),
    ]  # fmt: skip


def labels(path):
    lines = []
    for row in csv.reader(path.open(encoding="utf-8"), quoting=csv.QUOTE_NONE):
        xs, ys = [float(v) for v in row[0:8:2]], [float(v) for v in row[1:8:2]]
        lines.append(Line((min(xs), min(ys), max(xs), max(ys)), ",".join(row[8:])))
    parts = tuple(Paragraph((Row((line,)),)) for line in lines)
    return PageText(parts, (2000, 4000), "page")


@pytest.mark.real_data
def test_published_receipts_give_their_keys():
    """Totals and dates of SROIE's key files from its labels: most of them, exactly."""
    root = os.environ.get("MANIFOLD_OCR_REAL_DATA")
    if not root:
        pytest.skip("MANIFOLD_OCR_REAL_DATA is not set")
    right = {"total": 0, "date": 0, "company": 0}
    keys = sorted((Path(root) / "sroie" / "key").glob("*.json"))[::4]
    for key in keys:
        found = extract_fields([(1, labels(Path(root) / f"sroie/box/{key.stem}.csv"))], "receipt")
        truth = json.loads(key.read_text())
        for name in right:
            values = [re.sub(r"\s|RM|\$", "", v.upper()) for v in (found.value(name), truth[name])]
            right[name] += values[0] == values[1]
    shares = {name: count / len(keys) for name, count in right.items()}
    assert shares["total"] > 0.9 and shares["date"] > 0.88 and shares["company"] > 0.8, shares

"""Forms: printed labels, and values filled in by pen or machine."""

import random

from manifold_ocr.corpora.synthetic.grammar import TextSource
from manifold_ocr.corpora.synthetic.texts.lines import TextLine
from manifold_ocr.corpora.synthetic.texts.words import TEST_WORDS, TRAIN_WORDS

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

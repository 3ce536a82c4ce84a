"""Label conventions told apart from reading: labels in upper case whatever the image shows.

A corpus labeled in upper case only (receipts of ICDAR 2019, many forms) teaches a model that
lower case does not exist, and it forgets mixed case everywhere else. Such a corpus is found by
its own labels, beside what the base model reads on the same lines. Its labels get back the case
that the image shows, and the convention is applied to the output instead: the adapter keeps it,
per corpus (torch-free).
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.records import Prediction, Sample

FILE = "conventions.json"  # beside the adapter's weights
UPPER = "upper"
FEW = 200  # cased letters below which nothing is said of a corpus
LABELS_UPPER = 0.99  # share of upper case among the labels' letters from which it is a convention
IMAGES_LOWER = 0.05  # share of lower case among the letters that the base reads on the same lines


def upper_corpora(rows: Sequence[Sample]) -> set[str]:
    """Return the corpora whose labels are in upper case: candidates, the images unseen."""
    upper: dict[str, int] = defaultdict(int)
    cased: dict[str, int] = defaultdict(int)
    for row in rows:
        large = sum(map(str.isupper, row.text))
        upper[row.corpus] += large
        cased[row.corpus] += large + sum(map(str.islower, row.text))
    return {name for name, n in cased.items() if n >= FEW and upper[name] >= LABELS_UPPER * n}


def shows_lower(pairs: Iterable[tuple[str, str]]) -> bool:
    """Return whether readings show lower case where (label, reading) agree but for case."""
    lower = cased = 0
    for label, reading in pairs:
        for _, shown in _agreeing(label, reading):
            cased += shown.isupper() or shown.islower()
            lower += shown.islower()
    return bool(cased) and lower >= IMAGES_LOWER * cased


def restore_case(label: str, reading: str) -> tuple[str, int]:
    """Return the label in the case that the reading shows, and how many letters changed.

    The two are aligned by edit distance without regard to case (Levenshtein, 1966). Letters that
    agree take the reading's case; a letter that was read otherwise follows the rest of its word:
    lower case where most of the word's agreeing letters after the first are.
    """
    shown: list[str | None] = [None] * len(label)
    for place, character in _agreeing(label, reading):
        shown[place] = character
    restored, start = list(label), 0
    for end in [*(i for i, c in enumerate(label) if c.isspace()), len(label)]:
        inner = [c for c in shown[start + 1 : end] if c and (c.isupper() or c.islower())]
        follow_lower = 2 * sum(c.islower() for c in inner) > len(inner) > 0
        for place in range(start, end):
            if shown[place] is not None:
                restored[place] = str(shown[place])
            elif follow_lower and place > start:
                restored[place] = _lower(label[place])
        start = end + 1
    text = "".join(restored)
    return text, sum(a != b for a, b in zip(label, text, strict=True))


def restored_rows(
    rows: Sequence[Sample], readings: Mapping[str, str], corpora: set[str]
) -> tuple[list[Sample], dict[str, int]]:
    """Return the rows with the labels of `corpora` in the case of `readings` (by row id).

    Also returns the number of letters changed per corpus.
    """
    changed: dict[str, int] = defaultdict(int)
    result = []
    for row in rows:
        if row.corpus in corpora and row.id in readings:
            text, letters = restore_case(row.text, readings[row.id])
            changed[row.corpus] += letters
            row = dataclasses.replace(row, text=text)
        result.append(row)
    return result, dict(changed)


def applied(
    predictions: Iterable[Prediction], samples: Iterable[Sample], conventions: Mapping[str, str]
) -> list[Prediction]:
    """Return the predictions with each corpus's convention applied to its transcriptions."""
    texts = (sample for sample in samples if sample.task == "transcribe") if conventions else ()
    corpus = {sample.id: sample.corpus for sample in texts}
    return [
        dataclasses.replace(p, text=p.text.upper())
        if conventions.get(corpus.get(p.id, "")) == UPPER
        else p
        for p in predictions
    ]


def write_conventions(folder: Path, conventions: Mapping[str, str]) -> None:
    """Keep the conventions beside an adapter's weights; nothing is written where there are none."""
    if conventions:
        write_json(folder / FILE, {"output_case": dict(sorted(conventions.items()))})


def read_conventions(folder: Path | None) -> dict[str, str]:
    """Return the conventions kept beside an adapter, by corpus; none without the file.

    Raises:
        UserError: the file holds something else.
    """
    if folder is None or not (folder / FILE).is_file():
        return {}
    value = read_json(folder / FILE).get("output_case")
    if not isinstance(value, dict) or set(value.values()) - {UPPER}:
        raise UserError(f"{folder / FILE}: not the conventions of an adapter; train it again")
    return value


def _agreeing(label: str, reading: str) -> list[tuple[int, str]]:
    folded, read = "".join(map(_lower, label)), "".join(map(_lower, reading))
    return [
        (block.src_start + i, reading[block.dest_start + i])
        for block in Levenshtein.opcodes(folded, read)
        if block.tag == "equal"
        for i in range(block.src_end - block.src_start)
    ]


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character

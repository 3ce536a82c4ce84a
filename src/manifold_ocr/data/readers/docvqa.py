"""DocVQA (single page): questions and answers over page images, scored by ANLS.

train_v1.0.json / val_v1.0.json / test_v1.0.json hold {"dataset_name", "dataset_split",
"data": [{"questionId", "question", "image": "documents/ID_page.png", "docId",
"ucsf_document_id", "ucsf_document_page_no", "answers": [...], "data_split"}]}; the v1.0
withQT files add "question_types". The official test has no public answers and is left out.
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

_SPLITS = {"train": "train", "val": "test"}  # the official validation set is our test


@dataclass(frozen=True)
class DocVqa:
    """Questions about pages of industry documents."""

    name: str = "docvqa"
    role: str = "train"

    def fetch(self, destination: Path, options: Mapping[str, Any]) -> None:
        """Copy or unpack the registered download (see `fetchers.fetch`)."""
        fetch(self.name, options, destination)

    def rows(self, root: Path, options: Mapping[str, Any]) -> Iterator[RawRow | Rejection]:
        """Stream a row a question; the first accepted answer is the target text.

        Official train is split into train and validation by document, official validation
        is the test split. Pages of one source document stay together.
        """
        parsed = corpus_options(CommonOptions, self.name, options)
        files = sorted(path for path in root.rglob("*.json") if "v1.0" in path.name)
        if not files:
            raise UserError(f"{root}: no *_v1.0*.json of DocVQA")
        licence = parsed.license or SOURCES["docvqa"].license
        for path in files:
            value = read_json(path)
            entries = value.get("data", []) if isinstance(value, dict) else []
            for number, entry in enumerate(entries):
                where = f"{path.relative_to(root).as_posix()}[{number}]"
                yield self._row(root, path.parent, entry, where, licence)

    def _row(
        self, root: Path, folder: Path, entry: Any, where: str, licence: str
    ) -> RawRow | Rejection:
        try:
            answers = tuple(str(answer) for answer in entry.get("answers") or ())
            split = entry.get("data_split", "")
            image = (folder / entry["image"]).relative_to(root).as_posix()
            document = str(entry.get("ucsf_document_id") or entry.get("docId") or image)
            question = str(entry["question"])
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            return self._reject(where, "broken_row", repr(error))
        if not answers:
            return self._reject(where, "no_answer", "the official test split hides its answers")
        return RawRow(
            document=document,
            image=image,
            text=answers[0],
            source=where,
            subset="questions",
            tags=tuple(str(kind).replace(" ", "_") for kind in entry.get("question_types") or ()),
            language="en",
            split="train_val" if _SPLITS.get(split) == "train" else _SPLITS.get(split),
            granularity="page",
            task="qa",
            question=question,
            answers=answers,
            license=licence,
        )

    def _reject(self, source: str, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self.name, source=source, reason=reason, detail=detail)

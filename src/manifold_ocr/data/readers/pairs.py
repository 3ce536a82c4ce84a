"""Images with text files beside them: `scan.png` + `scan.txt`, `line.png` + `line.gt.txt`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.data.formats import EncodingError, is_image, read_text, walk_files
from manifold_ocr.records import UNDETERMINED, RawRow, Rejection, language_tag

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """One reader's share of a folder, and the naming rules that all layouts follow."""

    corpus: str
    root: Path
    part: int = 0
    parts: int = 1
    granularity: str = "auto"
    document_pattern: str = ""
    splits_from_folders: bool = False
    subset: str = ""
    language: str = ""
    license: str = "unknown"

    def files(self) -> Iterator[str]:
        """Yield all files, in path order."""
        return walk_files(self.root)

    def share(self, names: list[str]) -> list[str]:
        """Return this reader's share of `names`."""
        return names[self.part :: self.parts]

    def row(self, image: str, text: str, source: str, **more: Any) -> RawRow:
        """Build a row; document, subset, split and language follow from the image's path."""
        folders = image.split("/")[:-1]
        split = None
        if self.splits_from_folders and folders and folders[0].lower() in _SPLITS:
            split = _SPLITS[folders.pop(0).lower()]
        language = language_tag(self.language) if self.language else UNDETERMINED
        lines = self.granularity == "line" or (self.granularity == "auto" and "\n" not in text)
        values = {
            "document": self.document(image),
            "subset": self.subset or (folders[0] if folders else "all"),
            "language": language,
            "split": split,
            "license": self.license,
            "granularity": "line" if lines else "page",
        }
        return RawRow(image=image, text=text, source=source, **{**values, **more})

    def document(self, image: str) -> str:
        """Return the document of an image: by the pattern, else the path without suffixes."""
        if self.document_pattern and (match := re.search(self.document_pattern, image)):
            return match.group(1)
        folder, _, name = image.rpartition("/")
        stem = name.split(".", 1)[0] or name
        return f"{folder}/{stem}" if folder else stem

    def reject(self, source: str, reason: str, detail: str) -> Rejection:
        """Build a rejection of this corpus."""
        return Rejection(corpus=self.corpus, source=source, reason=reason, detail=detail)


def rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream a row an image. An image without text, or a text without image, is rejected."""
    names = list(view.files())
    texts = {name for name in names if name.lower().endswith(".txt")}
    images = [name for name in names if is_image(name)]
    claimed: set[str] = set()
    for image in images:
        claimed.update(name for name in _text_names(image) if name in texts)
    for image in view.share(images):
        text = next((name for name in _text_names(image) if name in texts), "")
        if not text:
            yield view.reject(image, "missing_label", f"no {_text_names(image)[0]} beside it")
            continue
        yield _read(view, image, text)
    for text in view.share(sorted(texts - claimed)):
        yield view.reject(text, "missing_image", "no image of the same name beside it")


def _text_names(image: str) -> list[str]:
    """Return the names a text may have: `a.gt.txt` or `a.txt` for `a.png`, `a.bin.png`."""
    stem = image.rsplit(".", 1)[0]
    stems = [stem]
    folder, _, name = stem.rpartition("/")
    if "." in name:
        stems.append(f"{folder}/{name.split('.', 1)[0]}" if folder else name.split(".", 1)[0])
    return [f"{s}{suffix}" for s in stems for suffix in (".gt.txt", ".txt")]


def _read(view: FolderView, image: str, name: str) -> RawRow | Rejection:
    try:
        text = read_text(view.root / name).strip("\n")
    except EncodingError as problem:
        return view.reject(name, "wrong_encoding", str(problem))
    if name.endswith(".gt.txt"):
        return view.row(image, text.strip(), name, granularity="line")
    return view.row(image, text.strip(), name)

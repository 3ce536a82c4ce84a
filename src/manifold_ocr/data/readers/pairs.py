"""What folder layouts share (naming rules, finding images), and images with text files beside.

`scan.png` + `scan.txt`, `line.png` + `line.gt.txt`, `line.bin.png` + `line.gt.txt`. The text of
a file of several pages (TIFF, PDF) has one part per page, with form feeds between them.
"""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from manifold_ocr.data.formats import EncodingError, is_image, read_text, visible, walk_files
from manifold_ocr.errors import UserError
from manifold_ocr.images import count_pages
from manifold_ocr.records import UNDETERMINED, RawRow, Rejection, language_tag

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_TOKENS = SPLITS | {"training": "train", "testing": "test"}
# what tools put between stem and suffix: binarized, normalized, raw, dewarped, despeckled, gray
INFIXES = frozenset(("bin", "nrm", "raw", "dew", "desp", "gray", "grey"))


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
    raw_boxes: bool = False

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
        if self.splits_from_folders and folders and folders[0].lower() in SPLITS:
            split = SPLITS[folders.pop(0).lower()]
        language = language_tag(self.language) if self.language else UNDETERMINED
        text = visible(text)
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
        """Return the document of an image: by the pattern, else its path without suffix."""
        if self.document_pattern and (match := re.search(self.document_pattern, image)):
            return match.group(1)
        return stem_of(image)

    def reject(self, source: str, reason: str, detail: str) -> Rejection:
        """Build a rejection of this corpus."""
        return Rejection(corpus=self.corpus, source=source, reason=reason, detail=detail)

    def unlabeled(
        self, images: Iterable[str], labeled: Collection[str], what: str, pages: int = 1
    ) -> Iterator[Rejection]:
        """Reject, in one share only, the images that no label names (nor one of their stem).

        A labeled image of more than `pages` pages is rejected from the next page on.
        """
        if self.part:
            return
        stems = {stem_of(image) for image in labeled}
        for image in images:
            if image not in labeled and stem_of(image) not in stems:
                yield self.reject(image, "missing_label", what)
            elif image in labeled and (count := self.pages(image)) > pages:
                detail = f"pages {pages + 1} to {count} of the file have no label"
                yield self.reject(image, "missing_label", detail)

    def pages(self, image: str) -> int:
        """Return how many pages an image file has (1 where it cannot be opened)."""
        if not image.lower().endswith((".tif", ".tiff", ".pdf", ".gif", ".webp")):
            return 1
        try:
            return count_pages(self.root / image)
        except UserError:
            return 1  # the manifest stage says what is wrong with the image


def stem_of(image: str) -> str:
    """Return a path without suffix and known infix: `a/v1.2.bin.png` gives `a/v1.2`."""
    stem, infix = posixpath.splitext(posixpath.splitext(image)[0])
    return stem if infix[1:].lower() in INFIXES else stem + infix


def split_of(path: str) -> str:
    """Return the split that a folder of the path names (`ch4_test_images`), or nothing."""
    for folder in path.lower().split("/")[:-1]:
        for token in re.split(r"[^a-z]+", folder):
            if token in _TOKENS:
                return _TOKENS[token]
    return ""


class ImageFinder:
    """Finds the image that a label file names: by path first, then by a name that is unique."""

    def __init__(self, names: Iterable[str]) -> None:
        self.images = [name for name in names if is_image(name)]
        self._paths = {_folded(name): name for name in reversed(self.images)}
        self._paths.update({name: name for name in self.images})
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.images:
            self._by_name[_folded(name.rpartition("/")[2])].append(name)
            self._by_stem[_folded(stem_of(name))].append(name)

    def find(self, stated: str, label: str, same_stem: bool = False) -> tuple[str, str]:
        """Return (image, "") or ("", why there is none) for the label file `label`.

        The stated path is taken relative to the label's folder and those above it (OCR-D),
        then the bare name beside and above the label, then (`same_stem`) the image of the
        label's own stem there, and last a name that one image of the label's split has.
        """
        folder = label.rpartition("/")[0]
        spelled = stated.replace("\\", "/")
        wanted = list(dict.fromkeys((spelled, unquote(spelled.removeprefix("file://")))))
        wanted = [w for w in wanted if w.strip()]
        names = [w.rpartition("/")[2] for w in wanted]
        near = (folder, folder.rpartition("/")[0])
        places = [(place, w) for w in wanted for place in _ancestors(folder)]
        places += [(place, name) for name in names for place in near]
        for place, name in places:
            if found := self._at(place, name):
                return found, ""
        stem = stem_of(label.rpartition("/")[2])
        if same_stem:
            for place in dict.fromkeys(near):
                key = _folded(f"{place}/{stem}" if place else stem)
                if same := self._by_stem.get(key):
                    return min(same, key=len), ""  # `p.png` rather than `p.bin.png`
        return self._anywhere(stated, [n for n in names if n] or [stem], label)

    def _at(self, folder: str, name: str) -> str:
        path = posixpath.normpath(posixpath.join(folder, name))
        return self._paths.get(path) or self._paths.get(_folded(path), "")

    def _anywhere(self, stated: str, names: list[str], label: str) -> tuple[str, str]:
        split = split_of(label)
        for name in names:
            found = [
                image
                for image in self._by_name.get(_folded(name), ())
                if not split or split_of(image) in ("", split)
            ]
            if len(found) == 1:
                return found[0], ""
            if found:
                return "", f"{len(found)} images are named {name!r}: {', '.join(found[:3])}"
        return "", f"no image {stated!r} for it"


def _ancestors(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


def _folded(name: str) -> str:
    """Return the name by which files are compared: composed (macOS writes NFD), case-folded."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def rows(view: FolderView) -> Iterator[RawRow | Rejection]:
    """Stream a row per page. An image without text, or a text without image, is rejected."""
    names = list(view.files())
    texts = {_folded(name): name for name in names if name.lower().endswith(".txt")}
    images = [name for name in names if is_image(name)]
    claimed: set[str] = set()
    for image in images:
        claimed.update(texts[key] for key in _text_names(image) if key in texts)
    for image in view.share(images):
        text = next((texts[key] for key in _text_names(image) if key in texts), "")
        if not text:
            beside = f"no {stem_of(image).rpartition('/')[2]}.gt.txt or .txt beside it"
            yield view.reject(image, "missing_label", beside)
            continue
        yield from _read(view, image, text)
    for text in view.share(sorted(set(texts.values()) - claimed)):
        yield view.reject(text, "missing_image", "no image of the same name beside it")


def _text_names(image: str) -> list[str]:
    """Return the names a text may have: `a.gt.txt` or `a.txt` for `a.png`, `a.bin.png`."""
    stems = dict.fromkeys((posixpath.splitext(image)[0], stem_of(image)))
    return [_folded(f"{stem}{suffix}") for stem in stems for suffix in (".gt.txt", ".txt")]


def _read(view: FolderView, image: str, name: str) -> Iterator[RawRow | Rejection]:
    try:
        text = read_text(view.root / name)
    except EncodingError as problem:
        yield view.reject(name, "wrong_encoding", str(problem))
        return
    pages = view.pages(image)
    parts = text.rstrip("\f\n").split("\f") if "\f" in text else [text]
    if len(parts) != pages and pages > 1:
        detail = f"{image} has {pages} pages, the text {len(parts)}: put a form feed between pages"
        yield view.reject(name, "broken_row", detail)
        return
    if pages == 1:
        yield view.row(image, " ".join(text.split("\f")).strip(), name)
        return
    for frame, part in enumerate(parts):
        where = f"{name}#page={frame + 1}"
        yield view.row(image, part.strip(), where, frame=frame)

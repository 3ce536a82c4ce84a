"""The characters of a CTC head, and the classes it gains for those the base model cannot write.

`model.vocabulary` decides: `base` keeps the base model's classes, `union` adds the characters
of the training labels that it lacks, `labels` keeps only what the training labels hold. A new
class starts from the class whose glyph looks most like its own (torch-free).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.adapter_files import is_adapter, load_tensors

FILE = "vocabulary.json"  # beside the adapter's weights
WEIGHTS = "vocabulary.safetensors"  # of the new classes: `weight` (K, H), `bias` (K,)
SEEN = 3  # times that a character must occur in the training labels to get a class
FACE = "dejavu-sans"  # has Latin, Greek, Cyrillic, Hebrew, Arabic, Armenian, Georgian
GLYPH, CANVAS = 32, 48  # pixels: size of a drawn glyph, and of the square it is drawn on
ALIKE = 0.5  # intersection over union of two glyphs' ink from which one stands for the other


@dataclass(frozen=True)
class Growth:
    """Which classes of the base stay, in order (None: all), and the characters added to them."""

    kept: tuple[int, ...] | None = None
    added: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether the head differs from the base model's."""
        return self.kept is not None or bool(self.added)

    def characters(self, base: Sequence[str]) -> list[str]:
        """Return the text of each class, given those of the base model."""
        kept = list(base) if self.kept is None else [base[index] for index in self.kept]
        return [*kept, *self.added]

    def write(self, folder: Path) -> None:
        """Write vocabulary.json into an adapter's folder."""
        kept = None if self.kept is None else list(self.kept)
        write_json(folder / FILE, {"kept": kept, "added": list(self.added)})


def growth_for(
    vocabulary: Literal["base", "union", "labels"], base: Sequence[str], texts: Iterable[str]
) -> Growth:
    """Return the classes that labels `texts` (normalized as they are learned) ask for.

    A character that occurs less than SEEN times gets no class: its rows are rejected.
    """
    if vocabulary == "base":
        return Growth()
    counts = Counter(character for text in texts for character in text)
    known = set(base[1:])
    added = sorted(c for c, n in counts.items() if c not in known and n >= SEEN)
    if vocabulary == "union":
        return Growth(added=tuple(added))
    kept = (0, *(index for index, c in enumerate(base) if index and c in counts))
    return Growth(kept, tuple(added))


def read_growth(adapter: Path | None) -> Growth:
    """Return the classes that an adapter adds, which is none for most.

    Raises:
        UserError: a damaged vocabulary.json.
    """
    if adapter is None or not is_adapter(adapter) or not (adapter / FILE).is_file():
        return Growth()
    found = read_json(adapter / FILE)
    try:
        kept = found["kept"]
        return Growth(None if kept is None else tuple(map(int, kept)), tuple(found["added"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{adapter / FILE}: is damaged ({error}); train the adapter again"
        ) from None


def character_list(base: Path, adapter: Path | None = None) -> list[str]:
    """Return the text of each class of a CTC checkpoint with an adapter on it.

    A full checkpoint as `adapter` carries the list of its own.

    Raises:
        UserError: preprocessor_config.json or its `character_list` is missing.
    """
    full = adapter is not None and not is_adapter(adapter)
    path = (adapter if full and adapter is not None else base) / "preprocessor_config.json"
    characters = read_json(path).get("character_list")
    if not characters:
        raise UserError(f"{path}: `character_list` is missing; download the base model again")
    return read_growth(adapter).characters([str(character) for character in characters])


def grown_rows(name: str, rows: np.ndarray, adapter: Path) -> np.ndarray:
    """Return the base's `rows` of head.head (`weight` (C, H) or `bias` (C,)) as grown."""
    growth = read_growth(adapter)
    if not growth:
        return rows
    kept = rows if growth.kept is None else rows[list(growth.kept)]
    if not growth.added:
        return kept
    new = load_tensors(adapter / WEIGHTS)[name.rsplit(".", 1)[-1]]
    return np.concatenate([kept, new.astype(kept.dtype)])


def first_rows(
    added: Sequence[str], base: Sequence[str], weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where new classes start: (K, H) and (K,), from the base's (C, H) and (C,).

    Each starts from the letter or sign that looks like it, else from the mean of all of them.
    """
    candidates = {c: i for i, c in enumerate(base) if i and len(c) == 1 and ord(c) < 0x590}
    drawn = {c: ink for c in candidates if (ink := _glyph(c)) is not None}
    all_candidates = list(candidates.values()) or list(range(1, len(base)))
    rows, biases = [], []
    for character in added:
        like = _most_like(character, drawn)
        chosen = all_candidates if like is None else [candidates[like]]
        rows.append(weight[chosen].mean(0))
        biases.append(bias[chosen].mean())
    return np.stack(rows).astype(np.float32), np.array(biases, np.float32)


def _most_like(character: str, drawn: dict[str, np.ndarray]) -> str | None:
    own = _glyph(character)
    if own is None or not drawn:
        return None

    def overlap(other: str) -> float:
        either = np.logical_or(own, drawn[other]).sum()
        return float(np.logical_and(own, drawn[other]).sum() / either)

    best = max(drawn, key=overlap)
    return best if overlap(best) >= ALIKE else None


def _glyph(character: str) -> np.ndarray | None:
    """Return the ink (CANVAS, CANVAS) of a character on its line, None where it has none."""
    from manifold_ocr.synthetic import fonts  # reading needs none

    if character.isspace() or not fonts.covers(FACE, character):
        return None
    canvas = Image.new("L", (CANVAS, CANVAS))
    place = (CANVAS // 2, CANVAS * 3 // 4)
    ImageDraw.Draw(canvas).text(place, character, 255, fonts.load(FACE, GLYPH), anchor="ms")
    ink = np.asarray(canvas) > 127
    return ink if ink.any() else None

"""The `manifest` section of params.yaml."""

from dataclasses import dataclass, field
from typing import Literal

from manifold_ocr.corpora.base import Task
from manifold_ocr.corpora.languages import language_tag
from manifold_ocr.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LeakageConfig:
    """When a training page counts as known to validation, test or a benchmark.

    `image_distance` is the largest distance of two page descriptors (share of differing
    bits), `text_similarity` the smallest edit similarity of two page texts, judged on texts
    of at least `min_text_length` characters: short lines (a date, a price) repeat by
    nature. `max_fraction` is the largest share of training rows that may be removed before
    the stage fails. `max_index` bounds the pages that training is compared with.
    """

    enabled: bool = True
    image_distance: float = 0.11
    text_similarity: float = 0.9
    min_text_length: int = 200
    max_fraction: float = 0.05
    max_index: int = 50_000

    def __post_init__(self) -> None:
        _check_share("max_fraction", self.max_fraction)
        _check_share("text_similarity", self.text_similarity)
        _check_share("image_distance", self.image_distance)


@dataclass(frozen=True, kw_only=True)
class ManifestConfig:
    """Splits, filters and gates of the manifest stage (0 or an empty list: no limit).

    `val_split` and `test_split` are shares of documents, drawn by hash with `seed` as salt.
    `validation_corpora` and `test_corpora` give whole corpora to one split; with explicit
    validation corpora no others lend documents to it. `length_unit` is `characters` or the
    tokenizer in which `train.max_target_length` is meant (`deepseek`, a folder, a hub id).
    """

    seed: int = 20240601
    val_split: float = 0.08
    test_split: float = 0.15
    train_corpora: tuple[str, ...] = ()
    validation_corpora: tuple[str, ...] = ()
    test_corpora: tuple[str, ...] = ()
    include_languages: tuple[str, ...] = ()
    include_subsets: tuple[str, ...] = ()
    include_tasks: tuple[Task, ...] = ("transcribe",)
    include_granularities: tuple[Literal["line", "page"], ...] = ("line", "page")
    max_train_samples: int = 0
    max_val_samples: int = 0
    max_test_samples: int = 0
    max_pixels: int = 0
    box_tolerance: float = 3.0
    max_rejected_fraction: float = 0.05
    shard_rows: int = 250_000
    length_unit: str = "characters"
    workers: int = 0
    samples_sheet: int = 48
    leakage: LeakageConfig = field(default_factory=LeakageConfig)

    def __post_init__(self) -> None:
        for name in ("val_split", "test_split", "max_rejected_fraction"):
            _check_share(name, getattr(self, name))
        if self.val_split + self.test_split >= 1:
            raise ValueError("val_split + test_split must leave a share for training")
        for name in ("max_train_samples", "max_val_samples", "max_test_samples", "max_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (no limit) or more")
        if self.shard_rows < 1:
            raise ValueError("shard_rows must be at least 1")
        clash = set(self.validation_corpora) & set(self.test_corpora)
        if clash:
            raise ValueError(f"{sorted(clash)[0]!r} is both a validation and a test corpus")

    @property
    def languages(self) -> frozenset[str]:
        """Return the selected languages as BCP-47 tags; empty means all."""
        try:
            return frozenset(language_tag(name) for name in self.include_languages)
        except UserError as error:
            raise UserError(f"params.yaml: manifest.include_languages: {error}") from error


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1), not {value}")

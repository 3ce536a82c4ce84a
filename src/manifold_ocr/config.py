"""params.yaml as settings: one class per section; an unknown or mistyped key is an error."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from manifold_ocr.errors import UserError
from manifold_ocr.records import Task, language_tag

Config = TypeVar("Config")


def load_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Read a params file as a mapping.

    Raises:
        UserError: missing, not YAML, or not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run from the project's root") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a mapping of sections")
    return value


def load_section(cls: type[Config], section: str, path: Path | str = "params.yaml") -> Config:
    """Build the dataclass `cls` from one section of a params file (see `build`)."""
    params = load_params(path)
    if section not in params:
        raise UserError(f"{path}: section {section!r} is missing{_nearest(section, params)}")
    return build(cls, params[section], f"{path}: {section}")


def build(cls: type[Config], value: Any, where: str) -> Config:
    """Build a frozen dataclass from a mapping, checking every key and type.

    Nested dataclasses, `X | None`, `list`/`tuple` and `dict[str, X]` annotations are
    followed; an int is accepted where a float is asked for, nothing else is converted.

    Raises:
        UserError: an unknown key (the nearest valid one is named), a missing key, a value
            of another type, or a ValueError of the dataclass's own checks.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: must be a mapping, not {value!r}")
    hints = typing.get_type_hints(cls)
    fields = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise UserError(f"{where}.{key}: unknown key{_nearest(str(key), fields)}")
    for name, entry in fields.items():
        required = (
            entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            raise UserError(f"{where}.{name}: key is missing")
    built = {key: _convert(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return cls(**built)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _nearest(key: str, valid: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(sorted(valid))}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is not one of {', '.join(map(str, args))}")
        return value
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: must be a list, not {value!r}")
        return origin(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: must be a mapping, not {value!r}")
        return {k: _convert(args[1], item, f"{where}.{k}") for k, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{where}: must be {hint.__name__}, not {value!r}")
    return value


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    problems = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _convert(arg, value, where)
        except UserError as error:
            problems.append(str(error))
    raise UserError(problems[0])


COUNT_BYTES = 4  # repetition count stored with each signature
MAX_PRECISION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """Window and stride in bytes, and the decimals that a signature keeps of each metric."""

    window: int = 512
    stride: int = 384
    precision: int = 3

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be 1 byte or more, not {self.window}")
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride must be 1 to window ({self.window}), not {self.stride}")
        if not 0 <= self.precision <= MAX_PRECISION:
            raise ValueError(f"precision must be 0 to {MAX_PRECISION}, not {self.precision}")

    @property
    def field_bits(self) -> int:
        """Bits that hold one quantised metric: ceil(log2(10^precision + 1))."""
        return math.ceil(math.log2(10**self.precision + 1))

    @property
    def metric_bytes(self) -> int:
        """Bytes that hold the four quantised metrics of a signature."""
        return math.ceil(4 * self.field_bits / 8)

    @property
    def payload_bytes(self) -> int:
        """Bytes of one stored signature: four metrics and a repetition count (9 at 3 decimals)."""
        return self.metric_bytes + COUNT_BYTES


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


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which weights, at which precision.

    `id` is a local folder, a hub id, or the embedded default `pp-ocrv6-small`; `revision`
    pins a hub id; `processor_id` takes the processor from elsewhere (empty: same as `id`).
    `max_pixels` is the pixel budget of an image for chat models (0: the checkpoint's own).
    """

    id: str
    revision: str = ""
    processor_id: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    max_pixels: int = 0
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adaptation; rank 0 means full fine-tuning of what `freeze` leaves free."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str | list[str] = "auto"
    bias: Literal["none", "all", "lora_only"] = "none"

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"rank must be 0 (full fine-tuning) or more, not {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")


LARGER_IS_BETTER = {
    "cer": False,
    "ned": False,
    "wer": False,
    "character_accuracy": True,
    "token_f1": True,
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, evaluation during training, checkpoints and resume.

    Lengths are tokens, `warmup` and `rehearsal` shares of one; docs/training.md describes
    every field. `max_steps` > 0 overrides `epochs`. `train_batch_size` 0 is automatic.
    `eval_steps` 0 evaluates after each epoch, `save_steps` 0 saves whenever it evaluates.
    `freeze` names what stays fixed: `backbone` (the vision part) or `none`. `init_from` is
    an adapter folder to start from.
    """

    epochs: float = 2.0
    max_steps: int = 0
    train_batch_size: int = 16
    eval_batch_size: int = 32
    gradient_accumulation: int = 1
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    max_target_length: int = 512
    generation_max_length: int = 512
    logging_steps: int = 20
    eval_steps: int = 0
    save_steps: int = 0
    save_total_limit: int = 2
    early_stopping_patience: int = 0
    metric_for_best_model: Literal["cer", "ned", "wer", "character_accuracy", "token_f1"] = "cer"
    resume: bool = True
    seed: int = 20240601
    threads: int = 2
    dataloader_workers: int = 0
    max_train_samples: int = 0
    max_val_samples: int = 0
    include_languages: tuple[str, ...] = ()
    include_subsets: tuple[str, ...] = ()
    rehearsal: float = 0.2
    rehearsal_degraded: float = 0.5
    rehearsal_languages: tuple[str, ...] = ("en", "zh")
    freeze: Literal["backbone", "none"] = "backbone"
    init_from: str = ""
    overfit_check: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "gradient_accumulation", "learning_rate", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("max_target_length", "generation_max_length", "logging_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("warmup", "rehearsal"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is a share in [0, 1), not {getattr(self, name)}")
        if not 0.0 <= self.rehearsal_degraded <= 1.0:
            raise ValueError(f"rehearsal_degraded is a share, not {self.rehearsal_degraded}")
        counts = ("max_steps", "train_batch_size", "eval_steps", "save_steps", "max_train_samples")
        others = ("max_val_samples", "early_stopping_patience", "dataloader_workers")
        for name in (*counts, *others, "weight_decay", "max_grad_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.eval_batch_size < 1:
            raise ValueError(f"eval_batch_size must be 1 or more, not {self.eval_batch_size}")
        if self.save_total_limit < 1:
            raise ValueError(
                "save_total_limit must be 1 or more: while a checkpoint is written, the one "
                f"before it is the only whole one; it is {self.save_total_limit}"
            )
        if self.save_steps and (not self.eval_steps or self.save_steps % self.eval_steps):
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of eval_steps "
                f"({self.eval_steps}): the best checkpoint is one that was evaluated"
            )

    @property
    def larger_is_better(self) -> bool:
        """Return the direction of `metric_for_best_model`: accuracies up, errors down."""
        return LARGER_IS_BETTER[self.metric_for_best_model]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a corpus must reach. Ratios are sizes before / after, rates are in [0, 1].

    The signature ratio is judged and shown, never enforced: it measures document length.
    `max_false_positive_rate` is that of the decision "these are the same document" on pages
    that are not; `min_recall` that of the system's own readings of archived pages.
    """

    signature_ratio_low: float = 40.0
    signature_ratio_high: float = 45.0
    min_stored_ratio: float = 1.2
    max_ned: float = 0.10
    min_token_accuracy: float = 0.85
    min_recall: float = 0.90
    max_false_positive_rate: float = 0.05


REPORTED = Targets(max_ned=0.05, min_token_accuracy=0.95)  # the level older reports claimed
DEFAULT_TARGETS = {"default": Targets(), "fox": REPORTED, "omnidocbench": REPORTED}


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Codec, verification, controls and gates of the compression check.

    Args:
        enforce: a failed gate makes the stage exit with an error after the report is written.
        window: bytes of a signature window.
        stride: bytes between window starts.
        precision: decimals of a quantised metric.
        metric_tokenizer: see `text.tokens.load_tokenizer`.
        hazard_percentile: in the gated exact membership, windows above this percentile of a
            document's hazards are not compared; 100 compares all.
        tolerance: in the tolerant screen, quantisation steps by which stability and entropy of
            a matching signature may differ.
        match_share: share of compared windows that must match for a candidate.
        confirm_ned: largest normalised edit distance between a query and the archived text of
            a candidate that still says "same document".
        noise: character error rates of the perturbed copies.
        lossless: `fast` keeps to library codecs, `best` adds context mixing (about
            15 kB/s), which is smallest on pages.
        lossless_pages: pages a corpus that the lossless table measures (0: all), spread evenly.
        unseen_pages: pages a corpus of other splits that serve as foreign queries and as
            dictionaries (0: all), spread evenly.
        seed: of the perturbations and the random control.
        targets: per corpus; `default` serves every corpus that is not named.
    """

    enforce: bool = False
    window: int = 512
    stride: int = 384
    precision: int = 3
    metric_tokenizer: str = "deepseek"
    hazard_percentile: float = 80.0
    tolerance: int = 8
    match_share: float = 0.3
    confirm_ned: float = 0.2
    noise: tuple[float, ...] = (0.01, 0.03, 0.10)
    lossless: Literal["fast", "best"] = "best"
    lossless_pages: int = 40
    unseen_pages: int = 300
    seed: int = 20240601
    targets: dict[str, Targets] = field(default_factory=lambda: dict(DEFAULT_TARGETS))

    def __post_init__(self) -> None:
        _ = self.codec  # its own checks
        if not 0 <= self.hazard_percentile <= 100:
            raise ValueError(f"hazard_percentile must be 0 to 100, not {self.hazard_percentile}")
        if not 0 < self.match_share <= 1:
            raise ValueError(f"match_share must be above 0 and at most 1, not {self.match_share}")
        if min(self.tolerance, self.lossless_pages, self.unseen_pages) < 0:
            raise ValueError("tolerance, lossless_pages and unseen_pages must be 0 or more")
        if any(not 0 < rate < 1 for rate in self.noise):
            raise ValueError(f"noise rates must lie between 0 and 1, not {list(self.noise)}")
        if "default" not in self.targets:
            raise ValueError("targets needs an entry `default` for corpora that are not named")

    @property
    def codec(self) -> CodecConfig:
        """The codec's own settings."""
        return CodecConfig(window=self.window, stride=self.stride, precision=self.precision)

    def targets_of(self, corpus: str) -> Targets:
        """Return the targets of a corpus."""
        return self.targets.get(corpus, self.targets["default"])


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Where a corpus comes from and what it may be used for.

    One of `path` (a local folder or archive), `url` (with `sha256`) or `repo` (a dataset
    repository of the hub, pinned by `revision`, a 40-digit commit) overrides the known
    source. `kind` names the adapter where the corpus's own name does not. `role`,
    `license` and `language` override what the adapter knows.
    """

    kind: str = ""
    path: str = ""
    url: str = ""
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    role: Literal["", "train", "eval_only"] = ""
    license: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        if sum(bool(value) for value in (self.path, self.url, self.repo)) > 1:
            raise ValueError("give one of path, url, repo, not several")


Options = TypeVar("Options", bound=CommonOptions)


def corpus_options(cls: type[Options], name: str, options: Mapping[str, Any]) -> Options:
    """Build a corpus's options from its entry under `corpora` (strict, see `config.build`)."""
    return build(cls, options, f"params.yaml: corpora.{name}")


SUBSETS = (
    "printed",
    "receipts",
    "code",
    "forms",
    "handwriting",
    "charts",
    "degraded",
    "chinese",
)
# Raised with any change that alters a byte of the corpus: a test pins the bytes of a small one.
# It stands in params.yaml, so that DVC draws anew exactly when the bytes would differ.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(CommonOptions):
    """How much is drawn, and from which seed.

    The line counts are lower bounds per subset: documents are drawn whole until a split
    has at least that many lines. `pages` adds one row per document with the whole page.
    `needles` is the share of documents on which a passcode is planted (see `needle.plant`).
    """

    seed: int = 20240601
    train_lines: int = 320
    val_lines: int = 70
    test_lines: int = 320
    subsets: tuple[str, ...] = SUBSETS
    pages: bool = True
    version: int = VERSION
    needles: float = 0.0

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"this release draws version {VERSION}, not {self.version}; set that")
        if self.path or self.url or self.repo:
            raise ValueError("this corpus is drawn, not fetched: it takes no path, url or repo")
        unknown = [name for name in self.subsets if name not in SUBSETS]
        if unknown:
            raise ValueError(f"no subset {unknown[0]!r}; there are {', '.join(SUBSETS)}")
        if min(self.train_lines, self.val_lines, self.test_lines) < 0:
            raise ValueError("line counts must not be negative")
        if not 0.0 <= self.needles <= 1.0:
            raise ValueError(f"needles is a share of documents from 0 to 1, not {self.needles}")

    def lines(self, split: str) -> int:
        """Return the number of lines asked for in a split (train, val or test)."""
        return {"train": self.train_lines, "val": self.val_lines, "test": self.test_lines}[split]

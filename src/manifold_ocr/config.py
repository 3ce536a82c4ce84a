"""params.yaml as settings: one class per section, checked by pydantic before anything runs.

An unknown or mistyped key, a wrong type, a value out of range: each is one `UserError` that
names the key, the value and what is allowed. Numbers are never made from strings.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from manifold_ocr.errors import UserError, nearest, settings_error
from manifold_ocr.files import read_yaml
from manifold_ocr.records import Task, language_tag

Config = TypeVar("Config")

# No value is converted, an int for a float aside.
Flag = Annotated[bool, Field(strict=True)]
Int = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]  # 0 mostly means no limit, or automatic
Positive = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]  # what numpy takes
Float = Annotated[float, Field(strict=True)]
NotNegative = Annotated[float, Field(strict=True, ge=0)]
AboveZero = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(strict=True, ge=0, lt=1)]
Names = tuple[Annotated[str, Field(min_length=1)], ...]


@typing.dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def settings(cls: type[Config]) -> type[Config]:
    """Make a frozen, checked dataclass: a section of params.yaml, or a part of one."""
    checks = ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic_dataclass(frozen=True, kw_only=True, config=checks)(cls)  # type: ignore[return-value]


def load_section(cls: type[Config], name: str, path: Path | str = "params.yaml") -> Config:
    """Build the settings `cls` from one section of a params file (see `build`)."""
    params = read_yaml(path)
    if name not in params:
        raise UserError(f"{path}: section {name!r} is missing{nearest(name, params)}")
    return build(cls, params[name], f"{path}: {name}")


def build(cls: type[Config], value: Any, where: str) -> Config:
    """Build the settings `cls` from a mapping, checking every key and value.

    Raises:
        UserError: an unknown key (the nearest valid one is named), a missing key, a value of
            another type or out of range, or a ValueError of the class's own checks.
    """
    try:
        return TypeAdapter(cls).validate_python(value)
    except ValidationError as error:
        raise settings_error(cls, value, where, error.errors(include_url=False)) from error


CORPUS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
POLICY_KEYS = ("allowed_licences", "commercial")  # of section `corpora`, beside the corpora


def check_corpus_name(name: str) -> str:
    """Return a name that folders, DVC stages, keys and a shell all take as it is.

    Raises:
        ValueError: another character, or a name that is an option of section `corpora`.
    """
    if not CORPUS_NAME.fullmatch(name) or name in POLICY_KEYS:
        raise ValueError(
            f"{name!r} cannot be a corpus name: a letter, then letters, digits, _ and - (at most "
            f"64 in all), and none of {', '.join(POLICY_KEYS)}"
        )
    return name


@settings
class DownloadConfig:
    """The corpora that are fetched and put into the manifests."""

    corpora: Annotated[Names, Field(min_length=1)]

    def __post_init__(self) -> None:
        for name in self.corpora:
            check_corpus_name(name)
        if len(set(self.corpora)) < len(self.corpora):
            raise ValueError("corpora: a corpus is listed twice")


@settings
class LicencePolicy:
    """`allowed_licences` lists SPDX-like names (or `any`); `commercial` is the run's purpose."""

    allowed_licences: Annotated[Names, Field(min_length=1)] = ("any",)
    commercial: Flag = False


@settings
class CommonOptions:
    """Where a corpus comes from and what it may be used for: docs/corpora.md.

    One of `path`, `url` (with `sha256`) or `repo` (with `revision`, a 40-digit commit) overrides
    the known source. A layout's own options are beside its reader.
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


Subset = Literal[
    "printed", "receipts", "code", "forms", "handwriting", "charts", "degraded", "chinese"
]
SUBSETS: tuple[Subset, ...] = typing.get_args(Subset)
# Raised with any change that alters a byte of the corpus: a test pins the bytes of a small one.
# It is in params.yaml, so that DVC draws anew exactly when the bytes would differ.
VERSION = 1


@settings
class SyntheticConfig(CommonOptions):
    """How much is drawn, and from which seed.

    The line counts are lower bounds per subset: documents are drawn whole until a split
    has at least that many lines. `pages` adds one row per document with the whole page.
    `needles` is the share of documents on which a passcode is planted (see `needle.plant`).
    """

    seed: Seed = 20240601
    train_lines: Count = 320
    val_lines: Count = 70
    test_lines: Count = 320
    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)] = SUBSETS
    pages: Flag = True
    version: Int = VERSION
    needles: Share = 0.0

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"this release draws version {VERSION}, not {self.version}; set that")
        if self.path or self.url or self.repo:
            raise ValueError("this corpus is drawn, not fetched: it takes no path, url or repo")

    def lines(self, split: str) -> int:
        """Return the number of lines asked for in a split (train, val or test)."""
        return {"train": self.train_lines, "val": self.val_lines, "test": self.test_lines}[split]


@settings
class ModelConfig:
    """Which weights, at which precision."""

    id: Annotated[str, Field(min_length=1)]
    revision: str = ""
    processor_id: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    max_pixels: Count = 0
    trust_remote_code: Flag = False


@settings
class LoraConfig:
    """Low-rank adaptation; rank 0 means full fine-tuning of what `freeze` leaves free."""

    rank: Count = 8
    alpha: Positive = 16
    dropout: ShareBelowOne = 0.0
    target_modules: str | list[str] = "auto"
    bias: Literal["none", "all", "lora_only"] = "none"

    def __post_init__(self) -> None:
        if not self.target_modules or "" in tuple(self.target_modules):
            raise ValueError("target_modules must name a module at least, or be auto")


@settings
class LeakageConfig:
    """When a training page counts as known to validation, test or a benchmark."""

    enabled: Flag = True
    image_distance: ShareBelowOne = 0.11
    text_similarity: ShareBelowOne = 0.9
    min_text_length: Count = 200
    max_fraction: ShareBelowOne = 0.05
    max_index: Count = 50_000


@settings
class ManifestConfig:
    """Splits, filters and gates of the manifest stage (0 or an empty list: no limit)."""

    seed: Seed = 20240601
    val_split: ShareBelowOne = 0.08
    test_split: ShareBelowOne = 0.15
    train_corpora: Names = ()
    validation_corpora: Names = ()
    test_corpora: Names = ()
    include_languages: Names = ()
    include_subsets: Names = ()
    include_tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("transcribe",)
    include_granularities: Annotated[tuple[Literal["line", "page"], ...], Field(min_length=1)] = (
        "line",
        "page",
    )
    max_train_samples: Count = 0
    max_val_samples: Count = 0
    max_test_samples: Count = 0
    max_pixels: Count = 0
    box_tolerance: NotNegative = 3.0
    max_rejected_fraction: ShareBelowOne = 0.05
    shard_rows: Positive = 250_000
    length_unit: Annotated[str, Field(min_length=1)] = "characters"
    workers: Count = 0
    samples_sheet: Count = 48
    leakage: LeakageConfig = LeakageConfig()

    def __post_init__(self) -> None:
        if self.val_split + self.test_split >= 1:
            raise ValueError("val_split + test_split must leave a share for training")
        if clash := set(self.validation_corpora) & set(self.test_corpora):
            raise ValueError(f"{min(clash)!r} is both a validation and a test corpus")
        _check_languages("include_languages", self.include_languages)

    @property
    def languages(self) -> frozenset[str]:
        """Return the selected languages as BCP-47 tags; empty means all."""
        return frozenset(language_tag(name) for name in self.include_languages)


def _check_languages(key: str, names: Names) -> None:
    try:
        for name in names:
            language_tag(name)
    except UserError as error:
        raise ValueError(f"{key}: {error}") from error


@settings
class Step:
    """How often a step is taken (`p`) and how strong it is: an integer of [low, high]."""

    p: Share = 0.0
    low: Count = 0
    high: Count = 0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be over high ({self.high})")


@settings
class Recipe:
    """The steps of an augmented line in their order; params.yaml has the unit of each strength.

    Of more than `max_steps` the surplus is left out at random, for a line under every
    degradation at once teaches nothing.
    """

    max_steps: Positive = 3
    thicker: Step = Step(p=0.20, low=60, high=220)
    thinner: Step = Step(p=0.10, low=30, high=120)
    broken: Step = Step(p=0.15, low=15, high=60)
    fade: Step = Step(p=0.15, low=40, high=150)
    gaps: Step = Step(p=0.05, low=1, high=3)
    texture: Step = Step(p=0.15, low=10, high=50)
    gradient: Step = Step(p=0.20, low=20, high=80)
    stains: Step = Step(p=0.10, low=20, high=80)
    show_through: Step = Step(p=0.10, low=30, high=90)
    specks: Step = Step(p=0.15, low=200, high=3000)
    slant: Step = Step(p=0.25, low=2, high=12)
    blur: Step = Step(p=0.25, low=4, high=13)
    motion: Step = Step(p=0.05, low=1, high=1)
    coarse: Step = Step(p=0.15, low=45, high=80)
    contrast: Step = Step(p=0.20, low=20, high=110)
    grain: Step = Step(p=0.20, low=3, high=14)
    binarise: Step = Step(p=0.08, low=80, high=150)
    jpeg: Step = Step(p=0.20, low=15, high=60)


@settings
class AugmentConfig:
    """How many augmented copies every training line gets.

    `balance: subset` gives the lines of smaller subsets more, at most `max_variants` each, until
    every subset has as many rows as the largest.
    """

    seed: Seed = 20240601
    variants: Count = 1
    balance: Literal["none", "subset"] = "none"
    max_variants: Count = 4
    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        if self.max_variants < self.variants:
            raise ValueError(f"variants ({self.variants}) must not be over max_variants")


Metric = Literal["cer", "ned", "wer", "character_accuracy", "token_f1"]
LARGER_IS_BETTER: dict[str, bool] = {
    name: name in ("character_accuracy", "token_f1") for name in typing.get_args(Metric)
}


@settings
class TrainConfig:
    """Optimization, evaluation during training, checkpoints, resume: docs/training.md."""

    epochs: AboveZero = 2.0
    max_steps: Count = 0
    train_batch_size: Count = 16
    eval_batch_size: Positive = 32
    gradient_accumulation: Positive = 1
    learning_rate: AboveZero = 5e-4
    weight_decay: NotNegative = 0.01
    warmup: ShareBelowOne = 0.05
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    max_grad_norm: NotNegative = 1.0
    gradient_checkpointing: Flag = False
    max_target_length: Positive = 512
    generation_max_length: Positive = 512
    logging_steps: Positive = 20
    eval_steps: Count = 0
    save_steps: Count = 0
    save_total_limit: Positive = 2
    early_stopping_patience: Count = 0
    metric_for_best_model: Metric = "cer"
    resume: Flag = True
    seed: Seed = 20240601
    threads: Positive = 2
    dataloader_workers: Count = 0
    max_train_samples: Count = 0
    max_val_samples: Count = 0
    include_languages: Names = ()
    include_subsets: Names = ()
    rehearsal: ShareBelowOne = 0.2
    rehearsal_degraded: Share = 0.5
    rehearsal_languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    freeze: Literal["backbone", "none"] = "backbone"
    init_from: str = ""
    overfit_check: Flag = False

    def __post_init__(self) -> None:
        if self.save_steps and (not self.eval_steps or self.save_steps % self.eval_steps):
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of eval_steps "
                f"({self.eval_steps}): the best checkpoint is one that was evaluated"
            )
        if self.rehearsal and not self.rehearsal_languages:
            raise ValueError("rehearsal_languages must name one of en, zh, or set rehearsal: 0")
        _check_languages("include_languages", self.include_languages)

    @property
    def larger_is_better(self) -> bool:
        """Return the direction of `metric_for_best_model`: accuracies up, errors down."""
        return LARGER_IS_BETTER[self.metric_for_best_model]


@settings
class CohortConfig:
    """Where each failure cohort begins: docs/metrics.md and `metrics.row_score`."""

    too_long: Annotated[float, Field(strict=True, gt=1)] = 1.5
    too_short: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.5
    slack: Count = 3
    hallucination: Share = 0.8
    hallucination_characters: Count = 10
    loop_repeats: Annotated[int, Field(strict=True, ge=2)] = 4
    loop_characters: Annotated[int, Field(strict=True, ge=8)] = 20  # two pieces of four


PROFILES = r"^(raw|nfc|nfc_ws|grapheme|jiwer|odb)(\+(casefold|width))*$"


@settings
class EvaluateConfig:
    """How readings are scored; `granularity: auto` prefers lines."""

    metric_tokenizer: Annotated[str, Field(min_length=1)] = "deepseek"
    profile: Annotated[str, Field(pattern=PROFILES)] = "nfc_ws"
    granularity: Literal["auto", "line", "page"] = "auto"
    bootstrap_samples: Count = 2000
    seed: Seed = 20240601
    generation_max_length: Positive = 1024
    workers: Count = 0
    cohorts: CohortConfig = CohortConfig()


COUNT_BYTES = 4  # repetition count stored with each signature


@settings
class CodecConfig:
    """Window and stride in bytes, and the decimals that a signature keeps of each metric."""

    window: Positive = 512
    stride: Positive = 384
    precision: Annotated[int, Field(strict=True, ge=0, le=6)] = 3

    def __post_init__(self) -> None:
        if self.stride > self.window:
            raise ValueError(f"stride must be 1 to window ({self.window}), not {self.stride}")

    @property
    def field_bits(self) -> int:
        """Bits that hold one quantized metric: ceil(log2(10^precision + 1))."""
        return math.ceil(math.log2(10**self.precision + 1))

    @property
    def metric_bytes(self) -> int:
        """Bytes that hold the four quantized metrics of a signature."""
        return math.ceil(4 * self.field_bits / 8)

    @property
    def payload_bytes(self) -> int:
        """Bytes of one stored signature: four metrics and a repetition count (9 at 3 decimals)."""
        return self.metric_bytes + COUNT_BYTES


@settings
class Targets:
    """What a corpus must reach. Ratios are sizes before / after, rates are in [0, 1].

    The signature ratio is judged and shown, never enforced: it measures document length.
    """

    signature_ratio_low: NotNegative = 40.0
    signature_ratio_high: NotNegative = 45.0
    min_stored_ratio: NotNegative = 1.2
    max_ned: Share = 0.10
    min_token_accuracy: Share = 0.85
    min_recall: Share = 0.90
    max_false_positive_rate: Share = 0.05


REPORTED = Targets(max_ned=0.05, min_token_accuracy=0.95)  # the level older reports claimed


@settings
class CompressConfig(CodecConfig):
    """Codec, verification, controls and gates: docs/optical_structural_compression.md.

    `targets` are per corpus; `default` serves every corpus that is not named.
    """

    enforce: Flag = False
    metric_tokenizer: Annotated[str, Field(min_length=1)] = "deepseek"
    hazard_percentile: Annotated[float, Field(strict=True, ge=0, le=100)] = 80.0
    tolerance: Count = 8
    match_share: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.3
    confirm_ned: Share = 0.2
    noise: tuple[Annotated[float, Field(strict=True, gt=0, lt=1)], ...] = (0.01, 0.03, 0.10)
    lossless: Literal["fast", "best"] = "best"
    lossless_pages: Count = 40
    unseen_pages: Count = 300
    seed: Seed = 20240601
    targets: dict[str, Targets] = field(
        default_factory=lambda: {"default": Targets(), "fox": REPORTED, "omnidocbench": REPORTED}
    )

    def __post_init__(self) -> None:
        CodecConfig.__post_init__(self)
        if "default" not in self.targets:
            raise ValueError("targets needs an entry `default` for corpora that are not named")

    @property
    def codec(self) -> CodecConfig:
        """The codec's own settings."""
        return CodecConfig(window=self.window, stride=self.stride, precision=self.precision)

    def targets_of(self, corpus: str) -> Targets:
        """Return the targets of a corpus."""
        return self.targets.get(corpus, self.targets["default"])


@settings
class LeaderboardConfig:
    """`title` of the page."""

    title: str = "manifold-ocr leaderboard"


@settings
class Tolerances:
    """One bound per metric, as a share (0.01 is one point)."""

    cer: NotNegative
    insertion_rate: NotNegative
    deletion_rate: NotNegative

    def of(self, metric: str) -> float:
        """Return the bound of `metric`."""
        return float(getattr(self, metric))


@settings
class MonitorConfig:
    """What is watched after a run: docs/evaluation.md.

    `webhook_env` names the environment variable that holds the URL; the URL is never written.
    """

    system: Literal["adapter", "base"] = "adapter"
    groupings: Names = ("by_corpus", "by_subset", "by_language")
    significance: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.05
    min_documents: Annotated[int, Field(strict=True, ge=2)] = 5
    drift: Tolerances = Tolerances(cer=0.005, insertion_rate=0.01, deletion_rate=0.01)
    limits: Tolerances = Tolerances(cer=0.5, insertion_rate=0.5, deletion_rate=0.5)
    webhook_env: str = "MANIFOLD_OCR_WEBHOOK"


@settings
class GateConfig:
    """The largest allowed rise of a group's CER over the base, and who may lose more."""

    max_loss: Share = 0.01
    allow: Names = ()


CORPORA = "corpora"  # the section whose keys are names; which options are valid depends on the kind
SECTIONS: dict[str, type[Any]] = {
    "download": DownloadConfig, "model": ModelConfig, "lora": LoraConfig,
    "manifest": ManifestConfig, "augment": AugmentConfig, "train": TrainConfig,
    "evaluate": EvaluateConfig, "compress": CompressConfig, "leaderboard": LeaderboardConfig,
    "monitor": MonitorConfig, "gate": GateConfig,
}  # fmt: skip

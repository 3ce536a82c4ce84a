"""params.yaml as settings: a class per section; a mistake is one line that says what is allowed."""

import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from manifold_ocr.errors import UserError, build, nearest
from manifold_ocr.files import read_yaml
from manifold_ocr.records import Task, check_language, language_tag

Config = TypeVar("Config")

Flag = Annotated[bool, Field(strict=True)]  # none is converted, an int for a float aside
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


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def settings(cls: type[Config]) -> type[Config]:
    """Make a frozen, checked dataclass: a section of params.yaml, or a part of one."""
    checks = ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic_dataclass(frozen=True, kw_only=True, config=checks)(cls)  # type: ignore[return-value]


def load_section(cls: type[Config], name: str, path: Path | str = "params.yaml") -> Config:
    """Build the settings `cls` from one section of a params file (see `errors.build`)."""
    params = read_yaml(path)
    if name not in params:
        raise UserError(f"{path}: section {name!r} is missing{nearest(name, params)}")
    return build(cls, params[name], f"{path}: {name}")


CORPUS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
POLICY_KEYS = ("allowed_licences", "commercial")  # of section `corpora`, beside the corpora


def check_corpus_name(name: str) -> str:
    """Return a name that folders, DVC stages, keys and a shell take as it is, else ValueError."""
    if not CORPUS_NAME.fullmatch(name) or name in POLICY_KEYS:
        raise ValueError(
            f"{name!r} cannot be a corpus name: a letter, then letters, digits, _ and - (at most "
            f"64 in all), and none of {', '.join(POLICY_KEYS)}"
        )
    return name


Granularities = Annotated[tuple[Literal["line", "page"], ...], Field(min_length=1)]
Languages = tuple[Annotated[str, AfterValidator(check_language)], ...]
Corpora = tuple[Annotated[str, AfterValidator(check_corpus_name)], ...]


@settings
class DownloadConfig:
    """The corpora that are fetched and put into the manifests."""

    corpora: Annotated[Corpora, Field(min_length=1)]

    def __post_init__(self) -> None:
        if len(set(self.corpora)) < len(self.corpora):
            raise ValueError("corpora: a corpus is listed twice")


@settings
class ModelConfig:
    """Which weights, at which precision."""

    id: Annotated[str, Field(min_length=1)]
    revision: str = ""
    processor_id: str = ""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    max_pixels: Count = 0
    vocabulary: Literal["base", "union", "labels"] = "union"
    fp16_accumulation: Flag = False
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
    train_corpora: Corpora = ()
    validation_corpora: Corpora = ()
    test_corpora: Corpora = ()
    include_languages: Languages = ()
    include_subsets: Names = ()
    include_tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("transcribe",)
    include_granularities: Granularities = ("line", "page")
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

    @property
    def languages(self) -> frozenset[str]:
        """Return the selected languages as BCP-47 tags; empty means all."""
        return frozenset(map(language_tag, self.include_languages))


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
    """The steps of an augmented line in their order; params.yaml has the unit of each strength."""

    max_steps: Positive = 3
    thicker: Step = Step(p=0.20, low=60, high=220)
    thinner: Step = Step(p=0.10, low=30, high=120)
    broken: Step = Step(p=0.15, low=15, high=60)
    fade: Step = Step(p=0.15, low=40, high=150)
    gaps: Step = Step(p=0.05, low=1, high=3)
    low_ink: Step = Step(low=80, high=220)
    thermal: Step = Step(low=60, high=180)
    dot_matrix: Step = Step(low=2, high=3)
    texture: Step = Step(p=0.15, low=10, high=50)
    gradient: Step = Step(p=0.20, low=20, high=80)
    stains: Step = Step(p=0.10, low=20, high=80)
    stamp: Step = Step(low=40, high=120)
    show_through: Step = Step(p=0.10, low=30, high=90)
    specks: Step = Step(p=0.15, low=200, high=3000)
    fold: Step = Step(low=3, high=12)
    binding: Step = Step(low=50, high=160)
    slant: Step = Step(p=0.25, low=2, high=12)
    warp: Step = Step(low=10, high=40)
    perspective: Step = Step(low=5, high=25)
    blur: Step = Step(p=0.25, low=4, high=13)
    motion: Step = Step(p=0.05, low=1, high=1)
    coarse: Step = Step(p=0.15, low=45, high=80)
    contrast: Step = Step(p=0.20, low=20, high=110)
    moire: Step = Step(low=8, high=28)
    grain: Step = Step(p=0.20, low=3, high=14)
    binarise: Step = Step(p=0.08, low=80, high=150)
    jpeg: Step = Step(p=0.20, low=15, high=60)


@settings
class LineShares:
    """Shares of all training lines, clean and augmented (with `augment.balance: shares`).

    `subset` and `language` map names to shares; groups that are not named divide the rest.
    `noisy` is the share of augmented lines (0: as many as `variants` makes).
    """

    subset: dict[str, Share] = field(default_factory=dict)
    language: dict[Annotated[str, AfterValidator(check_language)], Share] = field(
        default_factory=dict
    )
    noisy: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        for kind, shares in (("subset", self.subset), ("language", self.languages)):
            if sum(shares.values()) > 1 + 1e-9:
                raise ValueError(f"{kind}: the shares add up to more than 1")

    @property
    def languages(self) -> dict[str, float]:
        """Return `language` by BCP-47 tags."""
        return {language_tag(name): share for name, share in self.language.items()}


@settings
class AugmentConfig:
    """How many augmented copies every training line gets; `balance` evens out groups of them.

    `pages` also degrades whole pages, the boxes of their lines moving along.
    """

    seed: Seed = 20240601
    variants: Count = 1
    pages: Flag = False
    balance: Literal["none", "subset", "shares"] = "none"
    max_variants: Count = 4
    shares: LineShares = LineShares()
    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        if self.max_variants < self.variants:
            raise ValueError(f"variants ({self.variants}) must not be over max_variants")
        asked = self.shares.subset or self.shares.language or self.shares.noisy
        if self.balance == "shares" and not asked:
            raise ValueError("balance: shares needs shares.subset, shares.language or shares.noisy")


Metric = Literal["cer", "ned", "wer", "character_accuracy", "token_f1"]
LARGER_IS_BETTER = ("character_accuracy", "token_f1")  # the others are error rates


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
    include_languages: Languages = ()
    include_subsets: Names = ()
    rehearsal: ShareBelowOne = 0.2
    rehearsal_degraded: Share = 0.5
    rehearsal_languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    freeze: Literal["backbone", "early", "none"] = "backbone"
    conventions: Literal["auto", "none"] = "auto"
    init_from: str = ""
    overfit_check: Flag = False
    gpus: Literal["auto"] | Positive = "auto"

    def __post_init__(self) -> None:
        save, evaluate = self.save_steps, self.eval_steps
        if save and (not evaluate or save % evaluate):  # the best checkpoint was evaluated
            raise ValueError(f"save_steps ({save}) must be a multiple of eval_steps ({evaluate})")
        if self.rehearsal and not self.rehearsal_languages:
            raise ValueError("rehearsal_languages must name one of en, zh, or set rehearsal: 0")

    @property
    def larger_is_better(self) -> bool:
        """Return the direction of `metric_for_best_model`: accuracies up, errors down."""
        return self.metric_for_best_model in LARGER_IS_BETTER


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


Spaces = Literal["model", "gap", "auto"]


@settings
class DecodeConfig:
    """Spaces of CTC models: as written, also at wide `gap`s, or `auto`: gaps without an adapter.

    `language_model` is kept in the adapter: of the training labels, or of a text file; `beam`
    texts are then followed per line, where the line looks like them (0: greedy).
    """

    spaces: Spaces = "model"
    language_model: Annotated[str, Field(min_length=1)] = "none"
    beam: Count = 8

    def __post_init__(self) -> None:
        if self.language_model != "none" and self.spaces == "gap":
            raise ValueError("language_model: it writes the spaces itself; set spaces: model")


@settings
class Targets:
    """What a corpus must reach: ratios of sizes before / after, rates in [0, 1]."""

    signature_ratio_low: NotNegative = 40.0
    signature_ratio_high: NotNegative = 45.0
    min_stored_ratio: NotNegative = 1.2
    max_ned: Share = 0.10
    min_token_accuracy: Share = 0.85
    min_recall: Share = 0.90
    max_false_positive_rate: Share = 0.05


REPORTED = Targets(max_ned=0.05, min_token_accuracy=0.95)  # the level older reports claimed
TARGETS = {"default": Targets(), "fox": REPORTED, "omnidocbench": REPORTED}


@settings
class CompressConfig:
    """Codec, verification, controls and gates: docs/optical_structural_compression.md."""

    enforce: Flag = False
    window: Positive = 512  # bytes, as is the stride
    stride: Positive = 384
    precision: Annotated[int, Field(strict=True, ge=0, le=6)] = 3
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
    targets: dict[str, Targets] = field(default_factory=lambda: dict(TARGETS))

    def __post_init__(self) -> None:
        if self.stride > self.window:
            raise ValueError(f"stride must be 1 to window ({self.window}), not {self.stride}")
        if "default" not in self.targets:
            raise ValueError("targets needs an entry `default` for corpora that are not named")

    def targets_of(self, corpus: str) -> Targets:
        """Return the targets of a corpus."""
        return self.targets.get(corpus, self.targets["default"])


@settings
class LeaderboardConfig:
    """`title` of the page."""

    title: str = "manifold-ocr leaderboard"


@settings
class Tolerances:
    """One bound per metric, as a share."""

    cer: NotNegative
    insertion_rate: NotNegative
    deletion_rate: NotNegative

    def of(self, metric: str) -> float:
        """Return the bound of `metric`."""
        return float(getattr(self, metric))


@settings
class MonitorConfig:
    """What is watched after a run; `webhook_env` names the variable with the URL."""

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


CORPORA = "corpora"  # the section whose keys are names; a corpus's options depend on its kind
SECTIONS: dict[str, type[Any]] = {
    "download": DownloadConfig, "manifest": ManifestConfig, "augment": AugmentConfig,
    "model": ModelConfig, "lora": LoraConfig, "train": TrainConfig, "decode": DecodeConfig,
    "evaluate": EvaluateConfig, "compress": CompressConfig, "leaderboard": LeaderboardConfig,
    "monitor": MonitorConfig, "gate": GateConfig,
}  # fmt: skip

"""params.yaml as settings: a class per section; a mistake is one line that says what is allowed."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.records import Task, check_language, language_tag
from manifold_ocr.settings import (
    AboveZero,
    Count,
    Flag,
    Names,
    NotNegative,
    Positive,
    Seed,
    Share,
    ShareAboveZero,
    ShareBelowOne,
    check_corpus_name,
    settings,
)

Precision = Literal["fp32", "fp16", "bf16"]
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
    precision: Precision = "fp32"
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
    change_kept: ShareAboveZero = 1.0
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

    `language_model` is kept in the adapter: of the training labels, a text file, or both; `beam`
    texts are then followed per line, where the line looks like them (0: greedy). It knows the
    words of the languages `words`, too.
    """

    spaces: Spaces = "model"
    language_model: Annotated[str, Field(min_length=1)] = "none"
    words: tuple[str, ...] = ()
    beam: Count = 8

    def __post_init__(self) -> None:
        if self.words and self.language_model == "none":
            raise ValueError("words: they go with a language model; set language_model: labels")
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

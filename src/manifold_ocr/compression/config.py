"""The `compress` section of params.yaml."""

from dataclasses import dataclass, field
from typing import Literal

from manifold_ocr.codec import CodecConfig


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

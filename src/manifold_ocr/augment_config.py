"""The section `augment` of params.yaml: the steps that degrade lines, and how many copies."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator

from manifold_ocr.records import check_language, language_tag
from manifold_ocr.settings import Count, Flag, Positive, Seed, Share, ShareBelowOne, settings


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

"""Augmentation of line images: a recipe of named steps, seeded per sample and variant.

Steps run in the order in which a document meets them: ink, then paper, then the scanner,
then the file format. All arithmetic is in integers (see `augmentation.pixels`), so equal
seeds give equal bytes on every machine with the same wheels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from manifold_ocr.augment import ops
from manifold_ocr.augment.ops import between, chance, generator, paper_level, to_array


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How often a step is taken (`p`, 0 to 1) and how strong it is: an integer of [low, high].

    The unit of the strength is the step's own; `Recipe` names it.
    """

    p: float = 0.0
    low: int = 0
    high: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be from 0 to 1, not {self.p}")
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be over high ({self.high})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The steps, in their order, with the unit of each strength.

    `max_steps` is the largest number of steps one variant takes: where more come up, the
    surplus is left out at random, for a line under every harm at once teaches nothing.
    """

    max_steps: int = 3
    thicker: Step = Step(p=0.20, low=60, high=220)  # 1/256 of a one-pixel dilation of the strokes
    thinner: Step = Step(p=0.10, low=30, high=120)  # 1/256 of a one-pixel erosion
    broken: Step = Step(p=0.15, low=15, high=60)  # about 1/256 of the strokes' area pales
    fade: Step = Step(p=0.15, low=40, high=150)  # 1/256 of the ink's contrast, lost in patches
    gaps: Step = Step(p=0.05, low=1, high=3)  # white hairlines across the line
    texture: Step = Step(p=0.15, low=10, high=50)  # grey levels of the paper's fibres
    gradient: Step = Step(p=0.20, low=20, high=80)  # grey levels of uneven light
    stains: Step = Step(p=0.10, low=20, high=80)  # grey levels of the darkest blot
    show_through: Step = Step(p=0.10, low=30, high=90)  # 1/256 of the mirrored print
    specks: Step = Step(p=0.15, low=200, high=3000)  # specks a million pixels
    slant: Step = Step(p=0.25, low=2, high=12)  # thousandths of slope, either way
    blur: Step = Step(p=0.25, low=4, high=13)  # tenths of a pixel
    motion: Step = Step(p=0.05, low=1, high=1)  # a smear over three pixels
    coarse: Step = Step(p=0.15, low=45, high=80)  # percent of the resolution that is left
    contrast: Step = Step(p=0.20, low=20, high=110)  # grey levels that the blackest ink is lifted
    grain: Step = Step(p=0.20, low=3, high=14)  # grey levels of the noise's standard deviation
    binarise: Step = Step(p=0.08, low=80, high=150)  # threshold, 1/256 from the paper to the ink
    jpeg: Step = Step(p=0.20, low=15, high=60)  # JPEG quality

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError("max_steps must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Section `augment` of params.yaml.

    `variants` augmented copies are made of every line of the train split; 0 keeps the clean
    rows only. `balance: subset` gives the lines of smaller subsets more variants, at most
    `max_variants` each, until every subset has as many rows as the largest.
    """

    seed: int = 20240601
    variants: int = 1
    balance: Literal["none", "subset"] = "none"
    max_variants: int = 4
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if self.variants < 0 or self.max_variants < self.variants:
            raise ValueError("variants must be from 0 to max_variants")


@dataclass(frozen=True, slots=True)
class Applied:
    """A step that was taken, and how strong it was."""

    name: str
    strength: int


def _slanted(rng: np.random.Generator, image: Image.Image, strength: int) -> Image.Image:
    """Slant either way on a sheet grown enough that no letter leaves it."""
    level = paper_level(to_array(image))
    room = image.width * strength // (2 * ops.SLOPE) + 1
    grown = ImageOps.expand(image, (1, room, 1, room), fill=level)
    return ops.slant(grown, strength if chance(rng, 0.5) else -strength, level)


Operation = Callable[[np.random.Generator, Image.Image, int], Image.Image]

OPERATIONS: dict[str, Operation] = {
    "thicker": lambda _, image, strength: ops.spread(image, strength),
    "thinner": lambda _, image, strength: ops.thin(image, strength),
    "broken": ops.broken,
    "fade": ops.fade,
    "gaps": ops.scanline_gaps,
    "texture": ops.texture,
    "gradient": ops.gradient,
    "stains": ops.stains,
    "show_through": ops.show_through,
    "specks": ops.specks,
    "slant": _slanted,
    "blur": lambda _, image, strength: ops.blur(image, strength),
    "motion": lambda _, image, strength: ops.motion_blur(image),
    "coarse": lambda _, image, strength: ops.fewer_pixels(image, strength),
    "contrast": lambda _, image, strength: ops.contrast(image, strength, 255 - strength // 4),
    "grain": ops.grain,
    "binarise": lambda _, image, strength: ops.binarise(image, strength),
    "jpeg": lambda _, image, strength: ops.jpeg(image, strength),
}


def draw_steps(recipe: Recipe, rng: np.random.Generator) -> tuple[Applied, ...]:
    """Draw which steps are taken; at least one where any has a chance above 0."""
    steps = [(item.name, getattr(recipe, item.name)) for item in fields(recipe)]
    possible = [(name, step) for name, step in steps if isinstance(step, Step) and step.p > 0]
    taken = [(name, step) for name, step in possible if chance(rng, step.p)]
    if not taken and possible:
        taken = [possible[between(rng, 0, len(possible) - 1)]]
    while len(taken) > recipe.max_steps:
        taken.pop(between(rng, 0, len(taken) - 1))
    return tuple(Applied(name, between(rng, step.low, step.high)) for name, step in taken)


def augment_line(
    image: Image.Image, recipe: Recipe, rng: np.random.Generator
) -> tuple[Image.Image, tuple[Applied, ...]]:
    """Return the augmented grey image of a line and the steps that were taken."""
    steps = draw_steps(recipe, rng)
    image = image.convert("L")
    for step in steps:
        image = OPERATIONS[step.name](rng, image, step.strength)
    return image, steps


def augment_image(image: Image.Image, recipe: Recipe, seed: int) -> Image.Image:
    """Return an augmented grey copy of a line's image; equal arguments give equal pixels."""
    return augment_line(image, recipe, generator(seed))[0]

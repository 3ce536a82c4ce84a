"""Augmentation of lines and pages: a recipe of named steps, seeded per sample and variant.

Steps run in the order in which a document meets them: ink, then paper, then the scanner,
then the file format. All arithmetic is in integers (see `augment.ops`), so equal
seeds give equal bytes on every machine with the same wheels.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image, ImageOps

from manifold_ocr.augment import effects, ops
from manifold_ocr.augment.geometry import MESHES, slant_room
from manifold_ocr.augment.ops import between, chance, generator, paper_level, to_array
from manifold_ocr.augment_config import Recipe, Step
from manifold_ocr.records import Box


@dataclass(frozen=True, slots=True)
class Applied:
    """A step that was taken, and how strong it was."""

    name: str
    strength: int


def _slanted(rng: np.random.Generator, image: Image.Image, strength: int) -> Image.Image:
    """Slant either way on a sheet grown enough that no letter leaves it."""
    level = paper_level(to_array(image))
    room = slant_room(image.width, strength)
    grown = ImageOps.expand(image, (1, room, 1, room), fill=level)
    return ops.slant(grown, strength if chance(rng, 0.5) else -strength, level)


Operation = Callable[[np.random.Generator, Image.Image, int], Image.Image]


def _bent(name: str) -> Operation:
    return lambda rng, image, strength: MESHES[name](rng, image.size, strength).apply(image)


OPERATIONS: dict[str, Operation] = {
    "thicker": lambda _, image, strength: ops.spread(image, strength),
    "thinner": lambda _, image, strength: ops.thin(image, strength),
    "broken": ops.broken,
    "fade": ops.fade,
    "gaps": ops.scanline_gaps,
    "low_ink": effects.low_ink,
    "thermal": effects.thermal,
    "dot_matrix": effects.dot_matrix,
    "texture": ops.texture,
    "gradient": ops.gradient,
    "stains": ops.stains,
    "stamp": effects.stamp,
    "show_through": ops.show_through,
    "specks": ops.specks,
    "fold": effects.fold,
    "binding": effects.binding,
    "slant": _slanted,
    "warp": _bent("warp"),
    "perspective": _bent("perspective"),
    "blur": lambda _, image, strength: ops.blur(image, strength),
    "motion": lambda _, image, strength: ops.motion_blur(image),
    "coarse": lambda _, image, strength: ops.fewer_pixels(image, strength),
    "contrast": lambda _, image, strength: ops.contrast(image, strength, 255 - strength // 4),
    "moire": effects.moire,
    "grain": ops.grain,
    "binarise": lambda _, image, strength: ops.binarise(image, strength),
    "jpeg": lambda _, image, strength: ops.jpeg(image, strength),
}


# A page is larger than a line, and so is what happens to it as a whole.
ON_PAGES: dict[str, Operation] = {
    **OPERATIONS,
    "fade": lambda rng, image, s: ops.fade(rng, image, s, cell=max(24, image.width // 16)),
    "stains": lambda rng, image, s: ops.stains(rng, image, s, cell=max(60, image.width // 5)),
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
    """Return the augmented gray image of a line and the steps that were taken."""
    steps = draw_steps(recipe, rng)
    image = image.convert("L")
    for step in steps:
        image = OPERATIONS[step.name](rng, image, step.strength)
    return image, steps


def augment_page(
    image: Image.Image, recipe: Recipe, *seed: object
) -> tuple[Image.Image, tuple[Applied, ...]]:
    """Return the augmented gray image of a page and the steps that were taken.

    Each step draws from a generator of its own, so that `follow` can repeat those that move
    print without the pixels.
    """
    steps = draw_steps(recipe, generator(*seed))
    image = image.convert("L")
    for step in steps:
        image = ON_PAGES[step.name](generator(*seed, step.name), image, step.strength)
    return image, steps


def follow(box: Box, size: tuple[int, int], recipe: Recipe, *seed: object) -> Box:
    """Return where a box of a page of `size` is after `augment_page` with the same seed."""
    for step in draw_steps(recipe, generator(*seed)):
        if mesh_of := MESHES.get(step.name):
            mesh = mesh_of(generator(*seed, step.name), size, step.strength)
            box, size = mesh.box(box), mesh.size
    return box


def augment_image(image: Image.Image, recipe: Recipe, seed: int) -> Image.Image:
    """Return an augmented gray copy of a line's image; equal arguments give equal pixels."""
    return augment_line(image, recipe, generator(seed))[0]

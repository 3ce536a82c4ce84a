"""Degradations that move print: each is a mesh, which bends the image and says where boxes go.

A mesh says for knots of the result where on the source they lie; between knots the map is
bilinear. Every knot comes from integers by +, -, * and / alone, so it is equal on every machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from manifold_ocr.augment.ops import SLOPE, between, chance, paper_level, to_array
from manifold_ocr.records import Box

Points = NDArray[np.float64]
Size = tuple[int, int]
ROUNDS = 30  # of the inversion: a slope of 0.3 leaves 0.3**30 of the first error, under 1e-15
SAMPLES = 9  # points along each edge of a box that are followed, as straight lines bend
EDGE = 16  # most knots per axis that a curved mesh has


@dataclass(frozen=True, slots=True)
class Mesh:
    """A piecewise bilinear map of a sheet with `room` added around it.

    `room` is (left, top, right, bottom) in pixels. `columns` and `rows` are the knots in pixels
    of the result, from 0 to its width and height. `source` (rows, columns, 2) is where on the
    grown sheet each knot's pixels come from, as (x, y).
    """

    room: tuple[int, int, int, int]
    columns: tuple[int, ...]
    rows: tuple[int, ...]
    source: Points

    @property
    def size(self) -> Size:
        """Return (width, height) of the result."""
        return self.columns[-1], self.rows[-1]

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the bent gray image; what lies beyond the sheet has the paper's level."""
        paper = paper_level(to_array(image))
        grown = ImageOps.expand(image.convert("L"), self.room, fill=paper)
        quads = []
        for i, (y0, y1) in enumerate(zip(self.rows, self.rows[1:], strict=False)):
            for j, (x0, x1) in enumerate(zip(self.columns, self.columns[1:], strict=False)):
                corners = self.source[[i, i + 1, i + 1, i], [j, j, j + 1, j + 1]]
                quads.append(((x0, y0, x1, y1), tuple(corners.ravel().tolist())))
        return grown.transform(
            self.size, Image.Transform.MESH, quads, Image.Resampling.BICUBIC, fillcolor=paper
        )

    def backward(self, points: Points) -> Points:
        """Return where on the source (without room) each point (n, 2) of the result lies."""
        columns, rows = np.array(self.columns, float), np.array(self.rows, float)
        j = np.clip(np.searchsorted(columns, points[:, 0], "right") - 1, 0, len(columns) - 2)
        i = np.clip(np.searchsorted(rows, points[:, 1], "right") - 1, 0, len(rows) - 2)
        u = ((points[:, 0] - columns[j]) / (columns[j + 1] - columns[j]))[:, None]
        v = ((points[:, 1] - rows[i]) / (rows[i + 1] - rows[i]))[:, None]
        upper = self.source[i, j] * (1 - u) + self.source[i, j + 1] * u
        lower = self.source[i + 1, j] * (1 - u) + self.source[i + 1, j + 1] * u
        there: Points = upper * (1 - v) + lower * v - np.array(self.room[:2], float)
        return there

    def forward(self, points: Points) -> Points:
        """Return where on the result each point (n, 2) of the source lies.

        The map is close to the identity, so a fixed-point iteration inverts it.
        """
        there = points.astype(float)
        for _ in range(ROUNDS):
            there = there + points - self.backward(there)
        return there

    def box(self, box: Box) -> Box:
        """Return the upright box around what a box of the source became, within the result."""
        x0, y0, x1, y1 = box
        along = np.arange(SAMPLES) / (SAMPLES - 1)
        xs, ys = x0 + (x1 - x0) * along, y0 + (y1 - y0) * along
        edges = [(xs, y0 + 0 * xs), (xs, y1 + 0 * xs), (x0 + 0 * ys, ys), (x1 + 0 * ys, ys)]
        moved = self.forward(np.concatenate([np.stack(edge, axis=1) for edge in edges]))
        low, high = moved.min(axis=0), moved.max(axis=0)
        width, height = self.size
        return (
            float(max(0.0, low[0])),
            float(max(0.0, low[1])),
            float(min(float(width), high[0])),
            float(min(float(height), high[1])),
        )


def knots(length: int, most: int, least: int = 8) -> tuple[int, ...]:
    """Return at most `most` + 1 whole positions from 0 to `length`, at least `least` apart."""
    cells = max(1, min(most, length // least))
    return tuple(length * k // cells for k in range(cells + 1))


def _grid(columns: tuple[int, ...], rows: tuple[int, ...]) -> Points:
    xs, ys = np.meshgrid(np.array(columns, float), np.array(rows, float))
    return np.stack((xs, ys), axis=2)


def slant(rng: np.random.Generator, size: Size, strength: int) -> Mesh:
    """Turn by `strength` thousandths of slope either way, as `ops.slant` does on a grown sheet."""
    width, height = size[0] + 2, size[1] + 2 * slant_room(size[0], strength)
    slope = (strength if chance(rng, 0.5) else -strength) / SLOPE
    grid = _grid((0, width), (0, height))
    x, y = grid[..., 0].copy(), grid[..., 1].copy()
    grid[..., 0] = x + slope * (y - height / 2)
    grid[..., 1] = y - slope * (x - width / 2)
    room = slant_room(size[0], strength)
    return Mesh((1, room, 1, room), (0, width), (0, height), grid)


def slant_room(width: int, strength: int) -> int:
    """Return the rows above and below that a slanted sheet of that width needs."""
    return width * strength // (2 * SLOPE) + 1


def perspective(rng: np.random.Generator, size: Size, strength: int) -> Mesh:
    """See the sheet at an angle: its edges lean by up to `strength` thousandths.

    How much two edges differ is at most half of that, and an eighth of what is between them:
    a line is a small part of its page, so it leans more than it tapers.
    The projective map of a rectangle onto four points is that of Heckbert, Fundamentals of
    Texture Mapping and Image Warping, 1989, section 2.2.3.
    """
    across = size[0] * strength // (2 * SLOPE) + 1
    down = size[1] * strength // (2 * SLOPE) + 1
    width, height = size[0] + 2 * down, size[1] + 2 * across
    (x0, x1), (x3, x2) = _ends(rng, down, size[0]), _ends(rng, down, size[0])
    (y0, y3), (y1, y2) = _ends(rng, across, size[1]), _ends(rng, across, size[1])
    x1, x2, y2, y3 = x1 + width, x2 + width, y2 + height, y3 + height
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    ax, ay, bx, by = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    whole = ax * by - ay * bx
    g, h = (sx * by - sy * bx) / whole, (ax * sy - ay * sx) / whole
    columns, rows = knots(width, EDGE), knots(height, EDGE)
    grid = _grid(columns, rows)
    u, v = grid[..., 0] / width, grid[..., 1] / height
    depth = g * u + h * v + 1
    x = ((x1 - x0 + g * x1) * u + (x3 - x0 + h * x3) * v + x0) / depth
    y = ((y1 - y0 + g * y1) * u + (y3 - y0 + h * y3) * v + y0) / depth
    return Mesh((down, across, down, across), columns, rows, np.stack((x, y), axis=2))


def _ends(rng: np.random.Generator, reach: int, length: int) -> tuple[int, int]:
    """Return by how much both ends of an edge move: at most `reach`, together more than apart."""
    apart = min(reach // 2, length // 8)
    common, taper = between(rng, apart - reach, reach - apart), between(rng, -apart, apart)
    return common + taper, common - taper


def warp(rng: np.random.Generator, size: Size, strength: int) -> Mesh:
    """Bend the sheet smoothly, so that lines wave by up to `strength` thousandths of slope.

    The waves are as long as a third of the sheet is wide.
    """
    wave = max(64, size[0] // 3)
    reach = strength * wave * 16 // (3 * SLOPE)  # 1/16 pixel, either way
    room = (reach + 15) // 16 + 1
    width, height = size[0] + 2 * room, size[1] + 2 * room
    columns, rows = knots(width, 2 * EDGE), knots(height, 2 * EDGE)
    shape = (max(2, height // wave + 2), max(2, width // wave + 2), 2)
    coarse = rng.integers(0, 256, size=shape, dtype=np.uint8)
    grid = _grid(columns, rows)
    for axis, share in ((0, 2), (1, 1)):  # sideways half as far
        field = Image.fromarray(np.ascontiguousarray(coarse[..., axis])).resize(
            (len(columns), len(rows)), Image.Resampling.BICUBIC
        )
        shift = (to_array(field).astype(np.int32) - 128) * reach // (128 * share)
        grid[..., axis] += shift / 16
    return Mesh((room, room, room, room), columns, rows, grid)


def fold(rng: np.random.Generator, size: Size, strength: int) -> Mesh:
    """Crease the sheet once: either side leans away by `strength` thousandths.

    The crease is the knot between the sheet's ends: of `columns` where it runs down (seven in
    ten), else of `rows`; the other axis has two knots.
    """
    down = chance(rng, 0.7)
    length = max(3, size[0] if down else size[1])
    crease = between(rng, length // 5, length - 1 - length // 5)
    lift = strength if chance(rng, 0.5) else -strength
    room = length * strength // SLOPE + 1
    if down:
        width, height = max(size[0], length), size[1] + 2 * room
        places: tuple[int, ...] = (0, max(1, crease), width)
        grid = _grid(places, (0, height))
        grid[..., 1] += lift * np.abs(np.array(places) - places[1])[None, :] / SLOPE
        return Mesh((0, room, width - size[0], room), places, (0, height), grid)
    width, height = size[0] + 2 * room, max(size[1], length)
    places = (0, max(1, crease), height)
    grid = _grid((0, width), places)
    grid[..., 0] += lift * np.abs(np.array(places) - places[1])[:, None] / SLOPE
    return Mesh((room, 0, room, height - size[1]), (0, width), places, grid)


def gutter(rng: np.random.Generator, width: int) -> tuple[bool, int]:
    """Draw where a book is bound: whether at the left, and how wide the curl is in pixels."""
    return chance(rng, 0.5), max(2, width * between(rng, 12, 30) // 100)


def curl(rng: np.random.Generator, size: Size, strength: int, left: bool, zone: int) -> Mesh:
    """Curl the outer `zone` pixels of the sheet towards the gutter.

    Lines rise or fall there with the square of the way, by up to `strength`/2000 of the zone.
    """
    top, bottom = between(rng, -256, 256), between(rng, -256, 256)
    reach = zone * strength // 2000 + 1
    width, height = max(size[0], zone + 1), size[1] + 2 * reach
    inside = knots(zone, EDGE, 4)
    columns = (*inside, width) if left else (0, *(width - k for k in reversed(inside)))
    rows = (0, height)
    grid = _grid(columns, rows)
    away = np.array([max(0, zone - (x if left else width - x)) for x in columns])
    lift = away * away * strength / (2000 * zone)
    grid[0, :, 1] += lift * top / 256
    grid[1, :, 1] += lift * bottom / 256
    return Mesh((0, reach, width - size[0], reach), columns, rows, grid)


def binding(rng: np.random.Generator, size: Size, strength: int) -> Mesh:
    """Return the curl of a bound book's page (see `gutter` and `curl`)."""
    left, zone = gutter(rng, size[0])
    return curl(rng, size, strength, left, zone)


MeshOf = Callable[[np.random.Generator, Size, int], Mesh]

MESHES: dict[str, MeshOf] = {
    "fold": fold,
    "binding": binding,
    "slant": slant,
    "warp": warp,
    "perspective": perspective,
}

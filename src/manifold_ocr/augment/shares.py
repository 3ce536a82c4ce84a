"""How many variants each group of lines gets, so that the train set has the shares asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from manifold_ocr.augment_config import AugmentConfig
from manifold_ocr.errors import UserError, nearest
from manifold_ocr.records import Sample

Cell = tuple[str, str]  # subset, language
ROUNDS = 200  # of proportional fitting; it settles within some tens
CLOSE = 0.005  # a share that is missed by more is told


@dataclass(frozen=True, slots=True)
class Share:
    """A share of all training lines, clean and augmented: the one asked for and the one reached."""

    kind: str
    name: str
    wanted: float
    reached: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines and wanted variants of each cell; `most` variants of one line at most."""

    sizes: Mapping[Cell, int]
    wanted: Mapping[Cell, int]
    most: int
    by_language: bool

    def cell(self, row: Sample) -> Cell:
        """Return the cell that a line counts for."""
        return row.subset, row.language if self.by_language else ""

    def variants(self, row: Sample, position: int) -> int:
        """Return how many variants a line gets; `position` counts the lines of its cell.

        What a cell wants is spread evenly, so that neighbors differ by one variant at most.
        """
        cell = self.cell(row)
        size, wanted = self.sizes[cell], self.wanted[cell]
        return min(self.most, wanted * (position + 1) // size - wanted * position // size)

    def shares(self, config: AugmentConfig) -> list[Share]:
        """Return the shares that the settings ask for beside those that the plan reaches."""
        if config.balance != "shares":
            return []
        rows = {cell: n + min(self.wanted[cell], self.most * n) for cell, n in self.sizes.items()}
        total = sum(rows.values())
        shares = []
        for axis, (kind, targets) in enumerate(_targets(config)):
            for name, wanted in targets.items():
                reached = sum(count for cell, count in rows.items() if cell[axis] == name) / total
                shares.append(Share(kind, name, wanted, reached))
        if config.shares.noisy:
            noisy = 1 - sum(self.sizes.values()) / total
            shares.append(Share("lines", "noisy", config.shares.noisy, noisy))
        return shares


def plan(sizes: Mapping[Cell, int], config: AugmentConfig) -> Plan:
    """Return the plan for lines counted by subset and language.

    `none` gives every line `variants`; `subset` fills every subset up to the largest one's
    (1 + variants) * lines; `shares` comes as close to the shares as clean lines, which all
    stay, and `max_variants` allow.

    Raises:
        UserError: a share of a subset or language that no line has.
    """
    if config.balance == "shares":
        return Plan(dict(sizes), _fitted(sizes, config), config.max_variants, by_language=True)
    subsets: dict[Cell, int] = {}
    for (subset, _), count in sizes.items():
        subsets[subset, ""] = subsets.get((subset, ""), 0) + count
    if config.balance == "none":
        wanted = {cell: config.variants * count for cell, count in subsets.items()}
        return Plan(subsets, wanted, config.variants, by_language=False)
    full = (1 + config.variants) * max(subsets.values(), default=0)
    wanted = {cell: full - count for cell, count in subsets.items()}
    return Plan(subsets, wanted, config.max_variants, by_language=False)


def _targets(config: AugmentConfig) -> list[tuple[str, Mapping[str, float]]]:
    """Return kind and shares of the two axes of a cell."""
    return [("subset", config.shares.subset), ("language", config.shares.languages)]


def _fitted(sizes: Mapping[Cell, int], config: AugmentConfig) -> dict[Cell, int]:
    """Return the variants per cell by iterative proportional fitting (Deming and Stephan, 1940).

    Groups without a share of their own divide what is left as their lines do. Each round
    scales the cells to the shares of either axis and bounds them by what is possible.
    """
    lines = sum(sizes.values())
    for axis, (kind, targets) in enumerate(_targets(config)):
        known = {cell[axis] for cell in sizes}
        for name in targets:
            if name not in known:
                raise UserError(
                    f"augment.shares.{kind}: no training line has {kind} {name!r}"
                    f"{nearest(name, known)}"
                )
    total = _total(sizes, config)
    rows = {cell: count * total / lines for cell, count in sizes.items()} if lines else {}
    for _ in range(ROUNDS):
        for axis, (_, targets) in enumerate(_targets(config)):
            if targets:
                _scale(rows, axis, targets, total)
        for cell, count in sizes.items():
            rows[cell] = min(max(rows[cell], count), count * (1 + config.max_variants))
    return {cell: round(rows[cell]) - count for cell, count in sizes.items()}


def _total(sizes: Mapping[Cell, int], config: AugmentConfig) -> float:
    """Return how many lines the train set should have.

    The share of noisy lines decides where it is given. Else it is (1 + variants) per line,
    or more where a group has more clean lines than its share of that.
    """
    lines = sum(sizes.values())
    most = float(lines * (1 + config.max_variants))
    if config.shares.noisy:
        return min(most, lines / (1 - config.shares.noisy))
    total = float(lines * (1 + config.variants))
    for axis, (_, targets) in enumerate(_targets(config)):
        for name, share in targets.items():
            clean = sum(count for cell, count in sizes.items() if cell[axis] == name)
            if share:
                total = max(total, clean / share)
    return min(most, total)


def _scale(rows: dict[Cell, float], axis: int, targets: Mapping[str, float], total: float) -> None:
    """Scale the cells so that each group of an axis has its share of `total`."""
    groups: dict[str, float] = {}
    for cell, count in rows.items():
        name = cell[axis] if cell[axis] in targets else ""
        groups[name] = groups.get(name, 0.0) + count
    left = max(0.0, 1 - sum(targets.values()))
    for cell in rows:
        named = cell[axis] in targets
        group = groups[cell[axis] if named else ""]
        share = targets[cell[axis]] if named else left
        rows[cell] *= share * total / group if group else 0.0

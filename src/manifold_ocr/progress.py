"""Progress of long work on standard error: count, rate and time left."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = "row"
) -> Iterator[Item]:
    """Yield `items` while showing count, rate and ETA (every 10 s where there is no terminal)."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        file=sys.stderr,
        mininterval=interval,
        dynamic_ncols=True,
        leave=False,
        smoothing=0.1,
        delay=0.5,
    ) as bar:
        yield from bar

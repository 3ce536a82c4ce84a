"""The outcomes of one part's stretches on disk: sorted runs of rows, one table of leak units."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.manifest.collected import Collected, GroupKey
from manifold_ocr.manifest.runs import KEYS, Group, Run, write_run
from manifold_ocr.manifest.units import UNIT
from manifold_ocr.records import Rejection

RUN_ROWS = 50_000  # rows held in memory before they are sorted and written


@dataclass
class PartResult:
    """What a worker wrote and counted."""

    runs: list[Run] = field(default_factory=list)
    units: list[Path] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)


class PartWriter:
    """Gathers outcomes in order and writes them below `folder`."""

    def __init__(self, folder: Path, corpus: SelectedCorpus, part: int, units: bool) -> None:
        self._folder = folder
        self._corpus = corpus
        self._name = f"{corpus.name}-{part:02d}"
        self._rows: dict[str, list[bytes]] = {}
        self._keys: dict[str, list[np.ndarray]] = {}
        self._groups: dict[GroupKey, int] = {}
        self._units: list[np.ndarray] = [np.zeros(0, dtype=UNIT)]
        self._texts = open(folder / f"{self._name}.texts", "wb") if units else None  # noqa: SIM115
        self._result = PartResult()

    def add(self, found: Collected) -> None:
        """Take the outcome of the next stretch."""
        self._result.rejections += found.rejections
        self._result.filtered.update(found.filtered)
        numbers = [self._groups.setdefault(group, len(self._groups)) for group in found.groups]
        for split, rows in found.rows.items():
            keys = np.frombuffer(found.keys[split], dtype=KEYS).copy()
            keys["group"] = np.array(numbers, dtype=np.uint32)[keys["group"]]
            self._keys.setdefault(split, []).append(keys)
            self._rows.setdefault(split, []).extend(rows)
            if len(self._rows[split]) >= RUN_ROWS:
                self._flush(split)
        if self._texts and found.units:
            units = np.frombuffer(found.units, dtype=UNIT).copy()
            units["offset"] += self._texts.tell()
            self._units.append(units)
            self._texts.write(found.texts)

    def finish(self) -> PartResult:
        """Write what is pending; return what was written and counted."""
        for split in sorted(self._rows):
            self._flush(split)
        if self._texts:
            self._texts.close()
            table = self._folder / f"{self._name}.units.npy"
            np.save(table, np.concatenate(self._units))
            self._result.units = [table]
        return self._result

    def _flush(self, split: str) -> None:
        rows, keys = self._rows.pop(split), self._keys.pop(split)
        name = f"{self._name}-{split}-{len(self._result.runs):03d}"
        groups = tuple(map(self._named, self._groups))
        run = write_run(self._folder, name, split, rows, np.concatenate(keys), groups)
        self._result.runs.append(run)

    def _named(self, group: GroupKey) -> Group:
        subset, language, licence, granularity, task = group
        if licence == "unknown":
            licence = self._corpus.licence
        return Group(self._corpus.name, subset, language, licence, granularity, task)

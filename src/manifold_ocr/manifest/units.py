"""Leak units: an image with the text that it shows, as workers write them for the gate.

Splits, duplicates and leaks are judged an image at a time: lines of one page share one
image file, and its page text is long enough to be compared.
"""

from pathlib import Path

import numpy as np
import orjson

from manifold_ocr.corpora.base import RawRow
from manifold_ocr.manifest.config import LeakageConfig
from manifold_ocr.manifest.descriptor import BYTES
from manifold_ocr.manifest.rows import BuiltRow
from manifold_ocr.manifest.shingles import PERMUTATIONS, SignatureCache

UNIT = np.dtype(
    [
        ("image", "<u8"),
        ("split", "S5"),
        ("descriptor", "<u8", BYTES // 8),
        ("width", "<u4"),
        ("height", "<u4"),
        ("signature", "<u4", PERMUTATIONS),
        ("characters", "<u4"),
        ("offset", "<u8"),
        ("length", "<u4"),
    ]
)

_NO_SIGNATURE = np.zeros(PERMUTATIONS, dtype="<u4")


class UnitWriter:
    """Collects the text of consecutive rows of one image; writes a record an image."""

    def __init__(
        self, folder: Path, name: str, config: LeakageConfig, signatures: SignatureCache
    ) -> None:
        self._signatures = signatures
        self._shortest = config.min_text_length
        self._table = folder / f"{name}.units.npy"
        self._texts = folder / f"{name}.texts"
        self._file = open(self._texts, "wb") if config.enabled else None  # noqa: SIM115
        self._records: list[tuple[object, ...]] = []
        self._offset = 0
        self._last: BuiltRow | None = None
        self._lines: list[str] = []
        self._page = ""

    def add(self, row: BuiltRow, raw: RawRow) -> None:
        """Take one row; only transcriptions say what an image shows."""
        if self._file is None:
            return
        if self._last is None or (row.image, row.split) != (self._last.image, self._last.split):
            self._flush()
            self._last = row
        if raw.task != "transcribe":
            return
        if raw.granularity == "page":
            self._page = self._page or raw.text
        else:
            self._lines.append(raw.text)

    def finish(self) -> list[Path]:
        """Write what is pending; return the table's path (its texts lie beside it)."""
        if self._file is None:
            return []
        self._flush()
        self._file.close()
        np.save(self._table, np.array(self._records, dtype=UNIT))
        return [self._table]

    def _flush(self) -> None:
        if self._last is None or self._file is None:
            return
        row, text = self._last, self._page or "\n".join(self._lines)
        line = orjson.dumps([row.image, text])
        self._file.write(line)
        self._records.append(
            (
                int.from_bytes(row.facts.sha256[:8], "big"),
                row.split.encode(),
                np.frombuffer(row.facts.descriptor, dtype="<u8"),
                row.facts.width,
                row.facts.height,
                self._signatures.get(text) if len(text) >= self._shortest else _NO_SIGNATURE,
                len(text),
                self._offset,
                len(line),
            )
        )
        self._offset += len(line)
        self._lines, self._page, self._last = [], "", None

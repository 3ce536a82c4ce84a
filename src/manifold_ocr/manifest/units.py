"""Leak units: an image with the text that it shows, as workers write them for the gate.

Splits, duplicates and leaks are judged an image at a time: lines of one page share one
image file, and its page text is long enough to be compared.
"""

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


class UnitCollector:
    """Collects the text of consecutive rows of one image; packs a record an image."""

    def __init__(self, config: LeakageConfig, signatures: SignatureCache) -> None:
        self._signatures = signatures
        self._enabled = config.enabled
        self._shortest = config.min_text_length
        self._texts: list[bytes] = []
        self._records: list[tuple[object, ...]] = []
        self._offset = 0
        self._last: BuiltRow | None = None
        self._lines: list[str] = []
        self._page = ""

    def add(self, row: BuiltRow, raw: RawRow) -> None:
        """Take one row; only transcriptions say what an image shows."""
        if not self._enabled:
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

    def finish(self) -> tuple[bytes, bytes]:
        """Return the packed `UNIT` records, and the texts into which their offsets point."""
        self._flush()
        return np.array(self._records, dtype=UNIT).tobytes(), b"".join(self._texts)

    def _flush(self) -> None:
        if self._last is None:
            return
        row, text = self._last, self._page or "\n".join(self._lines)
        line = orjson.dumps([row.image, text])
        self._texts.append(line)
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

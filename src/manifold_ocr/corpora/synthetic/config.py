"""The options of the synthetic corpus: `corpora.synthetic` in params.yaml."""

from dataclasses import dataclass

from manifold_ocr.corpora.options import CommonOptions

SUBSETS = (
    "printed",
    "receipts",
    "code",
    "forms",
    "handwriting",
    "charts",
    "degraded",
    "chinese",
)
# Raised with any change that alters a byte of the corpus: a test pins the bytes of a small one.
# It stands in params.yaml, so that DVC draws anew exactly when the bytes would differ.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(CommonOptions):
    """How much is drawn, and from which seed.

    The line counts are lower bounds per subset: documents are drawn whole until a split
    has at least that many lines. `pages` adds one row per document with the whole page.
    `needles` is the share of documents on which a passcode is planted (see `needle.plant`).
    """

    seed: int = 20240601
    train_lines: int = 320
    val_lines: int = 70
    test_lines: int = 320
    subsets: tuple[str, ...] = SUBSETS
    pages: bool = True
    version: int = VERSION
    needles: float = 0.0

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"this release draws version {VERSION}, not {self.version}; set that")
        if self.path or self.url or self.repo:
            raise ValueError("this corpus is drawn, not fetched: it takes no path, url or repo")
        unknown = [name for name in self.subsets if name not in SUBSETS]
        if unknown:
            raise ValueError(f"no subset {unknown[0]!r}; there are {', '.join(SUBSETS)}")
        if min(self.train_lines, self.val_lines, self.test_lines) < 0:
            raise ValueError("line counts must not be negative")
        if not 0.0 <= self.needles <= 1.0:
            raise ValueError(f"needles is a share of documents from 0 to 1, not {self.needles}")

    def lines(self, split: str) -> int:
        """Return the number of lines asked for in a split (train, val or test)."""
        return {"train": self.train_lines, "val": self.val_lines, "test": self.test_lines}[split]

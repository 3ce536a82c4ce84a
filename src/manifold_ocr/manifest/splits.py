"""Which split a document belongs to: by hash, so that new documents never move old ones."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)


@dataclass(frozen=True)
class Splitter:
    """Split rule of one corpus: shares of documents, a salt, and whole-corpus orders.

    `whole` gives every row to one split (benchmarks, explicit validation sets). A row's own
    fixed split is respected; `train_val` means that only test is fixed and the hash
    chooses between the other two.
    """

    corpus: str
    seed: int
    val_share: float
    test_share: float
    whole: str = ""

    def split(self, document: str, fixed: str | None) -> str:
        """Return train, val or test for a row of `document` with its official split, if any."""
        if self.whole:
            return self.whole
        if fixed in SPLITS:
            return str(fixed)
        position = document_position(self.seed, self.corpus, document)
        if fixed == "train_val":
            share = self.val_share / (1.0 - self.test_share)
            return VAL if position < share else TRAIN
        if position < self.test_share:
            return TEST
        return VAL if position < self.test_share + self.val_share else TRAIN


@lru_cache(maxsize=4096)  # rows of one document come in a row
def document_position(seed: int, corpus: str, document: str) -> float:
    """Return the document's place in [0, 1): SHA-256 of seed, corpus and document name."""
    digest = hashlib.sha256(f"{seed}\0{corpus}\0{document}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

"""Where the third-party values lie; tests that need them skip, saying so, without them."""

import json
import os
from pathlib import Path

import pytest

VARIABLE = "MANIFOLD_OCR_REAL_DATA"


def real_data(*parts):
    """A path below the folder of real data; skips the test if it is not there."""
    root = os.environ.get(VARIABLE)
    if not root:
        pytest.skip(f"{VARIABLE} is not set: real documents and third-party values are missing")
    path = Path(root).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


def load(name):
    """The parsed JSON of one file of third-party values."""
    return json.loads(real_data("..", "goldens", name).read_text(encoding="utf-8"))


def has_wordnet():
    """METEOR needs NLTK's wordnet corpus (Debian: wordnet-base, wordnet-sense-index)."""
    try:
        from nltk.corpus import wordnet

        return bool(wordnet.synsets("dog"))
    except (ImportError, LookupError):
        return False


class Tally:
    """Counts reproduced values; at the end every difference fails with its row."""

    def __init__(self, what):
        self.what = what
        self.total = 0
        self.skipped = 0
        self.differences = []

    def check(self, reproduced, description):
        self.total += 1
        if not reproduced:
            self.differences.append(description)

    def finish(self):
        reproduced = self.total - len(self.differences)
        note = f", {self.skipped} not run (no WordNet data)" if self.skipped else ""
        print(f"{self.what}: {reproduced} / {self.total} reproduced{note}")
        assert self.total + self.skipped > 0, "no values were compared"
        assert not self.differences, "\n".join(self.differences[:20])

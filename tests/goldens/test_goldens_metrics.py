"""Every value that third-party tools gave for the constructed text pairs and corpora."""

import pytest
from golden_text_metrics import CORPORA, PAIRS, equal

from goldens import Tally, has_wordnet, load

pytestmark = pytest.mark.real_data

TOOLS = sorted({tool for tool, _ in (*PAIRS, *CORPORA)})


@pytest.fixture(scope="module")
def rows():
    return load("metrics_goldens.json")


def test_every_tool_of_the_file_is_covered(rows):
    for row in rows:
        table = CORPORA if row["category"] == "corpus" else PAIRS
        assert (row["tool"], row["metric"]) in table


@pytest.mark.parametrize("tool", TOOLS)
def test_values_of(tool, rows):
    tally = Tally(tool)
    wordnet = has_wordnet()
    for row in rows:
        if row["tool"] != tool:
            continue
        corpus = row["category"] == "corpus"
        if row["metric"] == "meteor" and row["value"] is not None and not wordnet:
            tally.skipped += 1
            continue
        ours = (CORPORA if corpus else PAIRS)[tool, row["metric"]](
            row["reference"], row["prediction"]
        )
        tolerance = 1e-6 if corpus or row["metric"] in ("bleu", "meteor") else 1e-9
        tally.check(
            equal(ours, row["value"], tolerance),
            f"{row['name']} {row['metric']}: ours {ours!r}, theirs {row['value']!r}",
        )
    tally.finish()

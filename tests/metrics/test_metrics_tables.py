"""Tree edit distance of tables against the package that TEDS was published with (APTED)."""

import random
import time

import pytest
from apted import APTED, Config

from manifold_ocr.metrics import tables
from manifold_ocr.metrics.edit import ned

TAGS = ("tr", "tbody", "p", "td", "td", "td", "table")
TOKENS = ("a", "b", "汉", "<b>", "</b>", "\U000f0000")


class Costs(Config):
    def rename(self, node1, node2):
        if node1.tag != node2.tag or node1.spans != node2.spans:
            return 1.0
        return ned(node1.content, node2.content) if node1.content or node2.content else 0.0


def drawn(rng, depth=0):
    tag = "table" if depth == 0 else "td" if depth == 4 else rng.choice(TAGS)
    if tag == "td":
        content = [rng.choice(TOKENS) for _ in range(rng.randint(0, 4))]
        return tables._Node("td", (rng.choice((1, 1, 2)), 1), content, [])
    return tables._Node(tag, None, [], [drawn(rng, depth + 1) for _ in range(rng.randint(0, 4))])


def test_distances_are_those_of_apted():
    rng = random.Random(7)
    for _ in range(200):
        a, b = drawn(rng), drawn(rng)
        ours = tables.tree_distance(tables._flatten(a), tables._flatten(b))
        assert ours == pytest.approx(APTED(b, a, Costs()).compute_edit_distance(), abs=1e-9)


def html(rows, columns, text):
    cells = "".join(
        "<tr>" + "".join(f"<td>{text(i, j)}</td>" for j in range(columns)) + "</tr>"
        for i in range(rows)
    )
    return f"<table>{cells}</table>"


def test_a_table_of_60_by_30_cells_takes_seconds():
    started = time.process_time()
    scores = tables.table_scores(
        html(60, 30, lambda i, j: f"{i}.{j}"), html(60, 30, lambda i, j: f"{i}.{j + 1}")
    )
    assert scores.teds_structure == 1
    assert 0.5 < scores.teds < 1
    assert time.process_time() - started < 60  # minutes with APTED


def test_a_lost_row_costs_its_nodes():
    scores = tables.table_scores(html(5, 3, lambda i, j: i), html(4, 3, lambda i, j: i))
    assert scores.teds == scores.teds_structure == pytest.approx(1 - 4 / 20)


def test_beyond_the_limit_a_table_scores_zero_and_is_named(monkeypatch, caplog):
    monkeypatch.setattr(tables, "LARGEST", 100)
    assert tables.table_scores(html(4, 3, lambda i, j: i), html(4, 3, lambda i, j: i)).teds == 0
    assert "TEDS of 17 against 17 nodes is not computed" in caplog.text

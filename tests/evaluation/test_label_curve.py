"""How many documents to label."""

from pathlib import Path

import numpy as np
import pytest
from training_project import start_project

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.label_curve import (
    Point,
    advice,
    checked_sizes,
    first_documents,
    forecast,
    label_curve,
    table,
)
from manifold_ocr.records import Sample

CONFIG = EvaluateConfig(bootstrap_samples=500)


def sample(number: int) -> Sample:
    return Sample(
        id=f"{number}", document=f"d{number // 2}", corpus="c", subset="s", image="i.png",
        text="t", language="en",
    )  # fmt: skip


def test_more_documents_hold_those_of_fewer() -> None:
    rows = [sample(number) for number in range(20)]
    three, seven = (first_documents(rows, count, seed=1) for count in (3, 7))
    assert len({row.document for row in three}) == 3 and len(three) == 6
    assert {row.id for row in three} < {row.id for row in seven}
    assert first_documents(rows, 3, seed=1) == three != first_documents(rows, 3, seed=2)


def test_sizes_beyond_the_documents_are_left_out_or_refused() -> None:
    rows = [sample(number) for number in range(20)]
    assert checked_sizes([5, 10, 3, 11], rows) == [3, 5, 10]
    with pytest.raises(UserError, match="are of 10 documents"):
        checked_sizes([11], rows)
    with pytest.raises(UserError, match="1 or more"):
        checked_sizes([0, 3], rows)


def point(documents: int, rates: np.ndarray) -> Point:
    characters = np.full(len(rates), 1000.0)
    totals = np.stack([rates / 100 * characters, characters], axis=1)
    mean = float(rates.mean())
    return Point(documents=documents, rows=1, cer=mean, low=mean, high=mean, totals=totals)


def power_law(documents: int, noise: float = 0.0) -> Point:
    """An error of 8 / sqrt(documents) percent."""
    rates = np.full(40, 8 / np.sqrt(documents))
    rates = rates * (1 + noise * np.random.default_rng(3).standard_normal(40))
    return point(documents, rates)


def test_a_power_law_is_continued() -> None:
    found = forecast([power_law(n) for n in (10, 20, 50, 100)], CONFIG)
    assert found is not None and found.documents == 200
    assert found.value == pytest.approx(8 / np.sqrt(200) - 8 / np.sqrt(100))
    assert found.low == pytest.approx(found.value) and found.worthwhile


def test_the_trend_is_the_least_squares_line_of_numpy() -> None:
    sizes = [10, 20, 50, 100]
    points = [power_law(n, noise=0.3) for n in sizes]
    line = np.polyfit(np.log(sizes), np.log([p.cer for p in points]), 1)
    last, doubled = np.exp(np.polyval(line, np.log([100, 200])))
    found = forecast(points, CONFIG)
    assert found is not None and found.value == pytest.approx(doubled - last)
    assert found.low < found.value < found.high


def test_a_curve_that_is_flat_is_no_reason_to_label_more() -> None:
    generator = np.random.default_rng(5)
    points = [point(n, 1 + 0.3 * generator.standard_normal(40)) for n in (10, 20, 40)]
    found = forecast(points, CONFIG)
    assert found is not None and not found.worthwhile
    assert "no gain" in advice(points, found)


def test_two_trainings_are_no_trend() -> None:
    assert forecast([power_law(10), power_law(20)], CONFIG) is None
    assert "no trend" in advice([power_law(10)], None)


@pytest.mark.torch
def test_trainings_on_more_and_more_documents(
    tmp_path: Path, tiny_ctc: Path, line_samples: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = {"epochs": 2.0, "train_batch_size": 4, "learning_rate": 0.01}
    run = start_project(
        tmp_path / "curve", monkeypatch, tiny_ctc, line_samples, val_rows=4, knobs=knobs
    )
    rows = {"train": run.rows, "val": run.rows[:4], "test": run.rows}
    points = list(label_curve([2, 4], run.settings(), rows, CONFIG, run.root / "work"))
    assert [(p.documents, p.rows) for p in points] == [(0, 0), (2, 2), (4, 4)]
    assert len({p.cer for p in points}) > 1 and all(p.low <= p.cer <= p.high for p in points)
    assert [row["series"] for row in table(points)] == ["base", "adapter", "adapter"]
    again = list(label_curve([4], run.settings(), rows, CONFIG, run.root / "work"))
    assert again[-1].cer == points[-1].cer

"""Bootstrap over documents, intervals, tie groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifold_ocr.metrics import bootstrap


def test_document_totals_sum_rows_of_a_document():
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    totals = bootstrap.document_totals(["b", "a", "b"], columns)
    assert totals.tolist() == [[2.0, 20.0], [4.0, 40.0]]


def test_resampling_is_seeded_and_blocks_do_not_show(monkeypatch):
    totals = np.arange(20, dtype=float).reshape(10, 2)
    first = bootstrap.resampled_totals(totals, 50, seed=3)
    assert np.array_equal(first, bootstrap.resampled_totals(totals, 50, seed=3))
    assert not np.array_equal(first, bootstrap.resampled_totals(totals, 50, seed=4))
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 30)
    assert np.array_equal(first, bootstrap.resampled_totals(totals, 50, seed=3))
    with pytest.raises(ValueError, match="at least one document"):
        bootstrap.resampled_totals(np.empty((0, 2)), 5, seed=1)


def test_a_resample_draws_as_many_documents_as_there_are():
    ones = np.ones((7, 1))
    assert (bootstrap.resampled_totals(ones, 100, seed=1) == 7).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        lengths = generator.integers(50, 150, size=60).astype(float)
        errors = generator.binomial(lengths.astype(int), 0.1).astype(float)
        drawn = bootstrap.resampled_totals(np.stack([errors, lengths], axis=1), 400, seed=trial)
        interval = bootstrap.percentile_interval(bootstrap.ratio(drawn[:, 0], drawn[:, 1]))
        covered += interval.low <= 0.1 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_paired_differences_cancel_what_documents_share():
    generator = np.random.default_rng(9)
    lengths = np.full(100, 200.0)
    hard = generator.integers(0, 100, size=100).astype(float)
    a, b = (hard + 4, lengths), (hard + 6, lengths)
    found = bootstrap.paired_ratio_difference(a, b, 1000, seed=1)
    assert found.value == pytest.approx(-0.01)
    assert found.high < 0
    assert found.detectable == pytest.approx(0, abs=1e-9)
    same = bootstrap.paired_ratio_difference(a, a, 1000, seed=1)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert (
        bootstrap.paired_ratio_difference((hard[:1], lengths[:1]), (hard[:1], lengths[:1]), 9, 1)
        is None
    )


def test_undefined_ratios_are_nan_and_undefined_intervals_none():
    assert np.isnan(bootstrap.ratio(np.array([1.0]), np.array([0.0]))).all()
    assert bootstrap.percentile_interval(np.array([np.nan, np.nan])) is None


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_interval_holds_the_share(successes, more):
    trials = successes + more
    interval = bootstrap.wilson_interval(successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1
    wider = bootstrap.wilson_interval(successes, trials, level=0.99)
    assert wider.low <= interval.low
    assert wider.high >= interval.high


def test_wilson_interval_known_value():
    interval = bootstrap.wilson_interval(8, 10)
    assert (interval.low, interval.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
    assert bootstrap.wilson_interval(0, 0) == bootstrap.Interval(0.0, 1.0)
    with pytest.raises(ValueError, match="successes"):
        bootstrap.wilson_interval(3, 2)


def test_minimum_detectable_difference_is_2_8_standard_errors():
    assert bootstrap.minimum_detectable_difference(1.0) == pytest.approx(2.8016, abs=1e-4)


def test_tie_groups_share_a_rank_only_when_indistinguishable():
    generator = np.random.default_rng(2)
    noise = generator.normal(size=(500, 1)) * 0.05  # shared by all: it cancels in pairs
    centers = np.array([0.30, 0.10, 0.101, 0.20])
    own = generator.normal(size=(500, 4)) * 0.002
    groups = bootstrap.tie_groups(centers, centers + noise + own)
    assert groups == [3, 1, 1, 2]

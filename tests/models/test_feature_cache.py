"""The feature cache keeps whole shards, loses only the open one, and rounds consistently."""

from pathlib import Path

import numpy as np
import pytest

from manifold_ocr.models.ctc import features
from manifold_ocr.models.ctc.features import FeatureCache, round_features

pytestmark = pytest.mark.torch


def some(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, frames)).astype(np.float32)


def test_what_is_put_is_got_back_now_and_later(tmp_path: Path) -> None:
    values = {f"k{i}": some(i + 1, i) for i in range(20)}
    with FeatureCache("f", 4, tmp_path) as cache:
        for key, value in values.items():
            cache.put(key, value)
        np.testing.assert_array_equal(cache.get("k3"), round_features(values["k3"]))
    again = FeatureCache("f", 4, tmp_path)
    for key, value in values.items():
        np.testing.assert_array_equal(again.get(key), round_features(value))
        assert again.frames(key) == value.shape[1]
    assert len(again) == 20
    assert again.get("other") is None
    assert len(FeatureCache("g", 4, tmp_path)) == 0


def test_a_killed_writer_loses_only_its_open_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_BYTES", 100)
    cache = FeatureCache("f", 4, tmp_path)
    for i in range(7):  # 5 frames are 40 bytes: a shard is full at the third row
        cache.put(f"k{i}", some(5, i))
    again = FeatureCache("f", 4, tmp_path)  # no close: as after kill -9
    assert len(again) == 6
    np.testing.assert_array_equal(again.get("k5"), round_features(some(5, 5)))


def test_two_writers_share_a_cache(tmp_path: Path) -> None:
    with FeatureCache("f", 4, tmp_path) as a, FeatureCache("f", 4, tmp_path) as b:
        a.put("same", some(3))
        b.put("same", some(3))
        b.put("other", some(2))
    assert len(FeatureCache("f", 4, tmp_path)) == 2

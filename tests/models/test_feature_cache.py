"""The feature cache keeps whole shards, loses only the open one, and rounds consistently."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import load_page, load_sample
from manifold_ocr.models.ctc import features
from manifold_ocr.models.ctc.features import FeatureCache, SampleImages, round_features
from manifold_ocr.records import Sample

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


def row(image: str, box: tuple[float, float, float, float] | None = None) -> Sample:
    return Sample(id="a", document="a", corpus="c", subset="s", image=image, text="x", box=box)


def test_threads_that_read_rows_of_few_pages_decode_each_page_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for page in range(6):
        noise = np.random.default_rng(page).integers(0, 256, (64, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{page}.png")
        boxes = [(0.0, 8.0 * line, 40.0, 8.0 * line + 8) for line in range(8)]
        rows += [row(f"{page}.png", box) for box in boxes]
    opened: list[str] = []

    def counted(sample: Sample, root: Path) -> Image.Image:
        opened.append(sample.image)
        return load_page(sample, root)

    monkeypatch.setattr(features, "load_page", counted)
    images = SampleImages(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(images, rows))
    assert opened == [f"{page}.png" for page in range(6)]
    for one, image in zip(rows, found, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(load_sample(one, tmp_path)))
    whole = replace(rows[-1], box=None)
    assert images(whole).size == load_sample(whole, tmp_path).size


def test_a_page_that_cannot_be_read_is_told_for_each_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    images = SampleImages(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.png"):
            images(row("a.png", (0.0, 0.0, 9.0, 9.0)))

"""Pixels of lines: those that reading sees; batches of one width without padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_lines import TEXTS, draw_line

from manifold_ocr.models.ctc.decode import frame_count, line_pixels
from manifold_ocr.models.ctc.pixels import LinePixels, byte_pixels, float_pixels
from manifold_ocr.models.ctc.rows import STRETCH, collate_lines, grid_frames
from manifold_ocr.records import Sample

pytestmark = pytest.mark.torch


def test_bytes_become_the_very_values_that_reading_sees() -> None:
    line = draw_line(TEXTS[0], 31)
    found = float_pixels(torch.from_numpy(byte_pixels(line))[None])
    np.testing.assert_array_equal(found.numpy(), line_pixels(line))


def test_lines_of_one_page_are_those_that_each_row_gives(tmp_path: Path) -> None:
    page = np.full((400, 300, 3), 255, np.uint8)
    page[::7] = 90
    line = draw_line(TEXTS[1], 40)
    from PIL import Image

    whole = Image.fromarray(page)
    whole.paste(line, (10, 30))
    whole.save(tmp_path / "page.png")
    boxes = [(10.0, 30.0, 10.0 + line.width, 70.0), (3.0, 200.0, 120.0, 233.0)]
    samples = [
        Sample(id=f"{n}", document="d", corpus="c", subset="s", image="page.png", text="x",
               language="en", box=box)
        for n, box in enumerate(boxes)
    ]  # fmt: skip
    kept, none = LinePixels(tmp_path), LinePixels(tmp_path, largest=0)
    assert len(list(kept.add(samples))) == 2 == len(list(none.add(samples)))
    for sample in samples:
        np.testing.assert_array_equal(kept[sample], none[sample])
        assert kept.widths[sample.id] == kept[sample].shape[1]
    assert not list(kept.add(samples))


def rows_of(widths: list[int], characters: int = 3) -> list[Any]:
    random = np.random.default_rng(0)
    return [
        (random.integers(0, 256, (48, width, 3), np.uint8), [1 + n % 5 for n in range(characters)])
        for width in widths
    ]


def test_similar_lines_share_a_width_and_no_line_is_padded() -> None:
    widths = [200, 104, 96, 104, 208, 208, 400]
    batch = collate_lines(rows_of(widths))
    shapes = [tuple(group.shape) for group in batch["groups"]]
    assert shapes == [(3, 48, 104, 3), (3, 48, 200, 3), (1, 48, 392, 3)]
    for group, members in zip(shapes, ([96, 104, 104], [200, 208, 208], [400]), strict=True):
        assert max(members) <= STRETCH * min(members)
        assert all(group[2] / width < STRETCH for width in members)


def test_a_scaled_line_keeps_the_frames_that_its_text_needs() -> None:
    (pixels, _), (other, classes) = rows_of([104, 96], characters=13)
    batch = collate_lines([(pixels, [1, 2] * 6 + [3]), (other, classes[:4])])
    assert [tuple(group.shape) for group in batch["groups"]] == [(2, 48, 104, 3)]
    assert frame_count((104, 48)) == 13


def test_widths_of_batches_are_few_and_near_the_mean_of_their_lines() -> None:
    widths = {mean: grid_frames(mean, 1) for mean in range(1, 401)}
    assert len(set(widths.values())) < 60
    assert all(abs(found - mean) <= max(0.05 * mean, 1) for mean, found in widths.items())
    assert grid_frames(5, 30) >= 30


def test_rows_of_pixels_are_sorted_in_windows_so_wide_that_a_batch_is_one_group() -> None:
    from manifold_ocr.models.ctc.rows import PixelRows, similar
    from manifold_ocr.training.batches import WINDOW, StepSampler

    random = np.random.default_rng(3)
    widths = (8 * np.clip(random.lognormal(3.4, 0.6, 6000), 2, 300).round()).astype(int).tolist()
    counts = {}
    for window in (WINDOW, PixelRows.window):
        batches = list(StepSampler([w // 8 for w in widths], 16, 1, seed=1, window=window))
        assert sorted(row for batch in batches for row in batch) == list(range(len(widths)))
        ordered = [sorted(batch, key=lambda row: widths[row]) for batch in batches]
        lines = [[(np.empty((0, widths[row])), [1]) for row in batch] for batch in ordered]
        groups = [group for batch in lines for group in similar(batch)]
        counts[window] = len(groups), len(batches)
    narrow, wide = counts[WINDOW], counts[PixelRows.window]
    assert wide[0] < 1.05 * wide[1] < narrow[0], "groups, batches"


def test_rows_of_one_width_meet_others_in_each_epoch_and_not_their_neighbors() -> None:
    from manifold_ocr.models.ctc.rows import PixelRows
    from manifold_ocr.training.batches import StepSampler

    sampler = StepSampler([30] * 800, 16, 1, seed=1, window=PixelRows.window)
    first = {frozenset(batch) for batch in sampler}
    assert not any(max(batch) - min(batch) == 15 for batch in first), "rows of one document"
    sampler.set_epoch(1)
    assert not first & {frozenset(batch) for batch in sampler}

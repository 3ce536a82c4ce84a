import multiprocessing

import pytest
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root
from manifold_ocr.models.base import Recognition, opened
from manifold_ocr.reading.predict import predict
from manifold_ocr.records import Sample


class Width:
    """Reads an image as its width; counts what it is asked and can break on the way."""

    family = name = "width"

    def __init__(self, fail_at=None):
        self.read = 0
        self.fail_at = fail_at

    def recognize(self, images, prompts=None):
        for source in images:
            image = opened(source)
            if self.read == self.fail_at:
                raise KeyboardInterrupt
            self.read += 1
            yield Recognition(str(image.width), 0.5, image.width // 8)

    def vision_tokens(self, size):
        return size[0] // 8


@pytest.fixture
def samples(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    rows = []
    for i in range(10):
        Image.new("RGB", (16 + i, 8)).save(tmp_path / f"{i}.png")
        rows.append(
            Sample(
                id=str(i),
                document="d",
                corpus="c",
                subset="s",
                image=f"{i}.png",
                image_sha256=str(i),
                text="",
            )
        )
    return rows


def test_rows_are_read_once_and_again_only_for_another_model(samples, tmp_path):
    model = Width()
    first = predict(model, samples, tmp_path, "one", "width")
    assert [p.text for p in first.predictions] == [str(16 + i) for i in range(10)]
    assert (first.fresh, model.read) == (10, 10)
    again = predict(model, samples[::-1], tmp_path, "one", "width")
    assert (again.fresh, again.predictions[::-1]) == (0, first.predictions)
    assert predict(model, samples, tmp_path, "two", "width").fresh == 10


def test_an_interrupted_reading_goes_on_where_it_stopped(samples, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        predict(Width(fail_at=4), samples, tmp_path, "one", "width")
    store = cache_root() / "predictions" / "one.jsonl"
    store.write_text(store.read_text() + '{"key": "cut')
    model = Width()
    rest = predict(model, samples, tmp_path, "one", "width")
    assert (rest.fresh, model.read) == (6, 6)
    assert predict(Width(fail_at=0), samples, tmp_path, "one", "width").fresh == 0


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(UserError, match="nothing to read"):
        predict(Width(), [], tmp_path, "one", "width")


def read_as(rank, processes, samples, root, fail_at=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", str(rank))
        patch.setenv("WORLD_SIZE", str(processes))
        model = Width(fail_at)
        reading = predict(model, samples, root, "one", "width")
    return model.read, reading.predictions


@pytest.mark.parametrize("known", [0, 3, 10])
def test_processes_share_the_rows_and_each_gets_all(samples, tmp_path, known):
    if known:
        predict(Width(), samples[:known], tmp_path, "one", "width")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        tasks = [pool.apply_async(read_as, (rank, 3, samples, tmp_path)) for rank in range(3)]
        found = [task.get(60) for task in tasks]
    expected = [len([i for i in range(known, 10) if i % 3 == rank]) for rank in range(3)]
    assert [count for count, _ in found] == expected
    for _, predictions in found:
        assert [p.text for p in predictions] == [str(16 + i) for i in range(10)]
    assert predict(Width(fail_at=0), samples, tmp_path, "one", "width").fresh == 0


def test_a_reading_is_known_by_all_that_decides_it(tmp_path, monkeypatch):
    from manifold_ocr.config import ModelConfig
    from manifold_ocr.reading import predict as prediction

    for name in ("base", "adapter", "processor"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")

    def key(weights=("base",), tokens=8, spaces="model", **settings):
        model = ModelConfig(id="x", **settings)
        folders = [tmp_path / name for name in weights]
        return prediction.reading_fingerprint(model, folders, tokens, [], spaces)

    processor = str(tmp_path / "processor")
    keys = [
        key(),
        key(("base", "adapter")),
        key(tokens=9),
        key(spaces="gap"),
        key(max_pixels=1568),
        key(precision="bf16"),
        key(processor_id="other/processor"),
        key(processor_id=processor),
    ]
    (tmp_path / "processor/config.json").write_text('{"size": 1}')
    keys.append(key(processor_id=processor))
    assert key() == keys[0]
    with monkeypatch.context() as patch:
        patch.setattr(prediction, "installed", lambda package: "0.0")
        keys.append(key())
    monkeypatch.setattr(prediction, "gpu_present", lambda: True)
    keys.append(key())
    assert len(set(keys)) == len(keys)

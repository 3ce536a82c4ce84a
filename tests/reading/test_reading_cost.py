import time

import pytest
from PIL import Image

from manifold_ocr.models.base import Recognition, opened
from manifold_ocr.reading import predict
from manifold_ocr.reading.predict import CostMeter, predict_and_measure
from manifold_ocr.records import Sample


class Slow:
    """Takes 10 ms an image."""

    family = name = "slow"

    def recognize(self, images, prompts=None):
        for image in images:
            time.sleep(0.01)
            yield Recognition(str(opened(image).width))

    def vision_tokens(self, size):
        return 1


class Cached(Slow):
    """The same, but samples come from a cache at once."""

    def recognize_samples(self, samples, image_root):
        yield from (Recognition("16") for _ in samples)


@pytest.fixture
def samples(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (16, 8)).save(tmp_path / "a.png")
    return [
        Sample(id=str(i), document="d", corpus="c", subset="s", image="a.png",
               image_sha256=str(i), text="")
        for i in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize("model", [Slow(), Cached()])
def test_rows_are_timed_without_cached_features_and_only_when_read(samples, tmp_path, model):
    reading, cost = predict_and_measure(model, samples, tmp_path, "fingerprint", "slow")
    assert reading.fresh == cost["rows"] == cost["timed_rows"] == 20
    assert cost["rows_per_second"] < 100
    assert cost["peak_memory_gib"] > 0.01
    assert "gpu_watts" not in cost and "peak_gpu_memory_gib" not in cost
    _, again = predict_and_measure(model, samples, tmp_path, "fingerprint", "slow")
    assert again == {}


def test_a_gpu_that_was_used_gives_its_memory_and_energy(monkeypatch):
    class Cuda:
        def reset_peak_memory_stats(self):
            pass

        def max_memory_allocated(self):
            return 2**30

        def max_memory_reserved(self):
            return 2**31

    class Monitor:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def summary(self):
            return {"gpu_watts": 100.0, "gpu_watt_hours": 0.5}

    monkeypatch.setattr(predict, "_cuda", Cuda)
    monkeypatch.setattr(predict, "GpuMonitor", Monitor)
    with CostMeter() as meter:
        pass
    assert meter.values == {"peak_gpu_memory_gib": 2.0, "gpu_watts": 100.0, "gpu_watt_hours": 0.5}

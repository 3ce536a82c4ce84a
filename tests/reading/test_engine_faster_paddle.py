"""faster-paddle's engine against its documented interface, and against the package where it is."""

import importlib.util
import io
import sys
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw, ImageFont

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines.base import EngineOptions, load_engine


class Engine:
    """The interface that its description states: encoded bytes in, text and boxes out."""

    def __init__(self, model_size, threads):
        self.said = f"{model_size} {threads}"

    def ocr(self, data):
        width = Image.open(io.BytesIO(data)).width
        if width == 1:
            return {"text": "", "bounds": {}}
        boxes = {"0": {"text": "a", "confidence": 0.5}, "1": {"text": "b", "confidence": 1.0}}
        return {"text": f"{self.said} {width}\n", "bounds": boxes}


def test_results_keep_the_order_and_the_mean_confidence(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_paddle", SimpleNamespace(OcrEngine=Engine))
    engine = load_engine("faster-paddle", EngineOptions(served="tiny", threads=2))
    images = [Image.new("RGBA", (width, 4)) for width in (7, 1)]
    first, second = engine.recognize(images)
    assert (engine.name, first.text, first.confidence) == ("faster-paddle-tiny", "tiny 2 7", 0.75)
    assert (second.text, second.confidence) == ("", 0.0)


def test_a_missing_package_and_an_unknown_size_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_paddle", None)
    with pytest.raises(UserError, match="`pip install faster-paddle`"):
        load_engine("faster-paddle", EngineOptions())
    with pytest.raises(UserError, match="no size 'huge'; --served takes tiny, small, medium"):
        load_engine("faster-paddle", EngineOptions(served="huge"))


@pytest.mark.skipif(not importlib.util.find_spec("faster_paddle"), reason="needs faster-paddle")
def test_the_package_reads_a_line():
    image = Image.new("RGB", (420, 60), "white")
    ImageDraw.Draw(image).text((10, 8), "Invoice 2041", "black", ImageFont.load_default(36))
    (read,) = load_engine("faster-paddle", EngineOptions()).recognize([image])
    assert read.text == "Invoice 2041" and read.confidence > 0.8
